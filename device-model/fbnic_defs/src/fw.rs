// SPDX-License-Identifier: GPL-2.0
//! Firmware mailbox: descriptor layout and message numbers (guide, sections 14 to 16).

#![allow(
    clippy::len_without_is_empty,
    reason = "the length is a field, not that of a collection"
)]

use bitfield_struct::bitfield;

/// Slots in each mailbox ring.
pub const RING_SLOTS: usize = 16;
/// Bytes of the largest message and of the page a descriptor names.
pub const MAX_MSG: usize = 4096;

/// Mailbox descriptor.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct MboxDesc {
    /// The host gave the slot to the firmware.
    pub host_cmpl: bool,
    /// The firmware is done with the slot.
    pub fw_cmpl: bool,
    /// With `fw_cmpl`: the firmware failed, there is no data.
    pub fw_err: bool,
    /// Bus address bits 3 to 45.
    #[bits(43)]
    pub addr_8: u64,
    /// Last descriptor of a message.
    pub eom: bool,
    #[bits(1)]
    __: bool,
    /// Length in bytes.
    pub len: u16,
}

impl MboxDesc {
    /// Bus address of the message in bytes.
    pub const fn addr(&self) -> u64 {
        self.addr_8() << 3
    }
}

/// Message identifiers.
pub mod msg {
    /// Echo.
    pub const TEST: u16 = 0x00;
    /// Host asks for [`FW_CAP_RESP`].
    pub const HOST_CAP_REQ: u16 = 0x10;
    /// Firmware capabilities.
    pub const FW_CAP_RESP: u16 = 0x11;
    /// Host takes or releases the port.
    pub const OWNERSHIP_REQ: u16 = 0x12;
    /// Answer to [`OWNERSHIP_REQ`].
    pub const OWNERSHIP_RESP: u16 = 0x13;
    /// Host asks whether the firmware lives.
    pub const HEARTBEAT_REQ: u16 = 0x14;
    /// Answer to [`HEARTBEAT_REQ`].
    pub const HEARTBEAT_RESP: u16 = 0x15;
    /// Host asks about a core dump.
    pub const COREDUMP_GET_INFO_REQ: u16 = 0x18;
    /// Answer to [`COREDUMP_GET_INFO_REQ`].
    pub const COREDUMP_GET_INFO_RESP: u16 = 0x19;
    /// Host reads a piece of the core dump.
    pub const COREDUMP_READ_REQ: u16 = 0x20;
    /// Answer to [`COREDUMP_READ_REQ`].
    pub const COREDUMP_READ_RESP: u16 = 0x21;
    /// Host starts to flash a component.
    pub const FW_START_UPGRADE_REQ: u16 = 0x22;
    /// Answer to [`FW_START_UPGRADE_REQ`].
    pub const FW_START_UPGRADE_RESP: u16 = 0x23;
    /// Firmware asks for a piece of the image.
    pub const FW_WRITE_CHUNK_REQ: u16 = 0x24;
    /// Host hands over a piece of the image.
    pub const FW_WRITE_CHUNK_RESP: u16 = 0x25;
    /// Firmware says how the flashing ended.
    pub const FW_FINISH_UPGRADE_REQ: u16 = 0x28;
    /// Host reads the transceiver's memory.
    pub const QSFP_READ_REQ: u16 = 0x38;
    /// Answer to [`QSFP_READ_REQ`].
    pub const QSFP_READ_RESP: u16 = 0x39;
    /// Host reads the sensors.
    pub const TSENE_READ_REQ: u16 = 0x3c;
    /// Answer to [`TSENE_READ_REQ`].
    pub const TSENE_READ_RESP: u16 = 0x3d;
    /// Host switches log messages on or off.
    pub const LOG_SEND_LOGS_REQ: u16 = 0x43;
    /// Firmware sends log messages.
    pub const LOG_MSG_REQ: u16 = 0x44;
    /// Host tells its MAC addresses.
    pub const RPC_MAC_SYNC_REQ: u16 = 0x46;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_sit_where_the_guide_puts_them() {
        assert_eq!(MboxDesc::new().with_eom(true).into_bits(), 1 << 46);
        assert_eq!(MboxDesc::new().with_len(1).into_bits(), 1 << 48);
        assert_eq!(MboxDesc::new().with_addr_8(1).into_bits(), 8);
        assert_eq!(MboxDesc::from_bits(0x1234_5678).addr(), 0x1234_5678);
    }
}
