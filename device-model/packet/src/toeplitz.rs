// SPDX-License-Identifier: GPL-2.0
//! The Toeplitz hash of receive side scaling.
//!
//! The key is 425 bits long: 394 bits of input and 31 more, so that every input
//! bit has a 32-bit window of key to contribute.

/// Length of the key in bytes; the last byte contributes its top bit only.
pub const KEY_LEN: usize = 54;
/// Longest input, in bits.
pub const MAX_INPUT_BITS: usize = 394;

/// Input nibbles covered by the tables.
const NIBBLES: usize = MAX_INPUT_BITS.div_ceil(4);

/// A key prepared for hashing four input bits at a time.
pub struct Toeplitz {
    /// For each input nibble, the contribution of each of its 16 values.
    tables: Box<[[u32; 16]; NIBBLES]>,
}

impl Toeplitz {
    /// Prepares `key`, most significant byte first.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut tables = Box::new([[0u32; 16]; NIBBLES]);
        for (nibble, table) in tables.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                for bit in 0..4 {
                    if value & (8 >> bit) != 0 {
                        *entry ^= window(key, nibble * 4 + bit);
                    }
                }
            }
        }
        Self { tables }
    }

    /// Hashes `input`; bits beyond [`MAX_INPUT_BITS`] do not contribute.
    #[must_use]
    pub fn hash(&self, input: &[u8]) -> u32 {
        let mut hash = 0;
        for (byte, pair) in input.iter().zip(self.tables.chunks(2)) {
            if let [high, low] = pair {
                hash ^= high[usize::from(byte >> 4)] ^ low[usize::from(byte & 15)];
            } else if let [high] = pair {
                hash ^= high[usize::from(byte >> 4)];
            }
        }
        hash
    }
}

/// Returns the 32 bits of key that start at bit `at`.
fn window(key: &[u8; KEY_LEN], at: usize) -> u32 {
    let mut bytes = [0u8; 8];
    for (to, from) in bytes.iter_mut().zip(key.iter().skip(at / 8)) {
        *to = *from;
    }
    // CAST: the shift leaves the wanted 32 bits on top, and the high half is kept.
    ((u64::from_be_bytes(bytes) << (at % 8)) >> 32) as u32
}

/// Collects hash input of any bit length, most significant bit first.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    bytes: [u8; KEY_LEN],
    bits: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: [0; KEY_LEN],
            bits: 0,
        }
    }
}

impl Input {
    /// Appends the low `bits` bits of `value`; what does not fit is left out.
    pub fn push(&mut self, value: u128, bits: usize) {
        for bit in (0..bits.min(128)).rev() {
            if let Some(byte) = self.bytes.get_mut(self.bits / 8) {
                *byte |= u8::from((value >> bit) & 1 == 1) << (7 - self.bits % 8);
                self.bits += 1;
            }
        }
    }

    /// Appends whole bytes, the fast way while the input is byte aligned.
    pub fn push_bytes(&mut self, value: &[u8]) {
        let at = self.bits / 8;
        match self.bytes.get_mut(at..at + value.len()) {
            Some(room) if self.bits % 8 == 0 => {
                room.copy_from_slice(value);
                self.bits += value.len() * 8;
            }
            _ => value.iter().for_each(|b| self.push(u128::from(*b), 8)),
        }
    }

    /// Returns the collected input, its last byte padded with zero bits.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.bits.div_ceil(8))
            .unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The key of Microsoft's verification suite, padded with zeros.
    fn microsoft() -> Toeplitz {
        let mut key = [0u8; KEY_LEN];
        key[..40].copy_from_slice(&[
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
            0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
            0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ]);
        Toeplitz::new(&key)
    }

    fn v4(src: &str, sport: u16, dst: &str, dport: u16) -> (u32, u32) {
        let mut input = Input::default();
        input.push_bytes(&src.parse::<Ipv4Addr>().unwrap().octets());
        input.push_bytes(&dst.parse::<Ipv4Addr>().unwrap().octets());
        let ip = microsoft().hash(input.bytes());
        input.push_bytes(&sport.to_be_bytes());
        input.push_bytes(&dport.to_be_bytes());
        (ip, microsoft().hash(input.bytes()))
    }

    fn v6(src: &str, sport: u16, dst: &str, dport: u16) -> (u32, u32) {
        let mut input = Input::default();
        input.push_bytes(&src.parse::<Ipv6Addr>().unwrap().octets());
        input.push_bytes(&dst.parse::<Ipv6Addr>().unwrap().octets());
        let ip = microsoft().hash(input.bytes());
        input.push(u128::from(sport), 16);
        input.push(u128::from(dport), 16);
        (ip, microsoft().hash(input.bytes()))
    }

    #[test]
    fn microsoft_verification_suite_ipv4() {
        assert_eq!(
            v4("66.9.149.187", 2794, "161.142.100.80", 1766),
            (0x323e_8fc2, 0x51cc_c178)
        );
        assert_eq!(
            v4("199.92.111.2", 14230, "65.69.140.83", 4739),
            (0xd718_262a, 0xc626_b0ea)
        );
        assert_eq!(
            v4("24.19.198.95", 12898, "12.22.207.184", 38024),
            (0xd2d0_a5de, 0x5c2b_394a)
        );
    }

    #[test]
    fn microsoft_verification_suite_ipv6() {
        assert_eq!(
            v6("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766),
            (0x2cc1_8cd5, 0x4020_7d3d)
        );
        assert_eq!(
            v6("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739),
            (0x0f0c_461c, 0xdde5_1bbf)
        );
    }

    #[test]
    fn unaligned_input_equals_a_shifted_key() {
        let mut key = [0u8; KEY_LEN];
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = u8::try_from(i * 37 % 256).unwrap();
        }
        let mut input = Input::default();
        input.push(0, 3);
        input.push_bytes(&[0xa5]);
        let expected = (0..8)
            .filter(|bit| 0xa5u8 & (0x80 >> bit) != 0)
            .fold(0, |hash, bit| hash ^ window(&key, bit + 3));
        assert_eq!(Toeplitz::new(&key).hash(input.bytes()), expected);
    }

    #[test]
    fn overlong_input_is_cut() {
        let toeplitz = microsoft();
        let long = [0xffu8; 200];
        assert_eq!(toeplitz.hash(&long), toeplitz.hash(&long[..50]));
        let mut input = Input::default();
        input.push_bytes(&long);
        assert_eq!(input.bytes().len(), KEY_LEN);
    }
}
