// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs, for people who look into an adapter.
//!
//! Each adapter has a directory `fbnic/<PCI address>`:
//!
//! | file | content |
//! |---|---|
//! | `fw_mbx` | the firmware's mailbox: both rings, descriptor by descriptor |
//! | `fw_log` | what the firmware logged, the oldest entry first |
//! | `fw_self_test` | reading sends a test message to the firmware and says what became of it |
//! | `bad_values` | what the device and its firmware said that made no sense, counted |
//! | `pcie_stats` | requests of the device, and what they waited for |
//! | `mac_addr` | the classifier's Ethernet addresses, entry by entry |
//! | `tce_tcam` | those of them whose frames go to the BMC when they are sent |
//! | `act_tcam` | the classifier's actions |
//! | `ip_src`, `ip_dst` | the IP addresses that rules name |
//! | `ipo_src`, `ipo_dst` | the same in the outer header of a tunnel |
//!
//! While the interface is up there is a directory `nv.<vector>` for each NAPI context in it, with files for
//! its rings, whose names end in the number of the queue set:
//!
//! | file | content: where driver and device are in the ring, and all descriptors of |
//! |---|---|
//! | `twq0.000` | what the stack sends |
//! | `twq1.000` | what XDP programs send back |
//! | `tcq.000` | completions of both |
//! | `hpq.000`, `ppq.000` | pages for headers and for payload |
//! | `rcq.000` | received frames |
//!
//! All but `fw_self_test` and `bad_values` are those of the upstream driver, and so is what is in them.

use kernel::{
    alloc::KBox,
    debugfs::{
        File,
        Scope, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

use crate::{
    fbnic_bad_values,
    fbnic_dev::Fbnic,
    fbnic_fw::Printable,
    fbnic_txrx::RingDump, //
};

/// The files of an adapter. They are removed on drop.
#[pin_data]
pub(crate) struct Debugfs {
    #[pin]
    fw_mbx: File<Arc<Fbnic>>,
    #[pin]
    fw_log: File<Arc<Fbnic>>,
    #[pin]
    fw_self_test: File<Arc<Fbnic>>,
    #[pin]
    pcie_stats: File<Arc<Fbnic>>,
    #[pin]
    mac_addr: File<Arc<Fbnic>>,
    #[pin]
    tce_tcam: File<Arc<Fbnic>>,
    #[pin]
    act_tcam: File<Arc<Fbnic>>,
    #[pin]
    ip_src: File<Arc<Fbnic>>,
    #[pin]
    ip_dst: File<Arc<Fbnic>>,
    #[pin]
    ipo_src: File<Arc<Fbnic>>,
    #[pin]
    ipo_dst: File<Arc<Fbnic>>,
    #[pin]
    bad_values: File<Arc<Fbnic>>,
}

impl Debugfs {
    /// Creates the files. Failures of debugfs itself go unnoticed, as is its way.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENODEV` if the module has no directory.
    pub(crate) fn new(fbnic: &Arc<Fbnic>) -> Result<Pin<KBox<Self>>> {
        let dir = fbnic.debugfs.as_ref().ok_or(ENODEV)?;
        KBox::pin_init(
            pin_init!(Self {
                fw_mbx <- dir.read_callback_file(c"fw_mbx", fbnic.clone(), &show_mailbox),
                fw_log <- dir.read_callback_file(c"fw_log", fbnic.clone(), &show_log),
                fw_self_test <-
                    dir.read_callback_file(c"fw_self_test", fbnic.clone(), &show_self_test),
                pcie_stats <- dir.read_callback_file(c"pcie_stats", fbnic.clone(), &show_pcie),
                mac_addr <- dir.read_callback_file(c"mac_addr", fbnic.clone(), &show_macs),
                tce_tcam <- dir.read_callback_file(c"tce_tcam", fbnic.clone(), &show_tce),
                act_tcam <- dir.read_callback_file(c"act_tcam", fbnic.clone(), &show_actions),
                ip_src <- dir.read_callback_file(c"ip_src", fbnic.clone(), &show_ips::<0>),
                ip_dst <- dir.read_callback_file(c"ip_dst", fbnic.clone(), &show_ips::<1>),
                ipo_src <- dir.read_callback_file(c"ipo_src", fbnic.clone(), &show_ips::<2>),
                ipo_dst <- dir.read_callback_file(c"ipo_dst", fbnic.clone(), &show_ips::<3>),
                bad_values <-
                    dir.read_callback_file(c"bad_values", fbnic.clone(), &fbnic_bad_values::show),
            }),
            GFP_KERNEL,
        )
    }
}

/// The directory of a NAPI context with a file for each of its rings.
///
/// On drop they are removed, which waits for those who read, and only then are the rings let go. Who drops
/// this may hold any lock, so reading takes none.
pub(crate) struct RingFiles {
    _dir: Pin<KBox<Scope<KVec<RingDump>>>>,
}

impl RingFiles {
    /// Creates the files for interrupt vector `vector` of `fbnic`. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENODEV` if the adapter has no directory.
    pub(crate) fn new(fbnic: &Fbnic, vector: u32, rings: KVec<RingDump>) -> Result<Self> {
        let dir = fbnic.debugfs.as_ref().ok_or(ENODEV)?;
        let name = CString::try_from_fmt(fmt!("nv.{vector:03}"))?;
        let files = dir.scope(rings, &name, |rings, dir| {
            for ring in rings {
                let (kind, number) = ring.name();
                // Without memory the file is missing, as with failures of debugfs itself.
                if let Ok(name) = CString::try_from_fmt(fmt!("{kind}.{number:03}")) {
                    dir.read_callback_file(&name, ring, &RingDump::show);
                }
            }
        });
        Ok(Self {
            _dir: KBox::pin_init(files, GFP_KERNEL)?,
        })
    }
}

/// Writes the names of columns, and dashes below them: as many as the upstream driver, which counts the
/// end of the line.
pub(crate) fn heading(out: &mut fmt::Formatter<'_>, names: &str) -> fmt::Result {
    writeln!(out, "{names}")?;
    writeln!(out, "{:-<1$}", "", names.len() + 1)
}

/// Milliseconds in a second, and so on.
const SECOND: u32 = 1000;
const MINUTE: u32 = 60 * SECOND;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;

fn show_mailbox(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    fbnic.fw_show_mailbox(out)
}

fn show_log(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut outcome = Ok(());
    fbnic.fw_for_each_log(|entry| {
        let time = entry.msec;
        let line = write!(
            out,
            "[{:5}] [{:02}:{:02}:{:02}:{:02}.{:03}] {}\n",
            entry.index,
            time / DAY,
            time / HOUR % 24,
            time / MINUTE % 60,
            time / SECOND % 60,
            time % SECOND,
            Printable(entry.text),
        );
        outcome = outcome.and(line);
    });
    outcome
}

fn show_self_test(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match fbnic.fw_self_test() {
        Ok(()) => writeln!(out, "passed"),
        Err(error) => writeln!(out, "failed: {:?}", Error::from(error)),
    }
}

fn show_pcie(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let pcie = fbnic.hw_stats().pcie;
    for (name, value) in [
        ("ob_rd_tlp", pcie.ob_rd_tlp),
        ("ob_rd_dword", pcie.ob_rd_dword),
        ("ob_wr_tlp", pcie.ob_wr_tlp),
        ("ob_wr_dword", pcie.ob_wr_dword),
        ("ob_cpl_tlp", pcie.ob_cpl_tlp),
        ("ob_cpl_dword", pcie.ob_cpl_dword),
        ("ob_rd_no_tag", pcie.ob_rd_no_tag),
        ("ob_rd_no_cpl_cred", pcie.ob_rd_no_cpl_cred),
        ("ob_rd_no_np_cred", pcie.ob_rd_no_np_cred),
    ] {
        writeln!(out, "{name}: {value}")?;
    }
    Ok(())
}

fn show_macs(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    fbnic.rpc_show_macs(out)
}

fn show_tce(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    fbnic.rpc_show_tce(out)
}

fn show_actions(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    fbnic.rpc_show_actions(out)
}

fn show_ips<const TABLE: usize>(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    fbnic.rpc_show_ips(out, TABLE)
}
