// SPDX-License-Identifier: GPL-2.0

//! Reading completion rings.

use core::ops::ControlFlow;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    prelude::*, //
};

use super::ring::{
    CompletionHead,
    RingSize, //
};
use crate::desc_ring::{
    dma_rmb,
    DescRing,
    Observer, //
};

/// A ring of completions with the place where the next one will be.
pub(super) struct CompletionRing {
    desc: DescRing,
    head: CompletionHead,
}

impl CompletionRing {
    /// Creates a ring of `size` without completions.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(dev: &Device<Bound>, size: RingSize) -> Result<Self> {
        Ok(Self {
            desc: DescRing::new(dev, size.entries())?,
            head: CompletionHead::new(size),
        })
    }

    /// Returns the address of the ring as the device sees it.
    pub(super) fn dma_address(&self) -> u64 {
        self.desc.dma_address()
    }

    /// Returns what it takes to look at the completions from elsewhere.
    pub(super) fn observer(&self) -> Observer {
        self.desc.observer()
    }

    /// Returns the number of completions the ring holds.
    pub(super) fn size(&self) -> RingSize {
        self.head.size()
    }

    /// Returns the value for the doorbell.
    #[inline(always)]
    pub(super) fn head(&self) -> u32 {
        self.head.index()
    }

    /// Returns whether the device has not written the next completion yet.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        let pass = self.head.pass(self.head.count().wrapping_add(1));
        let part = self.desc.part(pass.start, pass.end);
        part.first().and_then(|raw| pass.completed(raw)).is_none()
    }

    /// Calls `each` with the completions the device has written, in order, until it says to stop.
    ///
    /// The phase bit has been removed from them. Returns how many there were: at most one turn of
    /// the ring, so that a device cannot keep the CPU here.
    #[inline(always)]
    pub(super) fn take(&mut self, mut each: impl FnMut(u64) -> ControlFlow<()>) -> u32 {
        let before = self.head.count();
        let limit = before.wrapping_add(self.head.size().entries());
        while self.head.count() != limit {
            let pass = self.head.pass(limit);
            let mut part = self.desc.part(pass.start, pass.end);
            let total = part.len();
            let mut stop = false;
            while let Some(raw) = part.first().and_then(|raw| pass.completed(raw)) {
                // What the device wrote before the completion is not to be read before it.
                dma_rmb();
                stop = each(raw).is_break();
                part.skip_first();
                if stop {
                    break;
                }
            }
            self.head.advance(total.wrapping_sub(part.len()));
            if stop || !part.is_empty() {
                break;
            }
        }
        self.head.count().wrapping_sub(before)
    }

    /// Starts over at the beginning with the first phase, as the device does after a reset.
    pub(super) fn rewind(&mut self) {
        self.head = CompletionHead::new(self.head.size());
    }

    /// Forgets all completions. The device must not be writing any.
    pub(super) fn clear(&self) {
        self.desc.clear();
    }
}
