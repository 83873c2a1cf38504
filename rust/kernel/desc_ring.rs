// SPDX-License-Identifier: GPL-2.0

//! Rings of 64-bit little-endian descriptors shared with a device.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    prelude::*,
    sync::Arc, //
};

/// Orders reads of DMA memory: what is read after the call is not older than what was read before.
///
/// Applies to what [`DescRing`] reads and to what functions of the kernel read that are called after
/// it. Who copies a frame that a device has written has to keep the compiler from doing so earlier.
#[inline(always)]
pub fn dma_rmb() {
    // x86 does not reorder reads with reads, and the compiler reorders neither volatile ones nor
    // calls of foreign functions. A fence for the compiler would also make it forget all that it has
    // in registers.
    #[cfg(not(CONFIG_X86))]
    kernel::sync::barrier::dma_mb(kernel::sync::barrier::Read);
}

/// A power of two of descriptors in coherent memory.
///
/// Each access reads or writes one whole descriptor at once, so the device never sees half of one.
/// The order of accesses to different descriptors is only what [`dma_rmb`] and register writes make
/// it. The device may change any descriptor at any time; readers have to check what they get.
///
/// # Invariants
///
/// `memory` has `mask + 1` elements, which is a power of two, and `first` is where they are.
pub struct DescRing {
    first: NonNull<u64>,
    mask: u32,
    memory: Arc<Coherent<[u64]>>,
}

// SAFETY: The memory is not tied to a thread.
unsafe impl Send for DescRing {}
// SAFETY: Concurrent accesses to a descriptor are single volatile ones.
unsafe impl Sync for DescRing {}

impl DescRing {
    /// Allocates `entries` descriptors, all zero.
    ///
    /// Sleeps. The memory is aligned to its own size, at least to a page.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `entries` is not a power of two, `ENOMEM` without memory.
    pub fn new(dev: &Device<Bound>, entries: u32) -> Result<Self> {
        if !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        // CAST: `u32` fits `usize` on every architecture the kernel runs on with this driver.
        let memory = Coherent::zeroed_slice_with_attrs(
            dev,
            entries as usize,
            GFP_KERNEL,
            kernel::dma::attrs::DMA_ATTR_NO_WARN,
        )?;
        let first = NonNull::new(memory.as_mut_ptr().cast()).ok_or(ENOMEM)?;
        // INVARIANT: `entries` is a power of two and the length of the allocation.
        Ok(Self {
            first,
            mask: entries - 1,
            memory: Arc::new(memory, GFP_KERNEL)?,
        })
    }

    /// Returns the address of the first descriptor as the device sees it.
    pub fn dma_address(&self) -> u64 {
        self.memory.dma_address()
    }

    /// Returns what it takes to look at the descriptors from elsewhere.
    ///
    /// It keeps the memory, and like the ring has to be gone before the device is unbound.
    pub fn observer(&self) -> Observer {
        // INVARIANT: By the type invariant.
        Observer {
            memory: self.memory.clone(),
        }
    }

    /// Returns the number of descriptors.
    #[inline]
    pub fn entries(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Returns the number of descriptors less one, which reduces any index to a position.
    #[inline(always)]
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// Returns where the first descriptor is.
    pub(crate) fn as_mut_ptr(&self) -> *mut u64 {
        self.first.as_ptr()
    }

    #[inline(always)]
    fn element(&self, index: u32) -> *mut u64 {
        // CAST: See `new`. `wrapping_add` as the compiler cannot know that this stays in bounds.
        self.as_mut_ptr().wrapping_add((index & self.mask) as usize)
    }

    /// Returns the descriptors from `start` on and before `end`, as far as there are such.
    #[inline(always)]
    pub fn part(&self, start: u32, end: u32) -> Part<'_> {
        let end = end.min(self.entries());
        let first = self.as_mut_ptr().cast_const();
        // INVARIANT: Neither is beyond the number of elements.
        // CAST: See `new`.
        Part {
            next: first.wrapping_add(start.min(end) as usize),
            end: first.wrapping_add(end as usize),
            _ring: PhantomData,
        }
    }

    /// Writes the descriptor at `index` modulo the size of the ring.
    ///
    /// A register write that tells the device comes after it in program order and needs no further
    /// barrier.
    #[inline(always)]
    pub fn write(&self, index: u32, value: u64) {
        // SAFETY: By the type invariants the element is inside of the allocation, which is aligned and
        // valid for volatile access. Concurrent accesses are single volatile ones.
        unsafe { self.element(index).write_volatile(value.to_le()) };
    }

    /// Returns what it takes to write many descriptors in a row.
    #[inline(always)]
    pub fn writer(&self) -> Writer<'_> {
        // INVARIANT: By the type invariant.
        Writer {
            first: self.as_mut_ptr(),
            mask: self.mask,
            _ring: PhantomData,
        }
    }

    /// Zeroes all descriptors, while the device does not use the ring.
    pub fn clear(&self) {
        for index in 0..self.entries() {
            self.write(index, 0);
        }
    }
}

/// Looks at the descriptors of a ring that the device and the ring's users go on changing.
///
/// # Invariants
///
/// `memory` is that of a [`DescRing`].
pub struct Observer {
    memory: Arc<Coherent<[u64]>>,
}

impl Observer {
    /// Returns the number of descriptors.
    pub fn entries(&self) -> u32 {
        // CAST: It was a `u32`.
        self.memory.len() as u32
    }

    /// Returns all descriptors, each as it is at the moment it is read.
    pub fn read(&self) -> impl Iterator<Item = u64> + '_ {
        let first = self.memory.as_mut_ptr().cast::<u64>().cast_const();
        (0..self.memory.len()).map(move |index| {
            // SAFETY: The element is inside of the allocation, which is aligned and valid for volatile
            // access. By the type invariant concurrent accesses are single volatile ones.
            u64::from_le(unsafe { first.add(index).read_volatile() })
        })
    }
}

/// Descriptors next to each other in a ring.
///
/// # Invariants
///
/// Everything from `next` up to `end` is descriptors of a ring that is alive during `'a`.
pub struct Part<'a> {
    next: *const u64,
    end: *const u64,
    _ring: PhantomData<&'a DescRing>,
}

impl Part<'_> {
    /// Returns how many descriptors are left.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant both point into, or just behind, one allocation.
        // CAST: A ring has at most as many descriptors.
        unsafe { self.end.offset_from(self.next) as u32 }
    }

    /// Returns whether there is none left.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Reads the next descriptor, if there is one left.
    #[inline(always)]
    pub fn first(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: By the type invariant it is a descriptor, aligned and valid for volatile access.
        Some(u64::from_le(unsafe { self.next.read_volatile() }))
    }

    /// Goes on to the one after, if there is one left.
    ///
    /// Loops are the shortest with this at their end.
    #[inline(always)]
    pub fn skip_first(&mut self) {
        if !self.is_empty() {
            // INVARIANT: One less is left.
            self.next = self.next.wrapping_add(1);
        }
    }
}

/// Writes descriptors of a ring, for loops that do little else.
///
/// # Invariants
///
/// At `first` are `mask + 1` descriptors of a ring that is alive during `'a`.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    first: *mut u64,
    mask: u32,
    _ring: PhantomData<&'a DescRing>,
}

impl Writer<'_> {
    /// Does what [`DescRing::write`] does.
    #[inline(always)]
    pub fn write(self, index: u32, value: u64) {
        // SAFETY: By the type invariant the descriptor is aligned and valid for volatile access.
        unsafe {
            let descriptor = self.first.add((index & self.mask) as usize);
            descriptor.write_volatile(value.to_le());
        }
    }
}
