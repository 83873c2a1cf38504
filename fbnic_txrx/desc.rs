// SPDX-License-Identifier: GPL-2.0

//! Descriptors: their layout, and what is in them.
//!
//! All are 64 bits, little-endian in memory and host order here. The driver writes work descriptors
//! ([`Twd`]) and buffer descriptors ([`Bd`]); the device writes completions ([`Tcd`], [`Rcd`]),
//! which may hold anything: the types here only take them apart, their users check the values.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

/// Bits of a descriptor, `HIGH` and `LOW` included.
pub(super) struct Field<const HIGH: u32, const LOW: u32>;

impl<const HIGH: u32, const LOW: u32> Field<HIGH, LOW> {
    /// The largest value the field holds.
    const MAX: u64 = u64::MAX >> (63 - (HIGH - LOW));

    /// Returns `value` at its place, without bits that do not fit.
    #[inline(always)]
    const fn put(value: u64) -> u64 {
        (value & Self::MAX) << LOW
    }

    /// Returns the field's value in `word`.
    #[inline(always)]
    pub(super) const fn get(word: u64) -> u64 {
        word >> LOW & Self::MAX
    }
}

/// The phase bit of completion descriptors.
///
/// The device writes 1 in its first pass over the ring, 0 in the second, and so on.
pub const DONE: u64 = 1 << 63;

/// Length of the part of a page that one buffer descriptor describes, bytes.
pub const BD_FRAG_SIZE: u32 = 4096;

/// Network layer header of a packet to send, as the device has to treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum L3Type {
    /// Leave it alone.
    Other = 0,
    /// IPv4.
    Ipv4 = 1,
    /// IPv6.
    Ipv6 = 2,
    /// IPv6 in IPv6.
    V6v6 = 3,
}

/// Transport layer header of a packet to send, as the device has to treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum L4Type {
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
}

/// Tx work descriptor.
///
/// A packet is one META and then one AL (address and length) for each of its buffers, of which the
/// last is a LAST_AL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Twd(u64);

type TwdL2Hlen = Field<5, 0>;
type TwdL3Type = Field<7, 6>;
type TwdL3Ohlen = Field<15, 8>;
type TwdL3Ihlen = Field<23, 16>;
type TwdCsumOffset = Field<27, 24>;
type TwdL4Hlen = Field<31, 28>;
type TwdL4Type = Field<33, 32>;
type TwdMss = Field<61, 48>;
type TwdAddr = Field<45, 0>;
type TwdLen = Field<63, 48>;
type TwdType = Field<47, 46>;

impl Twd {
    const REQ_LSO: u64 = 1 << 35;
    const REQ_CSO: u64 = 1 << 36;
    const REQ_COMPLETION: u64 = 1 << 37;
    const DEST_MAC: u64 = 1 << 43;
    const TYPE_AL: u64 = 2;
    const TYPE_LAST_AL: u64 = 3;

    /// Bits of an address in an AL.
    pub const ADDR_BITS: u32 = 46;
    /// Largest buffer an AL describes, bytes.
    pub const MAX_LEN: u32 = 0xffff;
    /// Largest [`Self::l2_hlen`], bytes.
    pub const MAX_L2_HLEN: u32 = 2 * 0x3f;
    /// Largest outer or inner network header, bytes.
    pub const MAX_L3_HLEN: u32 = 2 * 0xff;
    /// Largest [`Self::csum_offset`], bytes.
    pub const MAX_CSUM_OFFSET: u32 = 2 * 0xf;
    /// Largest [`Self::mss`], bytes.
    pub const MAX_MSS: u32 = 0x3fff;

    /// Returns the META of a packet for the wire without any offload.
    #[inline(always)]
    pub const fn meta() -> Self {
        Self(Self::DEST_MAC)
    }

    /// Returns an AL for `len` bytes at DMA address `addr`.
    #[inline(always)]
    pub const fn al(addr: u64, len: u32) -> Self {
        // CAST: Widening.
        Self(TwdAddr::put(addr) | TwdLen::put(len as u64) | TwdType::put(Self::TYPE_AL))
    }

    /// Makes an AL the packet's last.
    #[inline(always)]
    #[must_use]
    pub const fn last(self) -> Self {
        Self(self.0 | TwdType::put(Self::TYPE_LAST_AL))
    }

    /// META: length of the link layer header, bytes. Must be even.
    #[inline(always)]
    #[must_use]
    pub const fn l2_hlen(self, bytes: u32) -> Self {
        Self(self.0 | TwdL2Hlen::put(bytes as u64 / 2))
    }

    /// META: length of the outer network headers, bytes. Must be even.
    #[inline(always)]
    #[must_use]
    pub const fn l3_ohlen(self, bytes: u32) -> Self {
        Self(self.0 | TwdL3Ohlen::put(bytes as u64 / 2))
    }

    /// META: length of the inner, or only, network headers, bytes. Must be even.
    #[inline(always)]
    #[must_use]
    pub const fn l3_ihlen(self, bytes: u32) -> Self {
        Self(self.0 | TwdL3Ihlen::put(bytes as u64 / 2))
    }

    /// META: distance of the checksum field from the transport header, bytes. Must be even.
    #[inline(always)]
    #[must_use]
    pub const fn csum_offset(self, bytes: u32) -> Self {
        Self(self.0 | TwdCsumOffset::put(bytes as u64 / 2))
    }

    /// META: finish the checksum.
    #[inline(always)]
    #[must_use]
    pub const fn req_cso(self) -> Self {
        Self(self.0 | Self::REQ_CSO)
    }

    /// META: cut the packet into segments with `mss` bytes of payload each.
    ///
    /// `l4_hlen` is the length of the transport header in bytes, a multiple of four.
    #[inline(always)]
    #[must_use]
    pub const fn req_lso(self, l3: L3Type, l4: L4Type, l4_hlen: u32, mss: u32) -> Self {
        Self(
            self.0
                | Self::REQ_LSO
                | TwdL3Type::put(l3 as u64)
                | TwdL4Type::put(l4 as u64)
                | TwdL4Hlen::put(l4_hlen as u64 / 4)
                | TwdMss::put(mss as u64),
        )
    }

    /// META: report the completion of this packet and all before it.
    #[inline(always)]
    #[must_use]
    pub const fn req_completion(self) -> Self {
        Self(self.0 | Self::REQ_COMPLETION)
    }

    /// Returns the descriptor's bits.
    #[inline(always)]
    pub const fn into_raw(self) -> u64 {
        self.0
    }
}

/// Tx completion descriptor, without its phase bit.
///
/// Type 0 says how far the device has come in one of the two work queues. There are others for
/// timestamps, which have to be asked for.
pub enum Tcd {}

impl Tcd {
    /// Returns whether a descriptor is of type 0 and about TWQ0.
    #[inline(always)]
    pub const fn is_twq0_head(raw: u64) -> bool {
        // Type, and TWQ1 below it.
        Field::<63, 60>::get(raw) == 0
    }

    /// Returns whether a descriptor is of type 0 and about TWQ1.
    #[inline(always)]
    pub const fn is_twq1_head(raw: u64) -> bool {
        Field::<63, 60>::get(raw) == 1
    }

    /// Returns the index of the first descriptor in TWQ0 that the device is not done with. May
    /// exceed the ring.
    #[inline(always)]
    pub const fn twq0_head(raw: u64) -> u32 {
        // CAST: 16 bits.
        Field::<15, 0>::get(raw) as u32
    }

    /// Returns the index of the first descriptor in TWQ1 that the device is not done with. May
    /// exceed the ring.
    #[inline(always)]
    pub const fn twq1_head(raw: u64) -> u32 {
        // CAST: 16 bits.
        Field::<31, 16>::get(raw) as u32
    }
}

/// Rx buffer descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bd(u64);

impl Bd {
    /// Returns the descriptor of the 4 KiB at DMA address `addr`, to be named `id` in completions.
    #[inline(always)]
    pub const fn new(addr: u64, id: u32) -> Self {
        // CAST: Widening.
        Self(Field::<45, 12>::put(addr >> 12) | Field::<63, 48>::put(id as u64))
    }

    /// Returns the descriptor's bits.
    #[inline(always)]
    pub const fn into_raw(self) -> u64 {
        self.0
    }
}

/// What an Rx completion descriptor is about.
///
/// A packet is one HDR_AL, up to four PAY_AL, perhaps an OPT_META, and a META.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rcd {
    /// Where the packet's headers are. Opens a packet.
    HdrAl(RcdAl),
    /// Where a part of its payload is.
    PayAl(RcdAl),
    /// More about the packet, such as a timestamp. Comes only if an action asks for it.
    OptMeta,
    /// What the packet is. Closes it.
    Meta(RcdMeta),
}

impl Rcd {
    /// Takes a descriptor apart, from which the phase bit was removed.
    #[inline(always)]
    pub const fn decode(raw: u64) -> Self {
        match Field::<63, 61>::get(raw) {
            0 => Self::HdrAl(RcdAl(raw)),
            1 => Self::PayAl(RcdAl(raw)),
            2 => Self::OptMeta,
            _ => Self::Meta(RcdMeta(raw)),
        }
    }
}

/// A buffer named by an Rx completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct RcdAl(u64);

impl RcdAl {
    /// Returns the descriptor's bits.
    pub const fn into_raw(self) -> u64 {
        self.0
    }

    /// In the upper half, of which the tests of single bits need no 64-bit constant.
    const PAGE_FIN: u32 = 1 << 28;

    #[inline(always)]
    const fn high(self) -> u32 {
        // CAST: The upper half.
        (self.0 >> 32) as u32
    }

    /// Returns the buffer's id, as given in its [`Bd`].
    #[inline(always)]
    pub const fn buff_id(self) -> u32 {
        // CAST: 16 bits.
        Field::<15, 0>::get(self.0) as u32
    }

    /// Returns the number of bytes written.
    #[inline(always)]
    pub const fn len(self) -> u32 {
        // CAST: 13 bits.
        Field::<28, 16>::get(self.0) as u32
    }

    /// Returns the offset of the first byte in the buffer's 4 KiB.
    #[inline(always)]
    pub const fn off(self) -> u32 {
        // CAST: 12 bits.
        Field::<43, 32>::get(self.0) as u32
    }

    /// Returns whether nothing else will be written to the buffer.
    #[inline(always)]
    pub const fn page_fin(self) -> bool {
        self.high() & Self::PAGE_FIN != 0
    }
}

/// Properties of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct RcdMeta(u64);

impl RcdMeta {
    // In the upper half, as in `RcdAl`.
    const L4_TYPE: u32 = 3 << 18;
    const L4_CSUM_UNNECESSARY: u32 = 1 << 20;
    const ERR_MAC_EOP: u32 = 1 << 21;
    const ERR_TRUNCATED: u32 = 1 << 22;

    #[inline(always)]
    const fn high(self) -> u32 {
        // CAST: The upper half.
        (self.0 >> 32) as u32
    }

    /// Returns the descriptor's bits.
    pub const fn into_raw(self) -> u64 {
        self.0
    }

    /// Returns the hash that chose the queue.
    #[inline(always)]
    pub const fn rss_hash(self) -> u32 {
        // CAST: 32 bits.
        Field::<31, 0>::get(self.0) as u32
    }

    /// Returns the ones' complement sum, not inverted, of all after the 14-byte Ethernet header.
    ///
    /// The words summed are taken from memory in host order.
    #[inline(always)]
    pub const fn l2_csum(self) -> u16 {
        // CAST: 16 bits.
        Field::<47, 32>::get(self.0) as u16
    }

    /// Returns whether the device knows the transport protocol.
    #[inline(always)]
    pub const fn has_l4(self) -> bool {
        self.high() & Self::L4_TYPE != 0
    }

    /// Returns whether the device checked the transport checksum and found it right.
    #[inline(always)]
    pub const fn l4_csum_unnecessary(self) -> bool {
        self.high() & Self::L4_CSUM_UNNECESSARY != 0
    }

    /// Returns whether the packet is damaged. Errors of the parser do not count.
    #[inline(always)]
    pub const fn uncorrectable(self) -> bool {
        self.high() & (Self::ERR_MAC_EOP | Self::ERR_TRUNCATED) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_of_a_checksum() {
        let meta = Twd::meta()
            .l2_hlen(14)
            .l3_ihlen(20)
            .csum_offset(16)
            .req_cso();
        assert_eq!(meta.into_raw(), 7 | 10 << 16 | 8 << 24 | 1 << 36 | 1 << 43);
    }

    #[test]
    fn meta_of_a_large_send() {
        let meta = Twd::meta()
            .l3_ohlen(40)
            .req_lso(L3Type::V6v6, L4Type::Tcp, 32, 1448)
            .req_completion();
        let expected =
            3 << 6 | 20 << 8 | 8 << 28 | 1 << 32 | 1 << 35 | 1 << 37 | 1 << 43 | 1448u64 << 48;
        assert_eq!(meta.into_raw(), expected);
    }

    #[test]
    fn buffers() {
        let al = Twd::al(0x2abc_dead_beef, 0xffff);
        assert_eq!(al.into_raw() & (1 << 46) - 1, 0x2abc_dead_beef);
        assert_eq!(al.into_raw() >> 48, 0xffff);
        assert_eq!(al.into_raw() >> 46 & 3, 2);
        assert_eq!(al.last().into_raw() ^ al.into_raw(), 1 << 46);
        assert_eq!(
            Bd::new(0x2abc_dead_b000, 0x1234).into_raw(),
            0x1234_2abc_dead_b000
        );
    }

    #[test]
    fn values_stay_in_their_fields() {
        assert_eq!(Twd::meta().l2_hlen(!0).into_raw() & !0x3f, 1 << 43);
        assert_eq!(Twd::al(!0, 0).into_raw(), (1 << 46) - 1 | 2 << 46);
    }

    #[test]
    fn tx_completions() {
        assert!(Tcd::is_twq0_head(0x1234_5678));
        assert_eq!(Tcd::twq0_head(0x1234_5678), 0x5678);
        assert!(!Tcd::is_twq1_head(0x1234_5678));
        assert!(!Tcd::is_twq0_head(1 << 60 | 0x1234_5678));
        assert!(Tcd::is_twq1_head(1 << 60 | 0x1234_5678));
        assert_eq!(Tcd::twq1_head(1 << 60 | 0x1234_5678), 0x1234);
        for kind in 1..4 {
            assert!(!Tcd::is_twq0_head(kind << 61 | 5));
            assert!(!Tcd::is_twq1_head(kind << 61 | 1 << 60 | 5));
        }
    }

    #[test]
    fn rx_completions() {
        let Rcd::HdrAl(al) = Rcd::decode(1 << 60 | 0x123 << 32 | 0x1abc << 16 | 0xfedc) else {
            panic!("not a header");
        };
        assert_eq!(
            (al.off(), al.len(), al.buff_id(), al.page_fin()),
            (0x123, 0x1abc, 0xfedc, true)
        );
        assert!(matches!(Rcd::decode(1 << 61), Rcd::PayAl(_)));
        assert_eq!(Rcd::decode(2 << 61 | 1 << 58 | 0x55), Rcd::OptMeta);
        let Rcd::Meta(meta) = Rcd::decode(!DONE) else {
            panic!("not a meta");
        };
        assert!(meta.uncorrectable() && meta.l4_csum_unnecessary());
        assert!(meta.has_l4());
        assert_eq!((meta.rss_hash(), meta.l2_csum()), (!0, !0));
        // Errors of the parser do not make a packet unusable.
        assert!(!RcdMeta(1 << 55).uncorrectable());
    }
}
