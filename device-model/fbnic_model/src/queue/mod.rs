// SPDX-License-Identifier: GPL-2.0
//! The data path: what the worker runs under the core lock.
//!
//! | module | guide | what |
//! |---|---|---|
//! | [`tx`] | 7 | work rings, offloads |
//! | [`rx`] | 8 | placement, completions |
//! | [`cq`] | 6, 7.3, 8.3 | completion rings |
//! | [`ring`] | 6 | what all rings share |
//! | [`wire`] | | the cable, with back-pressure |
//! | [`fifo`] | 8.4 | frames that wait for buffers |
//! | [`counters`] | 12 | counting without register access |
//!
//! Nothing here trusts a register or a descriptor: indices are brought inside
//! their ring, addresses go through [`crate::dma`], lengths are checked, and work
//! per round is bounded.

mod counters;
mod cq;
mod fifo;
mod ring;
mod rx;
mod tx;
mod wire;

#[cfg(test)]
mod tests;

use fbnic_defs::csr as r;
use net_backend::{CableStats, Endpoint, Wait};

use crate::device::Cx;
use crate::hw::Hw;
use crate::rpc::Classifier;
pub use counters::FrameStats;

use counters::Counters;
use ring::RingRegs;
use rx::RxEngine;
use tx::{Budget, TxEngine};
use wire::Wire;

/// Descriptors taken from the work rings in a round, so that no ring holds the others,
/// and all together not the lock, for long: the hypervisor waits for it, with all its
/// virtual CPUs, and gives the device up after 5 s.
const TX_BUDGET: Budget = Budget {
    ring: 256,
    round: 2048,
};
/// Frames taken from the cable in a round.
const RX_BUDGET: usize = 256;

/// The rings of a queue set.
const RINGS: [&RingRegs; 6] = [
    &tx::TWQ[0],
    &tx::TWQ[1],
    &cq::TCQ,
    &cq::RCQ,
    &rx::HPQ,
    &rx::PPQ,
];

/// Reads register `csr` if it is one that shows both indices of a ring.
///
/// The engines store their own index there when they move it; the driver's is its last doorbell,
/// which may not have been looked at yet.
#[must_use]
pub fn pointers(hw: &Hw, csr: u32) -> Option<u32> {
    let at = csr.checked_sub(r::QUEUE_FIRST)?;
    let (queue, off) = (at / r::QUEUE_STRIDE, at % r::QUEUE_STRIDE);
    let regs = RINGS.into_iter().find(|regs| regs.ptrs == off)?;
    let register = |off| hw.csr.load(r::queue(queue, off));
    let driver = register(regs.doorbell) & ring::mask(register(regs.size));
    Some(register(regs.ptrs) & 0xffff_0000 | driver)
}

/// What the engines share during a round.
struct Round<'r, 'c> {
    cx: &'r mut Cx<'c>,
    classifier: &'r Classifier,
    counters: &'r mut Counters,
}

/// All queues of one NIC, and its end of the cable.
pub struct DataPath {
    wire: Wire,
    tx: TxEngine,
    rx: RxEngine,
    classifier: Classifier,
    counters: Counters,
}

impl DataPath {
    /// The data path of a device after power-on.
    #[must_use]
    pub fn new(cable: Box<dyn Endpoint>) -> Self {
        Self {
            wire: Wire::new(cable),
            tx: TxEngine::new(),
            rx: RxEngine::new(),
            classifier: Classifier::default(),
            counters: Counters::default(),
        }
    }

    /// Runs one bounded round; true if it is to be called again at once.
    pub fn service(&mut self, cx: &mut Cx<'_>) -> bool {
        let Self {
            wire,
            tx,
            rx,
            classifier,
            counters,
        } = self;
        classifier.refresh(cx.hw);
        let mut round = Round {
            cx,
            classifier,
            counters,
        };
        wire.start_round(round.cx.hw, round.cx.now);
        let more_tx = tx.run(&mut round, wire, TX_BUDGET);
        wire.end_round(round.cx.now);
        // Buffers posted since the last round serve the frames that wait first.
        let _ = round.cx.hw.doorbells.take_rx();
        rx.retry(&mut round);
        wire.take_returned(&mut |frame| rx.receive(&mut round, frame));
        let received = wire
            .cable
            .receive(RX_BUDGET, &mut |frame| rx.receive(&mut round, frame));
        rx.publish(round.cx);
        counters.flush(&cx.hw.csr);
        more_tx || received == RX_BUDGET
    }

    /// What to sleep on for the cable.
    #[must_use]
    pub fn wait(&self) -> Wait {
        let mut wait = self.wire.cable.wait();
        let deadlines = [wait.deadline, self.wire.deadline()];
        wait.deadline = deadlines.into_iter().flatten().min();
        wait
    }

    /// Whether the cable has a far end.
    #[must_use]
    pub fn link_up(&self) -> bool {
        self.wire.cable.link_up()
    }

    /// The cable's counters.
    #[must_use]
    pub fn cable_stats(&self) -> CableStats {
        self.wire.cable.stats()
    }

    /// What became of frames.
    #[must_use]
    pub fn frame_stats(&self) -> FrameStats {
        FrameStats {
            loopback_full: self.wire.loopback_full(),
            ..self.counters.frames
        }
    }

    /// Acts on a write of `value` to a queue control register, which is stored already.
    ///
    /// When it returns with the queue disabled, nothing writes to its rings any more.
    pub fn queue_control(&mut self, cx: &mut Cx<'_>, csr: u32, value: u32) {
        let Some(at) = csr
            .checked_sub(r::QUEUE_FIRST)
            .filter(|_| csr <= r::QUEUE_LAST)
        else {
            return;
        };
        let (queue, off) = (at / r::QUEUE_STRIDE, at % r::QUEUE_STRIDE);
        if !self.tx.control(cx, queue, off, value) {
            self.rx.control(cx, queue, off, value);
        }
    }

    /// Forgets all rings and waiting frames: the device is being reset.
    pub fn reset(&mut self) {
        self.tx = TxEngine::new();
        self.rx.reset();
        self.classifier.reset();
        self.counters.reset();
    }
}
