// SPDX-License-Identifier: GPL-2.0

//! Rings of pages for a device to fill.
//!
//! The device fills the pages of a ring in order, each with one or more pieces of packets from start
//! to end. What it says about that is not to be believed: a piece is only ever taken from a page the
//! device has, not from one before the page of the last piece, and only from behind all pieces taken
//! from that page before. So no two packets can be made to share memory. That pages were left out is
//! believed only when it is said twice: what comes from the pages passed over is lost, and after a
//! single wrong index that would be all there is until the device gets there.

use crate::{
    bindings,
    net::{
        page::PAGE_SIZE,
        page_pool::{CpuSync, Netmem, PageFrag, PagePool}, //
    },
};
use core::mem::MaybeUninit;
use kernel::{alloc::KVVec, prelude::*};

/// References a page is split into when it enters a ring.
///
/// Taking a piece then only counts it instead of touching an atomic counter. One for each byte, as
/// pieces are not empty and do not overlap, and one for the ring.
const REFERENCES: u32 = PAGE_SIZE as u32 + 1;

/// Value of [`PageRing::used`] that lets nothing be taken.
const NOTHING: u32 = u32::MAX;

/// How many pages on from the first index that left out some a second one may be to bear it out.
const NEAR: u32 = 8;

/// An index that would leave out pages.
#[derive(Clone, Copy)]
struct Jump {
    /// Where the device was said to be when the index came: `filling` and `used`.
    from: (u32, u32),
    to: u32,
}

/// A part of a page with a frame in it.
///
/// # Invariants
///
/// The frame starts in the part and ends at least `TAIL` bytes before the part does.
pub struct FrameFrag<const TAIL: u32> {
    frag: PageFrag,
    data: u32,
    len: u32,
}

impl<const TAIL: u32> FrameFrag<TAIL> {
    /// Returns the part of the page, and where in the page the frame starts and how long it is.
    #[inline(always)]
    pub fn into_parts(self) -> (PageFrag, u32, u32) {
        (self.frag, self.data, self.len)
    }
}

/// A ring of pages for a device to fill. Indices stay below its size.
///
/// # Invariants
///
/// - `pages` and `shares` have `mask + 1` elements, a power of two.
/// - The pages from `head` up to `tail` are pages of `pool`, and at least one element is none.
///   `filling` is one of them and `last` is the last one, or both are `tail` if there are none.
/// - Of each page from `head` up to `filling` the ring owns as many references as `shares` says, of
///   that at `filling` [`REFERENCES`] less `taken`, of those after it [`REFERENCES`].
/// - Of the page at `filling` everything from `used` on is still in the ring; with [`NOTHING`] there
///   may be no such page. `taken` is at most `used`.
pub struct PageRing {
    pages: KVVec<MaybeUninit<Netmem>>,
    shares: KVVec<u32>,
    mask: u32,
    head: u32,
    filling: u32,
    last: u32,
    tail: u32,
    used: u32,
    taken: u32,
    /// The last index that left out pages and was not believed.
    jump: Option<Jump>,
    pool: *mut bindings::page_pool,
}

// SAFETY: The pages are owned and not tied to a thread.
unsafe impl Send for PageRing {}

impl PageRing {
    /// Creates an empty ring of `entries` pages, of which one less can be in use.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `entries` is not a power of two, `ENOMEM` without memory.
    pub fn new(pool: &PagePool, entries: u32) -> Result<Self> {
        if !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        let mut pages = KVVec::with_capacity(entries as usize, GFP_KERNEL)?;
        let mut shares = KVVec::with_capacity(entries as usize, GFP_KERNEL)?;
        for _ in 0..entries {
            pages.push(MaybeUninit::uninit(), GFP_KERNEL)?;
            shares.push(0, GFP_KERNEL)?;
        }
        // INVARIANT: There are no pages.
        Ok(Self {
            pages,
            shares,
            mask: entries - 1,
            head: 0,
            filling: 0,
            last: 0,
            tail: 0,
            used: NOTHING,
            taken: 0,
            jump: None,
            pool: pool.as_ptr(),
        })
    }

    #[inline(always)]
    fn next(&self, index: u32) -> u32 {
        index.wrapping_add(1) & self.mask
    }

    #[inline(always)]
    fn distance(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.mask
    }

    /// Returns how many pages the device has.
    #[inline(always)]
    pub fn posted(&self) -> u32 {
        self.distance(self.filling, self.tail)
    }

    /// Returns how many pages the device is done with that are still in the ring.
    #[inline(always)]
    pub fn done(&self) -> u32 {
        self.distance(self.head, self.filling)
    }

    /// Returns the index of the first page the device does not have.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Returns where the page at `index` is.
    ///
    /// # Safety
    ///
    /// `index` must be below the size of the ring.
    #[inline(always)]
    unsafe fn page_mut(&mut self, index: u32) -> *mut Netmem {
        // SAFETY: By the type invariant there is such an element.
        unsafe { self.pages.as_mut_ptr().add(index as usize).cast() }
    }

    /// Returns where the number of references of the page at `index` is.
    ///
    /// # Safety
    ///
    /// `index` must be below the size of the ring.
    #[inline(always)]
    unsafe fn share_mut(&mut self, index: u32) -> *mut u32 {
        // SAFETY: By the type invariant there is such an element.
        unsafe { self.shares.as_mut_ptr().add(index as usize) }
    }

    /// Gives back the pages the device is done with and fills the ring with others.
    ///
    /// The queue's NAPI poll, or process context while it is disabled; `direct` is what
    /// [`PollContext::recycle_direct`] says, and `sync` was asked for after the call before this one.
    /// Calls `post` with the index and the DMA address of each page for the device. Returns whether
    /// there was memory for all of them.
    ///
    /// [`PollContext::recycle_direct`]: super::napi::PollContext::recycle_direct
    #[inline(always)]
    pub fn renew(
        &mut self,
        sync: CpuSync<'_>,
        direct: bool,
        mut post: impl FnMut(u32, u64),
    ) -> bool {
        let pool = sync.pool();
        if pool.as_ptr() != self.pool {
            return false;
        }
        let (end, mut index, mut tail) = (self.filling, self.head, self.tail);
        while index != end {
            // SAFETY: By the type invariant there is a page of the pool with so many references of
            // the ring. It leaves the ring here. Its owner runs here, in the poll function if
            // `direct` is set.
            unsafe {
                let share = *self.share_mut(index);
                let netmem = self.page_mut(index).read();
                index = self.next(index);
                if let Some(netmem) = netmem.put_or_renew(sync, share, REFERENCES, direct) {
                    // All packets in it are gone, so it can go to the device at once. By the type
                    // invariant there is an element without a page at the tail.
                    self.page_mut(tail).write(netmem);
                    post(tail, netmem.dma_addr());
                    tail = self.next(tail);
                }
            }
        }
        // INVARIANT: The pages before `filling` were given back or moved to the tail.
        self.head = index;
        self.set_tail(tail);
        self.fill(pool, post)
    }

    /// Takes pages from the pool until the ring is full.
    #[inline(always)]
    fn fill(&mut self, pool: &PagePool, mut post: impl FnMut(u32, u64)) -> bool {
        let mut tail = self.tail;
        // At least one element stays free.
        let mut left = self.mask.wrapping_sub(self.distance(self.head, tail));
        if left == 0 {
            return true;
        }
        let empty = self.filling == tail;
        while left != 0 {
            let Some(netmem) = pool.alloc(REFERENCES) else {
                break;
            };
            // SAFETY: The place is valid for writing, and no page gets lost there: there is none.
            unsafe { self.page_mut(tail).write(netmem) };
            post(tail, netmem.dma_addr());
            tail = self.next(tail);
            left = left.wrapping_sub(1);
        }
        // INVARIANT: The pages were put there, with as many references.
        self.set_tail(tail);
        if empty && self.filling != tail {
            self.start();
        }
        left == 0
    }

    #[inline(always)]
    fn set_tail(&mut self, tail: u32) {
        self.tail = tail;
        if tail != self.filling {
            self.last = tail.wrapping_sub(1) & self.mask;
        }
    }

    /// Prepares for pieces of the page at `filling`, of which none was taken.
    #[inline(always)]
    fn start(&mut self) {
        self.taken = 0;
        self.used = 0;
    }

    /// Takes the bytes `start..end` of the page at `index`, which the device is filling now, for a
    /// packet.
    ///
    /// Returns `None` if the device does not have that page or is done with it, if it has left out
    /// pages and this is the first piece after them, or if the range is empty, leaves the page or
    /// starts before the end of an earlier one.
    #[inline(always)]
    pub fn take(&mut self, index: u32, start: u32, end: u32) -> Option<PageFrag> {
        self.go_to(index)?;
        if start < self.used || start >= end || end > PAGE_SIZE as u32 {
            return None;
        }
        // SAFETY: Checked just above.
        Some(unsafe { self.split_off(start, end) })
    }

    /// Takes a frame from the page at `index`, which the device is filling now: `len` bytes from
    /// offset `data` on, and everything from the end of the last piece up to `end` with it.
    ///
    /// Returns `None` as [`Self::take`] does, and if there are not `HEAD` bytes before and `TAIL`
    /// bytes after the frame that belong to it.
    #[inline(always)]
    pub fn take_frame<const HEAD: u32, const TAIL: u32>(
        &mut self,
        index: u32,
        data: u32,
        len: u32,
        end: u32,
    ) -> Option<FrameFrag<TAIL>> {
        const { assert!(TAIL != 0) };
        self.go_to(index)?;
        let start = self.used;
        // In 64 bits the sums can not overflow. That all of it fits also means that the range is not
        // empty.
        let needed = u64::from(data) + u64::from(len) + u64::from(TAIL);
        if u64::from(start) + u64::from(HEAD) > u64::from(data)
            || needed > u64::from(end)
            || end > PAGE_SIZE as u32
        {
            return None;
        }
        // INVARIANT: Checked just above.
        Some(FrameFrag {
            // SAFETY: As well.
            frag: unsafe { self.split_off(start, end) },
            data,
            len,
        })
    }

    /// Takes the bytes `start..end` of the page at `filling`.
    ///
    /// # Safety
    ///
    /// `used <= start < end <= PAGE_SIZE`.
    #[inline(always)]
    unsafe fn split_off(&mut self, start: u32, end: u32) -> PageFrag {
        // INVARIANT: `used` was not `NOTHING`, so there is a page, and `taken` grows by no more than
        // `used`. One reference moves to the fragment.
        self.used = end;
        self.taken = self.taken.wrapping_add(1);
        let index = self.filling;
        // SAFETY: By the type invariant there is a page at that index. The reference was taken from
        // the ring's, and nobody else gets that range.
        unsafe { PageFrag::new(self.page_mut(index).read(), start, end) }
    }

    /// Takes a piece back that no packet needs any longer, mostly without an atomic operation.
    ///
    /// The queue's NAPI poll, or process context while it is disabled. The memory is not taken from a
    /// second time before the page has been to the device again.
    #[inline(always)]
    pub fn give_back(&mut self, piece: PageFrag) {
        let index = self.filling;
        // SAFETY: There is such an element, and with anything else than `NOTHING` it is a page or, if
        // there is none at the tail, was one.
        if self.used != NOTHING && unsafe { self.page_mut(index).read() } == piece.netmem() {
            // INVARIANT: The piece's reference is the ring's again. As it had one, `taken` is not 0.
            self.taken = self.taken.wrapping_sub(1);
            piece.into_netmem();
        }
    }

    /// Notes that the device is filling the page at `index`, which it must have.
    #[inline(always)]
    fn go_to(&mut self, index: u32) -> Option<()> {
        if index == self.filling {
            return Some(());
        }
        if self.filling == self.last || index != self.next(self.filling) {
            return self.skip_to(index);
        }
        self.note_share();
        // INVARIANT: There is a page: that at `filling` was not the last.
        self.filling = index;
        self.start();
        Some(())
    }

    /// Does what [`Self::go_to`] does if the device left out some pages, or tries to.
    #[cold]
    #[inline(never)]
    fn skip_to(&mut self, index: u32) -> Option<()> {
        if index > self.mask || self.distance(self.filling, index) >= self.posted() {
            return None;
        }
        if !self.is_borne_out(index) {
            self.jump = Some(Jump {
                from: (self.filling, self.used),
                to: index,
            });
            return None;
        }
        while self.filling != index {
            self.note_share();
            // INVARIANT: There is a page, as `index` comes before the tail.
            self.filling = self.next(self.filling);
            self.start();
        }
        Some(())
    }

    /// Returns whether the index before `index` left out about the same pages, and nothing was taken
    /// since.
    fn is_borne_out(&self, index: u32) -> bool {
        self.jump.is_some_and(|jump| {
            jump.from == (self.filling, self.used) && self.distance(jump.to, index) <= NEAR
        })
    }

    /// Notes how many references of the page at `filling` are left.
    #[inline(always)]
    fn note_share(&mut self) {
        let (index, share) = (self.filling, REFERENCES.wrapping_sub(self.taken));
        // SAFETY: By the type invariant there is such an element.
        unsafe { self.share_mut(index).write(share) };
    }

    /// Takes back all pages; the device must be idle and the NAPI context disabled.
    pub fn reset(&mut self) {
        let mut index = self.filling;
        let mut share = REFERENCES.wrapping_sub(self.taken);
        // As if the device had filled all of them.
        while index != self.tail {
            // SAFETY: By the type invariant there is such an element.
            unsafe { self.share_mut(index).write(share) };
            share = REFERENCES;
            index = self.next(index);
        }
        let mut index = self.head;
        while index != self.tail {
            // SAFETY: By the type invariant there is a page of the pool with so many references of
            // the ring. It leaves the ring here.
            unsafe {
                let share = *self.share_mut(index);
                self.page_mut(index).read().put(self.pool, share, false);
            }
            index = self.next(index);
        }
        // INVARIANT: There are no pages.
        self.head = 0;
        self.filling = 0;
        self.last = 0;
        self.tail = 0;
        self.used = NOTHING;
        self.taken = 0;
        self.jump = None;
    }
}

impl Drop for PageRing {
    fn drop(&mut self) {
        self.reset();
    }
}
