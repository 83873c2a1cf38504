// SPDX-License-Identifier: GPL-2.0

//! A bounded queue between one producer and one consumer.
//!
//! Neither side takes a lock or waits for the other: each publishes its own index with a release
//! store and reads the other's with an acquire load, and looks at the other's only when the copy it
//! remembers does not let it proceed. That suits a transmit ring, whose packets are put in under the
//! lock of the transmit queue and taken out in the NAPI poll, both at full speed.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        KVVec, //
    },
    prelude::*,
    sync::Arc, //
};

/// An index on a cache line of its own, because its writer and its readers are on different CPUs.
#[repr(align(64))]
struct Index(AtomicU32);

/// The memory both sides share.
///
/// Indices run freely and are reduced to a slot by `mask`.
///
/// # Invariants
///
/// - `slots.len() == mask + 1`, a power of two.
/// - `tail - head <= slots.len()`, and the slots from `head` up to `tail` hold initialised values.
/// - Only the [`Consumer`] writes `head` and touches those slots; only the [`Producer`] writes
///   `tail` and touches the others. There is one of each.
struct Ring<T> {
    slots: KVVec<UnsafeCell<MaybeUninit<T>>>,
    mask: u32,
    head: Index,
    tail: Index,
}

// SAFETY: By the type invariants a slot is only ever accessed by one of the two sides, which hand it
// over with a release store and an acquire load of the index. Values move from one thread to the
// other, hence `T: Send`.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: Nothing in it is tied to a thread, if `T` is not.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    fn slot(&self, index: u32) -> *mut MaybeUninit<T> {
        // CAST: `u32` fits `usize` on every architecture the kernel runs on with this driver.
        let offset = (index & self.mask) as usize;
        // SAFETY: By the type invariants `offset` is below `slots.len()`.
        unsafe { UnsafeCell::raw_get(self.slots.as_ptr().add(offset)) }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let tail = *self.tail.0.get_mut();
        let mut head = *self.head.0.get_mut();
        while head != tail {
            // SAFETY: By the type invariants the slots from `head` to `tail` are initialised, and
            // with both sides gone nobody else accesses them.
            unsafe { (*self.slot(head)).assume_init_drop() };
            head = head.wrapping_add(1);
        }
    }
}

/// Creates a queue of at least `capacity` values.
///
/// Sleeps.
///
/// # Errors
///
/// `EINVAL` if `capacity` is 0 or above 65536, `ENOMEM` without memory.
pub fn channel<T: Send>(capacity: u32) -> Result<(Producer<T>, Consumer<T>)> {
    if capacity == 0 || capacity > 1 << 16 {
        return Err(EINVAL);
    }
    let capacity = capacity.next_power_of_two();
    // CAST: At most 65536.
    let mut slots = KVVec::with_capacity(capacity as usize, GFP_KERNEL)?;
    for _ in 0..capacity {
        slots.push(UnsafeCell::new(MaybeUninit::uninit()), GFP_KERNEL)?;
    }
    // INVARIANT: `slots` has the length asserted, both indices are equal, and the only producer and
    // the only consumer are created below.
    let ring = Arc::new(
        Ring {
            slots,
            mask: capacity - 1,
            head: Index(AtomicU32::new(0)),
            tail: Index(AtomicU32::new(0)),
        },
        GFP_KERNEL,
    )?;
    let producer = Producer {
        ring: ring.clone(),
        tail: 0,
        head: 0,
    };
    let consumer = Consumer {
        ring,
        head: 0,
        tail: 0,
    };
    Ok((producer, consumer))
}

/// The side that puts values in.
///
/// # Invariants
///
/// `tail` is the ring's tail; `head` is a value the ring's head had.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: u32,
    head: u32,
}

impl<T> Producer<T> {
    /// Returns a free slot, or `None` if the queue is full.
    #[inline]
    pub fn vacant(&mut self) -> Option<Vacant<'_, T>> {
        if self.tail.wrapping_sub(self.head) > self.ring.mask {
            self.head = self.ring.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) > self.ring.mask {
                return None;
            }
        }
        // INVARIANT: There are at most `mask` values in the queue, so the slot at `tail` is free.
        Some(Vacant(self))
    }
}

/// A slot which is certainly free.
///
/// # Invariants
///
/// The slot at the producer's tail is not in use.
pub struct Vacant<'a, T>(&'a mut Producer<T>);

impl<T> Vacant<'_, T> {
    /// Puts `value` in the queue. The consumer may take it at once.
    #[inline]
    pub fn push(self, value: T) {
        let Producer { ring, tail, .. } = self.0;
        // SAFETY: By the type invariant the slot is outside of `head..tail`, and only the producer,
        // which is borrowed exclusively, accesses such slots.
        unsafe { (*ring.slot(*tail)).write(value) };
        *tail = tail.wrapping_add(1);
        // INVARIANT: The slot was initialised above.
        ring.tail.0.store(*tail, Ordering::Release);
    }
}

/// The side that takes values out.
///
/// # Invariants
///
/// `head` is the ring's head; `tail` is a value the ring's tail had.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: u32,
    tail: u32,
}

impl<T> Consumer<T> {
    #[inline]
    fn refresh(&mut self) -> bool {
        if self.head == self.tail {
            self.tail = self.ring.tail.0.load(Ordering::Acquire);
        }
        self.head != self.tail
    }

    /// Returns the oldest value without taking it out.
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if !self.refresh() {
            return None;
        }
        // SAFETY: By the type invariants the slot at `head` is initialised, and only the consumer
        // accesses it, which stays borrowed.
        Some(unsafe { (*self.ring.slot(self.head)).assume_init_ref() })
    }

    /// Takes out the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if !self.refresh() {
            return None;
        }
        // SAFETY: As in `peek`. The slot is not read again: `head` moves on.
        let value = unsafe { (*self.ring.slot(self.head)).assume_init_read() };
        self.head = self.head.wrapping_add(1);
        // INVARIANT: The slot left behind is outside of `head..tail` now.
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }
}
