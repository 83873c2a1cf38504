// SPDX-License-Identifier: GPL-2.0

//! Rings of 64-bit little-endian descriptors shared with a device.
//!
//! C header: [`include/linux/dma-mapping.h`](srctree/include/linux/dma-mapping.h)

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    prelude::*, //
};

/// Orders reads of DMA memory: what is read after the call is not older than what was read before.
#[inline(always)]
pub fn dma_rmb() {
    // Reads are not reordered with reads on x86, so `dma_rmb()` only has to stop the compiler there.
    #[cfg(CONFIG_X86)]
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Acquire);
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
/// `memory` has `mask + 1` elements, which is a power of two.
pub struct DescRing {
    memory: Coherent<[u64]>,
    mask: u32,
}

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
        // INVARIANT: `entries` is a power of two and the length of the allocation.
        Ok(Self {
            memory,
            mask: entries - 1,
        })
    }

    /// Returns the address of the first descriptor as the device sees it.
    pub fn dma_address(&self) -> u64 {
        self.memory.dma_address()
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

    #[inline(always)]
    fn element(&self, index: u32) -> *mut u64 {
        // CAST: See `new`. `wrapping_add` as the compiler cannot know that this stays in bounds.
        self.memory
            .as_mut_ptr()
            .cast::<u64>()
            .wrapping_add((index & self.mask) as usize)
    }

    /// Reads the descriptor at `index` modulo the size of the ring.
    #[inline(always)]
    pub fn read(&self, index: u32) -> u64 {
        // SAFETY: By the type invariants the element is inside of the allocation, which is aligned
        // and valid for volatile access.
        u64::from_le(unsafe { self.element(index).read_volatile() })
    }

    /// Writes the descriptor at `index` modulo the size of the ring.
    ///
    /// A register write that tells the device comes after it in program order and needs no further
    /// barrier.
    #[inline(always)]
    pub fn write(&self, index: u32, value: u64) {
        // SAFETY: As in `read`. Concurrent accesses are single volatile ones.
        unsafe { self.element(index).write_volatile(value.to_le()) };
    }

    /// Zeroes all descriptors, while the device does not use the ring.
    pub fn clear(&self) {
        for index in 0..self.entries() {
            self.write(index, 0);
        }
    }
}
