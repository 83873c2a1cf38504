// SPDX-License-Identifier: GPL-2.0
//! Work, buffer and completion descriptors: 64-bit little-endian words (guide, sections 7 and 8).
//!
//! Convert with `Type::from_bits(u64::from_le_bytes(..))` and `into_bits()`.

#![allow(
    clippy::len_without_is_empty,
    reason = "the length is a field, not that of a collection"
)]

use bitfield_struct::bitfield;

/// Bytes of every descriptor.
pub const DESC_SIZE: u64 = 8;

/// Type of a transmit work descriptor, bits \[47:46\].
pub mod twd_type {
    /// Metadata that opens a packet on TWQ0.
    pub const META: u8 = 0;
    /// Optional metadata, never used by the known driver.
    pub const OPT_META: u8 = 1;
    /// Address and length of one piece of the packet.
    pub const AL: u8 = 2;
    /// Address and length of the last piece.
    pub const LAST_AL: u8 = 3;
}

/// Layer-3 type in [`TwdMeta`] and [`RcdMeta`].
pub mod l3_type {
    /// Neither IPv4 nor IPv6.
    pub const OTHER: u8 = 0;
    /// IPv4.
    pub const IPV4: u8 = 1;
    /// IPv6.
    pub const IPV6: u8 = 2;
    /// IPv6 inside IPv6.
    pub const V6V6: u8 = 3;
}

/// Layer-4 type in [`TwdMeta`] and [`RcdMeta`].
pub mod l4_type {
    /// Neither TCP nor UDP.
    pub const OTHER: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 1;
    /// UDP.
    pub const UDP: u8 = 2;
}

/// Transmit work descriptor that opens a packet.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TwdMeta {
    /// Layer-2 header length in units of 2 bytes.
    #[bits(6)]
    pub l2_hlen: u8,
    /// One of [`l3_type`].
    #[bits(2)]
    pub l3_type: u8,
    /// Outer layer-3 header length in units of 2 bytes.
    #[bits(8)]
    pub l3_ohlen: u8,
    /// Inner (or only) layer-3 header length in units of 2 bytes.
    #[bits(8)]
    pub l3_ihlen: u8,
    /// Offset of the checksum field in the layer-4 header in units of 2 bytes.
    #[bits(4)]
    pub csum_offset: u8,
    /// Layer-4 header length in units of 4 bytes.
    #[bits(4)]
    pub l4_hlen: u8,
    /// One of [`l4_type`].
    #[bits(2)]
    pub l4_type: u8,
    /// The packet wants a transmit time stamp.
    pub req_ts: bool,
    /// The packet wants segmentation.
    pub req_lso: bool,
    /// The packet wants its checksum filled in.
    pub req_cso: bool,
    /// The packet wants a completion.
    pub req_completion: bool,
    #[bits(5)]
    __: u8,
    /// Route to the wire.
    pub dest_mac: bool,
    /// Route to the management controller.
    pub dest_bmc: bool,
    /// Route to the firmware.
    #[bits(1)]
    pub dest_fw: bool,
    /// One of [`twd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Maximum segment size in bytes of layer-4 payload.
    #[bits(14)]
    pub mss: u16,
    #[bits(2)]
    __: u8,
}

/// Transmit work descriptor that names one piece of a packet.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TwdAl {
    /// Bus address of the piece.
    #[bits(46)]
    pub addr: u64,
    /// One of [`twd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Length in bytes.
    #[bits(16)]
    pub len: u16,
}

/// Type of a transmit completion, bits \[62:61\].
pub mod tcd_type {
    /// New ring heads.
    pub const HEAD: u8 = 0;
    /// A transmit time stamp.
    pub const TIMESTAMP: u8 = 1;
}

/// Transmit completion that carries ring heads.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Tcd {
    /// New head of TWQ0.
    pub head0: u16,
    /// New head of TWQ1.
    pub head1: u16,
    #[bits(16)]
    __: u16,
    /// Status bits 48 to 59.
    #[bits(12)]
    pub status: u16,
    /// The head of TWQ1 is the one that moved.
    pub twq1: bool,
    /// One of [`tcd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Phase.
    pub done: bool,
}

/// Transmit completion that carries a time stamp.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TcdTimestamp {
    /// Low 40 bits of the clock in nanoseconds.
    #[bits(40)]
    pub ts: u64,
    #[bits(8)]
    __: u8,
    /// The stamp means nothing, the frame was not sent.
    pub ts_invalid: bool,
    /// A stamp was asked for where none is possible.
    pub illegal_ts_req: bool,
    #[bits(10)]
    __: u16,
    /// Always clear: TWQ1 carries no time stamps.
    pub twq1: bool,
    /// One of [`tcd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Phase.
    pub done: bool,
}

/// Receive buffer descriptor: one 4 KiB fragment.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Bd {
    #[bits(12)]
    __: u16,
    /// Bus address bits 12 to 45.
    #[bits(34)]
    pub addr_4k: u64,
    #[bits(2)]
    __: u8,
    /// Identifier returned in the completion.
    pub id: u16,
}

impl Bd {
    /// Bus address of the fragment in bytes.
    pub const fn addr(&self) -> u64 {
        self.addr_4k() << 12
    }
}

/// Type of a receive completion, bits \[62:61\].
pub mod rcd_type {
    /// Place of the header.
    pub const HDR_AL: u8 = 0;
    /// Place of a piece of payload.
    pub const PAY_AL: u8 = 1;
    /// Time stamp and action.
    pub const OPT_META: u8 = 2;
    /// Metadata that closes the packet.
    pub const META: u8 = 3;
}

/// Receive completion that names a piece of the frame.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RcdAl {
    /// Identifier from the buffer descriptor.
    pub buff_id: u16,
    /// Bytes used.
    #[bits(13)]
    pub len: u16,
    #[bits(3)]
    __: u8,
    /// Offset of the first byte in the fragment.
    #[bits(12)]
    pub off: u16,
    #[bits(9)]
    __: u16,
    /// The headers did not fit (header pieces only).
    pub overflow: bool,
    /// Boundary the split used (header pieces only).
    #[bits(6)]
    pub dma_hint: u8,
    /// Nothing else will use the fragment.
    pub page_fin: bool,
    /// One of [`rcd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Phase.
    pub done: bool,
}

/// Receive completion with time stamp and action.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RcdOptMeta {
    /// Low 40 bits of the clock in nanoseconds.
    #[bits(40)]
    pub ts: u64,
    /// Index of the matching action.
    #[bits(6)]
    pub action: u8,
    #[bits(11)]
    __: u16,
    /// `action` means something.
    pub action_valid: bool,
    /// `ts` means something.
    pub ts_valid: bool,
    /// Always 0.
    #[bits(2)]
    pub subtype: u8,
    /// One of [`rcd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Phase.
    pub done: bool,
}

/// Receive completion that closes a packet.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RcdMeta {
    /// Receive-side scaling hash.
    pub rss_hash: u32,
    /// Ones-complement sum of everything after the 14-byte Ethernet header.
    pub l2_csum: u16,
    /// One of [`l3_type`].
    #[bits(2)]
    pub l3_type: u8,
    /// One of [`l4_type`].
    #[bits(2)]
    pub l4_type: u8,
    /// The layer-4 checksum was verified.
    pub l4_csum_unnecessary: bool,
    /// The frame ended with an error.
    pub err_mac_eop: bool,
    /// The frame was cut short.
    pub err_truncated: bool,
    /// The parser gave up.
    pub err_parser: bool,
    #[bits(4)]
    __: u8,
    /// Congestion was marked.
    pub ecn: bool,
    /// One of [`rcd_type`].
    #[bits(2)]
    pub kind: u8,
    /// Phase.
    pub done: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_sit_where_the_guide_puts_them() {
        assert_eq!(TwdMeta::new().with_req_ts(true).into_bits(), 1 << 34);
        assert_eq!(TwdMeta::new().with_dest_mac(true).into_bits(), 1 << 43);
        assert_eq!(TwdMeta::new().with_kind(3).into_bits(), 3 << 46);
        assert_eq!(TwdMeta::new().with_mss(1).into_bits(), 1 << 48);
        assert_eq!(TwdAl::new().with_len(1).into_bits(), 1 << 48);
        assert_eq!(Tcd::new().with_twq1(true).into_bits(), 1 << 60);
        assert_eq!(Tcd::new().with_status(1).into_bits(), 1 << 48);
        assert_eq!(
            TcdTimestamp::new().with_ts_invalid(true).into_bits(),
            1 << 48
        );
        assert_eq!(TcdTimestamp::new().with_kind(1).into_bits(), 1 << 61);
        assert_eq!(Bd::new().with_id(1).into_bits(), 1 << 48);
        assert_eq!(RcdAl::new().with_off(1).into_bits(), 1 << 32);
        assert_eq!(RcdAl::new().with_overflow(true).into_bits(), 1 << 53);
        assert_eq!(RcdAl::new().with_page_fin(true).into_bits(), 1 << 60);
        assert_eq!(
            RcdOptMeta::new().with_action_valid(true).into_bits(),
            1 << 57
        );
        assert_eq!(
            RcdMeta::new().with_l4_csum_unnecessary(true).into_bits(),
            1 << 52
        );
        assert_eq!(RcdMeta::new().with_ecn(true).into_bits(), 1 << 60);
        assert_eq!(RcdMeta::new().with_done(true).into_bits(), 1 << 63);
    }
}
