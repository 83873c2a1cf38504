// SPDX-License-Identifier: GPL-2.0

//! Transmit rings: descriptors, the packets they stand for, and the DMA mappings of those.
//!
//! A packet takes one descriptor for what it asks of the device and one for each of its buffers. What
//! has to be undone once the device is done with them is kept beside the ring in memory the device
//! does not see, one slot per descriptor, so that whatever the device writes to the descriptors can
//! not make the driver free or unmap anything but what it put in.
//!
//! A ring has two sides. The [`Producer`] is used under the lock of the transmit queue, the
//! [`Consumer`] in a NAPI poll. Neither waits for the other: each publishes its own index with a
//! release store and reads the other's with an acquire load.

use super::skbuff::{
    raw_device,
    unmap_tx_raw,
    DmaAddress,
    SkBuff,
    MAX_SKB_FRAGS, //
};
use crate::{
    bindings,
    desc_ring::{DescRing, Observer}, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering}, //
};
use kernel::{
    alloc::KVVec,
    device::{Bound, Device},
    prelude::*,
    sync::{aref::ARef, Arc}, //
};

/// Descriptors of the largest packet: its own, its linear part's and those of all fragments.
pub const MAX_PACKET_DESC: u32 = MAX_SKB_FRAGS + 2;

/// How a device wants the buffers of a packet described.
pub trait BufferFormat {
    /// Longest buffer of one descriptor, bytes; at most 65535.
    const MAX_LEN: u32;

    /// Bits of an address; at most 48.
    const ADDR_BITS: u32;

    /// Shortest frame the device sends, bytes; at most a page.
    const MIN_FRAME: u32;

    /// Returns the descriptor of `len` bytes at DMA address `addr`, the packet's last with `last`.
    ///
    /// Both values are within the limits above.
    fn describe(addr: DmaAddress, len: u32, last: bool) -> u64;
}

/// A DMA mapping to be undone: address in the low 48 bits, length above. 0 if there is none.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Mapping(u64);

impl Mapping {
    const LEN_SHIFT: u32 = 48;
    const NONE: Self = Self(0);

    #[inline(always)]
    fn new(addr: DmaAddress, len: u32) -> Self {
        Self(addr | u64::from(len) << Self::LEN_SHIFT)
    }

    #[inline(always)]
    fn is_some(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    fn addr(self) -> DmaAddress {
        self.0 & ((1 << Self::LEN_SHIFT) - 1)
    }

    #[inline(always)]
    fn len(self) -> u32 {
        // CAST: 16 bits.
        (self.0 >> Self::LEN_SHIFT) as u32
    }

    /// Ends the mapping, if there is one.
    ///
    /// # Safety
    ///
    /// It was made for `dev`, which does not use it any more, and nobody ends it a second time.
    #[inline(always)]
    unsafe fn undo(self, dev: *mut bindings::device) {
        if self.is_some() {
            // SAFETY: By the requirements of this function.
            unsafe { unmap_tx_raw(dev, self.addr(), self.len()) };
        }
    }
}

/// What is to be given back when the device is done with a descriptor.
#[derive(Clone, Copy)]
union Slot {
    /// In the first slot of a packet.
    packet: NonNull<bindings::sk_buff>,
    /// In the others.
    mapping: Mapping,
}

/// What the ring has to know of a packet, kept in the packet's control block.
#[derive(Clone, Copy)]
#[repr(C)]
struct Tag {
    /// Bytes on the wire.
    bytes: u32,
    /// Frames on the wire.
    frames: u16,
    /// Descriptors after the first, at least one.
    buffers: u16,
}

/// An index on a cache line of its own, because its writer and its readers are on different CPUs.
#[repr(align(64))]
struct Index(AtomicU32);

/// The memory both sides share. Both indices stay below the number of descriptors.
///
/// # Invariants
///
/// - The slots from `head` up to `tail` hold whole packets: the first slot of each an owned packet
///   whose control block starts with its [`Tag`], followed by `buffers` slots with mappings.
/// - There are as many slots as descriptors, and at least one is unused.
/// - Only the [`Consumer`] writes `head` and touches the slots from there up to `tail`; only the
///   [`Producer`] writes `tail` and touches the others. There is one of each. Both borrowed
///   exclusively may write both. A [`Watch`] touches no slot.
struct Ring {
    desc: DescRing,
    slots: KVVec<UnsafeCell<Slot>>,
    dev: ARef<Device>,
    head: Index,
    tail: Index,
}

impl Drop for Ring {
    fn drop(&mut self) {
        let view = View::of(self);
        let (head, tail) = (*self.head.0.get_mut(), *self.tail.0.get_mut());
        // SAFETY: By the type invariant, and both sides are gone.
        unsafe { view.release(raw_device(&self.dev), head, view.distance(head, tail), 0) };
    }
}

// SAFETY: By the type invariants a slot is only ever accessed by one of the two sides, which hand it
// over with a release store and an acquire load of the index. Packets are `Send`.
unsafe impl Sync for Ring {}
// SAFETY: Nothing in it is tied to a thread.
unsafe impl Send for Ring {}

/// Where descriptors and slots are: what both sides use all the time, next to what is their own.
///
/// # Invariants
///
/// Both arrays have `mask + 1` elements, a power of two, and are those of a live [`Ring`].
#[derive(Clone, Copy)]
struct View {
    desc: *mut u64,
    slots: *mut Slot,
    mask: u32,
}

impl View {
    fn of(ring: &Ring) -> Self {
        // INVARIANT: There are as many slots as descriptors. `UnsafeCell` has the layout of what is
        // in it.
        Self {
            desc: ring.desc.as_mut_ptr(),
            slots: ring.slots.as_ptr().cast_mut().cast(),
            mask: ring.desc.mask(),
        }
    }

    #[inline(always)]
    fn next(self, index: u32) -> u32 {
        index.wrapping_add(1) & self.mask
    }

    #[inline(always)]
    fn distance(self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.mask
    }

    /// Returns where the slot at `index` is.
    ///
    /// # Safety
    ///
    /// `index <= mask`.
    #[inline(always)]
    unsafe fn slot(self, index: u32) -> *mut Slot {
        // SAFETY: By the type invariant and the requirement of this function it is one of the slots.
        unsafe { self.slots.add(index as usize) }
    }

    /// Writes the descriptor at `index`.
    ///
    /// # Safety
    ///
    /// `index <= mask`.
    #[inline(always)]
    unsafe fn write(self, index: u32, value: u64) {
        // SAFETY: By the type invariant and the requirement of this function it is a descriptor,
        // aligned and valid for volatile access. The device sees all of it change at once.
        unsafe { self.desc.add(index as usize).write_volatile(value.to_le()) };
    }

    /// Unmaps and frees the packets whose descriptors are all among the `left` ones from `index` on.
    ///
    /// Returns how far it got, and what it gave back.
    ///
    /// # Safety
    ///
    /// So many slots hold packets, whose producer the caller has synchronised with, and which the
    /// caller takes out of the ring.
    #[inline(always)]
    unsafe fn release(
        self,
        dev: *mut bindings::device,
        mut index: u32,
        mut left: u32,
        budget: u32,
    ) -> (u32, Completed) {
        let mut done = Completed::default();
        while left != 0 {
            // SAFETY: A packet starts here, which nobody else accesses any more, and its tag is that
            // of `Producer::map`.
            let (packet, tag) = unsafe {
                let packet = (*self.slot(index)).packet;
                (packet, tag_of(packet).read())
            };
            let mut buffers = u32::from(tag.buffers);
            if buffers >= left {
                break;
            }
            left = left.wrapping_sub(buffers).wrapping_sub(1);
            done.bytes = done.bytes.wrapping_add(tag.bytes);
            done.frames = done.frames.wrapping_add(tag.frames.into());
            loop {
                index = self.next(index);
                // SAFETY: By the type invariant of the ring, `buffers` mappings follow the packet.
                unsafe { (*self.slot(index)).mapping.undo(dev) };
                buffers = buffers.wrapping_sub(1);
                if buffers == 0 {
                    break;
                }
            }
            index = self.next(index);
            // SAFETY: The slot is left behind, so the reference to the packet in it is taken over.
            unsafe { SkBuff::from_raw(packet) }.consume(budget);
        }
        (index, done)
    }
}

/// Creates the two sides of a ring of `entries` descriptors for packets sent by `dev`.
///
/// Process context.
///
/// # Errors
///
/// `EINVAL` if `entries` is not a power of two or too few for one packet, `ENOMEM` without memory.
pub fn new<F: BufferFormat>(
    dev: &Device<Bound>,
    entries: u32,
) -> Result<(Producer<F>, Consumer<F>)> {
    const { assert!(F::MAX_LEN <= 0xffff && F::ADDR_BITS <= Mapping::LEN_SHIFT) };
    if entries <= MAX_PACKET_DESC {
        return Err(EINVAL);
    }
    let desc = DescRing::new(dev, entries)?;
    let mut slots = KVVec::with_capacity(entries as usize, GFP_KERNEL)?;
    for _ in 0..entries {
        let slot = Slot {
            mapping: Mapping::NONE,
        };
        slots.push(UnsafeCell::new(slot), GFP_KERNEL)?;
    }
    let generic: &Device = dev;
    // INVARIANT: The ring is empty and has as many slots as descriptors; its only producer and its
    // only consumer are made below.
    let ring = Arc::new(
        Ring {
            desc,
            slots,
            dev: generic.into(),
            head: Index(AtomicU32::new(0)),
            tail: Index(AtomicU32::new(0)),
        },
        GFP_KERNEL,
    )?;
    let view = View::of(&ring);
    let producer = Producer {
        view,
        dev: raw_device(&ring.dev),
        tail: 0,
        free: entries - 1,
        ring: ring.clone(),
        _format: PhantomData,
    };
    let consumer = Consumer {
        view,
        head: 0,
        ring,
        _format: PhantomData,
    };
    Ok((producer, consumer))
}

/// The side that packets are put in at.
///
/// # Invariants
///
/// `view` is that of `ring`, `dev` its device, and `tail` its tail. At least `free` descriptors are
/// not in use, those of a [`Mapped`] packet and the one that has to stay free not counted.
pub struct Producer<F> {
    view: View,
    dev: *mut bindings::device,
    tail: u32,
    free: u32,
    ring: Arc<Ring>,
    _format: PhantomData<fn() -> F>,
}

// SAFETY: What the pointers point to belongs to the ring, which may be used from any thread.
unsafe impl<F> Send for Producer<F> {}

impl<F: BufferFormat> Producer<F> {
    /// Returns the index of the first descriptor not in use, the value for the doorbell.
    #[inline(always)]
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Returns whether `needed` descriptors are free.
    ///
    /// Looks at what the consumer has done only if there were not that many the last time.
    #[inline(always)]
    pub fn has_room(&mut self, needed: u32) -> bool {
        self.free >= needed || self.count_free(self.tail) >= needed
    }

    /// Returns the space behind what is in the ring.
    pub fn space(&self) -> Space<'_> {
        self.space_from(self.tail)
    }

    fn space_from(&self, tail: u32) -> Space<'_> {
        Space {
            ring: &self.ring,
            tail,
        }
    }

    #[cold]
    #[inline(never)]
    fn count_free(&mut self, tail: u32) -> u32 {
        // INVARIANT: The consumer only ever makes more of them free.
        self.free = self.space_from(tail).unused();
        self.free
    }

    /// Maps a packet for the device to read and describes its buffers.
    ///
    /// There has to be [room](Self::has_room) for [`MAX_PACKET_DESC`] descriptors. `bytes` and
    /// `frames` on the wire are what [`Consumer::complete`] will report.
    ///
    /// # Errors
    ///
    /// Returns the packet, with nothing left mapped, if there is no room, it can not be mapped or the
    /// device can not reach it, or has no descriptor for a buffer so long.
    #[inline(always)]
    pub fn map(&mut self, skb: SkBuff, bytes: u32, frames: u16) -> Result<Mapped<'_, F>, SkBuff> {
        if self.free < MAX_PACKET_DESC {
            return Err(skb);
        }
        let frags = skb.frags();
        // CAST: The kernel allows `MAX_SKB_FRAGS`.
        let tag = Tag {
            bytes,
            frames,
            buffers: frags.len() as u16 + 1,
        };
        // SAFETY: The packet is owned. Its control block has 48 bytes aligned to 8, and belongs to
        // whoever owns the packet.
        unsafe { tag_of(skb.as_non_null()).write(tag) };

        let dev = self.dev;
        let mut len = skb.headlen();
        let mut addr = if len > F::MAX_LEN {
            !0
        } else {
            skb.map_head_raw(dev)
        };
        let view = self.view;
        let mut index = view.next(self.tail);
        let mut mapping = Mapping::new(addr, len);
        for frag in frags {
            // One comparison for what is not mapped and what the device can not reach.
            if addr >> F::ADDR_BITS != 0 {
                self.undo(index, addr, mapping.is_some().then_some(len));
                return Err(skb);
            }
            // SAFETY: `index` is within the ring, and the packet fits what is free.
            unsafe {
                (*view.slot(index)).mapping = mapping;
                view.write(index, F::describe(addr, len, false));
            }
            index = view.next(index);
            len = frag.size();
            (addr, mapping) = if len > F::MAX_LEN {
                (!0, Mapping::NONE)
            } else if frag.is_net_iov() {
                // Its owner has mapped it and will unmap it.
                (frag.map_net_iov_raw(dev), Mapping::NONE)
            } else {
                let addr = frag.map_page_raw(dev);
                (addr, Mapping::new(addr, len))
            };
        }
        if addr >> F::ADDR_BITS != 0 {
            self.undo(index, addr, mapping.is_some().then_some(len));
            return Err(skb);
        }
        // SAFETY: As above.
        unsafe {
            (*view.slot(index)).mapping = mapping;
            view.write(index, F::describe(addr, len, true));
        }
        // INVARIANT: There were at least `MAX_PACKET_DESC`, of which the packet needs its own, that of
        // the linear part and one for each fragment.
        self.free = self.free.wrapping_sub(u32::from(tag.buffers) + 1);
        // INVARIANT: The slots after the tail up to `end` were filled, as many as the tag says.
        Ok(Mapped {
            skb: ManuallyDrop::new(skb),
            end: view.next(index),
            producer: self,
        })
    }

    /// Writes the descriptor at `index` anew, without any effect on what is in the ring.
    pub fn rewrite(&self, index: u32, value: u64) {
        self.ring.desc.write(index, value);
    }

    /// Undoes the mappings in the slots after the tail up to `end`, and that of `len` bytes at `addr`
    /// which the device can not be told, unless that one failed or is not ours.
    #[cold]
    #[inline(never)]
    fn undo(&self, end: u32, addr: DmaAddress, len: Option<u32>) {
        if let Some(len) = len.filter(|_| addr != !0) {
            // SAFETY: The mapping is the caller's, who forgets it.
            unsafe { unmap_tx_raw(self.dev, addr, len) };
        }
        let mut index = self.view.next(self.tail);
        while index != end {
            // SAFETY: The slot is not in use, so it is the producer's, and the caller has put a
            // mapping there, which it forgets.
            unsafe { (*self.view.slot(index)).mapping.undo(self.dev) };
            index = self.view.next(index);
        }
    }
}

/// The part of a ring that is not in use, which grows as packets leave the ring.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    ring: &'a Ring,
    tail: u32,
}

impl Space<'_> {
    /// Returns how many descriptors are free by now.
    #[inline]
    pub fn unused(self) -> u32 {
        let head = self.ring.head.0.load(Ordering::Acquire);
        head.wrapping_add(!self.tail) & self.ring.desc.mask()
    }
}

/// A packet whose buffers are mapped and described, but that is not in the ring yet.
///
/// Dropping it frees the packet and the mappings.
///
/// # Invariants
///
/// The slots after the tail up to `end` are not in use and hold the packet's mappings, at least one,
/// and the packet's tag says how many.
pub struct Mapped<'a, F: BufferFormat> {
    producer: &'a mut Producer<F>,
    skb: ManuallyDrop<SkBuff>,
    end: u32,
}

impl<F: BufferFormat> Mapped<'_, F> {
    /// Returns the packet.
    #[inline(always)]
    pub fn skb(&self) -> &SkBuff {
        &self.skb
    }

    /// Returns the packet's bytes on the wire.
    #[inline(always)]
    pub fn bytes(&self) -> u32 {
        // SAFETY: The packet is owned and has its tag.
        unsafe { (*tag_of(self.skb.as_non_null())).bytes }
    }

    /// Returns whether `needed` descriptors will be free after the packet.
    #[inline(always)]
    pub fn leaves_room(&mut self, needed: u32) -> bool {
        self.producer.free >= needed || self.producer.count_free(self.end) >= needed
    }

    /// Returns the space behind the packet.
    pub fn space(&self) -> Space<'_> {
        self.producer.space_from(self.end)
    }

    /// Puts the packet in the ring, with `first` as its first descriptor.
    ///
    /// Returns the index of that descriptor.
    #[inline(always)]
    pub fn push(self, first: u64) -> u32 {
        // The packet moves to the ring, so nothing is left to drop.
        let mut this = ManuallyDrop::new(self);
        let (skb, end) = (this.skb.as_non_null(), this.end);
        let producer = &mut *this.producer;
        let (view, tail) = (producer.view, producer.tail);
        // SAFETY: The slot is not in use.
        unsafe {
            view.write(tail, first);
            (*view.slot(tail)).packet = skb;
        }
        // INVARIANT: All slots of the packet were filled, and they were not in use.
        producer.tail = end;
        producer.ring.tail.0.store(end, Ordering::Release);
        tail
    }
}

impl<F: BufferFormat> Drop for Mapped<'_, F> {
    fn drop(&mut self) {
        self.producer.undo(self.end, !0, None);
        self.producer.count_free(self.producer.tail);
        // SAFETY: It is not used any more.
        unsafe { ManuallyDrop::drop(&mut self.skb) };
    }
}

/// Returns where the tag of a packet is.
#[inline(always)]
fn tag_of(skb: NonNull<bindings::sk_buff>) -> *mut Tag {
    // SAFETY: Every packet is allocated, and only an address is computed.
    unsafe { (&raw mut (*skb.as_ptr()).cb).cast() }
}

/// The side that packets leave at when they have been sent.
///
/// # Invariants
///
/// `view` is that of `ring`, and `head` is its head.
pub struct Consumer<F> {
    view: View,
    head: u32,
    ring: Arc<Ring>,
    _format: PhantomData<fn() -> F>,
}

// SAFETY: The slots belong to the ring, which may be used from any thread.
unsafe impl<F> Send for Consumer<F> {}

/// Looks at a ring while others use it.
///
/// It keeps the ring, and has to be gone before the device is unbound.
pub struct Watch(Arc<Ring>);

impl Watch {
    /// Returns the index of the first descriptor in use.
    pub fn head(&self) -> u32 {
        self.0.head.0.load(Ordering::Relaxed)
    }

    /// Returns the index of the first descriptor not in use.
    pub fn tail(&self) -> u32 {
        self.0.tail.0.load(Ordering::Relaxed)
    }

    /// Returns what it takes to look at the descriptors.
    pub fn descriptors(&self) -> Observer {
        self.0.desc.observer()
    }
}

/// What has left the ring.
#[derive(Clone, Copy, Default)]
pub struct Completed {
    /// Sum of the packets' frames.
    pub frames: u32,
    /// Sum of the packets' bytes.
    pub bytes: u32,
}

impl<F: BufferFormat> Consumer<F> {
    /// Returns what it takes to look at the ring from elsewhere.
    pub fn watch(&self) -> Watch {
        Watch(self.ring.clone())
    }

    /// Returns the address of the descriptors as the device sees it.
    pub fn dma_address(&self) -> DmaAddress {
        self.ring.desc.dma_address()
    }

    /// Returns the space behind what is in the ring.
    pub fn space(&self) -> Space<'_> {
        Space {
            ring: &self.ring,
            tail: self.ring.tail.0.load(Ordering::Relaxed),
        }
    }

    /// Unmaps and frees the packets in front of descriptor `end`, which the device is done with.
    ///
    /// `budget` is what the NAPI poll was called with, 0 outside of it. A packet of which only some
    /// descriptors are in front of `end` stays. Returns `None` if `end` is not in the ring or
    /// claims packets that were never put in; nothing leaves the ring then.
    #[inline(always)]
    pub fn complete(&mut self, end: u32, budget: u32) -> Option<Completed> {
        let view = self.view;
        let tail = self.ring.tail.0.load(Ordering::Acquire);
        let left = view.distance(self.head, end);
        if end > view.mask || left > view.distance(self.head, tail) {
            return None;
        }
        Some(self.take(left, budget))
    }

    /// Unmaps and frees all packets. The device must not be using them any more.
    ///
    /// Not for use in a NAPI poll.
    pub fn flush(&mut self) -> Completed {
        let tail = self.ring.tail.0.load(Ordering::Acquire);
        self.take(self.view.distance(self.head, tail), 0)
    }

    /// Takes out what is among the next `left` descriptors, which the caller has seen to be in use.
    #[inline(always)]
    fn take(&mut self, left: u32, budget: u32) -> Completed {
        let dev = raw_device(&self.ring.dev);
        // SAFETY: By the type invariant of the ring, since `tail` was read with acquire.
        let (head, done) = unsafe { self.view.release(dev, self.head, left, budget) };
        // INVARIANT: What is left behind was given back.
        self.head = head;
        self.ring.head.0.store(head, Ordering::Release);
        done
    }

    /// Makes an empty ring start at its first descriptor again, as the device does after a reset.
    ///
    /// Returns whether it does: `producer` has to be the other side, and nothing may be in it.
    pub fn rewind(&mut self, producer: &mut Producer<F>) -> bool {
        if !Arc::ptr_eq(&self.ring, &producer.ring) || self.head != producer.tail {
            return false;
        }
        // INVARIANT: With both sides borrowed exclusively nobody looks at the indices, and an empty
        // ring has no slot in use wherever it starts.
        self.head = 0;
        producer.tail = 0;
        producer.free = self.view.mask;
        self.ring.head.0.store(0, Ordering::Release);
        self.ring.tail.0.store(0, Ordering::Release);
        true
    }
}
