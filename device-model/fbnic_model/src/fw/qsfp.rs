// SPDX-License-Identifier: GPL-2.0
//! The transceiver's memory: a QSFP28 direct-attach copper cable in SFF-8636 layout.

const PAGE: usize = 128;
/// Upper pages the module has.
const PAGES: u32 = 4;

/// Reads `length` bytes at `offset` (0 to 127 the lower page, 128 to 255 upper page `page`).
///
/// `None` if the module has no such bytes: it knows bank 0 and pages 0 to 3 only.
pub(super) fn read(bank: u32, page: u32, offset: u32, length: u32) -> Option<Vec<u8>> {
    let end = offset.checked_add(length).filter(|&end| end <= 256)?;
    if bank != 0 || page >= PAGES || length == 0 {
        return None;
    }
    let mut memory = lower().to_vec();
    memory.extend_from_slice(&upper(page));
    Some(memory.get(offset as usize..end as usize)?.to_vec())
}

/// Copies `bytes` into `memory` from `at` on.
fn put(memory: &mut [u8; PAGE], at: usize, bytes: &[u8]) {
    for (slot, byte) in memory.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

fn lower() -> [u8; PAGE] {
    let mut memory = [0; PAGE];
    // Identifier QSFP28, revision 2.8 of SFF-8636, memory is paged and data is ready.
    put(&mut memory, 0, &[0x11, 0x08, 0x00]);
    // 30 degrees Celsius and 3.3 V, in 1/256 degree and 100 microvolts.
    put(&mut memory, 22, &[30, 0]);
    put(&mut memory, 26, &[0x80, 0xe8]);
    memory
}

fn upper(page: u32) -> [u8; PAGE] {
    let mut memory = [0; PAGE];
    if page != 0 {
        return memory;
    }
    // QSFP28, power class 1, no separable connector, extended specification 100GBASE-CR4.
    put(&mut memory, 0, &[0x11, 0x00, 0x23, 0x80]);
    put(&mut memory, 12, &[0xff]);
    put(&mut memory, 18, &[1]);
    put(&mut memory, 19, &[0xa0]);
    put(&mut memory, 20, b"fbnic-emu       ");
    put(&mut memory, 40, b"EMULATED-DAC    ");
    put(&mut memory, 56, b"A ");
    put(&mut memory, 64, &[0x0b]);
    put(&mut memory, 68, b"0000000000000001");
    put(&mut memory, 84, b"24040100");
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    // Checksums over the base and the extended identifier fields.
    let base = sum(memory.get(..63).unwrap_or(&[]));
    put(&mut memory, 63, &[base]);
    let extended = sum(memory.get(64..95).unwrap_or(&[]));
    put(&mut memory, 95, &[extended]);
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        assert_eq!(read(0, 0, 0, 1), Some(vec![0x11]));
        assert_eq!(read(0, 0, 128, 1), Some(vec![0x11]));
        assert_eq!(read(0, 3, 128, 128).map(|d| d.len()), Some(128));
        for (bank, page, offset, length) in [
            (1, 0, 0, 1),
            (0, 4, 0, 1),
            (0, 0, 255, 2),
            (0, 0, u32::MAX, 2),
            (0, 0, 0, 0),
        ] {
            assert_eq!(read(bank, page, offset, length), None);
        }
    }

    #[test]
    fn checksums_close() {
        let page = upper(0);
        let base: u8 = page[..63].iter().fold(0, |s, b| s.wrapping_add(*b));
        assert_eq!(page[63], base);
    }
}
