// SPDX-License-Identifier: GPL-2.0

//! Address arithmetic on pages, inline where the memory model allows it.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`arch/x86/include/asm/page_64.h`](srctree/arch/x86/include/asm/page_64.h)
//!
//! C compiles these conversions to a few instructions. Calling a helper for each of them would cost
//! the hot path one out-of-line call per buffer, so the common layout is spelled out here and every
//! other one goes through the helper.

use crate::bindings;
use core::ffi::c_void;

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = kernel::page::PAGE_SIZE;

#[cfg(all(CONFIG_X86_64, CONFIG_SPARSEMEM_VMEMMAP, not(CONFIG_DEBUG_VIRTUAL)))]
mod layout {
    use super::*;
    use core::mem::size_of;

    /// Returns the address of the memory that `page` describes.
    ///
    /// `page` must be a page of the linear mapping.
    #[inline]
    pub(super) fn page_to_virt(page: *mut bindings::page) -> *mut c_void {
        // SAFETY: Both variables are set once, before any module can be loaded.
        let (vmemmap, linear) = unsafe { (bindings::vmemmap_base, bindings::page_offset_base) };
        // Pages lie in `vmemmap` as their memory does in the linear mapping, a fixed factor closer.
        const { assert!(PAGE_SIZE % size_of::<bindings::page>() == 0) };
        (page as usize)
            .wrapping_sub(vmemmap)
            .wrapping_mul(PAGE_SIZE / size_of::<bindings::page>())
            .wrapping_add(linear) as *mut c_void
    }

    /// Returns the physical address of `addr`, or `None` when it is not in the linear mapping.
    #[inline]
    pub(super) fn virt_to_phys(addr: *const u8) -> Option<u64> {
        // SAFETY: Both variables are set once, before any module can be loaded.
        let (linear, end) = unsafe { (bindings::page_offset_base, bindings::vmalloc_base) };
        let addr = addr as usize;
        let phys = addr.checked_sub(linear)?;
        // CAST: Both have 64 bits.
        (addr < end).then_some(phys as u64)
    }
}

#[cfg(not(all(CONFIG_X86_64, CONFIG_SPARSEMEM_VMEMMAP, not(CONFIG_DEBUG_VIRTUAL))))]
mod layout {
    use super::*;

    pub(super) fn page_to_virt(page: *mut bindings::page) -> *mut c_void {
        // SAFETY: `page_address` only computes for pages of the linear mapping.
        unsafe { bindings::netmem_address(page as bindings::netmem_ref) }
    }

    pub(super) fn virt_to_phys(_addr: *const u8) -> Option<u64> {
        None
    }
}

/// Returns the kernel address of a page that is not high memory.
#[inline]
pub(super) fn page_to_virt(page: *mut bindings::page) -> *mut c_void {
    layout::page_to_virt(page)
}

/// Maps `len` bytes at `addr` for the device to read.
///
/// Returns the raw result of the DMA API, which the caller has to compare with the error value.
///
/// # Safety
///
/// `dev` must be a valid device and `addr..addr + len` allocated memory.
#[inline]
pub(super) unsafe fn map_single(dev: *mut bindings::device, addr: *mut u8, len: u32) -> u64 {
    if let Some(phys) = layout::virt_to_phys(addr) {
        // SAFETY: `phys` is where `addr` is, and the caller guarantees the rest.
        return unsafe {
            bindings::dma_map_phys(
                dev,
                phys,
                len as usize,
                bindings::dma_data_direction::DMA_TO_DEVICE,
                0,
            )
        };
    }
    // SAFETY: By the requirements of this function.
    unsafe { bindings::dma_map_single(dev, addr.cast(), len as usize) }
}
