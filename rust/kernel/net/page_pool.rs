// SPDX-License-Identifier: GPL-2.0

//! Page pools: DMA-mapped pages that come back after the stack has used them.
//!
//! C headers: [`include/net/page_pool/types.h`](srctree/include/net/page_pool/types.h),
//! [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)
//!
//! A page goes through two owners. While the device may write to it, it is a [`PoolPage`] in a
//! receive ring. Each range the device reports as filled becomes a [`PageFrag`], which belongs to
//! the packet. The page returns to its pool when the ring's share and all fragments are gone; no
//! path can lose one, since both types give back what they hold when dropped.

use crate::{
    bindings,
    net::{
        napi::NapiHandle,
        netdevice::NetDevice,
        page::{self, PAGE_SIZE}, //
    },
};
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::{zeroed, ManuallyDrop},
    num::NonZero,
    ptr::NonNull,
    sync::atomic::{AtomicI64, Ordering}, //
};
use kernel::{error::from_err_ptr, prelude::*};

/// The largest pool the kernel allows, in pages.
const POOL_SIZE_MAX: u32 = 32768;

/// References a page is split into when it enters a ring.
///
/// Taking a fragment then only decrements a counter of the ring instead of an atomic one. One for
/// each byte, as fragments are not empty and do not overlap, and one for the ring.
const REFERENCES: u32 = PAGE_SIZE as u32 + 1;

const GFP_ATOMIC_NOWARN: bindings::gfp_t = bindings::GFP_ATOMIC | bindings::__GFP_NOWARN;

/// A pool of single pages, mapped for the device in both directions.
///
/// Not `Sync`: one receive queue owns the pool and allocates from it without a lock.
///
/// # Invariants
///
/// The pointer is a valid pool, and this value holds one user reference of it.
pub struct PagePool {
    pool: NonNull<bindings::page_pool>,
    _not_sync: PhantomData<Cell<()>>,
}

// SAFETY: The pool may be used from any thread, as long as it is one at a time.
unsafe impl Send for PagePool {}

impl PagePool {
    /// Creates a pool of up to `pool_size` idle pages for receive queue `queue_index`.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` if the device cannot do DMA.
    pub fn new(dev: &NetDevice, pool_size: u32, queue_index: u32) -> Result<Self> {
        // SAFETY: All zeroes are a valid value of this C structure.
        let mut params: bindings::page_pool_params = unsafe { zeroed() };
        // SAFETY: The group is one of two names for the same members.
        let fast = unsafe { &mut *params.__bindgen_anon_1.fast };
        fast.pool_size = pool_size.min(POOL_SIZE_MAX);
        fast.nid = bindings::NUMA_NO_NODE;
        fast.dev = dev.dma_device_raw();
        fast.dma_dir = bindings::dma_data_direction::DMA_BIDIRECTIONAL;
        fast.max_len = PAGE_SIZE as u32;
        // SAFETY: The group is one of two names for the same members.
        let slow = unsafe { &mut params.__bindgen_anon_2.slow };
        slow.flags = bindings::PP_FLAG_DMA_MAP | bindings::PP_FLAG_DMA_SYNC_DEV;
        slow.netdev = dev.as_ptr();
        slow.queue_idx = queue_index;
        // SAFETY: The parameters are complete, and the kernel copies them.
        let pool = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        Ok(Self {
            // INVARIANT: A new pool comes with one user reference.
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
            _not_sync: PhantomData,
        })
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::page_pool {
        self.pool.as_ptr()
    }

    /// Lets packets freed on the CPU that polls `napi` return their pages without a lock.
    ///
    /// Process context; `napi` must be the context that allocates from this pool.
    pub fn enable_direct_recycling(&self, napi: NapiHandle<'_>) {
        // SAFETY: By the type invariant, and a handle stands for a live context.
        unsafe { bindings::page_pool_enable_direct_recycling(self.as_ptr(), napi.as_ptr()) };
    }

    /// Takes a page for the device to fill.
    ///
    /// The queue's NAPI poll, or process context while it is disabled. Returns `None` when there
    /// is no memory.
    #[inline]
    pub fn alloc(&self) -> Option<PoolPage> {
        // SAFETY: By the type invariant. `PagePool` is not `Sync`, so nobody else allocates.
        let netmem = unsafe { bindings::page_pool_alloc_netmems(self.as_ptr(), GFP_ATOMIC_NOWARN) };
        let netmem = Netmem(NonZero::new(netmem as usize)?);
        // Nobody else knows the page yet, so this needs no ordering.
        netmem
            .references()
            .store(REFERENCES.into(), Ordering::Relaxed);
        // INVARIANT: The page is new, and its count was just set.
        Some(PoolPage {
            netmem,
            references: REFERENCES,
            used: 0,
        })
    }

    /// Makes what the device wrote to `frag` visible to the CPU.
    #[inline]
    pub(super) fn sync_for_cpu(&self, frag: &PageFrag) {
        // SAFETY: By the type invariant.
        if unsafe { bindings::page_pool::dma_sync_for_cpu_raw(self.as_ptr()) } && self.needs_sync()
        {
            self.sync_for_cpu_slow(frag.netmem, frag.start, frag.size());
        }
    }

    /// Returns whether the device's DMA is not coherent, or might have been bounced.
    #[inline]
    fn needs_sync(&self) -> bool {
        // SAFETY: By the type invariant. The device outlives its pools, and its flags may change
        // at any time, hence the volatile read.
        let flags = unsafe { (&raw const (*(*self.as_ptr()).p.dev).flags[0]).read_volatile() };
        cfg!(CONFIG_DMA_API_DEBUG)
            || flags & (1 << bindings::struct_device_flags_DEV_FLAG_DMA_SKIP_SYNC) == 0
    }

    // Takes values: a reference would make every caller keep the fragment in memory.
    #[inline(never)]
    fn sync_for_cpu_slow(&self, netmem: Netmem, start: u32, size: u32) {
        // SAFETY: By the type invariants, and the range is within the page.
        unsafe {
            bindings::page_pool_dma_sync_netmem_for_cpu(self.as_ptr(), netmem.raw(), start, size)
        };
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The pool itself goes when its last page has come back.
        unsafe { bindings::page_pool_destroy(self.as_ptr()) };
    }
}

/// A page of some pool.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Netmem(NonZero<usize>);

impl Netmem {
    #[inline]
    pub(super) fn raw(self) -> bindings::netmem_ref {
        self.0.get() as bindings::netmem_ref
    }

    #[inline]
    pub(super) fn page(self) -> *mut bindings::page {
        self.0.get() as *mut bindings::page
    }

    #[inline]
    fn desc(self) -> *mut bindings::netmem_desc {
        // The pool only hands out pages, whose first words are the descriptor.
        self.0.get() as *mut bindings::netmem_desc
    }

    #[inline]
    fn references<'a>(self) -> &'a AtomicI64 {
        // SAFETY: Every holder of a `Netmem` has a reference, so the page is alive, and the field
        // is only accessed atomically.
        unsafe { AtomicI64::from_ptr((&raw mut (*self.desc()).pp_ref_count).cast()) }
    }

    #[inline]
    fn pool(self) -> *mut bindings::page_pool {
        // SAFETY: A page that is not back in its pool points to it.
        unsafe { (*self.desc()).pp }
    }

    /// Gives back `count` references and, if they were the last, the page.
    ///
    /// # Safety
    ///
    /// The caller must own that many references. With `direct`, it must be the poll function of
    /// the context that allocates from the pool, or hold that context disabled.
    #[inline]
    unsafe fn put(self, count: u32, direct: bool) {
        let count = i64::from(count);
        let references = self.references();
        // When all references are ours nobody can add or remove any, and one atomic operation is
        // saved. The acquire orders us after those who gave theirs back.
        if references.load(Ordering::Acquire) != count
            && references.fetch_sub(count, Ordering::AcqRel) != count
        {
            return;
        }
        references.store(1, Ordering::Relaxed);
        // SAFETY: No reference is left, so the page is ours to give back, and the caller
        // guarantees the rest.
        unsafe {
            bindings::page_pool_put_unrefed_netmem(self.pool(), self.raw(), u32::MAX, direct)
        };
    }
}

/// A page in a receive ring, which the device may be writing to.
///
/// # Invariants
///
/// No fragment was taken at or above offset `used`. Owns `references` references of the page, at
/// least one more than there are bytes from `used` to the end of the page.
pub struct PoolPage {
    netmem: Netmem,
    references: u32,
    used: u32,
}

impl PoolPage {
    /// Returns the address of the page's first byte as the device sees it.
    #[inline]
    pub fn dma_addr(&self) -> u64 {
        // SAFETY: By the type invariant the page is alive. The pool mapped it before handing it
        // out, and 64-bit architectures keep the address unshifted.
        unsafe { (*self.netmem.desc()).dma_addr as u64 }
    }

    /// Takes the bytes `start..end` of the page as a fragment of its own.
    ///
    /// Fragments come in ascending order and never overlap: what a device says about the place of
    /// a packet can not make two packets share memory. Returns `None` if the range breaks that
    /// rule, is empty or leaves the page.
    #[inline]
    pub fn take(&mut self, start: u32, end: u32) -> Option<PageFrag> {
        if start < self.used || end <= start || end > PAGE_SIZE as u32 {
            return None;
        }
        // INVARIANT: One reference moves to the fragment, which takes at least one byte.
        self.references = self.references.wrapping_sub(1);
        self.used = end;
        Some(PageFrag {
            netmem: self.netmem,
            start,
            end,
        })
    }

    /// Gives the page back to `pool`.
    ///
    /// `direct` says that the caller is the poll function that allocates from the pool, see
    /// [`PollContext::recycle_direct`](super::napi::PollContext::recycle_direct).
    #[inline]
    pub fn recycle(self, pool: &PagePool, direct: bool) {
        let this = ManuallyDrop::new(self);
        // A page of another pool must not get into this one's lockless cache.
        let direct = direct && this.netmem.pool() == pool.as_ptr();
        // SAFETY: By the type invariant. Whoever has the `PagePool`, which is not `Sync`, is the
        // one that allocates from it.
        unsafe { this.netmem.put(this.references, direct) };
    }
}

impl Drop for PoolPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { self.netmem.put(self.references, false) };
    }
}

/// A part of a page, owned by one packet.
///
/// # Invariants
///
/// Owns one reference of the page. `start < end <= PAGE_SIZE`, and no other fragment shares bytes
/// with the range.
pub struct PageFrag {
    netmem: Netmem,
    start: u32,
    end: u32,
}

impl PageFrag {
    /// Returns the length of the range in bytes.
    #[inline]
    pub fn size(&self) -> u32 {
        // By the type invariant this does not wrap.
        self.end.wrapping_sub(self.start)
    }

    /// Returns the offset of the range in its page, in bytes.
    #[inline]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Returns the kernel address of the range.
    #[inline]
    pub(super) fn as_mut_ptr(&self) -> *mut u8 {
        page::page_to_virt(self.netmem.page())
            .cast::<u8>()
            .wrapping_add(self.start as usize)
    }

    /// Passes the reference on to whoever is given the result.
    #[inline]
    pub(super) fn into_netmem(self) -> Netmem {
        ManuallyDrop::new(self).netmem
    }

    /// Gives one reference back.
    ///
    /// # Safety
    ///
    /// The caller must own it, for instance by [`Self::into_netmem`].
    pub(super) unsafe fn put_netmem(netmem: Netmem) {
        // SAFETY: By the requirements of this function.
        unsafe { netmem.put(1, false) };
    }

    /// Rebuilds the page reference from what C code was given.
    ///
    /// # Safety
    ///
    /// `raw` must be a `netmem_ref` of a page that came from [`Self::into_netmem`].
    pub(super) unsafe fn netmem_from_raw(raw: bindings::netmem_ref) -> Option<Netmem> {
        NonZero::new(raw).map(Netmem)
    }
}

impl Drop for PageFrag {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { self.netmem.put(1, false) };
    }
}
