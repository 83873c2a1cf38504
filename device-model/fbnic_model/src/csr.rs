// SPDX-License-Identifier: GPL-2.0
//! The register file: plain storage for every register of BAR0.
//!
//! Behaviour lives in the blocks ([`crate::intr`], [`crate::mac`], ...); this is what they and
//! the data path keep their state in, so that a register read never takes a lock.

use std::sync::atomic::{fence, AtomicU32, Ordering};

use fbnic_defs::csr::{CSR_COUNT, QUEUE_FIRST, QUEUE_LAST};

/// First and last register of each region the hardware implements (guide, section 2).
///
/// INTR ends at 0x62 because cause 34 of INTR_MSIX_CTRL lies past the end of the dumped range.
const REGIONS: [(u32, u32); 20] = [
    (0x00000, 0x00062),
    (0x00400, 0x007ff),
    (0x00800, 0x00873),
    (0x00c00, 0x00c34),
    (0x04000, 0x04050),
    (0x04200, 0x0421f),
    (0x04400, 0x0443f),
    (0x04800, 0x0480d),
    (0x08000, 0x081b1),
    (0x08400, 0x0856b),
    (0x08800, 0x08f1f),
    (0x0c000, 0x0c020),
    (0x0c400, 0x0c452),
    (0x10000, 0x10668),
    (0x10800, 0x108c8),
    (0x11000, 0x11028),
    (0x11800, 0x1184e),
    (0x11a00, 0x11a5f),
    (0x2442e, 0x279d7),
    (0x31000, 0x310ea),
];

/// Whether the hardware has a register `csr`.
pub fn is_known(csr: u32) -> bool {
    if (QUEUE_FIRST..=QUEUE_LAST).contains(&csr) {
        return true;
    }
    let at = REGIONS.partition_point(|&(first, _)| first <= csr);
    at.checked_sub(1)
        .and_then(|i| REGIONS.get(i))
        .is_some_and(|&(_, last)| csr <= last)
}

/// Storage of all registers, indexed by dword.
///
/// Registers outside BAR0 read 0 and ignore writes, so no index can be wrong.
pub struct CsrFile {
    regs: Box<[AtomicU32]>,
    /// Odd while a 64-bit counter carries into its high half.
    carry: AtomicU32,
}

impl Default for CsrFile {
    fn default() -> Self {
        Self::new()
    }
}

impl CsrFile {
    /// A register file of zeroes.
    pub fn new() -> Self {
        let regs = (0..CSR_COUNT).map(|_| AtomicU32::new(0)).collect();
        Self {
            regs,
            carry: AtomicU32::new(0),
        }
    }

    /// Sets every register to 0.
    pub fn reset(&self) {
        for reg in &self.regs {
            reg.store(0, Ordering::Relaxed);
        }
    }

    fn reg(&self, csr: u32) -> Option<&AtomicU32> {
        self.regs.get(csr as usize)
    }

    /// The value of register `csr`.
    #[inline]
    pub fn load(&self, csr: u32) -> u32 {
        self.reg(csr).map_or(0, |reg| reg.load(Ordering::Acquire))
    }

    /// Sets register `csr`.
    #[inline]
    pub fn store(&self, csr: u32, value: u32) {
        if let Some(reg) = self.reg(csr) {
            reg.store(value, Ordering::Release);
        }
    }

    /// Sets the bits of `bits` in register `csr`; returns the value before.
    pub fn set_bits(&self, csr: u32, bits: u32) -> u32 {
        self.reg(csr)
            .map_or(0, |reg| reg.fetch_or(bits, Ordering::AcqRel))
    }

    /// Clears the bits of `bits` in register `csr`; returns the value before.
    pub fn clear_bits(&self, csr: u32, bits: u32) -> u32 {
        self.reg(csr)
            .map_or(0, |reg| reg.fetch_and(!bits, Ordering::AcqRel))
    }

    /// Sets register `csr` to 0 and returns what it was: counters that clear on read.
    pub fn take(&self, csr: u32) -> u32 {
        self.reg(csr).map_or(0, |reg| reg.swap(0, Ordering::AcqRel))
    }

    /// Adds to a wrapping 32-bit counter.
    #[inline]
    pub fn add32(&self, csr: u32, n: u32) {
        if let Some(reg) = self.reg(csr) {
            reg.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Adds to the 64-bit counter whose low half is `lo` and whose high half follows it.
    ///
    /// Callers hold the data-path lock: there is one writer.
    #[inline]
    pub fn add64(&self, lo: u32, n: u64) {
        self.add64_at(lo, lo.wrapping_add(1), n);
    }

    /// Adds to the 64-bit counter with the halves `lo` and `hi`; see [`Self::add64`].
    pub fn add64_at(&self, lo: u32, hi: u32, n: u64) {
        let (Some(lo), Some(hi)) = (self.reg(lo), self.reg(hi)) else {
            return;
        };
        let old = lo.load(Ordering::Relaxed);
        let (add_lo, add_hi) = (n as u32, (n >> 32) as u32);
        let (new, carry) = old.overflowing_add(add_lo);
        if !carry && add_hi == 0 {
            lo.store(new, Ordering::Relaxed);
            return;
        }
        // The driver reads high, low, high and trusts the low half if both high halves agree.
        // That holds only if both halves change between two of its reads, hence the sequence.
        self.carry.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        lo.store(new, Ordering::Relaxed);
        hi.fetch_add(add_hi.wrapping_add(u32::from(carry)), Ordering::Relaxed);
        self.carry.fetch_add(1, Ordering::Release);
    }

    /// The value of register `csr` as the bus sees it, never in the middle of a carry.
    pub fn bus_read(&self, csr: u32) -> u32 {
        loop {
            let before = self.carry.load(Ordering::Acquire);
            let value = self.load(csr);
            fence(Ordering::Acquire);
            if before % 2 == 0 && self.carry.load(Ordering::Relaxed) == before {
                return value;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_counters_carry() {
        let csr = CsrFile::new();
        csr.store(0x11a08, u32::MAX);
        csr.add64(0x11a08, 2);
        assert_eq!((csr.bus_read(0x11a08), csr.bus_read(0x11a09)), (1, 1));
        csr.add64_at(0x80fd, 0x8101, 0x3_0000_0005);
        assert_eq!((csr.bus_read(0x80fd), csr.bus_read(0x8101)), (5, 3));
    }

    #[test]
    fn every_index_is_harmless() {
        let csr = CsrFile::new();
        csr.store(u32::MAX, 1);
        csr.add64(u32::MAX, 1);
        assert_eq!(csr.bus_read(u32::MAX), 0);
    }

    #[test]
    fn regions_have_edges() {
        assert!(is_known(0) && is_known(0x62) && !is_known(0x63));
        assert!(is_known(0x4050) && !is_known(0x4051));
        assert!(is_known(QUEUE_LAST) && !is_known(QUEUE_LAST + 1));
    }
}
