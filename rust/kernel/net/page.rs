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
        let frame = (page as usize).wrapping_sub(vmemmap) / size_of::<bindings::page>();
        frame.wrapping_mul(PAGE_SIZE).wrapping_add(linear) as *mut c_void
    }

    /// Returns the page `addr` lies in, or `None` when `addr` is not in the linear mapping.
    #[inline]
    pub(super) fn virt_to_page(addr: *const u8) -> Option<*mut bindings::page> {
        // SAFETY: The variables are set once, before any module can be loaded.
        let (vmemmap, linear, vmalloc) = unsafe {
            (
                bindings::vmemmap_base,
                bindings::page_offset_base,
                bindings::vmalloc_base,
            )
        };
        let addr = addr as usize;
        if addr < linear || addr >= vmalloc {
            return None;
        }
        let frame = (addr - linear) / PAGE_SIZE;
        Some(
            vmemmap.wrapping_add(frame.wrapping_mul(size_of::<bindings::page>()))
                as *mut bindings::page,
        )
    }
}

#[cfg(not(all(CONFIG_X86_64, CONFIG_SPARSEMEM_VMEMMAP, not(CONFIG_DEBUG_VIRTUAL))))]
mod layout {
    use super::*;

    pub(super) fn page_to_virt(page: *mut bindings::page) -> *mut c_void {
        // SAFETY: `page_address` only computes for pages of the linear mapping.
        unsafe { bindings::netmem_address(page as bindings::netmem_ref) }
    }

    pub(super) fn virt_to_page(_addr: *const u8) -> Option<*mut bindings::page> {
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
    if let Some(page) = layout::virt_to_page(addr) {
        // SAFETY: `page` holds `addr` and the caller guarantees the rest.
        return unsafe {
            bindings::dma_map_page_attrs(
                dev,
                page,
                addr as usize % PAGE_SIZE,
                len as usize,
                bindings::dma_data_direction::DMA_TO_DEVICE,
                0,
            )
        };
    }
    // SAFETY: By the requirements of this function.
    unsafe { bindings::dma_map_single(dev, addr.cast(), len as usize) }
}
