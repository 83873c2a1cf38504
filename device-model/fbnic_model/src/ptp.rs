// SPDX-License-Identifier: GPL-2.0
//! The clock: a 64-bit nanosecond counter with a programmable rate (guide, section 13).

use std::time::Instant;

use fbnic_defs::csr as r;
use parking_lot::RwLock;

use crate::csr::CsrFile;

/// Counter value and rate at a moment of host time.
#[derive(Clone, Copy)]
struct Base {
    at: Instant,
    /// Counter value at `at` in nanoseconds.
    ns: u64,
    /// Nanoseconds per clock cycle as Q16.32.
    addend: u64,
    running: bool,
}

/// The clock. Runs at the host's monotonic rate scaled by the programmed addend.
pub struct Ptp {
    base: RwLock<Base>,
}

/// One clock cycle at the nominal rate, as Q16.32 nanoseconds.
const NOMINAL: u64 = (1000 << 32) / r::CLOCK_MHZ;

impl Default for Ptp {
    fn default() -> Self {
        Self::new()
    }
}

impl Ptp {
    /// A stopped clock at 0 with the nominal rate.
    pub fn new() -> Self {
        let base = Base {
            at: Instant::now(),
            ns: 0,
            addend: NOMINAL,
            running: false,
        };
        Self {
            base: RwLock::new(base),
        }
    }

    /// Stops the clock at 0.
    pub fn reset(&self) {
        *self.base.write() = Base {
            at: Instant::now(),
            ns: 0,
            addend: NOMINAL,
            running: false,
        };
    }

    /// The counter in nanoseconds.
    pub fn now(&self) -> u64 {
        self.base.read().value(Instant::now())
    }

    /// The counter at the host time `at` in nanoseconds.
    pub fn at(&self, at: Instant) -> u64 {
        self.base.read().value(at)
    }

    /// A register of the block was written and is stored already.
    pub fn write(&self, csr: &CsrFile, index: u32, value: u32) {
        let mut base = self.base.write();
        base.rebase(Instant::now());
        match index {
            r::PTP_CTRL => base.running = value & r::PTP_CTRL_EN != 0,
            r::PTP_ADJUST => adjust(&mut base, csr, value),
            _ => {}
        }
    }
}

fn adjust(base: &mut Base, csr: &CsrFile, command: u32) {
    let wide = |hi, lo| u64::from(csr.load(hi)) << 32 | u64::from(csr.load(lo));
    if command & (r::PTP_ADJUST_INIT | r::PTP_ADJUST_ADDEND_SET) != 0 {
        let whole = u64::from(csr.load(r::PTP_ADD_VAL_NS) & 0xffff);
        base.addend = whole << 32 | u64::from(csr.load(r::PTP_ADD_VAL_SUBNS));
    }
    if command & r::PTP_ADJUST_INIT != 0 {
        base.ns = wide(r::PTP_INIT_HI, r::PTP_INIT_LO);
    }
    let nudge = u64::from(csr.load(r::PTP_NUDGE_NS));
    if command & r::PTP_ADJUST_ADD_NUDGE != 0 {
        base.ns = base.ns.wrapping_add(nudge);
    }
    if command & r::PTP_ADJUST_SUB_NUDGE != 0 {
        base.ns = base.ns.wrapping_sub(nudge);
    }
}

impl Base {
    fn value(&self, at: Instant) -> u64 {
        if !self.running {
            return self.ns;
        }
        let host = at.saturating_duration_since(self.at).as_nanos();
        // Cycles since the base times the addend; 128 bits hold centuries of both.
        let cycles = host * u128::from(r::CLOCK_MHZ) / 1000;
        self.ns
            .wrapping_add(((cycles * u128::from(self.addend)) >> 32) as u64)
    }

    fn rebase(&mut self, at: Instant) {
        self.ns = self.value(at);
        self.at = at;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn started(addend: u64) -> (CsrFile, Ptp) {
        let (csr, ptp) = (CsrFile::new(), Ptp::new());
        csr.store(r::PTP_ADD_VAL_NS, (addend >> 32) as u32);
        csr.store(r::PTP_ADD_VAL_SUBNS, addend as u32);
        ptp.write(&csr, r::PTP_CTRL, 0x10_0001);
        ptp.write(&csr, r::PTP_ADJUST, r::PTP_ADJUST_INIT);
        (csr, ptp)
    }

    #[test]
    fn the_rate_is_the_addend() {
        let (_, ptp) = started(NOMINAL);
        let (_, fast) = started(NOMINAL * 2);
        let later = Instant::now() + Duration::from_secs(1000);
        let near = |value: u64, want: u64| value.abs_diff(want) < 1_000_000_000;
        assert!(near(ptp.at(later), 1_000_000_000_000));
        assert!(near(fast.at(later), 2_000_000_000_000));
    }

    #[test]
    fn init_loads_and_stop_holds() {
        let (csr, ptp) = started(NOMINAL);
        csr.store(r::PTP_INIT_HI, 5);
        csr.store(r::PTP_INIT_LO, 6);
        ptp.write(&csr, r::PTP_ADJUST, r::PTP_ADJUST_INIT);
        assert_eq!(ptp.now() >> 32, 5);
        ptp.write(&csr, r::PTP_CTRL, 0);
        assert_eq!(ptp.now(), ptp.now());
    }
}
