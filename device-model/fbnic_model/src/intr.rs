// SPDX-License-Identifier: GPL-2.0
//! The global interrupt block (guide, section 4).
//!
//! Each of 256 vectors has a status, a mask and an auto-clear bit. A vector whose status is set
//! and whose mask is clear sends its MSI-X message; sending sets the mask and, with
//! auto-clear, clears the status. Setting status while masked only latches, and clearing
//! the mask then sends: a completion that arrives between the driver's last look at its
//! ring and its re-arm is therefore not lost.
//!
//! Open points of the guide decided here: masks and auto-clear bits reset to ones;
//! INTR_SW_STATUS shows the status bits that INTR_SET raised.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use fbnic_defs::csr as r;
use parking_lot::Mutex;

/// Vectors of the device.
pub const VECTORS: usize = 256;
const WORDS: usize = VECTORS / 32;

/// Where MSI-X messages go.
pub trait IrqSink: Send + Sync {
    /// Sends the message of `vector`.
    fn trigger(&self, vector: u8);
}

type Words = [AtomicU32; WORDS];

fn words(value: u32) -> Words {
    std::array::from_fn(|_| AtomicU32::new(value))
}

/// The interrupt block. Reads are lock-free; changes are ordered by one short lock.
pub struct Intr {
    status: Words,
    mask: Words,
    sw_status: Words,
    auto_clear: Words,
    rcq_timeout: Box<[AtomicU32]>,
    tcq_timeout: Box<[AtomicU32]>,
    /// Makes "status set and mask clear: send" one step.
    delivery: Mutex<()>,
    sink: Arc<dyn IrqSink>,
}

impl Intr {
    /// The block after reset, sending to `sink`.
    pub fn new(sink: Arc<dyn IrqSink>) -> Self {
        let timeouts = || (0..VECTORS).map(|_| AtomicU32::new(0)).collect();
        Self {
            status: words(0),
            mask: words(u32::MAX),
            sw_status: words(0),
            auto_clear: words(u32::MAX),
            rcq_timeout: timeouts(),
            tcq_timeout: timeouts(),
            delivery: Mutex::new(()),
            sink,
        }
    }

    /// Back to the state after power-on.
    pub fn reset(&self) {
        let _order = self.delivery.lock();
        for (set, value) in [
            (&self.status, 0),
            (&self.mask, u32::MAX),
            (&self.sw_status, 0),
            (&self.auto_clear, u32::MAX),
        ] {
            set.iter()
                .for_each(|word| word.store(value, Ordering::Relaxed));
        }
        for timeout in self.rcq_timeout.iter().chain(self.tcq_timeout.iter()) {
            timeout.store(0, Ordering::Relaxed);
        }
    }

    /// Sets the status of `vector`; sends its message unless it is masked.
    pub fn raise(&self, vector: u8) {
        self.raise_word(usize::from(vector) / 32, 1 << (vector % 32));
    }

    /// Sets the status of the vectors `32 * word + bit` of `bits`.
    pub fn raise_word(&self, word: usize, bits: u32) {
        let _order = self.delivery.lock();
        if let Some(status) = self.status.get(word) {
            status.fetch_or(bits, Ordering::Relaxed);
            self.deliver(word);
        }
    }

    /// Raises the vector that cause `cause` is mapped to, if the mapping is enabled in `ctrl`.
    pub fn raise_cause(&self, ctrl: u32) {
        if ctrl & r::INTR_MSIX_CTRL_ENABLE != 0 {
            self.raise((ctrl & r::INTR_MSIX_CTRL_VECTOR_MASK) as u8);
        }
    }

    /// Sends what is pending and not masked in `word`. Called with `delivery` held.
    fn deliver(&self, word: usize) {
        let (Some(status), Some(mask), Some(auto_clear), Some(sw)) = (
            self.status.get(word),
            self.mask.get(word),
            self.auto_clear.get(word),
            self.sw_status.get(word),
        ) else {
            return;
        };
        let mut ready = status.load(Ordering::Relaxed) & !mask.load(Ordering::Relaxed);
        mask.fetch_or(ready, Ordering::Relaxed);
        let cleared = ready & auto_clear.load(Ordering::Relaxed);
        status.fetch_and(!cleared, Ordering::Relaxed);
        sw.fetch_and(!cleared, Ordering::Relaxed);
        while ready != 0 {
            let bit = ready.trailing_zeros();
            ready &= ready - 1;
            // There are eight words of 32 bits, the sum fits.
            self.sink.trigger((word as u32 * 32 + bit) as u8);
        }
    }

    /// Whether `vector` is masked.
    pub fn is_masked(&self, vector: u8) -> bool {
        self.mask
            .get(usize::from(vector) / 32)
            .is_some_and(|mask| mask.load(Ordering::Relaxed) & (1 << (vector % 32)) != 0)
    }

    /// The receive moderation timeout of `vector` in ticks.
    pub fn rcq_timeout(&self, vector: u8) -> u32 {
        self.rcq_timeout
            .get(usize::from(vector))
            .map_or(0, |t| t.load(Ordering::Relaxed))
    }

    /// The transmit moderation timeout of `vector` in ticks.
    pub fn tcq_timeout(&self, vector: u8) -> u32 {
        self.tcq_timeout
            .get(usize::from(vector))
            .map_or(0, |t| t.load(Ordering::Relaxed))
    }

    /// Reads a register of the block, or `None` if `csr` is not one with state of its own.
    pub fn read(&self, csr: u32) -> Option<u32> {
        if (r::INTR_CQ_FIRST..=r::INTR_CQ_LAST).contains(&csr) {
            let vector = ((csr - r::INTR_CQ_FIRST) / 4) as u8;
            return Some(match csr % 4 {
                1 => self.rcq_timeout(vector),
                2 => self.tcq_timeout(vector),
                _ => 0,
            });
        }
        let set = match csr & !7 {
            r::INTR_STATUS => &self.status,
            r::INTR_MASK => &self.mask,
            r::INTR_SW_STATUS => &self.sw_status,
            r::INTR_SW_AC_MODE => &self.auto_clear,
            r::INTR_SET | r::INTR_CLEAR | r::INTR_MASK_SET | r::INTR_MASK_CLEAR => return Some(0),
            _ => return None,
        };
        set.get((csr & 7) as usize)
            .map(|word| word.load(Ordering::Acquire))
    }

    /// Writes a register of the block; `false` if `csr` is not one with state of its own.
    pub fn write(&self, csr: u32, value: u32) -> bool {
        if (r::INTR_CQ_FIRST..=r::INTR_CQ_LAST).contains(&csr) {
            self.write_cq(csr, value);
            return true;
        }
        let word = (csr & 7) as usize;
        let _order = self.delivery.lock();
        let at = |set: &Words, change: &dyn Fn(&AtomicU32)| {
            set.get(word).map(change);
        };
        match csr & !7 {
            r::INTR_STATUS | r::INTR_SW_STATUS => {}
            r::INTR_MASK => at(&self.mask, &|m| m.store(value, Ordering::Relaxed)),
            r::INTR_SET => {
                at(&self.status, &|s| _ = s.fetch_or(value, Ordering::Relaxed));
                at(&self.sw_status, &|s| {
                    _ = s.fetch_or(value, Ordering::Relaxed)
                });
            }
            r::INTR_CLEAR => {
                at(&self.status, &|s| {
                    _ = s.fetch_and(!value, Ordering::Relaxed)
                });
                at(&self.sw_status, &|s| {
                    _ = s.fetch_and(!value, Ordering::Relaxed)
                });
            }
            r::INTR_SW_AC_MODE => at(&self.auto_clear, &|a| a.store(value, Ordering::Relaxed)),
            r::INTR_MASK_SET => at(&self.mask, &|m| _ = m.fetch_or(value, Ordering::Relaxed)),
            r::INTR_MASK_CLEAR => at(&self.mask, &|m| _ = m.fetch_and(!value, Ordering::Relaxed)),
            _ => return false,
        }
        self.deliver(word);
        true
    }

    /// CQ_REARM and the two timeout registers of a vector.
    fn write_cq(&self, csr: u32, value: u32) {
        let index = (csr - r::INTR_CQ_FIRST) / 4;
        let (Some(rcq), Some(tcq)) = (
            self.rcq_timeout.get(index as usize),
            self.tcq_timeout.get(index as usize),
        ) else {
            return;
        };
        let tcq_field = (value >> r::CQ_REARM_TCQ_TIMEOUT_SHIFT) & r::CQ_REARM_RCQ_TIMEOUT_MASK;
        let rcq_field = value & r::CQ_REARM_RCQ_TIMEOUT_MASK;
        match csr % 4 {
            0 => {
                if value & r::CQ_REARM_RCQ_TIMEOUT_UPD_EN != 0 {
                    rcq.store(rcq_field, Ordering::Relaxed);
                }
                if value & r::CQ_REARM_TCQ_TIMEOUT_UPD_EN != 0 {
                    tcq.store(tcq_field, Ordering::Relaxed);
                }
                if value & r::CQ_REARM_INTR_UNMASK != 0 {
                    self.write(r::INTR_MASK_CLEAR + index / 32, 1 << (index % 32));
                }
            }
            1 => rcq.store(rcq_field, Ordering::Relaxed),
            2 => tcq.store(rcq_field, Ordering::Relaxed),
            _ => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Remembers what was sent.
    #[derive(Default)]
    pub(crate) struct Sent(pub(crate) Mutex<Vec<u8>>);

    impl IrqSink for Sent {
        fn trigger(&self, vector: u8) {
            self.0.lock().push(vector);
        }
    }

    fn block() -> (Arc<Sent>, Intr) {
        let sent = Arc::new(Sent::default());
        (sent.clone(), Intr::new(sent))
    }

    fn taken(sent: &Sent) -> Vec<u8> {
        std::mem::take(&mut sent.0.lock())
    }

    #[test]
    fn the_driver_self_test_sequence() {
        let (sent, intr) = block();
        // 1. While masked, status latches and nothing is sent.
        intr.write(r::INTR_SET + 1, 1 << 3);
        assert!(taken(&sent).is_empty());
        assert_eq!(intr.read(r::INTR_STATUS + 1), Some(1 << 3));
        // 2. and 3. Unmasking sends, masks again and clears.
        intr.write(r::INTR_MASK_CLEAR + 1, 1 << 3);
        assert_eq!(taken(&sent), [35]);
        assert_eq!(intr.read(r::INTR_STATUS + 1), Some(0));
        assert_eq!(intr.read(r::INTR_MASK + 1), Some(u32::MAX));
        // 4. Unmasking with nothing pending sends nothing.
        intr.write(r::INTR_MASK_CLEAR + 1, 1 << 3);
        assert!(taken(&sent).is_empty());
        // 5. Setting status while unmasked sends at once.
        intr.write(r::INTR_SET + 1, 1 << 3);
        assert_eq!(taken(&sent), [35]);
        assert_eq!(intr.read(r::INTR_STATUS + 1), Some(0));
        assert_eq!(intr.read(r::INTR_MASK + 1), Some(u32::MAX));
    }

    #[test]
    fn without_auto_clear_the_status_stays() {
        let (sent, intr) = block();
        intr.write(r::INTR_SW_AC_MODE, !1);
        intr.write(r::INTR_MASK_CLEAR, 1);
        intr.raise(0);
        assert_eq!(taken(&sent), [0]);
        assert_eq!(intr.read(r::INTR_STATUS), Some(1));
        // Unmasking without clearing first sends again: the condition still holds.
        intr.write(r::INTR_MASK_CLEAR, 1);
        assert_eq!(taken(&sent), [0]);
        intr.write(r::INTR_CLEAR, 1);
        intr.write(r::INTR_MASK_CLEAR, 1);
        assert!(taken(&sent).is_empty());
    }

    #[test]
    fn rearm_updates_only_what_is_enabled() {
        let (sent, intr) = block();
        let rearm = r::intr_cq_rearm(200);
        intr.write(rearm, 30 | r::CQ_REARM_RCQ_TIMEOUT_UPD_EN | 35 << 15);
        assert_eq!((intr.rcq_timeout(200), intr.tcq_timeout(200)), (30, 0));
        intr.write(rearm, 7 | 35 << 15 | r::CQ_REARM_TCQ_TIMEOUT_UPD_EN);
        assert_eq!(
            (intr.read(rearm + 1), intr.read(rearm + 2)),
            (Some(30), Some(35))
        );
        intr.raise(200);
        assert!(taken(&sent).is_empty());
        intr.write(rearm, r::CQ_REARM_INTR_UNMASK);
        assert_eq!(taken(&sent), [200]);
    }

    #[test]
    fn only_enabled_causes_raise() {
        let (sent, intr) = block();
        intr.write(r::INTR_MASK_CLEAR, u32::MAX);
        intr.raise_cause(1);
        assert!(taken(&sent).is_empty());
        intr.raise_cause(1 | r::INTR_MSIX_CTRL_ENABLE);
        assert_eq!(taken(&sent), [1]);
    }

    #[test]
    fn reset_forgets_everything() {
        let (sent, intr) = block();
        intr.write(r::INTR_SET, 1);
        intr.write(r::INTR_SW_AC_MODE, 0);
        intr.reset();
        intr.write(r::INTR_MASK_CLEAR, u32::MAX);
        assert!(taken(&sent).is_empty());
        assert_eq!(intr.read(r::INTR_SW_AC_MODE), Some(u32::MAX));
    }
}
