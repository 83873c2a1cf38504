// SPDX-License-Identifier: GPL-2.0
//! MAC, PCS and the link (guide, section 11).
//!
//! The link follows the cable at once: the PCS locks as soon as the far end is connected.
//! SIG_PCS_OUT0 and OUT1 are live and ignore writes. The mode is what the firmware
//! announces, and cannot be changed by the driver.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use fbnic_defs::csr as r;
use parking_lot::Mutex;

use crate::csr::CsrFile;
use crate::fault::spec::{LinkFec, LinkSpeed};
use crate::hw::Hw;

/// Speed and lanes of the port. The numbers are LINK_SPEED of the firmware's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// 25 Gb/s, one lane, NRZ.
    R1x25 = 1,
    /// 50 Gb/s, two lanes, NRZ.
    R2x25 = 2,
    /// 50 Gb/s, one lane, PAM4.
    R1x50 = 3,
    /// 100 Gb/s, two lanes, PAM4.
    R2x50 = 4,
}

/// Forward error correction. The numbers are LINK_FEC of the firmware's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fec {
    /// No correction.
    None = 1,
    /// Reed-Solomon.
    Rs = 2,
    /// Firecode (BASE-R).
    BaseR = 3,
}

impl From<LinkSpeed> for Speed {
    fn from(speed: LinkSpeed) -> Self {
        match speed {
            LinkSpeed::R1x25 => Self::R1x25,
            LinkSpeed::R2x25 => Self::R2x25,
            LinkSpeed::R1x50 => Self::R1x50,
            LinkSpeed::R2x50 => Self::R2x50,
        }
    }
}

impl From<LinkFec> for Fec {
    fn from(fec: LinkFec) -> Self {
        match fec {
            LinkFec::None => Self::None,
            LinkFec::Rs => Self::Rs,
            LinkFec::BaseR => Self::BaseR,
        }
    }
}

/// How the port is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkMode {
    /// Speed and lanes.
    pub speed: Speed,
    /// Error correction asked for; PAM4 speeds use Reed-Solomon whatever it says.
    pub fec: Fec,
}

impl LinkMode {
    /// The error correction in force.
    pub fn effective_fec(&self) -> Fec {
        match self.speed {
            Speed::R1x50 | Speed::R2x50 => Fec::Rs,
            Speed::R1x25 | Speed::R2x25 => self.fec,
        }
    }

    /// SIG_PCS_OUT0 and OUT1 with the link up: exactly the lock bits of the mode.
    fn locks(&self) -> (u32, u32) {
        let (block, amps, fcfec) = match (self.speed, self.effective_fec()) {
            (Speed::R1x25, Fec::None) => (0x1, 0, 0),
            (Speed::R1x25, Fec::Rs) => (0, 0x1, 0),
            (Speed::R1x25, Fec::BaseR) => (0, 0, 0x1),
            (Speed::R2x25, Fec::None) => (0x63, 0, 0),
            (Speed::R2x25, Fec::Rs) => (0, 0x5, 0),
            (Speed::R2x25, Fec::BaseR) => (0, 0, 0xf),
            (Speed::R1x50, _) => (0, 0x3, 0),
            (Speed::R2x50, _) => (0, 0xf, 0),
        };
        let out0 = r::SIG_PCS_OUT0_LINK
            | block << r::SIG_PCS_OUT0_BLOCK_LOCK_SHIFT
            | amps << r::SIG_PCS_OUT0_AMPS_LOCK_SHIFT;
        (out0, fcfec << r::SIG_PCS_OUT1_FCFEC_LOCK_SHIFT)
    }

    /// CTRL1 of the PCS: the speed selection of clause 45.
    fn pcs_ctrl1(&self) -> u32 {
        match self.speed {
            Speed::R1x25 => 0x2054,
            Speed::R2x25 | Speed::R1x50 => 0x2058,
            Speed::R2x50 => 0x2050,
        }
    }

    /// SIG_PCS_IN0 and IN1 as the firmware programs them for the mode.
    fn pcs_in(&self) -> (u32, u32) {
        let in0 = match self.speed {
            Speed::R1x25 => 0x3 | 1 << 9,
            Speed::R2x25 => 0,
            Speed::R1x50 => 3 << 17,
            Speed::R2x50 => 3 << 17 | 1 << 6,
        };
        let in1 = match self.effective_fec() {
            Fec::None => 0,
            Fec::Rs => 0xf,
            Fec::BaseR => 0xf << 24,
        };
        (in0, in1)
    }
}

/// MAC and PCS of the port.
pub struct Mac {
    mode: Mutex<LinkMode>,
    cable: AtomicBool,
    /// A fault holds the link down: nothing passes.
    cut: AtomicBool,
    /// Upper halves of the error counters, from a read of the lower half to one of the upper.
    upper: [AtomicU32; COUNTERS.len()],
}

/// The lower halves of the counters of corrected and uncorrectable blocks, and of symbol errors on
/// each lane. The upper half follows; both have 16 bits.
const COUNTERS: [u32; 6] = [
    r::RSFEC_CCW_LO,
    r::RSFEC_NCCW_LO,
    r::PCS_SYMBLERR_LO,
    r::PCS_SYMBLERR_LO + 2,
    r::PCS_SYMBLERR_LO + 4,
    r::PCS_SYMBLERR_LO + 6,
];
/// The bits of each half.
const HALF: u32 = 0xffff;

const TX_RESETS: u32 = r::SIG_MAC_IN0_RESET_TX_CLK | r::SIG_MAC_IN0_RESET_FF_TX_CLK;
const RX_RESETS: u32 = r::SIG_MAC_IN0_RESET_RX_CLK | r::SIG_MAC_IN0_RESET_FF_RX_CLK;

impl Mac {
    /// A port in `mode` without a cable.
    pub fn new(mode: LinkMode) -> Self {
        Self {
            mode: Mutex::new(mode),
            cable: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            upper: Default::default(),
        }
    }

    /// How the port is configured.
    pub fn mode(&self) -> LinkMode {
        *self.mode.lock()
    }

    /// Configures the port anew, as the firmware of another board would have.
    pub fn set_mode(&self, csr: &CsrFile, mode: LinkMode) {
        *self.mode.lock() = mode;
        self.program(csr);
    }

    /// Lets nothing pass in either direction, whatever the cable says, or lets it pass again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Whether the PCS has locked onto a signal.
    pub fn link(&self) -> bool {
        self.cable.load(Ordering::Acquire)
    }

    /// The far end of the cable came or went.
    pub fn set_cable(&self, hw: &Hw, up: bool) {
        if self.cable.swap(up, Ordering::AcqRel) == up {
            return;
        }
        log::info!("link {}", if up { "up" } else { "down" });
        let event = if up {
            r::SIG_PCS_INTR_LINK_UP
        } else {
            r::SIG_PCS_INTR_LINK_DOWN
        };
        hw.csr.set_bits(r::SIG_PCS_INTR_STS, event);
        self.update_interrupt(hw);
    }

    /// Raises cause 34 if an unmasked link event is pending.
    pub fn update_interrupt(&self, hw: &Hw) {
        let pending = hw.csr.load(r::SIG_PCS_INTR_STS) & !hw.csr.load(r::SIG_PCS_INTR_MASK);
        if pending & (r::SIG_PCS_INTR_LINK_UP | r::SIG_PCS_INTR_LINK_DOWN) != 0 {
            hw.intr
                .raise_cause(hw.csr.load(r::INTR_MSIX_CTRL + r::INTR_CAUSE_PCS));
        }
    }

    /// Puts the registers of the block into their state after reset, the PCS already
    /// programmed for the mode by the firmware.
    pub fn reset(&self, csr: &CsrFile) {
        csr.store(
            r::SIG_PCS_INTR_MASK,
            r::SIG_PCS_INTR_LINK_UP | r::SIG_PCS_INTR_LINK_DOWN,
        );
        for half in &self.upper {
            half.store(0, Ordering::Relaxed);
        }
        self.program(csr);
    }

    /// What the firmware writes into the PCS for the mode.
    fn program(&self, csr: &CsrFile) {
        let (in0, in1) = self.mode().pcs_in();
        csr.store(r::SIG_PCS_IN0, in0);
        csr.store(r::SIG_PCS_IN1, in1);
    }

    /// Whether frames from the host reach the wire.
    pub fn tx_enabled(&self, csr: &CsrFile) -> bool {
        !self.cut.load(Ordering::Relaxed)
            && csr.load(r::MAC_COMMAND_CONFIG) & r::MAC_COMMAND_CONFIG_TX_ENA != 0
            && csr.load(r::SIG_MAC_IN0) & TX_RESETS == 0
    }

    /// Whether frames from the wire reach the receive buffer.
    pub fn rx_enabled(&self, csr: &CsrFile) -> bool {
        !self.cut.load(Ordering::Relaxed)
            && csr.load(r::MAC_COMMAND_CONFIG) & r::MAC_COMMAND_CONFIG_RX_ENA != 0
            && csr.load(r::SIG_MAC_IN0) & RX_RESETS == 0
    }

    /// Whether the MAC sends its frames back to itself instead of to the wire.
    pub fn loopback(&self, csr: &CsrFile) -> bool {
        csr.load(r::MAC_COMMAND_CONFIG) & r::MAC_COMMAND_CONFIG_LOOPBACK_EN != 0
    }

    /// Reads an error counter, which clears it; `None` if `index` is none.
    ///
    /// A read of the lower half takes both, and the next one of the upper half gets what was taken.
    pub fn take_counter(&self, csr: &CsrFile, index: u32) -> Option<u32> {
        for (lower, upper) in COUNTERS.into_iter().zip(&self.upper) {
            if index == lower {
                upper.store(csr.take(lower + 1) & HALF, Ordering::Relaxed);
                return Some(csr.take(lower) & HALF);
            }
            if index == lower + 1 {
                return Some(upper.swap(0, Ordering::Relaxed));
            }
        }
        None
    }

    /// Reads a register of PCS or SIG that is not plain storage.
    pub fn read(&self, index: u32) -> Option<u32> {
        let up = self.link();
        let (out0, out1) = if up { self.mode().locks() } else { (0, 0) };
        const PAGE_0: u32 = r::PCS_PAGE_0;
        const CTRL1: u32 = PAGE_0 + r::PCS_CTRL1;
        const STAT1: u32 = PAGE_0 + r::PCS_STAT1;
        const STAT2: u32 = PAGE_0 + r::PCS_STAT2;
        const BASER_STAT1: u32 = PAGE_0 + r::PCS_BASER_STAT1;
        const BASER_STAT2: u32 = PAGE_0 + r::PCS_BASER_STAT2;
        match index {
            r::SIG_PCS_OUT0 => Some(out0),
            r::SIG_PCS_OUT1 => Some(out1),
            CTRL1 => Some(self.mode().pcs_ctrl1()),
            STAT1 => Some(if up { r::PCS_STAT1_LSTATUS } else { 0 }),
            // Bit 12 is the receive link status, bit 0 the block lock.
            BASER_STAT1 => Some(if up { 0x1001 } else { 0 }),
            STAT2 | BASER_STAT2 => Some(0),
            _ => None,
        }
    }

    /// Writes a register of PCS or SIG; `false` if it is plain storage.
    pub fn write(&self, hw: &Hw, index: u32, value: u32) -> bool {
        match index {
            r::SIG_PCS_INTR_STS => {
                hw.csr.clear_bits(index, value);
            }
            r::SIG_PCS_INTR_MASK => {
                hw.csr.store(index, value);
                self.update_interrupt(hw);
            }
            // Live status: what the driver flushes is true again at once.
            r::SIG_PCS_OUT0 | r::SIG_PCS_OUT1 => {}
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intr::tests::Sent;

    fn port(speed: Speed, fec: Fec) -> (Arc<Sent>, Hw) {
        let sent = Arc::new(Sent::default());
        let hw = Hw::new(sent.clone(), LinkMode { speed, fec }).unwrap();
        hw.mac.reset(&hw.csr);
        (sent, hw)
    }

    #[test]
    fn lock_bits_match_the_mode_exactly() {
        for (speed, fec, out0, out1) in [
            (Speed::R1x25, Fec::None, 1 << 27 | 0x1 << 5, 0),
            (Speed::R1x25, Fec::BaseR, 1 << 27, 0x1 << 8),
            (Speed::R2x25, Fec::Rs, 1 << 27 | 0x5 << 1, 0),
            (Speed::R2x25, Fec::None, 1 << 27 | 0x63 << 5, 0),
            (Speed::R1x50, Fec::None, 1 << 27 | 0x3 << 1, 0),
            (Speed::R2x50, Fec::BaseR, 1 << 27 | 0xf << 1, 0),
        ] {
            let (_, hw) = port(speed, fec);
            assert_eq!(hw.mac.read(r::SIG_PCS_OUT0), Some(0));
            hw.mac.set_cable(&hw, true);
            assert_eq!(hw.mac.read(r::SIG_PCS_OUT0), Some(out0));
            assert_eq!(hw.mac.read(r::SIG_PCS_OUT1), Some(out1));
        }
    }

    #[test]
    fn link_events_interrupt_when_unmasked_and_mapped() {
        let (sent, hw) = port(Speed::R2x50, Fec::Rs);
        hw.intr.write(r::INTR_MASK_CLEAR, 2);
        hw.csr.store(
            r::INTR_MSIX_CTRL + r::INTR_CAUSE_PCS,
            1 | r::INTR_MSIX_CTRL_ENABLE,
        );
        hw.mac.set_cable(&hw, true);
        assert!(sent.0.lock().is_empty());
        // Unmasking with the event pending reports it; clearing it first does not.
        hw.mac.write(&hw, r::SIG_PCS_INTR_MASK, 0);
        assert_eq!(*sent.0.lock(), [1]);
        hw.mac.write(&hw, r::SIG_PCS_INTR_STS, u32::MAX);
        assert_eq!(hw.csr.load(r::SIG_PCS_INTR_STS), 0);
        hw.intr.write(r::INTR_MASK_CLEAR, 2);
        hw.mac.set_cable(&hw, false);
        hw.mac.set_cable(&hw, false);
        assert_eq!(*sent.0.lock(), [1, 1]);
        assert_eq!(hw.csr.load(r::SIG_PCS_INTR_STS), r::SIG_PCS_INTR_LINK_DOWN);
    }

    #[test]
    fn error_counters_clear_on_read_lower_half_first() {
        let (_, hw) = port(Speed::R2x50, Fec::Rs);
        for lower in COUNTERS {
            let read = |index| hw.mac.take_counter(&hw.csr, index).unwrap();
            hw.csr.store(lower, 0xabc_0007);
            hw.csr.store(lower + 1, 0xdef_0002);
            // The upper half by itself shows, and clears, nothing.
            assert_eq!(read(lower + 1), 0);
            assert_eq!((read(lower), read(lower + 1)), (7, 2));
            assert_eq!((read(lower), read(lower + 1)), (0, 0));
            // What is counted between the two reads belongs to the next pair.
            hw.csr.store(lower, 1);
            assert_eq!(read(lower), 1);
            hw.csr.store(lower + 1, 5);
            assert_eq!((read(lower + 1), read(lower), read(lower + 1)), (0, 0, 5));
        }
        assert_eq!(hw.mac.take_counter(&hw.csr, r::RSFEC_CCW_LO - 1), None);
        assert_eq!(hw.mac.take_counter(&hw.csr, r::RSFEC_NCCW_LO + 2), None);
    }

    #[test]
    fn a_reset_forgets_the_upper_half() {
        let (_, hw) = port(Speed::R2x50, Fec::Rs);
        hw.csr.store(r::RSFEC_CCW_LO + 1, 5);
        hw.mac.take_counter(&hw.csr, r::RSFEC_CCW_LO);
        hw.reset();
        assert_eq!(hw.mac.take_counter(&hw.csr, r::RSFEC_CCW_LO + 1), Some(0));
    }
}
