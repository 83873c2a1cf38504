// SPDX-License-Identifier: GPL-2.0

//! Frames that XDP programs send back.
//!
//! They go to the second work queue of a transmit triad, without a META: the device takes that from a
//! register, which asks for a completion of each frame. Only the NAPI context that receives the frames
//! uses the queue, so it takes no lock.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::Arc, //
};

use super::{
    ring::RingSize,
    stats::{
        RxStats,
        TxStats, //
    },
    tx::{
        bad_completion,
        Buffers, //
    },
    QueueRegs, //
};
use crate::{
    desc_ring::Observer,
    fbnic_csr::{
        queue as regs,
        Doorbell, //
    },
    net::{
        page_pool::CpuSync,
        xdp::{
            Frame,
            FrameRing, //
        }, //
    },
};

/// The queue of frames that the programs of a NAPI context send back.
pub(super) struct XdpQueue {
    ring: FrameRing<Buffers>,
    /// The registers of the triad.
    triad: QueueRegs,
    doorbell: Doorbell,
    /// Index of the first descriptor the device was not told of.
    told: u32,
    /// Where the device has got to, if that has not been dealt with.
    done: Option<u32>,
    /// Counters of the context's first receive queue.
    stats: Arc<RxStats>,
    /// Counters of the triad, for completions that make no sense.
    bad: Arc<TxStats>,
}

impl XdpQueue {
    /// Creates an empty queue with a ring of `size`, in the triad with these registers.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        dev: &Device<Bound>,
        triad: QueueRegs,
        size: RingSize,
        stats: Arc<RxStats>,
        bad: Arc<TxStats>,
    ) -> Result<Self> {
        Ok(Self {
            ring: FrameRing::new(dev, size.entries())?,
            doorbell: Doorbell::new(triad.offset(regs::TWQ1_TAIL)).ok_or(EINVAL)?,
            triad,
            told: 0,
            done: None,
            stats,
            bad,
        })
    }

    /// Returns what it takes to look at the descriptors from elsewhere.
    pub(super) fn observer(&self) -> Observer {
        self.ring.observer()
    }

    /// Puts a frame in the ring, where the device does not see it before [`Self::ring_doorbell`], or
    /// throws it away if it can not be sent.
    ///
    /// NAPI poll.
    #[inline(always)]
    pub(super) fn send(&mut self, frame: Frame<'_>, sync: CpuSync<'_>) {
        if let Err(frame) = frame.transmit(&mut self.ring, sync) {
            self.stats.xdp.dropped.add(1);
            frame.recycle();
        }
    }

    /// Tells the device of those frames in the ring that it does not know of.
    #[inline]
    pub(super) fn ring_doorbell(&mut self) {
        let tail = self.ring.tail();
        if tail != self.told {
            self.told = tail;
            self.triad.fbnic().csr.ring_doorbell(self.doorbell, tail);
        }
    }

    /// Notes that the device is done with what lies in front of descriptor `head`.
    #[inline(always)]
    pub(super) fn note(&mut self, head: u32) {
        self.done = Some(head);
    }

    /// Gives back the pages of what the device is done with.
    ///
    /// NAPI poll, but not for netpoll: the context's page pools may not be used then.
    #[inline]
    pub(super) fn clean(&mut self) {
        let Some(head) = self.done.take() else {
            return;
        };
        match self.ring.complete(head) {
            Some(done) => {
                self.stats.xdp.packets.add(done.frames.into());
                self.stats.xdp.bytes.add(done.bytes.into());
            }
            None => bad_completion(&self.triad, &self.bad, head.into()),
        }
    }

    /// Sets up the ring in the device and starts it, at index 0. The queue must be disabled and empty.
    pub(super) fn enable(&self, size: RingSize) {
        let triad = &self.triad;
        triad.write(regs::TWQ1_CTL, regs::QUEUE_CTL_RESET);
        triad.write_base(regs::TWQ1_BAL, regs::TWQ1_BAH, self.ring.dma_address());
        triad.write(regs::TWQ1_SIZE, size.log2());
        triad.write(regs::TWQ1_CTL, regs::QUEUE_CTL_ENABLE);
    }

    /// Throws away what was not sent and starts over. The device must be idle.
    pub(super) fn flush(&mut self) {
        self.done = None;
        self.told = 0;
        let lost = self.ring.reset();
        self.stats.xdp.dropped.add(lost.frames.into());
    }
}
