// SPDX-License-Identifier: GPL-2.0

//! What transmit offloads have to know of packet headers.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

/// Length of a TCP header without options, bytes.
pub const TCP_HLEN: usize = 20;
/// Length of a UDP header, bytes.
pub const UDP_HLEN: usize = 8;

/// Offset of the checksum in a TCP header, bytes.
pub const TCP_CHECK: usize = 16;
/// Offset of the checksum in a UDP header, bytes.
pub const UDP_CHECK: usize = 6;

const IPV6_HLEN: usize = 40;
const NEXTHDR_HOP: u8 = 0;
const NEXTHDR_IPV6: u8 = 41;
const NEXTHDR_ROUTING: u8 = 43;
const NEXTHDR_AUTH: u8 = 51;
const NEXTHDR_DEST: u8 = 60;

/// Returns the IP version of the header at `offset`.
#[inline]
pub fn ip_version(packet: &[u8], offset: usize) -> Option<u8> {
    Some(packet.get(offset)? >> 4)
}

/// Returns the length in bytes of the TCP header at `offset`, which the packet may be too short for.
#[inline]
pub fn tcp_header_len(packet: &[u8], offset: usize) -> Option<u32> {
    let offset = offset.checked_add(12)?;
    let len = u32::from(packet.get(offset)? >> 4) * 4;
    // CAST: 20.
    (len >= TCP_HLEN as u32).then_some(len)
}

/// Takes `length` out of the checksum at `offset`.
///
/// The stack seeds the checksum of a large packet with the sum over the pseudo header, length
/// included. The device wants it without, as it adds the length of each segment.
#[inline]
pub fn remove_length(packet: &mut [u8], offset: usize, length: u16) -> Option<()> {
    let end = offset.checked_add(2)?;
    let field: &mut [u8; 2] = packet.get_mut(offset..end)?.try_into().ok()?;
    let check = u16::from_be_bytes(*field);
    // In ones' complement, a - b is !(!a + b).
    let sum = u32::from(!check) + u32::from(length);
    let folded = (sum & 0xffff) + (sum >> 16);
    // CAST: The sum of two 16-bit numbers carries once at most.
    *field = (!(folded as u16)).to_be_bytes();
    Some(())
}

/// Returns where the header behind the IPv6 header at `offset` and its extensions starts, if that is
/// IPv6 again and the outer packet is no fragment.
pub fn ipv6_in_ipv6(packet: &[u8], offset: usize) -> Option<usize> {
    if ip_version(packet, offset)? != 6 {
        return None;
    }
    let mut next = *packet.get(offset.checked_add(6)?)?;
    let mut offset = offset.checked_add(IPV6_HLEN)?;
    // Each turn goes on by at least eight bytes, so this ends with the packet.
    loop {
        let unit = match next {
            NEXTHDR_IPV6 => return Some(offset),
            NEXTHDR_HOP | NEXTHDR_ROUTING | NEXTHDR_DEST => 8,
            NEXTHDR_AUTH => 4,
            _ => return None,
        };
        let length = usize::from(*packet.get(offset.checked_add(1)?)?);
        next = *packet.get(offset)?;
        // The length field counts units beyond the first eight bytes.
        offset = offset.checked_add(8 + length * unit)?;
    }
}
