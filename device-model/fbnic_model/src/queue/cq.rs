// SPDX-License-Identifier: GPL-2.0
//! Completion rings, the device's side: TCQ and RCQ.
//!
//! A descriptor becomes visible with its DONE bit, which has one meaning on even
//! passes over the ring and the other on odd ones. Every descriptor is one 8-byte
//! store that no earlier store follows, so the driver sees them in order and whole.

use fbnic_defs::csr as r;

use super::ring::{Ring, RingRegs};
use crate::device::Cx;
use crate::dma::{Dma, DmaError};
use crate::fault::{Distortion, Faults, Hook};
use crate::hw::Hw;
use crate::moderation::CqKind;

/// Bit 63 of every completion descriptor.
const DONE: u64 = 1 << 63;

/// The transmit completion ring's registers.
pub(super) const TCQ: RingRegs = RingRegs {
    ctl: r::Q_TCQ_CTL,
    size: r::Q_TCQ_SIZE,
    bal: r::Q_TCQ_BAL,
    doorbell: r::Q_TCQ_HEAD,
    ptrs: r::Q_TCQ_PTRS,
};
/// The receive completion ring's registers.
pub(super) const RCQ: RingRegs = RingRegs {
    ctl: r::Q_RCQ_CTL,
    size: r::Q_RCQ_SIZE,
    bal: r::Q_RCQ_BAL,
    doorbell: r::Q_RCQ_HEAD,
    ptrs: r::Q_RCQ_PTRS,
};

/// A completion ring.
pub(super) struct CompletionRing {
    regs: &'static RingRegs,
    kind: CqKind,
    ring: Ring,
    tail: u32,
    /// Value of DONE on this pass.
    phase: bool,
    /// Descriptors written since [`CompletionRing::publish`].
    unannounced: u32,
    /// Number of the queue set, for faults.
    queue: u32,
    /// A completion that a fault writes after the next one.
    held: Option<u64>,
}

impl CompletionRing {
    pub fn new(kind: CqKind) -> Self {
        let regs = match kind {
            CqKind::Tx => &TCQ,
            CqKind::Rx => &RCQ,
        };
        Self {
            regs,
            kind,
            ring: Ring::default(),
            tail: 0,
            phase: true,
            unannounced: 0,
            queue: 0,
            held: None,
        }
    }

    /// Acts on a write to the control register.
    pub fn control(&mut self, cx: &mut Cx<'_>, queue: u32, value: u32) {
        let was_enabled = self.ring.enabled;
        self.queue = queue;
        if self.ring.control(cx.hw, queue, self.regs, value) {
            self.held = None;
            self.tail = 0;
            self.phase = true;
        }
        if !self.ring.enabled && was_enabled && cx.hw.faults.completes_after_disable() {
            let _ = self.write(cx.dma, 0, self.phase);
        }
        if !self.ring.enabled {
            self.unannounced = 0;
            cx.moderator.stop(self.kind, queue);
        }
    }

    pub fn enabled(&self) -> bool {
        self.ring.enabled
    }

    /// Returns how many descriptors fit. One entry stays free, so that a full ring
    /// does not look empty.
    pub fn free(&self, hw: &Hw, queue: u32) -> u32 {
        let head = self.ring.doorbell(hw, queue, self.regs);
        self.ring.distance(self.tail + 1, head)
    }

    /// Writes one descriptor; its DONE bit is set here. The caller knows of room.
    ///
    /// # Errors
    ///
    /// Fails without effect when the entry cannot be written.
    pub fn push(&mut self, dma: Dma<'_>, descriptor: u64) -> Result<(), DmaError> {
        match dma.faults(Hook::Completion) {
            None => self.write(dma, descriptor, self.phase),
            Some(faults) => self.push_distorted(dma, faults, descriptor),
        }
    }

    /// Writes what a fault makes of `descriptor`, and after it what one held back before.
    fn push_distorted(
        &mut self,
        dma: Dma<'_>,
        faults: &Faults,
        descriptor: u64,
    ) -> Result<(), DmaError> {
        match faults.distort(self.kind, self.queue, descriptor) {
            None => self.write(dma, descriptor, self.phase)?,
            Some(Distortion::Replace(other)) => self.write(dma, other, self.phase)?,
            Some(Distortion::WrongPhase) => self.write(dma, descriptor, !self.phase)?,
            Some(Distortion::Omit) => {}
            Some(Distortion::Twice) => {
                self.write(dma, descriptor, self.phase)?;
                self.write(dma, descriptor, self.phase)?;
            }
            Some(Distortion::HoldBack) if self.held.is_none() => {
                self.held = Some(descriptor);
                return Ok(());
            }
            Some(Distortion::HoldBack) => self.write(dma, descriptor, self.phase)?,
        }
        match self.held.take() {
            Some(held) => self.write(dma, held, self.phase),
            None => Ok(()),
        }
    }

    fn write(&mut self, dma: Dma<'_>, descriptor: u64, phase: bool) -> Result<(), DmaError> {
        let done = if phase { DONE } else { 0 };
        dma.store_u64_release(self.ring.entry(self.tail), (descriptor & !DONE) | done)?;
        self.tail = self.ring.wrap(self.tail + 1);
        if self.tail == 0 {
            self.phase = !self.phase;
        }
        self.unannounced += 1;
        Ok(())
    }

    /// Shows the index and tells the interrupt manager what has been written.
    pub fn publish(&mut self, cx: &mut Cx<'_>, queue: u32) {
        if self.unannounced == 0 {
            return;
        }
        self.ring.publish(cx.hw, queue, self.regs, self.tail);
        let count = std::mem::take(&mut self.unannounced);
        cx.moderator
            .completed(cx.hw, self.kind, queue, count, cx.now);
    }
}
