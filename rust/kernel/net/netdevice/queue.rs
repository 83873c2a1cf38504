// SPDX-License-Identifier: GPL-2.0

//! Transmit queues: byte queue limits, stopping and waking.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use crate::bindings;
use kernel::types::Opaque;

/// The two directions of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum QueueType {
    /// Receive.
    Rx = bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_RX,
    /// Transmit.
    Tx = bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_TX,
}

/// What [`NetdevQueue::stop`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TxStop {
    /// The queue was stopped.
    Stopped,
    /// The queue was stopped and started again, since completions made room meanwhile.
    Restarted,
}

/// A transmit queue of the stack, `struct netdev_queue`.
///
/// # Invariants
///
/// Always a valid queue of a live device.
#[repr(transparent)]
pub struct NetdevQueue(Opaque<bindings::netdev_queue>);

// SAFETY: The methods only call functions made for use from several CPUs.
unsafe impl Sync for NetdevQueue {}

impl NetdevQueue {
    /// # Safety
    ///
    /// `queue` must be a valid queue for `'a`.
    #[inline]
    pub(super) unsafe fn from_ptr<'a>(queue: *mut bindings::netdev_queue) -> &'a Self {
        // SAFETY: By the requirements of this function; the type is transparent.
        unsafe { &*queue.cast() }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::netdev_queue {
        self.0.get()
    }

    /// Accounts for `bytes` put on the ring.
    ///
    /// Returns whether the device has to be told now: always unless `xmit_more`, and with
    /// `xmit_more` if the queue was stopped. The transmit lock must be held.
    #[inline]
    pub fn sent(&self, bytes: u32, xmit_more: bool) -> bool {
        #[cfg(CONFIG_BQL)]
        if self.queued_within_limit(bytes) {
            return !xmit_more || self.is_stopped();
        }
        // SAFETY: By the type invariant.
        unsafe { bindings::__netdev_tx_sent_queue(self.as_ptr(), bytes, xmit_more) }
    }

    /// Accounts for `bytes` if that is all there is to do: the limit is not reached, and nobody
    /// looks for stalls. Otherwise nothing has changed.
    #[cfg(CONFIG_BQL)]
    #[inline]
    fn queued_within_limit(&self, bytes: u32) -> bool {
        // SAFETY: By the type invariant. The counters written here belong to the transmitting side,
        // whose lock is held; the completing side reads them, and changes the limit, at any time.
        unsafe {
            let dql = &raw mut (*self.as_ptr()).dql;
            let queued = (*dql).num_queued.wrapping_add(bytes);
            let limit = (&raw const (*dql).adj_limit).read_volatile();
            // CAST: The difference of two free-running counters, which are never far apart.
            if (limit.wrapping_sub(queued) as i32) < 0
                || (&raw const (*dql).stall_thrs).read_volatile() != 0
            {
                return false;
            }
            (&raw mut (*dql).last_obj_cnt).write_volatile(bytes);
            (&raw mut (*dql).num_queued).write_volatile(queued);
        }
        true
    }

    /// Stops the queue, unless there is room by now.
    ///
    /// Called with the transmit lock held, when too few descriptors were unused. `unused` is asked
    /// once the queue is stopped: the completion side may have made room without seeing the stop,
    /// in which case nobody else would start the queue again.
    pub fn stop(&self, unused: impl Fn() -> u32, start_thrs: u32) -> TxStop {
        // SAFETY: By the type invariant. Includes the barrier between the stop bit and the look at
        // the ring, the counterpart of the one in `completed_wake`.
        unsafe { bindings::netif_tx_stop_queue_mb(self.as_ptr()) };
        if unused() >= start_thrs {
            // SAFETY: By the type invariant.
            unsafe { bindings::netif_tx_start_queue(self.as_ptr()) };
            return TxStop::Restarted;
        }
        TxStop::Stopped
    }

    /// Accounts for completed packets and wakes the queue if it was stopped and has room again.
    ///
    /// NAPI poll, after the ring's index was updated. Returns whether the queue was woken.
    #[inline]
    pub fn completed_wake(
        &self,
        pkts: u32,
        bytes: u32,
        unused: impl Fn() -> u32,
        start_thrs: u32,
    ) -> bool {
        self.completed(pkts, bytes);
        if pkts == 0 || unused() < start_thrs || !self.is_stopped() {
            return false;
        }
        self.wake();
        true
    }

    /// Accounts for completed packets. Orders the ring index before the stop bit.
    #[inline]
    pub fn completed(&self, pkts: u32, bytes: u32) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netdev_tx_completed_queue(self.as_ptr(), pkts, bytes) };
    }

    /// Returns whether the driver has stopped the queue.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        // SAFETY: By the type invariant. The field may change at any time.
        let state = unsafe { (&raw const (*self.as_ptr()).state).read_volatile() };
        state & (1 << bindings::netdev_queue_state_t___QUEUE_STATE_DRV_XOFF) != 0
    }

    /// Lets the stack transmit again, and makes it try.
    pub fn wake(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_tx_wake_queue(self.as_ptr()) };
    }

    /// Forgets what is accounted for. Nothing may be on the ring any more.
    pub fn reset(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netdev_tx_reset_queue(self.as_ptr()) };
    }
}
