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

/// Returns the length of the UDP datagram at `offset` that its header tells, bytes.
#[inline]
pub fn udp_len(packet: &[u8], offset: usize) -> Option<u16> {
    let start = offset.checked_add(4)?;
    let field: &[u8; 2] = packet.get(start..start.checked_add(2)?)?.try_into().ok()?;
    Some(u16::from_be_bytes(*field))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ones_complement(words: &[u16]) -> u16 {
        let sum = words.iter().fold(0u64, |sum, &word| sum + u64::from(word));
        let mut folded = sum;
        while folded > 0xffff {
            folded = (folded & 0xffff) + (folded >> 16);
        }
        folded as u16
    }

    #[test]
    fn removed_length_can_be_added_again() {
        for (check, length) in [
            (0x1234, 20),
            (5, 1460),
            (0xffff, 0xffff),
            (0, 1),
            (0x8000, 0x8001),
        ] {
            let mut packet = [0xaa; 8];
            packet[4..6].copy_from_slice(&u16::to_be_bytes(check));
            remove_length(&mut packet, 4, length).unwrap();
            let left = u16::from_be_bytes([packet[4], packet[5]]);
            // Both zeros of ones' complement are the same sum.
            let same = |value: u16| if value == 0xffff { 0 } else { value };
            assert_eq!(same(ones_complement(&[left, length])), same(check));
            assert_eq!(packet[..4], [0xaa; 4]);
            assert_eq!(packet[6..], [0xaa; 2]);
        }
        assert_eq!(remove_length(&mut [0; 5], 4, 1), None);
        assert_eq!(remove_length(&mut [0; 5], usize::MAX, 1), None);
    }

    #[test]
    fn tcp_lengths() {
        let mut packet = [0; 40];
        packet[22] = 0x80;
        assert_eq!(tcp_header_len(&packet, 10), Some(32));
        packet[22] = 0x40;
        assert_eq!(tcp_header_len(&packet, 10), None);
        assert_eq!(tcp_header_len(&packet, 28), None);
        assert_eq!(tcp_header_len(&packet, usize::MAX), None);
    }

    #[test]
    fn udp_lengths() {
        let packet = [0, 0, 0, 0, 0, 0, 4, 0xb8, 0, 0];
        assert_eq!(udp_len(&packet, 2), Some(0x4b8));
        assert_eq!(udp_len(&packet, 5), None);
        assert_eq!(udp_len(&packet, usize::MAX), None);
    }

    fn ipv6(next: u8) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[6] = next;
        header
    }

    #[test]
    fn tunnels() {
        let mut packet = vec![0; 14];
        packet.extend(ipv6(NEXTHDR_IPV6));
        assert_eq!(ipv6_in_ipv6(&packet, 14), Some(54));

        let mut options = vec![0; 14];
        options.extend(ipv6(NEXTHDR_HOP));
        options.extend([NEXTHDR_DEST, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        options.extend([NEXTHDR_IPV6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ipv6_in_ipv6(&options, 14), Some(78));
        // The chain may not leave the packet.
        assert_eq!(ipv6_in_ipv6(&options[..70], 14), None);

        for next in [4, 6, 17, 44, 47] {
            assert_eq!(ipv6_in_ipv6(&ipv6(next), 0), None);
        }
        assert_eq!(ipv6_in_ipv6(&[0x45; 60], 0), None);
        assert_eq!(ipv6_in_ipv6(&[], 0), None);
    }
}
