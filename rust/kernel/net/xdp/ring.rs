// SPDX-License-Identifier: GPL-2.0

//! Rings of received frames that are sent back.
//!
//! Each piece of a frame takes one descriptor and stays in its page, which its pool has mapped for
//! both directions. What to give back once it is sent is kept in memory the device does not see. The
//! ring belongs to one NAPI context, which both puts frames in and takes them out.

use crate::{
    bindings,
    desc_ring::{DescRing, Observer},
    net::{
        page::PAGE_SIZE,
        page_pool::{CpuSync, Netmem},
        skbuff::DmaAddress,
        tx_ring::{BufferFormat, Completed}, //
    },
};
use core::marker::PhantomData;
use kernel::{
    alloc::KVVec,
    device::{Bound, Device},
    prelude::*,
};

/// A piece of a frame in the ring.
#[derive(Clone, Copy)]
struct Piece {
    /// The page it is in; one reference of it is the ring's.
    page: Option<Netmem>,
    /// Its length in bytes, and [`Self::LAST`].
    len: u32,
}

impl Piece {
    /// It is the last one of its frame.
    const LAST: u32 = 1 << 31;
}

/// A ring of frames to be sent back.
///
/// # Invariants
///
/// There are as many pieces as descriptors, `mask + 1`, and both indices stay below that. The pieces
/// from `head` up to `tail` own one reference of their page each; at least one is not in use.
pub struct FrameRing<F> {
    desc: DescRing,
    pieces: KVVec<Piece>,
    mask: u32,
    head: u32,
    tail: u32,
    _format: PhantomData<fn() -> F>,
}

// SAFETY: Pages are not tied to a thread.
unsafe impl<F> Send for FrameRing<F> {}

impl<F> FrameRing<F> {
    #[inline(always)]
    fn distance(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.mask
    }

    /// Takes out the next `left` pieces, which are in use.
    #[inline(always)]
    fn take(&mut self, mut left: u32) -> Completed {
        let mut done = Completed::default();
        let mut head = self.head;
        while left != 0 {
            // SAFETY: By the type invariant there is such a piece.
            let piece = unsafe { self.pieces.as_ptr().add(head as usize).read() };
            done.frames = done.frames.wrapping_add(piece.len >> 31);
            done.bytes = done.bytes.wrapping_add(piece.len & !Piece::LAST);
            if let Some(page) = piece.page {
                // SAFETY: By the type invariant the reference is ours, and it leaves the ring here.
                unsafe { page.put_one() };
            }
            head = head.wrapping_add(1) & self.mask;
            left = left.wrapping_sub(1);
        }
        // INVARIANT: What is left behind was given back.
        self.head = head;
        done
    }
}

impl<F: BufferFormat> FrameRing<F> {
    /// Creates an empty ring of `entries` descriptors.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `entries` is not a power of two, `ENOMEM` without memory.
    pub fn new(dev: &Device<Bound>, entries: u32) -> Result<Self> {
        const { assert!(F::MAX_LEN as usize >= PAGE_SIZE) };
        let desc = DescRing::new(dev, entries)?;
        let mut pieces = KVVec::with_capacity(entries as usize, GFP_KERNEL)?;
        for _ in 0..entries {
            pieces.push(Piece { page: None, len: 0 }, GFP_KERNEL)?;
        }
        // INVARIANT: There are as many of both, and none is in use.
        Ok(Self {
            mask: desc.mask(),
            desc,
            pieces,
            head: 0,
            tail: 0,
            _format: PhantomData,
        })
    }

    /// Returns the address of the descriptors as the device sees it.
    pub fn dma_address(&self) -> DmaAddress {
        self.desc.dma_address()
    }

    /// Returns what it takes to look at the descriptors from elsewhere.
    pub fn observer(&self) -> Observer {
        self.desc.observer()
    }

    /// Returns the index of the first descriptor not in use, the value for the doorbell.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Returns how many descriptors are free.
    #[inline(always)]
    pub(super) fn unused(&self) -> u32 {
        self.mask.wrapping_sub(self.distance(self.head, self.tail))
    }

    /// Puts a piece of a frame in the ring: `len` bytes at `offset` of a page, the frame's last piece
    /// with `last`.
    ///
    /// The device may read it once it is told of it.
    ///
    /// # Safety
    ///
    /// A descriptor must be [free](Self::unused). The range must lie within the page, and a reference
    /// of the page is given away.
    #[inline(always)]
    pub(super) unsafe fn put(
        &mut self,
        sync: CpuSync<'_>,
        page: Netmem,
        offset: u32,
        len: u32,
        last: bool,
    ) {
        let addr = page.dma_addr();
        if sync.is_needed() {
            sync_for_device(sync, addr, offset, len);
        }
        let tail = self.tail;
        // The pool has mapped the page for this device, so the device's limits hold for its address,
        // and a piece is no longer than a page.
        let descriptor = F::describe(addr.wrapping_add(offset.into()), len, last);
        // SAFETY: By the type invariant there is such a piece and such a descriptor.
        unsafe {
            *self.pieces.as_mut_ptr().add(tail as usize) = Piece {
                page: Some(page),
                len: if last { len | Piece::LAST } else { len },
            };
            self.desc
                .as_mut_ptr()
                .add(tail as usize)
                .write_volatile(descriptor.to_le());
        }
        // INVARIANT: The piece has its reference now, and by the requirement of this function another
        // one stays unused.
        self.tail = tail.wrapping_add(1) & self.mask;
    }

    /// Gives back the pages of all pieces in front of descriptor `end`, which the device has sent.
    ///
    /// The poll of the ring's NAPI context with a budget, or process context while it is disabled.
    /// Returns `None` if `end` is not in the ring or claims what was never put in; nothing leaves the
    /// ring then.
    #[inline]
    pub fn complete(&mut self, end: u32) -> Option<Completed> {
        let left = self.distance(self.head, end);
        if end > self.mask || left > self.distance(self.head, self.tail) {
            return None;
        }
        Some(self.take(left))
    }

    /// Gives back all pages and starts at the first descriptor again, as the device does after a
    /// reset. The device must not be using any.
    pub fn reset(&mut self) -> Completed {
        let done = self.take(self.distance(self.head, self.tail));
        // INVARIANT: Nothing is in use.
        self.head = 0;
        self.tail = 0;
        done
    }
}

/// Makes what the CPU wrote to a piece visible to the device.
#[cold]
#[inline(never)]
fn sync_for_device(sync: CpuSync<'_>, addr: DmaAddress, offset: u32, len: u32) {
    // SAFETY: The pool of `sync` is that of the page, or one of the same device. The device outlives
    // its pools, and the range is within the page, which is mapped at `addr`.
    unsafe {
        let dev = sync.pool().device();
        bindings::dma_sync_single_range_for_device(dev, addr, offset as usize, len as usize);
    }
}

impl<F> Drop for FrameRing<F> {
    fn drop(&mut self) {
        self.take(self.distance(self.head, self.tail));
    }
}
