// SPDX-License-Identifier: GPL-2.0
//! What all rings of a queue set have in common: control, base, size, indices.

use fbnic_defs::csr as r;
use fbnic_defs::desc::DESC_SIZE;

use crate::hw::Hw;

/// Offsets of a ring's registers in its queue set.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingRegs {
    /// RESET and ENABLE.
    pub ctl: u32,
    /// log2 of the number of entries, 0 standing for 16.
    pub size: u32,
    /// Low half of the base address; the high half follows.
    pub bal: u32,
    /// The doorbell the driver writes.
    pub doorbell: u32,
    /// The read-only word that shows both indices; see [`super::pointers`].
    pub ptrs: u32,
}

/// Returns the bits of an index into a ring with `size` in its size register.
pub(super) fn mask(size: u32) -> u32 {
    match size & r::Q_SIZE_MASK {
        0 => 0xffff,
        log2 => (1 << log2) - 1,
    }
}

/// Where a ring is. Taken from the registers when the ring is enabled, so that a
/// driver which rewrites them meanwhile moves nothing under the engine's feet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    /// The ring may be used.
    pub enabled: bool,
    base: u64,
    mask: u32,
}

impl Ring {
    /// Takes over the state that a write to the control register asks for.
    ///
    /// RESET clears the indices, in the registers here and in the engine by the
    /// caller, and keeps the ring stopped while it is set. Returns whether it was set.
    pub fn control(&mut self, hw: &Hw, queue: u32, regs: &RingRegs, value: u32) -> bool {
        let reg = |off| hw.csr.load(r::queue(queue, off));
        let reset = value & r::Q_CTL_RESET != 0;
        if reset {
            hw.csr.store(r::queue(queue, regs.doorbell), 0);
            hw.csr.store(r::queue(queue, regs.ptrs), 0);
        }
        self.enabled = !reset && value & r::Q_CTL_ENABLE != 0;
        let low = reg(regs.bal) & r::Q_BAL_MASK;
        self.base = u64::from(low) | u64::from(reg(regs.bal + 1)) << 32;
        self.mask = mask(reg(regs.size));
        reset
    }

    /// Returns `index` brought inside the ring, whatever a register held.
    pub fn wrap(&self, index: u32) -> u32 {
        index & self.mask
    }

    /// Returns how many entries lie from `from` up to, and without, `to`.
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.mask
    }

    /// Returns the number of entries from `index` to the end of the ring's memory.
    pub fn until_wrap(&self, index: u32) -> u32 {
        self.mask - self.wrap(index) + 1
    }

    /// Returns the bus address of entry `index`.
    ///
    /// A base near the top of the address space wraps; the bus master refuses what
    /// is no memory.
    pub fn entry(&self, index: u32) -> u64 {
        let offset = u64::from(self.wrap(index)) * DESC_SIZE;
        self.base.wrapping_add(offset)
    }

    /// Shows the device's index `index` in the register of both.
    pub fn publish(&self, hw: &Hw, queue: u32, regs: &RingRegs, index: u32) {
        hw.csr.store(r::queue(queue, regs.ptrs), index << 16);
    }

    /// Returns the doorbell's value, brought inside the ring.
    pub fn doorbell(&self, hw: &Hw, queue: u32, regs: &RingRegs) -> u32 {
        self.wrap(hw.csr.load(r::queue(queue, regs.doorbell)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(base: u64, mask: u32) -> Ring {
        Ring {
            enabled: true,
            base,
            mask,
        }
    }

    #[test]
    fn indices_stay_inside() {
        let ring = ring(0x1000, 63);
        assert_eq!(ring.wrap(u32::MAX), 63);
        assert_eq!((ring.distance(60, 2), ring.distance(2, 60)), (6, 58));
        assert_eq!((ring.until_wrap(0), ring.until_wrap(63)), (64, 1));
        assert_eq!(ring.entry(64 + 3), 0x1018);
    }

    #[test]
    fn an_absurd_base_does_not_overflow() {
        assert_eq!(ring(u64::MAX - 127, 0xffff).entry(0xffff), 0x7_ff78);
    }
}
