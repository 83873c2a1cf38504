// SPDX-License-Identifier: GPL-2.0
//! The transmit and receive interrupt managers TIM and RIM (guide, section 4.3).
//!
//! A completion queue raises its vector when the completions since its last interrupt reach
//! THRESHOLD, or when a completion has been outstanding for the vector's timeout. A timeout of 0
//! raises at once. Timers run while the vector is masked; the status then latches.
//! INTR_RELOAD does nothing. When a timer ends and the driver has consumed everything
//! meanwhile, nothing is raised: no completion is outstanding any more.
//!
//! Raised vectors are collected and sent by [`Moderator::flush`] once per round, so that queues
//! which share a vector cost one message and not one message and a latched second one.

use std::time::{Duration, Instant};

use fbnic_defs::csr as r;

use crate::hw::Hw;

/// Which completion queue of a queue set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CqKind {
    /// Transmit completions, TIM registers, TCQ timeout.
    Tx,
    /// Receive completions, RIM registers, RCQ timeout.
    Rx,
}

#[derive(Clone, Copy, Default)]
struct Cq {
    /// Completions since the last interrupt.
    count: u32,
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Side {
    cqs: Vec<Cq>,
    /// Bit n: queue n has a deadline.
    armed: u128,
}

/// Interrupt moderation of all completion queues; part of the data path.
pub struct Moderator {
    tx: Side,
    rx: Side,
    raised: [u32; 8],
    next: Option<Instant>,
}

impl Default for Moderator {
    fn default() -> Self {
        Self::new()
    }
}

impl Moderator {
    /// No completions, no timers.
    pub fn new() -> Self {
        let side = || Side {
            cqs: vec![Cq::default(); r::QUEUES as usize],
            armed: 0,
        };
        Self {
            tx: side(),
            rx: side(),
            raised: [0; 8],
            next: None,
        }
    }

    /// Forgets all counts and timers.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn side(&mut self, kind: CqKind) -> &mut Side {
        match kind {
            CqKind::Tx => &mut self.tx,
            CqKind::Rx => &mut self.rx,
        }
    }

    /// Forgets the count and the timer of one queue: it was reset or disabled.
    pub fn stop(&mut self, kind: CqKind, queue: u32) {
        let side = self.side(kind);
        if let Some(cq) = side.cqs.get_mut(queue as usize) {
            *cq = Cq::default();
            side.armed &= !(1 << queue);
        }
    }

    /// `n` descriptors were completed on `queue`; they are visible to the guest already.
    pub fn completed(&mut self, hw: &Hw, kind: CqKind, queue: u32, n: u32, now: Instant) {
        if n == 0 || queue >= r::QUEUES || is_masked(hw, kind, queue) {
            return;
        }
        let (vector, timeout, threshold) = settings(hw, kind, queue);
        let side = self.side(kind);
        let Some(cq) = side.cqs.get_mut(queue as usize) else {
            return;
        };
        cq.count = cq.count.saturating_add(n);
        if cq.count >= threshold || timeout.is_zero() {
            *cq = Cq::default();
            side.armed &= !(1 << queue);
            self.mark(vector);
        } else if cq.deadline.is_none() {
            let deadline = now + timeout;
            cq.deadline = Some(deadline);
            side.armed |= 1 << queue;
            self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        }
    }

    fn mark(&mut self, vector: u8) {
        if let Some(word) = self.raised.get_mut(usize::from(vector) / 32) {
            *word |= 1 << (vector % 32);
        }
    }

    /// Raises the queues whose timers have ended.
    pub fn expire(&mut self, hw: &Hw, now: Instant) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.next = None;
        for kind in [CqKind::Tx, CqKind::Rx] {
            let mut left = self.side(kind).armed;
            while left != 0 {
                let queue = left.trailing_zeros();
                left &= left - 1;
                self.expire_one(hw, kind, queue, now);
            }
        }
    }

    fn expire_one(&mut self, hw: &Hw, kind: CqKind, queue: u32, now: Instant) {
        let side = self.side(kind);
        let Some(cq) = side.cqs.get_mut(queue as usize) else {
            return;
        };
        match cq.deadline {
            Some(deadline) if deadline > now => {
                self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
            }
            _ => {
                *cq = Cq::default();
                side.armed &= !(1 << queue);
                if is_outstanding(hw, kind, queue) && !is_masked(hw, kind, queue) {
                    let (vector, _, _) = settings(hw, kind, queue);
                    self.mark(vector);
                }
            }
        }
    }

    /// Sends what was raised since the last call.
    pub fn flush(&mut self, hw: &Hw) {
        for (word, bits) in self.raised.iter_mut().enumerate() {
            if *bits != 0 {
                hw.intr.raise_word(word, std::mem::take(bits));
            }
        }
    }

    /// When [`Self::expire`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

/// TIM_MASK or RIM_MASK of the queue.
fn is_masked(hw: &Hw, kind: CqKind, queue: u32) -> bool {
    let off = match kind {
        CqKind::Tx => r::Q_TIM_MASK,
        CqKind::Rx => r::Q_RIM_MASK,
    };
    hw.csr.load(r::queue(queue, off)) & 1 != 0
}

/// Vector, timeout and threshold of the queue.
fn settings(hw: &Hw, kind: CqKind, queue: u32) -> (u8, Duration, u32) {
    let (ctl, threshold, tick) = match kind {
        CqKind::Tx => (r::Q_TIM_CTL, r::Q_TIM_THRESHOLD, r::QM_TCQ_CTL0),
        CqKind::Rx => (r::Q_RIM_CTL, r::Q_RIM_THRESHOLD, r::QM_RCQ_CTL0),
    };
    let vector = (hw.csr.load(r::queue(queue, ctl)) & r::Q_IM_CTL_MSIX_MASK) as u8;
    let threshold = hw.csr.load(r::queue(queue, threshold)) & r::Q_IM_THRESHOLD_MASK;
    let ticks = match kind {
        CqKind::Tx => hw.intr.tcq_timeout(vector),
        CqKind::Rx => hw.intr.rcq_timeout(vector),
    };
    let cycles = (hw.csr.load(tick) >> r::QM_CTL0_TICK_CYCLES_SHIFT) & r::QM_CTL0_TICK_CYCLES_MASK;
    let nanos = u64::from(ticks) * u64::from(cycles) * 1000 / r::CLOCK_MHZ;
    (vector, Duration::from_nanos(nanos), threshold)
}

/// Whether the driver has completions left to consume.
fn is_outstanding(hw: &Hw, kind: CqKind, queue: u32) -> bool {
    let (ptrs, head, size) = match kind {
        CqKind::Tx => (r::Q_TCQ_PTRS, r::Q_TCQ_HEAD, r::Q_TCQ_SIZE),
        CqKind::Rx => (r::Q_RCQ_PTRS, r::Q_RCQ_HEAD, r::Q_RCQ_SIZE),
    };
    let reg = |off| hw.csr.load(r::queue(queue, off));
    let log2 = reg(size) & r::Q_SIZE_MASK;
    let mask = (1u32 << if log2 == 0 { 16 } else { log2 }) - 1;
    ((reg(ptrs) >> 16) ^ reg(head)) & mask != 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intr::tests::Sent;
    use crate::mac::{Fec, LinkMode, Speed};

    const QUEUE: u32 = 5;
    const VECTOR: u32 = 9;

    /// A device with one transmit completion queue: 35 ticks of 1 us, threshold 4.
    fn setup() -> (Arc<Sent>, Hw, Moderator) {
        let sent = Arc::new(Sent::default());
        let mode = LinkMode {
            speed: Speed::R2x50,
            fec: Fec::Rs,
        };
        let hw = Hw::new(sent.clone(), mode).unwrap();
        hw.csr.store(r::queue(QUEUE, r::Q_TIM_CTL), VECTOR);
        hw.csr.store(r::queue(QUEUE, r::Q_TIM_THRESHOLD), 4);
        hw.csr.store(r::queue(QUEUE, r::Q_TCQ_SIZE), 6);
        hw.csr.store(r::QM_TCQ_CTL0, 600 << 16);
        hw.intr.write(r::intr_cq_rearm(VECTOR) + 2, 35);
        hw.intr.write(r::INTR_MASK_CLEAR, 1 << VECTOR);
        (sent, hw, Moderator::new())
    }

    /// `n` completions with the tail moved accordingly.
    fn complete(hw: &Hw, moderator: &mut Moderator, n: u32, now: Instant) {
        hw.csr.add32(r::queue(QUEUE, r::Q_TCQ_PTRS), n << 16);
        moderator.completed(hw, CqKind::Tx, QUEUE, n, now);
    }

    fn sent_now(sent: &Sent, hw: &Hw, moderator: &mut Moderator, now: Instant) -> Vec<u8> {
        moderator.expire(hw, now);
        moderator.flush(hw);
        std::mem::take(&mut sent.0.lock())
    }

    #[test]
    fn a_timer_ends_the_wait() {
        let (sent, hw, mut moderator) = setup();
        let start = Instant::now();
        complete(&hw, &mut moderator, 1, start);
        let end = start + Duration::from_micros(35);
        assert_eq!(moderator.deadline(), Some(end));
        let before = end - Duration::from_nanos(1);
        assert!(sent_now(&sent, &hw, &mut moderator, before).is_empty());
        assert_eq!(sent_now(&sent, &hw, &mut moderator, end), [9]);
        assert_eq!(moderator.deadline(), None);
    }

    #[test]
    fn the_threshold_needs_no_timer() {
        let (sent, hw, mut moderator) = setup();
        let now = Instant::now();
        complete(&hw, &mut moderator, 3, now);
        assert!(sent_now(&sent, &hw, &mut moderator, now).is_empty());
        complete(&hw, &mut moderator, 1, now);
        assert_eq!(sent_now(&sent, &hw, &mut moderator, now), [9]);
    }

    #[test]
    fn nothing_is_sent_for_what_the_driver_has_seen() {
        let (sent, hw, mut moderator) = setup();
        let now = Instant::now();
        complete(&hw, &mut moderator, 2, now);
        hw.csr.store(r::queue(QUEUE, r::Q_TCQ_HEAD), 2);
        let late = now + Duration::from_secs(1);
        assert!(sent_now(&sent, &hw, &mut moderator, late).is_empty());
    }

    #[test]
    fn masked_and_stopped_queues_are_silent() {
        let (sent, hw, mut moderator) = setup();
        let now = Instant::now();
        let late = now + Duration::from_secs(1);
        complete(&hw, &mut moderator, 1, now);
        moderator.stop(CqKind::Tx, QUEUE);
        assert!(sent_now(&sent, &hw, &mut moderator, late).is_empty());
        hw.csr.store(r::queue(QUEUE, r::Q_TIM_MASK), 1);
        complete(&hw, &mut moderator, 9, now);
        assert!(sent_now(&sent, &hw, &mut moderator, late).is_empty());
    }

    #[test]
    fn queues_that_share_a_vector_cost_one_message() {
        let (sent, hw, mut moderator) = setup();
        let now = Instant::now();
        hw.csr.store(r::queue(QUEUE, r::Q_RIM_CTL), VECTOR);
        moderator.completed(&hw, CqKind::Rx, QUEUE, 1, now);
        complete(&hw, &mut moderator, 4, now);
        assert_eq!(sent_now(&sent, &hw, &mut moderator, now), [9]);
        // And none latched for the time the driver unmasks.
        hw.intr.write(r::INTR_MASK_CLEAR, 1 << VECTOR);
        assert!(sent.0.lock().is_empty());
    }
}
