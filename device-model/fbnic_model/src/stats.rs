// SPDX-License-Identifier: GPL-2.0
//! What the model did for the guest, for benchmarks. Never reset, unlike the device's counters.

use std::sync::atomic::{AtomicU64, Ordering};

use fbnic_defs::csr as r;

use crate::device::region;

/// A wrapping event counter that one thread mostly writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one event.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accesses of the guest, by kind.
#[derive(Debug, Default)]
pub struct BusStats {
    /// Reads of BAR0.
    pub mmio_reads: Counter,
    /// Writes of TWQ0_TAIL and TWQ1_TAIL.
    pub twq_tail: Counter,
    /// Writes of TCQ_HEAD.
    pub tcq_head: Counter,
    /// Writes of RCQ_HEAD.
    pub rcq_head: Counter,
    /// Writes of BDQ_HPQ_TAIL and BDQ_PPQ_TAIL.
    pub bdq_tail: Counter,
    /// Writes of INTR_CQ_REARM.
    pub cq_rearm: Counter,
    /// All other writes of BAR0.
    pub other_writes: Counter,
    /// Reads of BAR4.
    pub fw_reads: Counter,
    /// Writes of BAR4.
    pub fw_writes: Counter,
    /// Reads of configuration space.
    pub config_reads: Counter,
    /// Writes of configuration space.
    pub config_writes: Counter,
}

impl BusStats {
    /// Counts a write of register `index`.
    pub fn count_write(&self, index: u32) {
        let off = index % r::QUEUE_STRIDE;
        let counter = match index {
            r::QUEUE_FIRST..=r::QUEUE_LAST => match off {
                r::Q_TWQ0_TAIL | r::Q_TWQ1_TAIL => &self.twq_tail,
                r::Q_TCQ_HEAD => &self.tcq_head,
                r::Q_RCQ_HEAD => &self.rcq_head,
                r::Q_BDQ_HPQ_TAIL | r::Q_BDQ_PPQ_TAIL => &self.bdq_tail,
                _ => &self.other_writes,
            },
            r::INTR_CQ_FIRST..=r::INTR_CQ_LAST if index % 4 == 0 => &self.cq_rearm,
            _ => &self.other_writes,
        };
        counter.count();
    }

    /// Counts a read of region `index` that nobody answers: the guest has made it all the same.
    pub fn count_unanswered_read(&self, index: u32) {
        match index {
            region::BAR0 => self.mmio_reads.count(),
            region::BAR4 => self.fw_reads.count(),
            region::CONFIG => self.config_reads.count(),
            _ => {}
        }
    }

    /// Counts a write to region `index` that nobody takes, which is none of a kind of its own.
    pub fn count_unanswered_write(&self, index: u32) {
        match index {
            region::BAR0 => self.other_writes.count(),
            region::BAR4 => self.fw_writes.count(),
            region::CONFIG => self.config_writes.count(),
            _ => {}
        }
    }

    /// All writes of BAR0.
    pub fn mmio_writes(&self) -> u64 {
        [
            &self.twq_tail,
            &self.tcq_head,
            &self.rcq_head,
            &self.bdq_tail,
            &self.cq_rearm,
            &self.other_writes,
        ]
        .into_iter()
        .map(Counter::get)
        .sum()
    }
}
