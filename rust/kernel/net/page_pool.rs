// SPDX-License-Identifier: GPL-2.0

//! Page pools: DMA-mapped pages that come back after the stack has used them.
//!
//! C headers: [`include/net/page_pool/types.h`](srctree/include/net/page_pool/types.h),
//! [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)
//!
//! A page goes through two owners. While the device may write to it, it is in a [`PageRing`]. Each
//! range the device reports as filled becomes a [`PageFrag`], which belongs to the packet. The page
//! returns to its pool when the ring's share and all fragments are gone; no path can lose one, since
//! both types give back what they hold when dropped.
//!
//! [`PageRing`]: super::page_ring::PageRing

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
    mem::{zeroed, ManuallyDrop},
    num::NonZero,
    ptr::NonNull,
    sync::atomic::{AtomicI32, AtomicI64, Ordering}, //
};
use kernel::{error::from_err_ptr, prelude::*};

/// The largest pool the kernel allows, in pages.
const POOL_SIZE_MAX: u32 = 32768;

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
    /// Some page taken from the pool has been one of the kernel's emergency reserve.
    reserve: Cell<bool>,
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
        let mapped = bindings::PP_FLAG_DMA_MAP | bindings::PP_FLAG_DMA_SYNC_DEV;
        Self::with_flags(dev, pool_size, queue_index, mapped)
    }

    fn with_flags(dev: &NetDevice, pool_size: u32, queue_index: u32, flags: u32) -> Result<Self> {
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
        slow.flags = flags;
        slow.netdev = dev.as_ptr();
        slow.queue_idx = queue_index;
        // SAFETY: The parameters are complete, and the kernel copies them.
        let pool = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        Ok(Self {
            // INVARIANT: A new pool comes with one user reference.
            pool: NonNull::new(pool).ok_or(ENOMEM)?,
            reserve: Cell::new(false),
        })
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::page_pool {
        self.pool.as_ptr()
    }

    /// Returns the device the pages are mapped for.
    pub(super) fn device(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant. The field does not change.
        unsafe { (*self.as_ptr()).p.dev }
    }

    /// Lets packets freed on the CPU that polls `napi` return their pages without a lock.
    ///
    /// Process context; `napi` must be the context that allocates from this pool.
    pub fn enable_direct_recycling(&self, napi: NapiHandle<'_>) {
        // SAFETY: By the type invariant, and a handle stands for a live context.
        unsafe { bindings::page_pool_enable_direct_recycling(self.as_ptr(), napi.as_ptr()) };
    }

    /// Takes a page, mapped for the device, with so many references.
    ///
    /// The queue's NAPI poll, or process context while it is disabled. Returns `None` when there
    /// is no memory. The caller has to give the references back with [`Netmem::put`].
    #[inline(always)]
    pub(super) fn alloc(&self, references: u32) -> Option<Netmem> {
        // SAFETY: By the type invariant. `PagePool` is not `Sync`, so nobody else allocates.
        let netmem = unsafe { bindings::page_pool_alloc_netmems(self.as_ptr(), GFP_ATOMIC_NOWARN) };
        let netmem = Netmem(NonZero::new(netmem as usize)?);
        if netmem.is_of_reserve() {
            self.reserve.set(true);
        }
        // Nobody else knows the page yet, so this needs no ordering.
        netmem
            .references()
            .store(references.into(), Ordering::Relaxed);
        Some(netmem)
    }

    /// Returns how to make what the device writes visible to the CPU, and the other way round.
    ///
    /// The answer holds for pages that were taken from the pool before.
    #[inline]
    pub fn cpu_sync(&self) -> CpuSync<'_> {
        // The device's DMA may not be coherent, or might have been bounced.
        // SAFETY: By the type invariant. The device outlives its pools, and its flags may change
        // at any time, hence the volatile read.
        let flags = unsafe { (&raw const (*(*self.as_ptr()).p.dev).flags[0]).read_volatile() };
        let needed = cfg!(CONFIG_DMA_API_DEBUG)
            || flags & (1 << bindings::struct_device_flags_DEV_FLAG_DMA_SKIP_SYNC) == 0;
        CpuSync {
            pool: self,
            todo: u8::from(needed) * CpuSync::NEEDED
                + u8::from(self.reserve.get()) * CpuSync::RESERVE,
        }
    }
}

/// Memory out of reach of the device, for what the stack keeps of a packet besides its bytes.
///
/// # Invariants
///
/// This value owns [`Heads::REFERENCES`] less `taken` references of `page`, which is one of `pool`.
/// Everything of it from `used` on belongs to nobody else; `used` is at most a page, and without a
/// page it is one.
pub struct Heads {
    pool: PagePool,
    page: Option<Netmem>,
    used: u32,
    taken: u32,
}

// SAFETY: The page is owned and not tied to a thread.
unsafe impl Send for Heads {}

impl Heads {
    /// What ranges are aligned to, in bytes.
    const ALIGNMENT: u32 = bindings::L1_CACHE_BYTES;

    /// References a page is split into: one for each range there can be, and one that stays here.
    const REFERENCES: u32 = PAGE_SIZE as u32 / Self::ALIGNMENT + 1;

    /// Creates a source of ranges for receive queue `queue_index` that keeps up to `pool_size` idle
    /// pages.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(dev: &NetDevice, pool_size: u32, queue_index: u32) -> Result<Self> {
        Ok(Self {
            pool: PagePool::with_flags(dev, pool_size, queue_index, 0)?,
            page: None,
            used: PAGE_SIZE as u32,
            taken: 0,
        })
    }

    /// Does what [`PagePool::enable_direct_recycling`] does.
    pub fn enable_direct_recycling(&self, napi: NapiHandle<'_>) {
        self.pool.enable_direct_recycling(napi);
    }

    /// Takes a range of at least `len` bytes, aligned to a cache line.
    ///
    /// The queue's NAPI poll. Returns `None` without memory, or if `len` is more than a page.
    #[inline(always)]
    pub(super) fn take(&mut self, len: u32) -> Option<PageFrag> {
        const PAGE: u32 = PAGE_SIZE as u32;
        let len = len.checked_next_multiple_of(Self::ALIGNMENT)?;
        if len == 0 || len > PAGE {
            return None;
        }
        if len > PAGE.wrapping_sub(self.used) {
            self.turn_page()?;
        }
        let netmem = self.page?;
        let start = self.used;
        // INVARIANT: The range was nobody's, and one reference moves to the fragment.
        self.used = start.wrapping_add(len);
        self.taken = self.taken.wrapping_add(1);
        // SAFETY: The range lies within the page, and nobody else gets it. It is not empty, so a page
        // does not have more of them than references.
        Some(unsafe { PageFrag::new(netmem, start, start.wrapping_add(len)) })
    }

    /// Goes on with another page.
    #[inline(never)]
    fn turn_page(&mut self) -> Option<()> {
        self.let_go();
        // INVARIANT: The page is new.
        self.page = Some(self.pool.alloc(Self::REFERENCES)?);
        self.used = 0;
        Some(())
    }

    fn let_go(&mut self) {
        if let Some(page) = self.page.take() {
            let left = Self::REFERENCES.wrapping_sub(self.taken);
            // SAFETY: By the type invariant.
            unsafe { page.put(self.pool.as_ptr(), left, false) };
        }
        // INVARIANT: There is no page.
        self.used = PAGE_SIZE as u32;
        self.taken = 0;
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Whether and how to make what the device writes to pages of a pool visible to the CPU.
///
/// Mostly there is nothing to do, which takes a look at the device to find out: for a whole poll, not
/// for every packet. A page is bounced, if at all, from when it is mapped. Pages of the kernel's
/// emergency reserve are as rare, and looked for on the same occasion.
#[derive(Clone, Copy)]
pub struct CpuSync<'a> {
    pool: &'a PagePool,
    /// What there is to do, of the two below. In one value, as two are more than registers hold.
    todo: u8,
}

impl<'a> CpuSync<'a> {
    /// The device's DMA is not coherent, or may be bounced.
    const NEEDED: u8 = 1;
    /// Pages may be of the kernel's emergency reserve.
    const RESERVE: u8 = 2;

    /// Returns the pool.
    #[inline(always)]
    pub(super) fn pool(self) -> &'a PagePool {
        self.pool
    }

    /// Returns whether anything has to be done.
    #[inline(always)]
    pub(super) fn is_needed(self) -> bool {
        self.todo & Self::NEEDED != 0
    }

    /// Returns whether nothing has to be done, nor asked about any page.
    #[inline(always)]
    fn is_plain(self) -> bool {
        self.todo == 0
    }

    /// Makes what the device wrote to `frag` visible to the CPU.
    ///
    /// Returns whether the page is one of the kernel's emergency reserve. Such a page helps to free
    /// memory, and only packets for sockets that do so may keep it.
    #[inline(always)]
    pub(super) fn sync(self, frag: &PageFrag) -> bool {
        !self.is_plain() && self.sync_slow(frag.netmem, frag.start, frag.size())
    }

    // Takes values: a reference would make every caller keep the fragment in memory.
    #[cold]
    #[inline(never)]
    fn sync_slow(self, netmem: Netmem, start: u32, size: u32) -> bool {
        if self.is_needed() {
            let pool = self.pool.as_ptr();
            // SAFETY: By the type invariants, and the range is within the page.
            unsafe { bindings::page_pool_dma_sync_netmem_for_cpu(pool, netmem.raw(), start, size) };
        }
        netmem.is_of_reserve()
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The pool itself goes when its last page has come back.
        unsafe { bindings::page_pool_destroy(self.as_ptr()) };
    }
}

/// A page of some pool.
#[derive(Clone, Copy, PartialEq, Eq)]
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

    /// Returns the address of the page's first byte as the device sees it.
    #[inline(always)]
    pub(super) fn dma_addr(self) -> u64 {
        // SAFETY: Every holder of a `Netmem` has a reference, so the page is alive. The pool mapped
        // it before handing it out, and 64-bit architectures keep the address unshifted.
        unsafe { (*self.desc()).dma_addr as u64 }
    }

    /// Returns the pool the page goes back to.
    #[inline]
    fn pool(self) -> *mut bindings::page_pool {
        // SAFETY: A page that is not back in its pool points to it.
        unsafe { (*self.desc()).pp }
    }

    /// Gives back `count` references or, if nobody else has any and the page is fit for another use,
    /// returns it with `new` ones.
    ///
    /// The pool does not have to know of that. The rules are those by which it decides itself: nobody
    /// may be looking at the page in another way, pages from the emergency reserve have to go back
    /// there, and what has to be made visible to the device goes through the pool. `sync` tells of no
    /// page that was taken from the pool after it was asked for.
    ///
    /// # Safety
    ///
    /// As for [`Self::put`], for the pool of `sync`.
    #[inline(always)]
    pub(super) unsafe fn put_or_renew(
        self,
        sync: CpuSync<'_>,
        count: u32,
        new: u32,
        direct: bool,
    ) -> Option<Self> {
        let references = self.references();
        let all = i64::from(count);
        // The acquire orders us after those who gave their references back.
        if references.load(Ordering::Acquire) == all {
            if sync.is_plain() && self.has_no_other_user() {
                references.store(new.into(), Ordering::Relaxed);
                return Some(self);
            }
        } else if references.fetch_sub(all, Ordering::AcqRel) != all {
            return None;
        }
        // SAFETY: No reference is left but ours, and the caller guarantees the rest.
        unsafe { self.put_last(sync.pool().as_ptr(), direct) };
        None
    }

    /// Returns whether nobody looks at a page without references in another way.
    #[inline(always)]
    fn has_no_other_user(self) -> bool {
        let page = self.page();
        // SAFETY: Every holder of a `Netmem` has a reference, so the page is alive. The count may
        // change at any time.
        let users = unsafe { AtomicI32::from_ptr((&raw mut (*page)._refcount.counter).cast()) };
        users.load(Ordering::Relaxed) == 1
    }

    /// Returns whether the page is one of the kernel's emergency reserve.
    #[inline(always)]
    fn is_of_reserve(self) -> bool {
        const PFMEMALLOC: usize = 1 << 1;
        // SAFETY: Every holder of a `Netmem` has a reference, so the page is alive. The field does
        // not change while it belongs to a pool.
        unsafe { (*self.desc()).pp_magic as usize & PFMEMALLOC != 0 }
    }

    /// Gives back `count` references and, if they were the last, the page.
    ///
    /// # Safety
    ///
    /// The caller must own that many references, and `pool` be that of the page. With `direct`, it
    /// must be the poll function of the context that allocates from the pool, or hold that context
    /// disabled.
    #[inline(always)]
    pub(super) unsafe fn put(self, pool: *mut bindings::page_pool, count: u32, direct: bool) {
        let count = i64::from(count);
        let references = self.references();
        // When all references are ours nobody can add or remove any, and one atomic operation is
        // saved. The acquire orders us after those who gave theirs back.
        if references.load(Ordering::Acquire) != count
            && references.fetch_sub(count, Ordering::AcqRel) != count
        {
            return;
        }
        // SAFETY: No reference is left, and the caller guarantees the rest.
        unsafe { self.put_last(pool, direct) };
    }

    /// Gives back one reference and, if it was the last, the page.
    ///
    /// The pool finds out by itself whether the page may go straight into its lockless cache.
    ///
    /// # Safety
    ///
    /// The caller must own the reference, and not be called by netpoll.
    #[inline(always)]
    pub(super) unsafe fn put_one(self) {
        // Mostly it is not, so looking first would not save an atomic operation.
        if self.references().fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: No reference is left, and the pool is that of the page.
            unsafe { self.put_last(self.pool(), false) };
        }
    }

    /// Returns the page of `raw`.
    ///
    /// # Safety
    ///
    /// It must be a page of some pool of which somebody has a reference.
    #[inline(always)]
    pub(super) unsafe fn from_raw(raw: bindings::netmem_ref) -> Self {
        // SAFETY: No page is at the null pointer.
        Self(unsafe { NonZero::new_unchecked(raw as usize) })
    }

    /// Gives back the page, of which nobody else has any reference.
    ///
    /// # Safety
    ///
    /// The caller must own the page otherwise. As for [`Self::put`].
    #[inline(always)]
    unsafe fn put_last(self, pool: *mut bindings::page_pool, direct: bool) {
        self.references().store(1, Ordering::Relaxed);
        // SAFETY: The page is ours to give back, and the caller guarantees the rest.
        unsafe { bindings::page_pool_put_unrefed_netmem(pool, self.raw(), u32::MAX, direct) };
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
    /// Makes a fragment of a range of a page.
    ///
    /// # Safety
    ///
    /// The range must be as in the type invariants. The caller gives away a reference of the page.
    #[inline(always)]
    pub(super) unsafe fn new(netmem: Netmem, start: u32, end: u32) -> Self {
        // INVARIANT: By the requirements of this function.
        Self { netmem, start, end }
    }

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

    /// Returns the page.
    #[inline]
    pub(super) fn netmem(&self) -> Netmem {
        self.netmem
    }

    /// Returns the kernel address of the page.
    #[inline]
    pub(super) fn page_ptr(&self) -> *mut u8 {
        page::page_to_virt(self.netmem.page()).cast()
    }

    /// Returns the kernel address of the range.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.page_ptr().wrapping_add(self.start as usize)
    }

    /// Passes the reference on to whoever is given the result.
    #[inline]
    pub(super) fn into_netmem(self) -> Netmem {
        ManuallyDrop::new(self).netmem
    }
}

impl Drop for PageFrag {
    #[inline(always)]
    fn drop(&mut self) {
        /// Takes the value, so that the fragment does not have to be in memory.
        ///
        /// # Safety
        ///
        /// The caller must own one reference.
        #[cold]
        #[inline(never)]
        unsafe fn put_one(netmem: Netmem) {
            // SAFETY: By the requirements of this function.
            unsafe { netmem.put(netmem.pool(), 1, false) };
        }
        // SAFETY: By the type invariant.
        unsafe { put_one(self.netmem) };
    }
}
