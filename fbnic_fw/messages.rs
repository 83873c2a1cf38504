// SPDX-License-Identifier: GPL-2.0

//! The messages exchanged with the firmware.
//!
//! A message to the firmware is a type that implements [`Request`]; one that is answered implements
//! [`Call`], which names the reply. Nothing here depends on the kernel.

use crate::fbnic_tlv::{
    self as tlv,
    Attr,
    Attrs,
    Builder,
    Kind,
    Message,
    TlvError,
    TlvResult, //
};

/// Message types.
pub mod id {
    /// Echoed unchanged, in both directions.
    pub const TEST: u16 = 0x00;
    /// Ask for the capabilities.
    pub const HOST_CAP_REQ: u16 = 0x10;
    /// The capabilities; also sent unasked when they change.
    pub const FW_CAP_RESP: u16 = 0x11;
    /// Take or release the port.
    pub const OWNERSHIP_REQ: u16 = 0x12;
    /// Answer to it.
    pub const OWNERSHIP_RESP: u16 = 0x13;
    /// Ask for a sign of life.
    pub const HEARTBEAT_REQ: u16 = 0x14;
    /// The sign of life.
    pub const HEARTBEAT_RESP: u16 = 0x15;
    /// Ask whether there is a dump of the firmware's memory.
    pub const COREDUMP_GET_INFO_REQ: u16 = 0x18;
    /// Answer to it.
    pub const COREDUMP_GET_INFO_RESP: u16 = 0x19;
    /// Read part of the dump.
    pub const COREDUMP_READ_REQ: u16 = 0x20;
    /// Answer to it.
    pub const COREDUMP_READ_RESP: u16 = 0x21;
    /// Read the memory of a transceiver module.
    pub const QSFP_READ_REQ: u16 = 0x38;
    /// Answer to it.
    pub const QSFP_READ_RESP: u16 = 0x39;
    /// Read the sensors.
    pub const TSENE_READ_REQ: u16 = 0x3c;
    /// Answer to it.
    pub const TSENE_READ_RESP: u16 = 0x3d;
    /// Start or stop log messages.
    pub const LOG_SEND_LOGS_REQ: u16 = 0x43;
    /// Log messages.
    pub const LOG_MSG_REQ: u16 = 0x44;
    /// Tell the firmware what addresses the classifier lets through.
    pub const RPC_MAC_SYNC_REQ: u16 = 0x46;
}

/// A message to the firmware.
pub trait Request {
    /// Message type.
    const ID: u16;

    /// Adds the attributes.
    fn encode(&self, _message: &mut Builder<'_>) -> TlvResult {
        Ok(())
    }
}

/// A [`Request`] that the firmware answers with one message.
pub trait Call: Request {
    /// Message type of the answer.
    const REPLY: u16;

    /// What the caller gets.
    type Reply;

    /// Reads the answer. `Err(Failure::Firmware)` is how the firmware says no.
    fn decode(&mut self, reply: &Message<'_>) -> Result<Self::Reply, Failure>;
}

/// Why a call got no answer that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The answer is malformed.
    Tlv(TlvError),
    /// The answer lacks what was asked for.
    Mismatch,
    /// The answer belongs to another question, asked earlier.
    Stale,
    /// The firmware reported this error.
    Firmware(i32),
}

impl From<TlvError> for Failure {
    fn from(error: TlvError) -> Self {
        Self::Tlv(error)
    }
}

/// Fails if attribute `id` reports an error.
fn check_error(attrs: &Attrs<'_>, id: u16) -> Result<(), Failure> {
    match attrs.s32(id) {
        None | Some(0) => Ok(()),
        Some(error) => Err(Failure::Firmware(error)),
    }
}

/// Version of a firmware component: major, minor, patch and build in a byte each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// Puts a version together.
    pub const fn new(major: u8, minor: u8, patch: u8, build: u8) -> Self {
        Self(u32::from_be_bytes([major, minor, patch, build]))
    }

    /// Oldest firmware this driver works with.
    pub const MIN: Self = Self::new(0, 10, 6, 0);
    /// Oldest firmware that sends logs.
    pub const MIN_LOG: Self = Self::new(0, 12, 9, 0);
    /// Oldest firmware that can be asked for earlier logs.
    pub const MIN_LOG_HISTORY: Self = Self::new(25, 5, 7, 0);

    /// Major, minor, patch, build.
    pub const fn parts(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// Longest commit name with its NUL, bytes.
pub const COMMIT_SIZE: usize = 19;

/// A component as it runs or is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FwVersion {
    /// Version; zero if the firmware did not say.
    pub version: Version,
    commit: [u8; COMMIT_SIZE],
}

impl FwVersion {
    fn decode(attrs: &Attrs<'_>, version: u16, commit: u16) -> Self {
        let mut this = Self {
            version: Version(attrs.u32(version).unwrap_or(0)),
            ..Self::default()
        };
        for (to, from) in this
            .commit
            .iter_mut()
            .zip(attrs.text(commit).unwrap_or_default())
        {
            *to = *from;
        }
        this
    }

    /// Name of the commit it was built from, without NUL; empty if not known. Any bytes.
    pub fn commit(&self) -> &[u8] {
        tlv::text(&self.commit).unwrap_or(&self.commit)
    }
}

/// Components the firmware runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Control firmware.
    pub mgmt: FwVersion,
    /// Bootloader.
    pub bootloader: FwVersion,
}

/// Components in flash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Control firmware.
    pub mgmt: FwVersion,
    /// Bootloader.
    pub bootloader: FwVersion,
    /// Option ROM.
    pub undi: FwVersion,
}

/// BMC addresses the firmware can report.
pub const BMC_ADDRESSES: usize = 4;

/// What the firmware says about itself and the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Components running.
    pub running: Running,
    /// Components in flash.
    pub stored: Stored,
    /// Flash slot in use.
    pub active_slot: u32,
    /// A baseboard management controller shares the port.
    pub bmc_present: bool,
    /// Its addresses; zero ones are unused.
    pub bmc_mac: [[u8; 6]; BMC_ADDRESSES],
    /// It wants all multicast frames.
    pub bmc_all_multi: bool,
    /// Speed and lanes: 1 = 25G, 2 = 50G on two lanes, 3 = 50G on one, 4 = 100G on two.
    pub link_speed: u32,
    /// Error correction: 1 = none, 2 = RS, 3 = BASE-R.
    pub link_fec: u32,
    /// Images with a lower value must not be flashed.
    pub anti_rollback_version: u32,
}

mod cap {
    pub(super) const VERSION: u16 = 0x00;
    pub(super) const BMC_PRESENT: u16 = 0x01;
    pub(super) const BMC_MAC_ADDR: u16 = 0x02;
    pub(super) const BMC_MAC_ARRAY: u16 = 0x03;
    pub(super) const STORED_VERSION: u16 = 0x04;
    pub(super) const ACTIVE_FW_SLOT: u16 = 0x05;
    pub(super) const VERSION_COMMIT_STR: u16 = 0x06;
    pub(super) const BMC_ALL_MULTI: u16 = 0x08;
    pub(super) const LINK_SPEED: u16 = 0x0a;
    pub(super) const LINK_FEC: u16 = 0x0b;
    pub(super) const STORED_COMMIT_STR: u16 = 0x0c;
    pub(super) const CMRT_VERSION: u16 = 0x0d;
    pub(super) const STORED_CMRT_VERSION: u16 = 0x0e;
    pub(super) const CMRT_COMMIT_STR: u16 = 0x0f;
    pub(super) const STORED_CMRT_COMMIT_STR: u16 = 0x10;
    pub(super) const UEFI_VERSION: u16 = 0x11;
    pub(super) const UEFI_COMMIT_STR: u16 = 0x12;
    pub(super) const ANTI_ROLLBACK_VERSION: u16 = 0x15;
}

const COMMIT: Kind = Kind::Str(COMMIT_SIZE);

const CAP_SCHEMA: &[Attr] = &[
    (cap::VERSION, Kind::U32),
    (cap::BMC_PRESENT, Kind::Flag),
    (cap::BMC_MAC_ADDR, Kind::Mac),
    (cap::BMC_MAC_ARRAY, Kind::Array),
    (cap::STORED_VERSION, Kind::U32),
    (cap::ACTIVE_FW_SLOT, Kind::U32),
    (cap::VERSION_COMMIT_STR, COMMIT),
    (cap::BMC_ALL_MULTI, Kind::U32),
    (cap::LINK_SPEED, Kind::U32),
    (cap::LINK_FEC, Kind::U32),
    (cap::STORED_COMMIT_STR, COMMIT),
    (cap::CMRT_VERSION, Kind::U32),
    (cap::STORED_CMRT_VERSION, Kind::U32),
    (cap::CMRT_COMMIT_STR, COMMIT),
    (cap::STORED_CMRT_COMMIT_STR, COMMIT),
    (cap::UEFI_VERSION, Kind::U32),
    (cap::UEFI_COMMIT_STR, COMMIT),
    (cap::ANTI_ROLLBACK_VERSION, Kind::U32),
];

impl Caps {
    /// Reads a `FW_CAP_RESP`. `before` is what was known, of which firmware that has a BMC but does
    /// not mention its multicast wish keeps that wish.
    ///
    /// A version below [`Version::MIN`] is not an error here; one of zero is.
    pub fn decode(message: &Message<'_>, before: &Caps) -> TlvResult<Self> {
        let attrs = message.attrs(CAP_SCHEMA)?;
        let number = |id| attrs.u32(id).unwrap_or(0);
        let version = |version, commit| FwVersion::decode(&attrs, version, commit);

        let mut caps = Self {
            running: Running {
                mgmt: version(cap::VERSION, cap::VERSION_COMMIT_STR),
                bootloader: version(cap::CMRT_VERSION, cap::CMRT_COMMIT_STR),
            },
            stored: Stored {
                mgmt: version(cap::STORED_VERSION, cap::STORED_COMMIT_STR),
                bootloader: version(cap::STORED_CMRT_VERSION, cap::STORED_CMRT_COMMIT_STR),
                undi: version(cap::UEFI_VERSION, cap::UEFI_COMMIT_STR),
            },
            active_slot: number(cap::ACTIVE_FW_SLOT),
            bmc_present: attrs.flag(cap::BMC_PRESENT),
            link_speed: number(cap::LINK_SPEED),
            link_fec: number(cap::LINK_FEC),
            anti_rollback_version: number(cap::ANTI_ROLLBACK_VERSION),
            ..Self::default()
        };
        if caps.running.mgmt.version.0 == 0 {
            return Err(TlvError::Value);
        }
        if caps.bmc_present {
            caps.decode_bmc(&attrs, before)?;
        }
        Ok(caps)
    }

    fn decode_bmc(&mut self, attrs: &Attrs<'_>, before: &Caps) -> TlvResult {
        if !attrs.flag(cap::BMC_MAC_ARRAY) {
            return Err(TlvError::Value);
        }
        let mut found = [None; BMC_ADDRESSES];
        attrs.array(
            cap::BMC_MAC_ARRAY,
            (cap::BMC_MAC_ADDR, Kind::Mac),
            &mut found,
        )?;
        for (to, data) in self.bmc_mac.iter_mut().zip(found.into_iter().flatten()) {
            *to = tlv::mac(data).ok_or(TlvError::Value)?;
        }
        self.bmc_all_multi = attrs
            .u32(cap::BMC_ALL_MULTI)
            .map_or(before.bmc_all_multi, |wish| wish != 0);
        Ok(())
    }
}

/// Asks for the capabilities. Answered by `FW_CAP_RESP`, which may also come unasked and is
/// therefore not treated as the reply of a call.
pub struct HostCapReq;

impl Request for HostCapReq {
    const ID: u16 = id::HOST_CAP_REQ;
}

/// Takes or releases the port.
pub struct OwnershipReq {
    /// Take, not release.
    pub take: bool,
}

impl Request for OwnershipReq {
    const ID: u16 = id::OWNERSHIP_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        const FLAG: u16 = 0;

        if self.take {
            message.put_flag(FLAG)?;
        }
        Ok(())
    }
}

/// Asks for a sign of life. Answered by `HEARTBEAT_RESP`.
pub struct HeartbeatReq;

impl Request for HeartbeatReq {
    const ID: u16 = id::HEARTBEAT_REQ;
}

/// Reads the milliseconds since the firmware started from an ownership or heartbeat answer; zero if
/// it does not say.
pub fn decode_uptime(message: &Message<'_>) -> TlvResult<u64> {
    const OWNERSHIP: &[Attr] = &[(1, Kind::U64)];
    const HEARTBEAT: &[Attr] = &[(0, Kind::U64)];

    let (schema, id) = match message.id() {
        id::OWNERSHIP_RESP => (OWNERSHIP, 1),
        _ => (HEARTBEAT, 0),
    };
    Ok(message.attrs(schema)?.unsigned(id).unwrap_or(0))
}

/// What the sensors say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensors {
    /// Temperature, thousandths of a degree Celsius.
    pub millidegrees: i32,
    /// Supply voltage, thousandths of a volt.
    pub millivolts: i32,
}

/// Reads the sensors.
pub struct SensorRead;

impl Request for SensorRead {
    const ID: u16 = id::TSENE_READ_REQ;
}

impl Call for SensorRead {
    const REPLY: u16 = id::TSENE_READ_RESP;
    type Reply = Sensors;

    fn decode(&mut self, reply: &Message<'_>) -> Result<Sensors, Failure> {
        const THERM: u16 = 0;
        const VOLT: u16 = 1;
        const ERROR: u16 = 2;
        const SCHEMA: &[Attr] = &[(THERM, Kind::S32), (VOLT, Kind::S32), (ERROR, Kind::S32)];

        let attrs = reply.attrs(SCHEMA)?;
        check_error(&attrs, ERROR)?;
        Ok(Sensors {
            millidegrees: attrs.s32(THERM).ok_or(Failure::Mismatch)?,
            millivolts: attrs.s32(VOLT).ok_or(Failure::Mismatch)?,
        })
    }
}

/// Most data in one message, bytes.
pub const MAX_DATA: usize = 3584;

/// Bytes of one page of a transceiver's memory.
pub const QSFP_PAGE: usize = 128;

/// Reads part of the memory of a transceiver module.
#[derive(Clone, Copy)]
pub struct QsfpRead {
    /// Bank.
    pub bank: u32,
    /// Page.
    pub page: u32,
    /// First byte within the page.
    pub offset: u32,
    /// Number of bytes, at most [`QSFP_PAGE`].
    pub length: u32,
}

/// Bytes read from a transceiver module; those past the length asked for are zero.
pub type QsfpData = [u8; QSFP_PAGE];

mod qsfp {
    use super::{Attr, Kind, MAX_DATA};

    pub(super) const BANK: u16 = 0;
    pub(super) const PAGE: u16 = 1;
    pub(super) const OFFSET: u16 = 2;
    pub(super) const LENGTH: u16 = 3;
    pub(super) const ERROR: u16 = 4;
    pub(super) const DATA: u16 = 5;
    pub(super) const SCHEMA: &[Attr] = &[
        (BANK, Kind::U32),
        (PAGE, Kind::U32),
        (OFFSET, Kind::U32),
        (LENGTH, Kind::U32),
        (ERROR, Kind::S32),
        (DATA, Kind::Binary(MAX_DATA)),
    ];
}

impl Request for QsfpRead {
    const ID: u16 = id::QSFP_READ_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        message.put_u32(qsfp::BANK, self.bank)?;
        message.put_u32(qsfp::PAGE, self.page)?;
        message.put_u32(qsfp::OFFSET, self.offset)?;
        message.put_u32(qsfp::LENGTH, self.length)
    }
}

impl Call for QsfpRead {
    const REPLY: u16 = id::QSFP_READ_RESP;
    type Reply = QsfpData;

    fn decode(&mut self, reply: &Message<'_>) -> Result<QsfpData, Failure> {
        let attrs = reply.attrs(qsfp::SCHEMA)?;
        let echoed = [
            (qsfp::BANK, self.bank),
            (qsfp::PAGE, self.page),
            (qsfp::OFFSET, self.offset),
            (qsfp::LENGTH, self.length),
        ];
        if echoed
            .iter()
            .any(|&(id, sent)| attrs.u32(id).unwrap_or(0) != sent)
        {
            return Err(Failure::Stale);
        }
        check_error(&attrs, qsfp::ERROR)?;

        let length = usize::try_from(self.length).map_err(|_| Failure::Mismatch)?;
        let sent = attrs
            .bytes(qsfp::DATA)
            .and_then(|data| data.get(..length))
            .ok_or(Failure::Mismatch)?;
        let mut data = [0; QSFP_PAGE];
        data.get_mut(..length)
            .ok_or(Failure::Mismatch)?
            .copy_from_slice(sent);
        Ok(data)
    }
}

/// Asks for the size of the dump of the firmware's memory, bytes. It may be 0.
pub struct CoredumpInfo {
    /// Make one if there is none.
    pub create: bool,
}

impl Request for CoredumpInfo {
    const ID: u16 = id::COREDUMP_GET_INFO_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        const CREATE: u16 = 0;

        if self.create {
            message.put_flag(CREATE)?;
        }
        Ok(())
    }
}

impl Call for CoredumpInfo {
    const REPLY: u16 = id::COREDUMP_GET_INFO_RESP;
    type Reply = u32;

    fn decode(&mut self, reply: &Message<'_>) -> Result<u32, Failure> {
        const AVAILABLE: u16 = 0;
        const SIZE: u16 = 1;
        const ERROR: u16 = 2;
        /// There is no dump.
        const ENOENT: i32 = -2;
        const SCHEMA: &[Attr] = &[
            (AVAILABLE, Kind::Flag),
            (SIZE, Kind::U32),
            (ERROR, Kind::S32),
        ];

        let attrs = reply.attrs(SCHEMA)?;
        check_error(&attrs, ERROR)?;
        if !attrs.flag(AVAILABLE) {
            return Err(Failure::Firmware(ENOENT));
        }
        Ok(attrs.u32(SIZE).unwrap_or(0))
    }
}

/// Reads part of the dump of the firmware's memory.
pub struct CoredumpRead<'a> {
    /// First byte.
    pub offset: u32,
    /// Takes the dump; at most [`MAX_DATA`] bytes.
    pub out: &'a mut [u8],
}

mod coredump {
    use super::{Attr, Kind, MAX_DATA};

    pub(super) const OFFSET: u16 = 0;
    pub(super) const LENGTH: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const ERROR: u16 = 3;
    pub(super) const SCHEMA: &[Attr] = &[
        (OFFSET, Kind::U32),
        (LENGTH, Kind::U32),
        (DATA, Kind::Binary(MAX_DATA)),
        (ERROR, Kind::S32),
    ];
}

impl CoredumpRead<'_> {
    fn length(&self) -> TlvResult<u32> {
        u32::try_from(self.out.len()).map_err(|_| TlvError::Full)
    }
}

impl Request for CoredumpRead<'_> {
    const ID: u16 = id::COREDUMP_READ_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        if self.offset != 0 {
            message.put_u32(coredump::OFFSET, self.offset)?;
        }
        message.put_u32(coredump::LENGTH, self.length()?)
    }
}

impl Call for CoredumpRead<'_> {
    const REPLY: u16 = id::COREDUMP_READ_RESP;
    type Reply = ();

    fn decode(&mut self, reply: &Message<'_>) -> Result<(), Failure> {
        let attrs = reply.attrs(coredump::SCHEMA)?;
        let number = |id| attrs.u32(id).unwrap_or(0);
        if (number(coredump::OFFSET), number(coredump::LENGTH)) != (self.offset, self.length()?) {
            return Err(Failure::Stale);
        }
        check_error(&attrs, coredump::ERROR)?;
        let data = attrs
            .bytes(coredump::DATA)
            .and_then(|data| data.get(..self.out.len()))
            .ok_or(Failure::Mismatch)?;
        self.out.copy_from_slice(data);
        Ok(())
    }
}

/// Starts or stops log messages.
pub struct SendLogs {
    /// Start.
    pub enable: bool,
    /// Send those of before, too.
    pub history: bool,
}

impl Request for SendLogs {
    const ID: u16 = id::LOG_SEND_LOGS_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        const SEND_LOGS: u16 = 0;
        const VERSION: u16 = 1;
        const HISTORY: u16 = 2;
        const LOG_VERSION: u32 = 1;

        if !self.enable {
            return Ok(());
        }
        message.put_flag(SEND_LOGS)?;
        message.put_u32(VERSION, LOG_VERSION)?;
        if self.history {
            message.put_flag(HISTORY)?;
        }
        Ok(())
    }
}

/// Longest log text with its NUL, bytes.
pub const LOG_TEXT: usize = 256;

/// Log entries in one message are fewer than this, the newest not counted.
const LOG_HISTORY: usize = 14;

/// A log entry in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Counts up with each entry.
    pub index: u64,
    /// Milliseconds since the firmware started.
    pub msec: u32,
    /// Text without NUL. Any bytes.
    pub text: &'a [u8],
}

/// Calls `sink` for each entry of a `LOG_MSG_REQ`, the newest first.
pub fn decode_logs<'a>(
    message: &Message<'a>,
    mut sink: impl FnMut(LogEntry<'a>),
) -> Result<(), Failure> {
    const MSEC: Attr = (0, Kind::U32);
    const INDEX: Attr = (1, Kind::U64);
    const MSG: Attr = (2, Kind::Str(LOG_TEXT));
    const LENGTH: u16 = 3;
    const MSEC_ARRAY: u16 = 4;
    const INDEX_ARRAY: u16 = 5;
    const MSG_ARRAY: u16 = 6;
    const SCHEMA: &[Attr] = &[
        MSEC,
        INDEX,
        MSG,
        (LENGTH, Kind::U32),
        (MSEC_ARRAY, Kind::Array),
        (INDEX_ARRAY, Kind::Array),
        (MSG_ARRAY, Kind::Array),
    ];

    let attrs = message.attrs(SCHEMA)?;
    let more = usize::try_from(attrs.unsigned(LENGTH).unwrap_or(0))
        .ok()
        .filter(|&more| more < LOG_HISTORY)
        .ok_or(Failure::Mismatch)?;
    let column = |newest: Attr, array: u16| -> Result<_, Failure> {
        let mut values = [None; LOG_HISTORY];
        let (first, rest) = values.split_first_mut().ok_or(Failure::Mismatch)?;
        *first = Some(attrs.bytes(newest.0).ok_or(Failure::Mismatch)?);
        let rest = rest.get_mut(..more).ok_or(Failure::Mismatch)?;
        if attrs.array(array, newest, rest)? != more {
            return Err(Failure::Mismatch);
        }
        Ok(values)
    };
    let msecs = column(MSEC, MSEC_ARRAY)?;
    let indices = column(INDEX, INDEX_ARRAY)?;
    let texts = column(MSG, MSG_ARRAY)?;

    let number = |value: Option<&[u8]>| value.and_then(tlv::unsigned);
    for ((msec, index), text) in msecs.into_iter().zip(indices).zip(texts).take(more + 1) {
        sink(LogEntry {
            index: number(index).ok_or(Failure::Mismatch)?,
            msec: u32::try_from(number(msec).ok_or(Failure::Mismatch)?)
                .map_err(|_| Failure::Mismatch)?,
            text: text.and_then(tlv::text).ok_or(Failure::Mismatch)?,
        });
    }
    Ok(())
}

/// Addresses of each kind that [`MacSync`] can carry.
pub const MAC_SYNC_ADDRESSES: usize = 8;

/// Tells the firmware which frames the classifier lets through to the host, so that the BMC's own
/// traffic can reach the host when it is addressed to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MacSync {
    /// Unicast addresses; unused ones are [`None`].
    pub unicast: [Option<[u8; 6]>; MAC_SYNC_ADDRESSES],
    /// Multicast addresses, other than broadcast.
    pub multicast: [Option<[u8; 6]>; MAC_SYNC_ADDRESSES],
    /// Everything is let through.
    pub promisc: bool,
    /// Every multicast frame is let through.
    pub all_multi: bool,
    /// Broadcast frames are let through.
    pub broadcast: bool,
}

impl Request for MacSync {
    const ID: u16 = id::RPC_MAC_SYNC_REQ;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        const RX_FLAGS: u16 = 0;
        const UC_ARRAY: u16 = 1;
        const MC_ARRAY: u16 = 2;
        const MAC_ADDR: u16 = 3;

        for (id, list) in [(UC_ARRAY, &self.unicast), (MC_ARRAY, &self.multicast)] {
            if list.iter().all(Option::is_none) {
                continue;
            }
            message.nest(id, |array| {
                list.iter()
                    .flatten()
                    .try_for_each(|mac| array.put_bytes(MAC_ADDR, mac))
            })?;
        }
        let flags = u32::from(self.promisc)
            | u32::from(self.all_multi) << 1
            | u32::from(self.broadcast) << 2;
        message.put_u32(RX_FLAGS, flags)
    }
}

/// Sends one attribute of each kind, which the firmware returns unchanged.
pub struct SelfTest;

mod test {
    use super::{Attr, Builder, Kind, TlvResult};

    pub(super) const NESTED: u16 = 10;
    pub(super) const ARRAY: u16 = 11;
    pub(super) const FLAG_SENT: u16 = 7;
    pub(super) const FLAG_NOT_SENT: u16 = 8;
    pub(super) const MAC: Attr = (6, Kind::Mac);
    pub(super) const MACS: [[u8; 6]; 4] = [
        [0x02, 0, 0, 0, 0, 1],
        [0xff; 6],
        [0x01, 0x80, 0xc2, 0, 0, 0x0e],
        [0; 6],
    ];
    pub(super) const SCHEMA: &[Attr] = &[
        (0, Kind::U64),
        (1, Kind::S64),
        (2, Kind::U32),
        (3, Kind::S32),
        (4, Kind::U32),
        (5, Kind::S32),
        MAC,
        (FLAG_SENT, Kind::Flag),
        (FLAG_NOT_SENT, Kind::Flag),
        (9, Kind::Str(32)),
        (NESTED, Kind::Nested),
        (ARRAY, Kind::Array),
    ];
    pub(super) const VALUES: [(u16, &[u8]); 7] = [
        (0, &0xfedc_ba98_7654_3210_u64.to_le_bytes()),
        (1, &(-0x0123_4567_89ab_cdef_i64).to_le_bytes()),
        (2, &0xdead_beef_u32.to_le_bytes()),
        (3, &(-0x0102_0304_i32).to_le_bytes()),
        (4, &0xcafe_u32.to_le_bytes()),
        (5, &(-0x1234_i32).to_le_bytes()),
        (6, &MACS[0]),
    ];
    pub(super) const TEXT: &[u8] = b"fbnic mailbox self test";

    pub(super) fn encode(message: &mut Builder<'_>) -> TlvResult {
        for (id, value) in VALUES {
            message.put_bytes(id, value)?;
        }
        message.put_flag(FLAG_SENT)?;
        message.put_text(9, TEXT)
    }
}

impl SelfTest {
    fn check(attrs: &Attrs<'_>) -> Result<(), Failure> {
        let same = test::VALUES
            .iter()
            .all(|&(id, value)| attrs.bytes(id) == Some(value));
        if same
            && attrs.flag(test::FLAG_SENT)
            && !attrs.flag(test::FLAG_NOT_SENT)
            && attrs.text(9) == Some(test::TEXT)
        {
            Ok(())
        } else {
            Err(Failure::Mismatch)
        }
    }
}

impl Request for SelfTest {
    const ID: u16 = id::TEST;

    fn encode(&self, message: &mut Builder<'_>) -> TlvResult {
        test::encode(message)?;
        message.nest(test::NESTED, test::encode)?;
        message.nest(test::ARRAY, |array| {
            test::MACS
                .iter()
                .try_for_each(|mac| array.put_bytes(test::MAC.0, mac))
        })
    }
}

impl Call for SelfTest {
    const REPLY: u16 = id::TEST;
    type Reply = ();

    fn decode(&mut self, reply: &Message<'_>) -> Result<(), Failure> {
        let attrs = reply.attrs(test::SCHEMA)?;
        Self::check(&attrs)?;
        let nested = attrs.nested(test::NESTED, test::SCHEMA)?;
        Self::check(&nested.ok_or(Failure::Mismatch)?)?;

        let mut macs = [None; test::MACS.len()];
        attrs.array(test::ARRAY, test::MAC, &mut macs)?;
        let sent = test::MACS.iter().map(|mac| Some(mac.as_slice()));
        if macs.into_iter().eq(sent) {
            Ok(())
        } else {
            Err(Failure::Mismatch)
        }
    }
}
