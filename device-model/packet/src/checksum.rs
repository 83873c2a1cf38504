// SPDX-License-Identifier: GPL-2.0
//! Ones-complement sums of 16-bit words, as the internet protocols use them.
//!
//! A [`Sum`] adds words in little-endian order. Ones-complement addition commutes
//! with swapping the bytes of every word, so the result is the network-order sum
//! with its two bytes swapped; storing it with [`u16::to_le_bytes`] puts the right
//! bytes on the wire, and no word has to be swapped on the way.

use crate::parse::{IpHeader, IpVersion, L4Kind, Parsed};

/// Length of the untagged Ethernet header, in bytes.
const ETH_HLEN: usize = 14;

/// A running ones-complement sum of little-endian 16-bit words.
///
/// The accumulator is 64 bits wide and takes 32-bit words, so it cannot overflow
/// before 16 GiB have been added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Returns the sum of `bytes`, which start at an even offset of the summed data.
    ///
    /// An odd last byte is padded with a zero byte, as RFC 1071 says.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut total = 0u64;
        let mut chunks = bytes.chunks_exact(4);
        for chunk in &mut chunks {
            // PANIC: `chunks_exact(4)` yields slices of four bytes only.
            let word: [u8; 4] = chunk.try_into().unwrap_or_default();
            total += u64::from(u32::from_le_bytes(word));
        }
        let mut last = [0u8; 4];
        for (to, from) in last.iter_mut().zip(chunks.remainder()) {
            *to = *from;
        }
        Self(total + u64::from(u32::from_le_bytes(last)))
    }

    /// Adds another partial sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(u64::from(self.fold()) + u64::from(other.fold()))
    }

    /// Removes a partial sum that is contained in this one.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(u64::from(self.fold()) + u64::from(!other.fold()))
    }

    /// Adds a number that travels as one big-endian word, such as a length.
    #[must_use]
    pub fn plus_word(self, host_order: u16) -> Self {
        Self(u64::from(self.fold()) + u64::from(host_order.swap_bytes()))
    }

    /// Returns the same data's sum as if it had started at an odd offset.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self(u64::from(self.fold().swap_bytes()))
    }

    /// Folds the sum to 16 bits, little-endian words, not complemented.
    #[must_use]
    pub fn fold(self) -> u16 {
        let mut sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // CAST: the loop ends with a value of at most 16 bits.
        sum as u16
    }

    /// Returns true when the sum is congruent to zero, which is what the sum over
    /// data including its correct checksum comes to.
    #[must_use]
    pub fn is_zero(self) -> bool {
        matches!(self.fold(), 0 | 0xffff)
    }

    /// Returns the bytes of the checksum field: the complemented sum, in wire order.
    #[must_use]
    pub fn field(self) -> [u8; 2] {
        (!self.fold()).to_le_bytes()
    }
}

/// Returns the sum of the pseudo-header of `ip` for an L4 packet of `l4_len` bytes.
///
/// `frame` holds the addresses and `protocol` is the L4 protocol number, which for
/// IPv6 stands in the last extension header.
#[must_use]
pub fn pseudo_header(ip: &IpHeader, protocol: u8, l4_len: u32) -> Sum {
    let addresses = match ip.version {
        // CAST: an IPv4 address occupies the low 32 bits.
        IpVersion::V4 => {
            Sum::of(&(ip.src as u32).to_be_bytes()).plus(Sum::of(&(ip.dst as u32).to_be_bytes()))
        }
        IpVersion::V6 => Sum::of(&ip.src.to_be_bytes()).plus(Sum::of(&ip.dst.to_be_bytes())),
    };
    addresses
        .plus(Sum::of(&l4_len.to_be_bytes()))
        .plus_word(u16::from(protocol))
}

/// What the receive path reports about a frame's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxChecksum {
    /// Sum of all that follows the 14-byte Ethernet header, not complemented,
    /// little-endian words.
    pub l2: u16,
    /// True when a TCP or UDP checksum is present, complete and correct.
    pub l4_good: bool,
}

/// Computes the checksums of a received frame in one pass over its bytes.
///
/// The sum over the L4 packet is the sum over the frame less the few bytes before
/// and after it, so the payload is read once.
#[must_use]
pub fn receive(frame: &[u8], parsed: &Parsed) -> RxChecksum {
    let whole = Sum::of(frame.get(ETH_HLEN..).unwrap_or_default());
    RxChecksum {
        l2: whole.fold(),
        l4_good: l4_is_good(frame, parsed, whole).unwrap_or(false),
    }
}

fn l4_is_good(frame: &[u8], parsed: &Parsed, whole: Sum) -> Option<bool> {
    let l4 = parsed.l4.as_ref()?;
    let ip = parsed.ip.as_ref()?;
    let start = usize::from(l4.offset);
    let end = ip.end;
    let (protocol, len) = match l4.kind {
        L4Kind::Tcp => (6, end.checked_sub(start)?),
        L4Kind::Udp => {
            let len = usize::from(be16(frame, start + 4)?);
            if be16(frame, start + 6)? == 0 || len < 8 || start + len > end {
                return None;
            }
            (17, len)
        }
    };
    let end = start + len;
    if ip.truncated || end > frame.len() {
        return None;
    }
    let before = Sum::of(frame.get(ETH_HLEN..start)?);
    let after = Sum::of(frame.get(end..)?);
    let after = if (end - ETH_HLEN) % 2 == 1 {
        after.swapped()
    } else {
        after
    };
    let sum = whole.minus(before).minus(after).plus(pseudo_header(
        ip,
        protocol,
        u32::try_from(len).ok()?,
    ));
    Some(sum.is_zero())
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    let bytes = frame.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1071_example() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold().swap_bytes(), 0xddf2);
        assert_eq!(sum.field(), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn odd_tail_is_padded() {
        assert_eq!(Sum::of(&[0x12]).fold(), 0x0012);
        assert_eq!(Sum::of(&[1, 2, 3, 4, 5]).fold(), 0x0201 + 0x0403 + 0x0005);
    }

    #[test]
    fn minus_undoes_plus() {
        let a = Sum::of(&[9, 8, 7, 6, 5]);
        let b = Sum::of(&[0xff, 0xff, 0x80]);
        assert_eq!(a.plus(b).minus(b).fold(), a.fold());
    }

    #[test]
    fn odd_start_is_a_swap() {
        let data = [1u8, 2, 3, 4, 5, 6, 7];
        let split = Sum::of(&data[..3]).plus(Sum::of(&data[3..]).swapped());
        assert_eq!(split.fold(), Sum::of(&data).fold());
    }
}
