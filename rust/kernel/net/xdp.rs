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
        netdevice::NetDevice,
        page::{self, PAGE_SIZE},
        page_pool::{CpuSync, Netmem, PageFrag, PagePool},
        page_ring::FrameFrag,
        skbuff::{SkBuff, MAX_SKB_FRAGS},
        tx_ring::BufferFormat, //
    },
};
use core::{
    marker::PhantomPinned,
    mem::size_of,
    ptr::{self, NonNull},
    slice, //
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
    /// The program does not take frames in several pieces and has not seen it.
    TooLong,
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

/// A place for a received frame whose pieces are still arriving.
///
/// Stays with a receive queue, from one poll to the next and from one frame to the next, so that no
/// frame is ever copied. The first piece is a range of a page with room in front of and behind the
/// data, in which the stack will build its metadata.
///
/// # Invariants
///
/// `buff.rxq` is `_rxq`. While `buff.data_hard_start` is not null a frame is open: `buff` describes a
/// range of a page from a pool, of which this value owns one reference, with at least
/// [`SHINFO_SIZE`] bytes behind the data. With the flag for fragments the shared information there
/// lists them, each with one page reference. Programs keep all of that: the kernel moves the ends of
/// the data for them and takes fragments away, both with checks.
pub struct RxBuff {
    buff: bindings::xdp_buff,
    _rxq: Pin<KBox<XdpRxq>>,
}

// SAFETY: The memory is owned and not tied to a thread.
unsafe impl Send for RxBuff {}

impl RxBuff {
    /// Returns a place without a frame, for frames of the queue `rxq`.
    pub fn new(rxq: Pin<KBox<XdpRxq>>) -> Self {
        // SAFETY: All zeroes are a valid value of this C structure.
        let mut buff: bindings::xdp_buff = unsafe { core::mem::zeroed() };
        buff.rxq = rxq.rxq.get();
        // INVARIANT: No frame is open.
        Self { buff, _rxq: rxq }
    }

    /// Returns whether there is a frame.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        !self.buff.data_hard_start.is_null()
    }

    #[inline(always)]
    fn sizes(&mut self) -> &mut bindings::xdp_buff__bindgen_ty_1__bindgen_ty_1 {
        // SAFETY: Both members of the union are plain integers.
        unsafe { &mut self.buff.__bindgen_anon_1.__bindgen_anon_1 }
    }

    #[inline(always)]
    fn shinfo(&mut self) -> *mut bindings::skb_shared_info {
        let offset = self.sizes().frame_sz.wrapping_sub(SHINFO_SIZE);
        self.buff
            .data_hard_start
            .wrapping_byte_add(offset as usize)
            .cast()
    }

    /// Starts a frame.
    ///
    /// Returns `None`, and gives the part of the page back, if a frame is open already.
    #[inline(always)]
    pub fn open(&mut self, sync: CpuSync<'_>, frame: FrameFrag<SHINFO_SIZE>) -> Option<()> {
        let (frag, data, len) = frame.into_parts();
        if self.is_open() {
            return None;
        }
        // Whether this is a page of the reserve the kernel finds out by itself.
        let _ = sync.sync(&frag);
        let page = frag.page_ptr();
        let data = page.wrapping_add(data as usize);
        prefetch(data);
        self.buff.data = data.cast();
        self.buff.data_end = data.wrapping_add(len as usize).cast();
        self.buff.data_meta = data.cast();
        self.buff.__bindgen_anon_1.frame_sz_flags_init = frag.size().into();
        // INVARIANT: No other frame was open. The page reference moves here, there is room behind
        // the data, and there are no fragments.
        self.buff.data_hard_start = page.wrapping_add(frag.start() as usize).cast();
        frag.into_netmem();
        Some(())
    }

    /// Adds a piece of payload: the first `len` bytes of `frag`, all of which counts as used.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no frame is open or `len` is longer than the range, `ENOSPC` if the frame has
    /// as many fragments as the stack allows. The range is given back then.
    #[inline(always)]
    pub fn add_frag(&mut self, sync: CpuSync<'_>, frag: PageFrag, len: u32) -> Result {
        let truesize = frag.size();
        if !self.is_open() || len > truesize {
            return Err(EINVAL);
        }
        let shinfo = self.shinfo();
        let flags = &mut self.sizes().flags;
        // SAFETY: By the type invariant the range behind the data is ours, and the shared
        // information is there once the flag is set.
        unsafe {
            let sizes = &raw mut (*shinfo).__bindgen_anon_2.__bindgen_anon_1;
            if *flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS == 0 {
                *flags |= bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS;
                (*shinfo).nr_frags = 0;
                (*sizes).xdp_frags_size = 0;
                (*sizes).xdp_frags_truesize = 0;
            }
            let index = (*shinfo).nr_frags;
            if u32::from(index) >= MAX_SKB_FRAGS {
                return Err(ENOSPC);
            }
            if sync.sync(&frag) {
                *flags |= bindings::xdp_buff_flags_XDP_FLAGS_FRAGS_PF_MEMALLOC;
            }
            (*sizes).xdp_frags_size = (*sizes).xdp_frags_size.wrapping_add(len);
            (*sizes).xdp_frags_truesize = (*sizes).xdp_frags_truesize.wrapping_add(truesize);
            let offset = frag.start();
            // The index is within the array. The page reference moves to the fragment.
            let slot = (&raw mut (*shinfo).frags)
                .cast::<bindings::skb_frag_t>()
                .add(index.into());
            slot.write(bindings::skb_frag_t {
                netmem: frag.into_netmem().raw(),
                len,
                offset,
            });
            (*shinfo).nr_frags = index.wrapping_add(1);
        }
        Ok(())
    }

    /// Makes the frame a packet of the stack: receive queue, protocol and page recycling are set.
    ///
    /// NAPI poll. Returns `None` if no frame is open, or, with the frame left open, if there is no
    /// memory.
    #[inline(always)]
    pub fn build_skb(&mut self) -> Option<SkBuff> {
        if !self.is_open() {
            return None;
        }
        // SAFETY: By the type invariant, and `rxq` is registered by its own. On success the packet
        // takes over all page references.
        let skb = NonNull::new(unsafe { bindings::xdp_build_skb_from_buff(&self.buff) })?;
        // INVARIANT: Without a frame nothing is owned.
        self.buff.data_hard_start = ptr::null_mut();
        // SAFETY: The function returns a new packet with one reference.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// Returns the open frame, if there is one.
    #[inline(always)]
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        // INVARIANT: Checked just here.
        self.is_open().then_some(Frame(self))
    }

    /// Throws away the frame, if there is one.
    #[cold]
    #[inline(never)]
    pub fn clear(&mut self) {
        if let Some(frame) = self.frame() {
            frame.recycle();
        }
    }
}

/// The open frame of an [`RxBuff`].
///
/// Dropping it changes nothing: the frame stays open.
///
/// # Invariants
///
/// There is one.
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
        // SAFETY: By the type invariants the shared information is there and lists so many of them.
        unsafe {
            let first = (&raw const (*shinfo).frags).cast::<bindings::skb_frag_t>();
            slice::from_raw_parts(first, (*shinfo).nr_frags.into())
        }
    }

    /// Returns the page of the first piece.
    #[inline(always)]
    fn page(&self) -> Netmem {
        let page = page::virt_to_page(self.0.buff.data_hard_start.cast());
        // SAFETY: By the type invariants the piece is in a page of a pool.
        unsafe { Netmem::from_raw(page as bindings::netmem_ref) }
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
    #[inline(always)]
    pub fn run(&mut self, program: Running<'_>) -> Verdict {
        if self.has_frags() && !program.has_frags() {
            return Verdict::TooLong;
        }
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
        if self.has_frags() {
            return self.transmit_pieces(ring, sync);
        }
        if ring.unused() == 0 || (self.head_len() < F::MIN_FRAME && !self.pad(F::MIN_FRAME)) {
            return Err(self);
        }
        // SAFETY: There is room for it.
        unsafe { self.put_head(ring, sync, true) };
        // INVARIANT: Without a frame nothing is owned.
        self.0.buff.data_hard_start = ptr::null_mut();
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
        // INVARIANT: Without a frame nothing is owned.
        self.0.buff.data_hard_start = ptr::null_mut();
        Ok(())
    }

    /// Puts the first piece in a ring, with the reference of its page.
    ///
    /// # Safety
    ///
    /// The ring must have room, and the reference be used by nobody else afterwards.
    #[inline(always)]
    unsafe fn put_head<F: BufferFormat>(
        &self,
        ring: &mut FrameRing<F>,
        sync: CpuSync<'_>,
        last: bool,
    ) {
        // CAST: Within a page.
        let offset = (self.0.buff.data as usize % PAGE_SIZE) as u32;
        // SAFETY: By the type invariants the data is a range of the page, and the caller guarantees
        // the rest.
        unsafe { ring.put(sync, self.page(), offset, self.head_len(), last) };
    }

    /// Throws the frame away. Its pages go back to their pool.
    ///
    /// Not when netpoll calls.
    #[inline(always)]
    pub fn recycle(mut self) {
        if self.has_frags() {
            self.recycle_frags();
        }
        // SAFETY: By the type invariants the page has a reference for the data, which is not used any
        // more.
        unsafe { self.page().put_one() };
        // INVARIANT: Without a frame nothing is owned.
        self.0.buff.data_hard_start = ptr::null_mut();
    }

    #[inline(never)]
    fn recycle_frags(&mut self) {
        for frag in self.frags() {
            // SAFETY: By the type invariants each has a reference, which is not used any more.
            unsafe { Netmem::from_raw(frag.netmem).put_one() };
        }
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
