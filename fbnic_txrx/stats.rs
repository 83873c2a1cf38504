// SPDX-License-Identifier: GPL-2.0

//! Counters of the queues.
//!
//! The data path adds, anybody reads at any time. They start at zero with each queue; whoever
//! destroys a queue first adds a snapshot to the totals it keeps.

use core::{
    ops::AddAssign,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};

/// A counter with one writer at a time and any number of readers.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `value`.
    ///
    /// A load and a store, not one atomic operation: two writers at once could lose counts, which
    /// the owner of the queue rules out.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(value);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// Returns the count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A flag that is true the first time it is asked.
#[derive(Default)]
pub struct Once(AtomicBool);

impl Once {
    /// Returns whether this is the first call.
    pub fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// What the transmitting CPU counts, under the lock of the transmit queue.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct XmitStats {
    pub(super) csum_partial: Counter,
    pub(super) lso: Counter,
    pub(super) stop: Counter,
    pub(super) dropped: Counter,
}

/// What the NAPI context that completes packets counts.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct CleanStats {
    pub(super) packets: Counter,
    pub(super) bytes: Counter,
    pub(super) wake: Counter,
    pub(super) dropped: Counter,
    pub(super) ts_packets: Counter,
    pub(super) ts_lost: Counter,
    pub(super) logged: Once,
}

/// Counters of one transmit queue.
#[derive(Default)]
pub struct TxStats {
    pub(super) xmit: XmitStats,
    pub(super) clean: CleanStats,
}

/// Values of [`TxStats`] at one time, or sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxSnapshot {
    /// Frames sent; segments of a large send count each.
    pub packets: u64,
    /// Bytes sent, with the headers of each segment and without FCS.
    pub bytes: u64,
    /// Packets the device finished the checksum of.
    pub csum_partial: u64,
    /// Segments the device made.
    pub lso: u64,
    /// Packets with a hardware timestamp.
    pub ts_packets: u64,
    /// Packets whose timestamp never came.
    pub ts_lost: u64,
    /// Times the queue was stopped because the ring was full.
    pub stop: u64,
    /// Times it was woken again.
    pub wake: u64,
    /// Packets thrown away.
    pub dropped: u64,
}

impl TxStats {
    /// Returns the values of now.
    pub fn snapshot(&self) -> TxSnapshot {
        let Self { xmit, clean } = self;
        TxSnapshot {
            packets: clean.packets.get(),
            bytes: clean.bytes.get(),
            csum_partial: xmit.csum_partial.get(),
            lso: xmit.lso.get(),
            ts_packets: clean.ts_packets.get(),
            ts_lost: clean.ts_lost.get(),
            stop: xmit.stop.get(),
            wake: clean.wake.get(),
            dropped: xmit.dropped.get().wrapping_add(clean.dropped.get()),
        }
    }
}

impl AddAssign for TxSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.csum_partial = self.csum_partial.wrapping_add(other.csum_partial);
        self.lso = self.lso.wrapping_add(other.lso);
        self.ts_packets = self.ts_packets.wrapping_add(other.ts_packets);
        self.ts_lost = self.ts_lost.wrapping_add(other.ts_lost);
        self.stop = self.stop.wrapping_add(other.stop);
        self.wake = self.wake.wrapping_add(other.wake);
        self.dropped = self.dropped.wrapping_add(other.dropped);
    }
}

/// Counters of the frames that XDP programs of a NAPI context send back, which go by the number of
/// the context's first receive queue. Written by the context.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct XdpStats {
    pub(super) packets: Counter,
    pub(super) bytes: Counter,
    pub(super) dropped: Counter,
}

/// Values of [`XdpStats`] at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpSnapshot {
    /// Frames sent back.
    pub packets: u64,
    /// Bytes of them, without FCS.
    pub bytes: u64,
    /// Frames for which there was no room, or that could not be sent.
    pub dropped: u64,
}

/// Counters of one receive queue, all written by its NAPI context.
#[derive(Default)]
#[repr(align(64))]
pub struct RxStats {
    pub(super) packets: Counter,
    pub(super) bytes: Counter,
    pub(super) dropped: Counter,
    pub(super) alloc_failed: Counter,
    pub(super) csum_complete: Counter,
    pub(super) csum_none: Counter,
    pub(super) length_errors: Counter,
    pub(super) bdq_alloc_failed: Counter,
    pub(super) logged: Once,
    /// Header buffers the device has, in pages.
    pub(super) hpq_posted: AtomicU32,
    /// Payload buffers the device has, in pages.
    pub(super) ppq_posted: AtomicU32,
    pub(super) xdp: XdpStats,
}

/// Values of [`RxStats`] at one time, or sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxSnapshot {
    /// Frames handed to the stack, or dealt with by an XDP program.
    pub packets: u64,
    /// Bytes of them, without FCS.
    pub bytes: u64,
    /// Frames thrown away: damaged, or no memory.
    pub dropped: u64,
    /// Frames thrown away because there was no memory for a packet.
    pub alloc_failed: u64,
    /// Frames passed on with a sum over all of their bytes.
    pub csum_complete: u64,
    /// Frames passed on without a checksum.
    pub csum_none: u64,
    /// Frames longer than an XDP program accepts.
    pub length_errors: u64,
    /// Times no page could be had for the buffer rings.
    pub bdq_alloc_failed: u64,
}

impl RxStats {
    /// Fewer buffers than these may not suffice for one packet, so no completion would come.
    const STARVED: u32 = 4;

    /// Returns the values of now.
    pub fn snapshot(&self) -> RxSnapshot {
        RxSnapshot {
            packets: self.packets.get(),
            bytes: self.bytes.get(),
            dropped: self.dropped.get(),
            alloc_failed: self.alloc_failed.get(),
            csum_complete: self.csum_complete.get(),
            csum_none: self.csum_none.get(),
            length_errors: self.length_errors.get(),
            bdq_alloc_failed: self.bdq_alloc_failed.get(),
        }
    }

    /// Returns the values of now of what programs send back.
    pub fn xdp_snapshot(&self) -> XdpSnapshot {
        let Self { xdp, .. } = self;
        XdpSnapshot {
            packets: xdp.packets.get(),
            bytes: xdp.bytes.get(),
            dropped: xdp.dropped.get(),
        }
    }

    /// Returns whether the queue has so few buffers that it may never be polled again by itself.
    pub fn is_starved(&self) -> bool {
        self.hpq_posted.load(Ordering::Relaxed) < Self::STARVED
            || self.ppq_posted.load(Ordering::Relaxed) < Self::STARVED
    }
}

impl AddAssign for RxSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.dropped = self.dropped.wrapping_add(other.dropped);
        self.alloc_failed = self.alloc_failed.wrapping_add(other.alloc_failed);
        self.csum_complete = self.csum_complete.wrapping_add(other.csum_complete);
        self.csum_none = self.csum_none.wrapping_add(other.csum_none);
        self.length_errors = self.length_errors.wrapping_add(other.length_errors);
        self.bdq_alloc_failed = self.bdq_alloc_failed.wrapping_add(other.bdq_alloc_failed);
    }
}
