// SPDX-License-Identifier: GPL-2.0

//! Received frames on their way to a socket buffer, and what XDP programs make of them.
//!
//! C header: [`include/net/xdp.h`](srctree/include/net/xdp.h)

mod program;
mod ring;

pub use program::{Program, Running, Slot};
pub use ring::FrameRing;

use crate::{
    bindings,
    net::{
        napi::PollContext,
        netdevice::NetDevice,
        page,
        page_pool::{CpuSync, Heads, Netmem, PageFrag, PagePool},
        page_ring::FrameFrag,
        skbuff::{SkBuff, MAX_SKB_FRAGS},
        tx_ring::BufferFormat, //
    },
};
use core::{
    marker::PhantomPinned,
    mem::{size_of, MaybeUninit},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{compiler_fence, Ordering}, //
};
use kernel::{error::to_result, prelude::*, types::Opaque};

/// Bytes behind the data that the stack needs for its `skb_shared_info`, cache line aligned.
pub const SHINFO_SIZE: u32 = {
    let line = bindings::L1_CACHE_BYTES as usize;
    (size_of::<bindings::skb_shared_info>().div_ceil(line) * line) as u32
};

/// What devices can do for XDP, the `NETDEV_XDP_ACT_*` bits.
pub mod features {
    pub use crate::bindings::{
        netdev_xdp_act_NETDEV_XDP_ACT_BASIC as BASIC, netdev_xdp_act_NETDEV_XDP_ACT_RX_SG as RX_SG,
    };
}

/// What is to become of a frame that a program has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the stack.
    Pass,
    /// It is thrown away. What the program did not mean that way has been reported.
    Drop,
    /// It is sent back where it came from.
    Tx,
}

/// Registration of a receive queue as a source of frames from a page pool.
///
/// # Invariants
///
/// The queue information is registered with a page pool memory model. It must go before the
/// device's NAPI context.
#[pin_data(PinnedDrop)]
pub struct XdpRxq {
    #[pin]
    rxq: Opaque<bindings::xdp_rxq_info>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The information is read-only once registered, and removing it may happen anywhere.
unsafe impl Send for XdpRxq {}
// SAFETY: As above.
unsafe impl Sync for XdpRxq {}

impl XdpRxq {
    /// Registers receive queue `queue_index`, polled by the context with `napi_id`.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` if the kernel does not accept the queue.
    pub fn new(
        dev: &NetDevice,
        queue_index: u32,
        napi_id: u32,
        pool: &PagePool,
    ) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            // INVARIANT: Both steps of the registration are done in the first field.
            try_pin_init!(Self {
                rxq <- Opaque::try_ffi_init(|slot: *mut bindings::xdp_rxq_info| {
                    // SAFETY: `slot` is valid for writing, all zeroes is the unregistered state,
                    // and device and pool are valid by their types.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        to_result(bindings::__xdp_rxq_info_reg(
                            slot, dev.as_ptr(), queue_index, napi_id, 0,
                        ))?;
                        to_result(bindings::xdp_rxq_info_reg_mem_model(
                            slot,
                            bindings::xdp_mem_type_MEM_TYPE_PAGE_POOL,
                            pool.as_ptr().cast(),
                        ))
                        .inspect_err(|_| bindings::xdp_rxq_info_unreg(slot))
                    }
                }),
                _pin: PhantomPinned,
            }? Error),
            GFP_KERNEL,
        )
    }
}

#[pinned_drop]
impl PinnedDrop for XdpRxq {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. This also drops the memory model's hold on the pool.
        unsafe { bindings::xdp_rxq_info_unreg(self.rxq.get()) };
    }
}

/// Room in front of the data of a packet that a program has made, which may have put metadata there.
const HEADROOM: u32 = bindings::XDP_PACKET_HEADROOM;

/// How much of the first piece of a frame is copied, in bytes, if it is not longer.
const COPY: u32 = 256;

/// How much is copied of a longer one: all headers of most frames, of which those are kept.
const LOOK: usize = 128;

/// Length of an Ethernet header, which the stack takes off a packet without looking for it.
const ETH_HLEN: u32 = 14;

/// The first piece of a frame: a range of a page with room in front of and behind the data.
#[derive(Clone, Copy)]
struct First {
    netmem: Netmem,
    /// Where the range starts in the page, and how long it is, in bytes.
    start: u32,
    room: u32,
    /// Where in the range the data starts, and how long it is.
    offset: u32,
    len: u32,
}

impl First {
    /// Returns the address of the range.
    #[inline(always)]
    fn as_ptr(self) -> *mut u8 {
        let page: *mut u8 = page::page_to_virt(self.netmem.page()).cast();
        page.wrapping_add(self.start as usize)
    }
}

/// The pieces of a frame.
///
/// # Invariants
///
/// The first `count` elements are ranges of pages from pools, each with one reference of its page. If
/// there is any, the first one has at least [`ETH_HLEN`] bytes, and lies, with [`SHINFO_SIZE`] bytes
/// behind it, within `room` bytes from `start` of its page on, which belong to it.
struct Pieces {
    list: [MaybeUninit<bindings::skb_frag_t>; MAX_SKB_FRAGS as usize],
    count: u32,
    /// Sum of the lengths in bytes, and of the memory behind them.
    size: u32,
    truesize: u32,
    start: u32,
    room: u32,
    /// Some page is of the kernel's emergency reserve.
    of_reserve: bool,
}

impl Pieces {
    const fn new() -> Self {
        // INVARIANT: There is none.
        Self {
            list: [MaybeUninit::uninit(); MAX_SKB_FRAGS as usize],
            count: 0,
            size: 0,
            truesize: 0,
            start: 0,
            room: 0,
            of_reserve: false,
        }
    }

    #[inline(always)]
    fn as_slice(&self) -> &[bindings::skb_frag_t] {
        // SAFETY: By the type invariant.
        unsafe { slice::from_raw_parts(self.list.as_ptr().cast(), self.count as usize) }
    }

    #[inline(always)]
    fn first(&self) -> Option<First> {
        let piece = self.as_slice().first()?;
        Some(First {
            // SAFETY: By the type invariant.
            netmem: unsafe { Netmem::from_raw(piece.netmem) },
            start: self.start,
            room: self.room,
            offset: piece.offset.wrapping_sub(self.start),
            len: piece.len,
        })
    }

    /// Returns all but the first.
    #[inline(always)]
    fn others(&self) -> &[bindings::skb_frag_t] {
        self.as_slice().get(1..).unwrap_or(&[])
    }
}

/// A place for a received frame whose pieces are still arriving.
///
/// Stays with a receive queue, from one poll to the next and from one frame to the next.
///
/// The device can write to the pages of all pieces as long as they are mapped, also when it has said
/// that it is done with them, or has told a wrong length. So nothing but bytes of the frame is ever
/// kept there. What the stack and programs trust, the list of pieces above all, is in memory of the
/// packet's own, or from [`Heads`].
///
/// # Invariants
///
/// - `buff.rxq` is `_rxq`. Without pieces there is no frame.
/// - With `copy` a program has seen a frame in several pieces: `buff` describes that memory, whose
///   shared information lists all but the first one, each with one page reference, in place of
///   `pieces`. It has the size of the range of the first piece, and the data is as far from its start
///   as it was there. Programs keep all of that: the kernel moves the ends of the data for them and
///   takes pieces away, both with checks.
/// - Without it, while a [`Frame`] exists, there is one piece, and `buff` describes its range.
pub struct RxBuff {
    pieces: Pieces,
    copy: Option<PageFrag>,
    buff: bindings::xdp_buff,
    /// Number of the receive queue.
    queue: u32,
    _rxq: Pin<KBox<XdpRxq>>,
}

// SAFETY: The memory is owned and not tied to a thread.
unsafe impl Send for RxBuff {}

/// How much memory an `xdp_buff` describes, and what of it is known, which are one number to some.
type Sizes = bindings::xdp_buff__bindgen_ty_1__bindgen_ty_1;

#[inline(always)]
fn sizes(buff: &mut bindings::xdp_buff) -> &mut Sizes {
    // SAFETY: Both members of the union are plain integers.
    unsafe { &mut buff.__bindgen_anon_1.__bindgen_anon_1 }
}

/// Returns the address behind all that data may ever take, where the shared information is if there is
/// any.
#[inline(always)]
fn shinfo(buff: &mut bindings::xdp_buff) -> *mut bindings::skb_shared_info {
    let offset = sizes(buff).frame_sz.wrapping_sub(SHINFO_SIZE);
    let start = buff.data_hard_start;
    start.wrapping_byte_add(offset as usize).cast()
}

/// Writes the shared information: `pieces`, for which so many bytes of `memory` are taken, some of it
/// perhaps of the kernel's emergency reserve.
///
/// # Safety
///
/// `buff` must describe memory from [`Heads`] with room for the shared information, and there be no
/// more pieces than the stack allows.
#[inline(always)]
unsafe fn list_pieces(
    buff: &mut bindings::xdp_buff,
    pieces: &[bindings::skb_frag_t],
    memory: u32,
    of_reserve: bool,
) {
    let mut flags = bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS;
    if of_reserve {
        flags |= bindings::xdp_buff_flags_XDP_FLAGS_FRAGS_PF_MEMALLOC;
    }
    sizes(buff).flags |= flags;
    let shinfo = shinfo(buff);
    // SAFETY: The caller guarantees that there is room.
    unsafe {
        let slots = (&raw mut (*shinfo).frags).cast::<bindings::skb_frag_t>();
        ptr::copy_nonoverlapping(pieces.as_ptr(), slots, pieces.len());
        // CAST: At most `MAX_SKB_FRAGS`.
        (*shinfo).nr_frags = pieces.len() as u8;
        let sizes = &raw mut (*shinfo).__bindgen_anon_2.__bindgen_anon_1;
        (*sizes).xdp_frags_size = pieces
            .iter()
            .fold(0, |sum, piece| sum.wrapping_add(piece.len));
        (*sizes).xdp_frags_truesize = memory;
    }
}

impl RxBuff {
    /// Returns a place without a frame, for frames of the queue `rxq`.
    pub fn new(rxq: Pin<KBox<XdpRxq>>) -> Self {
        // SAFETY: All zeroes are a valid value of this C structure.
        let mut buff: bindings::xdp_buff = unsafe { core::mem::zeroed() };
        buff.rxq = rxq.rxq.get();
        // SAFETY: By the type invariant of `rxq` the information is valid.
        let queue = unsafe { (*buff.rxq).queue_index };
        // INVARIANT: No frame is open.
        Self {
            pieces: Pieces::new(),
            copy: None,
            buff,
            queue,
            _rxq: rxq,
        }
    }

    /// Returns whether there is a frame.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.pieces.count != 0
    }

    #[inline(always)]
    fn has_pieces(&self) -> bool {
        self.pieces.count > 1
    }

    #[inline(always)]
    fn sizes(&mut self) -> &mut Sizes {
        sizes(&mut self.buff)
    }

    #[inline(always)]
    fn shinfo(&mut self) -> *mut bindings::skb_shared_info {
        shinfo(&mut self.buff)
    }

    /// Starts a frame.
    ///
    /// Returns `None`, and gives the part of the page back, if a frame is open already or this one is
    /// shorter than an Ethernet header.
    #[inline(always)]
    pub fn open(&mut self, sync: CpuSync<'_>, frame: FrameFrag<SHINFO_SIZE>) -> Option<()> {
        let (frag, data, len) = frame.into_parts();
        if len < ETH_HLEN || self.is_open() {
            return None;
        }
        let pieces = &mut self.pieces;
        pieces.of_reserve = sync.sync(&frag);
        prefetch(frag.page_ptr().wrapping_add(data as usize));
        let [first, ..] = &mut pieces.list;
        (pieces.start, pieces.room) = (frag.start(), frag.size());
        (pieces.size, pieces.truesize) = (len, frag.size());
        // INVARIANT: No other frame was open. The page reference moves here. The frame's invariants are
        // the same, but for the shortest length, which was checked.
        first.write(bindings::skb_frag_t {
            netmem: frag.into_netmem().raw(),
            len,
            offset: data,
        });
        pieces.count = 1;
        Some(())
    }

    /// Adds a piece of payload: the first `len` bytes of `frag`, all of which counts as used.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no frame is open or `len` is longer than the range, `ENOSPC` if the frame has
    /// as many pieces as the stack allows. The range is given back then.
    #[inline(always)]
    pub fn add_frag(&mut self, sync: CpuSync<'_>, frag: PageFrag, len: u32) -> Result {
        let truesize = frag.size();
        if !self.is_open() || len > truesize {
            return Err(EINVAL);
        }
        let pieces = &mut self.pieces;
        let slot = pieces.list.get_mut(pieces.count as usize).ok_or(ENOSPC)?;
        pieces.of_reserve |= sync.sync(&frag);
        let offset = frag.start();
        // INVARIANT: The page reference moves here.
        slot.write(bindings::skb_frag_t {
            netmem: frag.into_netmem().raw(),
            len,
            offset,
        });
        pieces.count = pieces.count.wrapping_add(1);
        pieces.size = pieces.size.wrapping_add(len);
        pieces.truesize = pieces.truesize.wrapping_add(truesize);
        Ok(())
    }

    /// Lets `buff` describe `size` bytes from `start` on, with `len` bytes of data from offset `data` of
    /// them on.
    #[inline(always)]
    fn describe(&mut self, start: *mut u8, size: u32, data: u32, len: u32) {
        let data = start.wrapping_add(data as usize);
        self.buff.data_hard_start = start.cast();
        self.buff.data = data.cast();
        self.buff.data_end = data.wrapping_add(len as usize).cast();
        self.buff.data_meta = data.cast();
        self.buff.__bindgen_anon_1.frame_sz_flags_init = size.into();
    }

    /// Ends the frame. The first piece is the caller's now, the others must be somebody else's already.
    #[inline(always)]
    fn close(&mut self) -> Option<PageFrag> {
        let first = self.pieces.first()?;
        // INVARIANT: There is none.
        self.pieces.count = 0;
        let end = first.start.wrapping_add(first.room);
        // SAFETY: By the type invariant of the pieces, whose reference this is.
        Some(unsafe { PageFrag::new(first.netmem, first.start, end) })
    }

    /// Hands the frame to the stack, through generic receive offload, as a packet of its pieces and
    /// what `describe` says.
    ///
    /// NAPI poll. Returns the length of the frame in bytes, or `None` if no frame is open or, with the
    /// frame left open, if there is no memory.
    #[inline(always)]
    pub fn deliver(
        &mut self,
        napi: &PollContext<'_>,
        describe: impl FnOnce(&mut SkBuff),
    ) -> Option<u32> {
        if !self.is_open() {
            return None;
        }
        let mut packet = napi.packet_of_pieces()?;
        let pieces = &self.pieces;
        let len = pieces.size;
        // SAFETY: By the type invariants these are ranges of pages from pools, each with a reference,
        // which moves to the packet, and no more than the stack allows. The first one holds the
        // Ethernet header.
        unsafe { packet.put_pieces(pieces.as_slice(), len, pieces.truesize) };
        packet.record_rx_queue(self.queue);
        if pieces.of_reserve {
            packet.set_pfmemalloc();
        }
        describe(&mut packet);
        packet.gro_receive();
        // INVARIANT: The references are the packet's.
        self.pieces.count = 0;
        Some(len)
    }

    /// Builds a packet of `len` bytes at `offset` in the range of the first piece, the only one, with
    /// `meta` bytes in front of them.
    ///
    /// # Safety
    ///
    /// No frame in `copy`. The bytes, and [`SHINFO_SIZE`] behind them, must lie in the range, and `meta`
    /// be at most [`HEADROOM`].
    #[inline(always)]
    unsafe fn build_from(
        &mut self,
        heads: &mut Heads,
        offset: u32,
        len: u32,
        meta: u32,
    ) -> Option<(SkBuff, Option<PageFrag>)> {
        const { assert!(COPY <= SHINFO_SIZE && LOOK as u32 <= COPY) };
        let first = self.pieces.first()?;
        let memory = heads.take(HEADROOM + COPY + SHINFO_SIZE)?;
        let source = first.as_ptr().wrapping_add(offset as usize);
        let target = memory.as_ptr().wrapping_add(HEADROOM as usize);
        // SAFETY: There is room for as much in the new memory. By the requirements of this function
        // what is read belongs to the first piece, some of it perhaps behind the data.
        let linear = unsafe { copy_head(source, target, len) };
        self.describe(memory.as_ptr(), memory.size(), HEADROOM, linear);
        if meta != 0 {
            let meta = meta as usize;
            self.buff.data_meta = target.wrapping_sub(meta).cast();
            // SAFETY: The requirements of this function say so.
            unsafe {
                ptr::copy_nonoverlapping(source.wrapping_sub(meta), target.wrapping_sub(meta), meta)
            };
        }
        let rest = bindings::skb_frag_t {
            netmem: first.netmem.raw(),
            len: len.wrapping_sub(linear),
            offset: first.start.wrapping_add(offset).wrapping_add(linear),
        };
        if rest.len != 0 {
            let of_reserve = self.pieces.of_reserve;
            let rest = slice::from_ref(&rest);
            // SAFETY: The memory is that, and has room behind `COPY` bytes.
            unsafe { list_pieces(&mut self.buff, rest, first.room, of_reserve) };
        }
        // SAFETY: By the type invariant, and `rxq` is registered by its own. On success the packet
        // takes over the page reference that is listed, and that of the new memory.
        let skb = NonNull::new(unsafe { bindings::xdp_build_skb_from_buff(&self.buff) })?;
        memory.into_netmem();
        // SAFETY: The function returns a new packet with one reference.
        let skb = unsafe { SkBuff::from_raw(skb) };
        let first = self.close();
        if rest.len == 0 {
            return Some((skb, first));
        }
        first.map(PageFrag::into_netmem);
        Some((skb, None))
    }

    /// Returns the open frame, to be shown to `program`.
    ///
    /// NAPI poll.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame has several pieces and the program takes one only, `ENODATA` if no frame
    /// is open, `ENOMEM`. A frame stays open.
    #[inline(always)]
    pub fn frame(&mut self, heads: &mut Heads, program: Running<'_>) -> Result<Frame<'_>> {
        let first = self.pieces.first().ok_or(ENODATA)?;
        if self.copy.is_some() {
            // INVARIANT: `buff` describes the copy already.
            return Ok(Frame(self));
        }
        if self.has_pieces() {
            return self.frame_of_pieces(heads, program);
        }
        // INVARIANT: There are no other pieces.
        self.describe(first.as_ptr(), first.room, first.offset, first.len);
        Ok(Frame(self))
    }

    /// Does what [`Self::frame`] does for a frame in several pieces, of which the first is copied.
    #[inline(never)]
    fn frame_of_pieces(&mut self, heads: &mut Heads, program: Running<'_>) -> Result<Frame<'_>> {
        if !program.has_frags() {
            return Err(EMSGSIZE);
        }
        let first = self.pieces.first().ok_or(ENODATA)?;
        let (offset, len) = (first.offset as usize, first.len as usize);
        let memory = heads.take(first.room).ok_or(ENOMEM)?;
        let start = memory.as_ptr();
        // As for `copy_head`.
        compiler_fence(Ordering::Acquire);
        // SAFETY: By the type invariants both ranges have the size.
        unsafe {
            let source = first.as_ptr().wrapping_add(offset);
            ptr::copy_nonoverlapping(source, start.wrapping_add(offset), len)
        };
        self.describe(start, first.room, first.offset, first.len);
        let pieces = &self.pieces;
        let memory_of_others = pieces.truesize.wrapping_sub(first.room);
        // SAFETY: The memory is that, and has as much room as the first piece.
        unsafe {
            list_pieces(
                &mut self.buff,
                pieces.others(),
                memory_of_others,
                pieces.of_reserve,
            )
        };
        // INVARIANT: The references are those in the shared information now.
        self.pieces.count = 1;
        self.copy = Some(memory);
        Ok(Frame(self))
    }

    #[inline(never)]
    fn recycle_others(&mut self) {
        for piece in self.pieces.others() {
            // SAFETY: By the type invariants each has a reference, which is not used any more.
            unsafe { Netmem::from_raw(piece.netmem).put_one() };
        }
        // INVARIANT: There is only one.
        self.pieces.count = 1;
    }

    /// Throws away the frame, if there is one.
    #[cold]
    #[inline(never)]
    pub fn clear(&mut self) {
        if self.is_open() {
            Frame(self).recycle();
        }
    }
}

/// Copies the beginning of a frame of `len` bytes, and returns how many bytes of it are to be kept.
///
/// # Safety
///
/// `COPY` bytes at `source` must be readable, whatever `len` is, and as many at `target` writable.
#[inline(always)]
unsafe fn copy_head(source: *const u8, target: *mut u8, len: u32) -> u32 {
    // Not before the completion was read, which says that the device has written the frame.
    compiler_fence(Ordering::Acquire);
    // SAFETY: By the requirements of this function. The device may write to the source meanwhile; any
    // byte will do.
    unsafe {
        ptr::copy_nonoverlapping(source, target, LOOK);
        if len <= LOOK as u32 {
            return len;
        }
        if len <= COPY {
            ptr::copy_nonoverlapping(source.add(LOOK), target.add(LOOK), COPY as usize - LOOK);
            return len;
        }
        headers_len(&*target.cast())
    }
}

/// Returns how long the headers of a frame are that begins so, in bytes.
///
/// The stack joins frames best of which it finds the headers, and nothing else, in front. All of it is
/// returned where they are not of the usual kinds.
#[inline(always)]
fn headers_len(frame: &[u8; LOOK]) -> u32 {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let (transport, protocol) = match (frame[12], frame[13]) {
        (0x08, 0x00) => (14 + usize::from(frame[14] & 15) * 4, frame[23]),
        (0x86, 0xdd) => (54, frame[20]),
        _ => return LOOK as u32,
    };
    let len = match protocol {
        // The first four bits of that byte count words.
        TCP => transport + usize::from(frame[transport + 12] >> 4) * 4,
        UDP => transport + 8,
        _ => LOOK,
    };
    // CAST: No more than `LOOK`.
    len.min(LOOK) as u32
}

/// The open frame of an [`RxBuff`].
///
/// Dropping it changes nothing: the frame stays open.
///
/// # Invariants
///
/// There is one, and `buff` describes it.
pub struct Frame<'a>(&'a mut RxBuff);

impl Frame<'_> {
    #[inline(always)]
    fn has_frags(&mut self) -> bool {
        self.0.sizes().flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    /// Returns all pieces but the first.
    #[inline(always)]
    fn frags(&mut self) -> &[bindings::skb_frag_t] {
        if !self.has_frags() {
            return &[];
        }
        let shinfo = self.0.shinfo();
        // SAFETY: By the type invariants the shared information is there, in the copy, and lists so
        // many of them.
        unsafe {
            let first = (&raw const (*shinfo).frags).cast::<bindings::skb_frag_t>();
            slice::from_raw_parts(first, (*shinfo).nr_frags.into())
        }
    }

    /// Returns how many bytes the first piece has.
    #[inline(always)]
    fn head_len(&self) -> u32 {
        let buff = &self.0.buff;
        // CAST: Both are in one page.
        (buff.data_end as usize).wrapping_sub(buff.data as usize) as u32
    }

    /// Returns the length of the frame in bytes.
    #[inline(always)]
    pub fn len(&mut self) -> u32 {
        let mut len = self.head_len();
        if self.has_frags() {
            let frags = self.frags().iter();
            len = frags.fold(len, |sum, frag| sum.wrapping_add(frag.len));
        }
        len
    }

    /// Runs a program, which may change the frame. NAPI poll.
    ///
    /// It has to be the one that the frame was asked for.
    #[inline(always)]
    pub fn run(&mut self, program: Running<'_>) -> Verdict {
        // SAFETY: By the type invariants. The frame is borrowed exclusively and owns the memory.
        match unsafe { program.run(&mut self.0.buff) } {
            bindings::xdp_action_XDP_PASS => Verdict::Pass,
            bindings::xdp_action_XDP_TX => Verdict::Tx,
            bindings::xdp_action_XDP_DROP => Verdict::Drop,
            act => {
                // SAFETY: By the type invariants the queue is registered, with a device that outlives
                // it.
                unsafe { program.report((*self.0.buff.rxq).dev, act) };
                Verdict::Drop
            }
        }
    }

    /// Lengthens a frame in one piece to `len` bytes, no more than a page, with zeroes.
    ///
    /// Returns whether there was room for them.
    #[cold]
    #[inline(never)]
    fn pad(&mut self, len: u32) -> bool {
        let missing = len.wrapping_sub(self.head_len()) as usize;
        let end = self.0.buff.data_end.cast::<u8>();
        let room = (self.0.shinfo() as usize).wrapping_sub(end as usize);
        if self.has_frags() || missing > room {
            return false;
        }
        // SAFETY: By the type invariants everything up to the shared information is ours.
        unsafe { ptr::write_bytes(end, 0, missing) };
        self.0.buff.data_end = end.wrapping_add(missing).cast();
        true
    }

    /// Puts the frame in a ring to be sent, padded to `F::MIN_FRAME` bytes.
    ///
    /// NAPI poll; the ring is that of the same context.
    ///
    /// # Errors
    ///
    /// Returns the frame if the ring is full or the frame is too short and can not be padded.
    #[inline(always)]
    pub fn transmit<F: BufferFormat>(
        mut self,
        ring: &mut FrameRing<F>,
        sync: CpuSync<'_>,
    ) -> Result<(), Self> {
        if self.0.copy.is_some() {
            return self.transmit_pieces(ring, sync);
        }
        if ring.unused() == 0 || (self.head_len() < F::MIN_FRAME && !self.pad(F::MIN_FRAME)) {
            return Err(self);
        }
        // SAFETY: There is room for it.
        unsafe { self.put_head(ring, sync, true) };
        Ok(())
    }

    /// Does what [`Self::transmit`] does with a frame in several pieces.
    #[inline(never)]
    fn transmit_pieces<F: BufferFormat>(
        mut self,
        ring: &mut FrameRing<F>,
        sync: CpuSync<'_>,
    ) -> Result<(), Self> {
        // CAST: The kernel allows `MAX_SKB_FRAGS`.
        let mut left = self.frags().len() as u32;
        if ring.unused() <= left || self.len() < F::MIN_FRAME {
            return Err(self);
        }
        self.copy_back();
        // SAFETY: There is room for all pieces. By the type invariants each fragment is a range of
        // its page, whose reference moves to the ring.
        unsafe {
            self.put_head(ring, sync, left == 0);
            for frag in self.frags() {
                left = left.wrapping_sub(1);
                let page = Netmem::from_raw(frag.netmem);
                ring.put(sync, page, frag.offset, frag.len, left == 0);
            }
        }
        // Only the memory: the references of the pieces have moved.
        self.0.copy = None;
        Ok(())
    }

    /// Returns where the data starts, from the start of the first piece.
    #[inline(always)]
    fn offset(&self) -> u32 {
        let buff = &self.0.buff;
        // CAST: Both are in one page.
        (buff.data as usize).wrapping_sub(buff.data_hard_start as usize) as u32
    }

    /// Copies what a program has made of the first piece to where the device can read it.
    fn copy_back(&mut self) {
        let (offset, len) = (self.offset() as usize, self.head_len() as usize);
        let Some(first) = self.0.pieces.first() else {
            return;
        };
        // SAFETY: By the type invariants the data is as far from the start as it has to be there, and
        // no closer to the end.
        unsafe {
            let target = first.as_ptr().wrapping_add(offset);
            ptr::copy_nonoverlapping(self.0.buff.data.cast::<u8>(), target, len);
        }
    }

    /// Puts the first piece in a ring, with the reference of its page. The frame is not open any more.
    ///
    /// # Safety
    ///
    /// The ring must have room.
    #[inline(always)]
    unsafe fn put_head<F: BufferFormat>(
        &mut self,
        ring: &mut FrameRing<F>,
        sync: CpuSync<'_>,
        last: bool,
    ) {
        let (offset, len) = (self.offset(), self.head_len());
        if let Some(first) = self.0.close() {
            let offset = first.start().wrapping_add(offset);
            // SAFETY: By the type invariants the data is a range of the page, and the caller
            // guarantees the rest.
            unsafe { ring.put(sync, first.into_netmem(), offset, len, last) };
        }
    }

    /// Makes the frame a packet of the stack: receive queue, protocol and page recycling are set.
    ///
    /// NAPI poll. Returns `None`, with the frame left open, if there is no memory. The second value is
    /// what the packet does not need of the frame's memory.
    #[inline(always)]
    pub fn build_skb(self, heads: &mut Heads) -> Option<(SkBuff, Option<PageFrag>)> {
        if self.0.copy.is_some() {
            return self.build_from_copy();
        }
        let offset = self.offset();
        let buff = &self.0.buff;
        // Without metadata that pointer lies behind the data. CAST: Both are in one page.
        let meta = (buff.data as usize).saturating_sub(buff.data_meta as usize) as u32;
        let (len, meta) = (self.head_len(), meta.min(HEADROOM));
        // SAFETY: By the type invariants, as the kernel does not let a program move the ends of the
        // data, or metadata, out of the range, or into the room for the shared information.
        unsafe { self.0.build_from(heads, offset, len, meta) }
    }

    /// Does what [`Self::build_skb`] does with a frame of which a program has seen a copy.
    #[inline(never)]
    fn build_from_copy(self) -> Option<(SkBuff, Option<PageFrag>)> {
        // SAFETY: By the type invariants. On success the packet takes over the copy, and all
        // references that are listed there.
        let skb = NonNull::new(unsafe { bindings::xdp_build_skb_from_buff(&self.0.buff) })?;
        if let Some(memory) = self.0.copy.take() {
            memory.into_netmem();
        }
        // SAFETY: The function returns a new packet with one reference.
        let skb = unsafe { SkBuff::from_raw(skb) };
        Some((skb, self.0.close()))
    }

    /// Throws the frame away. Its pages go back to their pools.
    ///
    /// Not when netpoll calls.
    #[inline(always)]
    pub fn recycle(mut self) {
        if self.0.copy.is_some() {
            self.recycle_copy();
        } else if self.0.has_pieces() {
            self.0.recycle_others();
        }
        if let Some(first) = self.0.close() {
            // SAFETY: The reference was the piece's, which is not used any more.
            unsafe { first.into_netmem().put_one() };
        }
    }

    #[inline(never)]
    fn recycle_copy(&mut self) {
        for frag in self.frags() {
            // SAFETY: By the type invariants each has a reference, which is not used any more.
            unsafe { Netmem::from_raw(frag.netmem).put_one() };
        }
        self.0.copy = None;
    }
}

/// Asks the CPU to fetch the headers of a frame, which are read when it is complete.
#[inline(always)]
fn prefetch(data: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A prefetch has no effect a program can observe.
    unsafe {
        core::arch::asm!(
            "prefetcht0 [{0}]",
            in(reg) data,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

impl Drop for RxBuff {
    fn drop(&mut self) {
        self.clear();
    }
}
