// SPDX-License-Identifier: GPL-2.0

//! The devlink instance: `devlink dev info`, and the health of the firmware and of the
//! one-time-programmable memory.

use kernel::{
    device::{
        self,
        Bound, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    fbnic_dev::Fbnic,
    fbnic_fw::{
        messages::{
            FwVersion,
            Version,
            MAX_DATA, //
        },
        CallError, //
    },
    net::{
        devlink::{
            self,
            Devlink,
            Fmsg,
            HealthReporter,
            InfoRequest,
            Registration,
            Reporter, //
        },
        ethtool::ExtAck, //
    }, //
};

/// Byte offset in BAR4 of the status of the one-time-programmable memory; 0 is healthy.
const NS_OTP_STATUS: usize = 0x21d * 4;
/// Byte offset in BAR4 of the status of the last write to it: data in the upper, ECC in the lower
/// half.
const NS_OTP_WRITE_STATUS: usize = 0x21e * 4;

/// Largest dump of the firmware's memory that is fetched, bytes. What the firmware says about its
/// size must not cost all of ours.
const COREDUMP_MAX: u32 = 16 << 20;

/// How long fetching a dump may take, seconds. Each of its thousands of parts may take the firmware
/// 10 s, and meanwhile nobody else gets at devlink, nor does the service task run.
const COREDUMP_SECONDS: i64 = 60;

/// A firmware version as users know it: `MM.mm.pp-bbb`.
pub(crate) struct VersionText(pub(crate) Version);

impl fmt::Display for VersionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, build] = self.0.parts();

        write!(f, "{major:02}.{minor:02}.{patch:02}-{build:03}")
    }
}

/// devlink's view of an adapter.
pub(crate) struct Info(Arc<Fbnic>);

/// Which of devlink's two lists a version goes to.
#[derive(Clone, Copy)]
enum List {
    Running,
    Stored,
}

impl List {
    fn put(self, info: &mut InfoRequest<'_>, name: &CStr, value: &CStr) -> Result {
        match self {
            Self::Running => info.put_running_version(name, value),
            Self::Stored => info.put_stored_version(name, value),
        }
    }

    /// Puts the version number and, if the firmware gave one, the commit it was built from.
    fn put_version(self, info: &mut InfoRequest<'_>, name: &CStr, version: &FwVersion) -> Result {
        let value = CString::try_from_fmt(fmt!("{}", VersionText(version.version)))?;
        self.put(info, name, &value)?;

        // What the firmware calls a commit may be any bytes; only text is passed on.
        let commit = core::str::from_utf8(version.commit()).unwrap_or_default();
        if commit.is_empty() {
            return Ok(());
        }
        let commit = CString::try_from_fmt(fmt!("{commit}"))?;
        let commit_name = CString::try_from_fmt(fmt!("{name}.commit"))?;
        self.put(info, &commit_name, &commit)
    }
}

impl devlink::Operations for Info {
    fn info_get(&self, info: &mut InfoRequest<'_>) -> Result {
        let caps = self.0.fw_caps();

        List::Running.put_version(info, c"fw", &caps.running.mgmt)?;
        List::Running.put_version(info, c"fw.bootloader", &caps.running.bootloader)?;
        List::Stored.put_version(info, c"fw", &caps.stored.mgmt)?;
        List::Stored.put_version(info, c"fw.bootloader", &caps.stored.bootloader)?;
        List::Stored.put_version(info, c"fw.undi", &caps.stored.undi)?;

        if self.0.params.dsn == 0 {
            return Ok(());
        }
        let [a, b, c, d, e, f, g, h] = self.0.params.dsn.to_be_bytes();
        let serial = CString::try_from_fmt(fmt!(
            "{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}-{g:02x}-{h:02x}"
        ))?;
        info.put_serial_number(&serial)
    }
}

/// Reports crashes of the firmware.
struct Firmware(Arc<Fbnic>);

impl Reporter for Firmware {
    const NAME: &'static CStr = c"fw";
    const HAS_DUMP: bool = true;
    const HAS_DIAGNOSE: bool = true;

    fn dump(&self, fmsg: &mut Fmsg<'_>, extack: &mut ExtAck<'_>) -> Result {
        let size = self.0.fw_coredump_create().inspect_err(|error| {
            extack.set(match error {
                CallError::Unsent(_) => c"fbnic: Failed to ask the firmware for a core dump",
                CallError::TimedOut | CallError::Killed => {
                    c"fbnic: Firmware did not say in time whether it has a core dump"
                }
                CallError::Answer(_) => c"fbnic: Firmware refused a core dump",
            })
        })?;
        if size == 0 {
            extack.set(c"fbnic: Firmware has a core dump of size 0");
            return Err(EIO);
        }
        if size > COREDUMP_MAX {
            extack.set(c"fbnic: Firmware has a core dump of more than 16 MiB");
            return Err(EFBIG);
        }
        let mut buf = KVec::from_elem(0, MAX_DATA, GFP_KERNEL)?;
        let start = Instant::<Monotonic>::now();

        fmsg.binary(c"FW coredump", |fmsg| {
            for offset in (0..size).step_by(MAX_DATA) {
                if start.elapsed() >= Delta::from_secs(COREDUMP_SECONDS) {
                    extack.set(c"fbnic: Core dump takes longer than 60 s");
                    return Err(ETIMEDOUT);
                }
                let length = usize::try_from(size - offset)?.min(MAX_DATA);
                let part = buf.get_mut(..length).ok_or(EINVAL)?;
                self.0.fw_coredump_read(offset, part).inspect_err(|error| {
                    extack.set(match error {
                        CallError::Unsent(_) => c"fbnic: Failed to ask for a part of the core dump",
                        CallError::TimedOut | CallError::Killed => {
                            c"fbnic: A part of the core dump did not come in time"
                        }
                        CallError::Answer(_) => {
                            c"fbnic: A part of the core dump has no usable data"
                        }
                    })
                })?;
                fmsg.put_bytes(part)?;
            }
            Ok(())
        })
    }

    fn diagnose(&self, fmsg: &mut Fmsg<'_>) -> Result {
        let Some(uptime) = self.0.fw_uptime() else {
            return Ok(());
        };
        // Both are shown as 32-bit numbers, which seconds fill in 136 years.
        let [seconds, milliseconds] = [uptime / 1000, uptime % 1000];
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let milliseconds = u32::try_from(milliseconds)?;

        fmsg.object(c"last_heartbeat", |fmsg| {
            fmsg.object(c"fw_uptime", |fmsg| {
                fmsg.put_u32(c"sec", seconds);
                fmsg.put_u32(c"msec", milliseconds);
            });
        });
        Ok(())
    }
}

/// Reports faults of the one-time-programmable memory.
struct Otp(Arc<Fbnic>);

impl Reporter for Otp {
    const NAME: &'static CStr = c"otp";
    const HAS_DUMP: bool = true;

    fn dump(&self, fmsg: &mut Fmsg<'_>, _extack: &mut ExtAck<'_>) -> Result {
        let status = self.0.csr.fw_read32(NS_OTP_STATUS);
        let write_status = self.0.csr.fw_read32(NS_OTP_WRITE_STATUS);

        fmsg.object(c"OTP", |fmsg| {
            fmsg.put_u32(c"Status", status);
            fmsg.put_u32(c"Data", write_status >> 16);
            fmsg.put_u32(c"ECC", write_status & 0xffff);
        });
        Ok(())
    }
}

/// The devlink instance of an adapter with its reporters.
///
/// The order of the fields is that of teardown.
pub(crate) struct FbnicDevlink {
    otp: HealthReporter<Info, Otp>,
    firmware: HealthReporter<Info, Firmware>,
    devlink: Arc<Devlink<Info>>,
    fbnic: Arc<Fbnic>,
}

impl FbnicDevlink {
    /// Creates the instance. User space sees it after [`FbnicDevlink::register`].
    pub(crate) fn new(parent: &device::Device<Bound>, fbnic: Arc<Fbnic>) -> Result<Arc<Self>> {
        let devlink = Devlink::new(parent, Info(fbnic.clone()))?;
        let firmware = HealthReporter::new(devlink.clone(), Firmware(fbnic.clone()))?;
        let otp = HealthReporter::new(devlink.clone(), Otp(fbnic.clone()))?;
        let this = Self {
            otp,
            firmware,
            devlink,
            fbnic,
        };

        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Makes the instance visible as long as the result lives.
    pub(crate) fn register(&self) -> Registration<Info> {
        Registration::new(self.devlink.clone())
    }

    /// Takes the instance lock, under which the firmware mailbox goes up and down.
    pub(crate) fn lock(&self) -> devlink::Guard<'_, Info> {
        self.devlink.lock()
    }

    /// Reports that the firmware has crashed and takes messages again. Sleeps, up to a minute for a dump.
    pub(crate) fn firmware_crashed(&self) {
        let msg = c"Firmware crash detected!";
        self.firmware.report(msg);
        self.fbnic.fw_log_event(msg);
        self.otp_check(c"error detected after firmware recovery");
    }

    /// Reports `msg` if the one-time-programmable memory is not healthy. Sleeps.
    pub(crate) fn otp_check(&self, msg: &CStr) {
        let status = self.fbnic.csr.fw_read32(NS_OTP_STATUS);

        // All-ones is what a device that is gone reads as; that is not the memory's fault.
        if status != 0 && self.fbnic.csr.is_present() {
            self.otp.report(msg);
            self.fbnic.fw_log_event(msg);
        }
    }
}
