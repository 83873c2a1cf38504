// SPDX-License-Identifier: GPL-2.0

//! Received frames on their way to a socket buffer.
//!
//! C header: [`include/net/xdp.h`](srctree/include/net/xdp.h)

use crate::{
    bindings,
    net::{
        netdevice::NetDevice,
        page_pool::{Netmem, PageFrag, PagePool},
        skbuff::{SkBuff, MAX_SKB_FRAGS}, //
    },
};
use core::{
    marker::PhantomPinned,
    mem::size_of,
    ptr::{self, NonNull}, //
};
use kernel::{error::to_result, prelude::*, types::Opaque};

/// Bytes behind the data that the stack needs for its `skb_shared_info`, cache line aligned.
pub const SHINFO_SIZE: u32 = {
    let line = bindings::L1_CACHE_BYTES as usize;
    (size_of::<bindings::skb_shared_info>().div_ceil(line) * line) as u32
};

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
/// Stays in a receive ring, from one poll to the next and from one frame to the next, so that no
/// frame is ever copied. The first piece is a range of a page with room in front of and behind the
/// data, in which the stack will build its metadata.
///
/// # Invariants
///
/// While `head` is set, a frame is open: `buff` describes a range of that page, of which this value
/// owns one reference, with at least [`SHINFO_SIZE`] bytes behind the data. The shared information
/// at its end lists `frags` fragments, each with one page reference.
pub struct RxBuff {
    buff: bindings::xdp_buff,
    head: Option<Netmem>,
    len: u32,
    frags: u32,
}

// SAFETY: The memory is owned and not tied to a thread.
unsafe impl Send for RxBuff {}

impl RxBuff {
    /// Returns a place without a frame.
    pub fn new() -> Self {
        // INVARIANT: No frame is open.
        Self {
            // SAFETY: All zeroes are a valid value of this C structure.
            buff: unsafe { core::mem::zeroed() },
            head: None,
            len: 0,
            frags: 0,
        }
    }

    /// Returns whether there is a frame.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.head.is_some()
    }

    /// Returns the place if there is no frame in it.
    #[inline]
    pub fn vacant(&mut self) -> Option<VacantBuff<'_>> {
        // INVARIANT: Checked here.
        (!self.is_open()).then_some(VacantBuff(self))
    }

    #[inline]
    fn shinfo(&self) -> *mut bindings::skb_shared_info {
        // SAFETY: Both members of the union are plain integers.
        let frame_sz = unsafe { self.buff.__bindgen_anon_1.__bindgen_anon_1.frame_sz };
        self.buff
            .data_hard_start
            .cast::<u8>()
            .wrapping_add(frame_sz.wrapping_sub(SHINFO_SIZE) as usize)
            .cast()
    }

    /// Adds a piece of payload: the first `len` bytes of `frag`, all of which counts as used.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no frame is open or `len` is longer than the range, `ENOSPC` if the frame has
    /// as many fragments as the stack allows. The range is given back then.
    #[inline]
    pub fn add_frag(&mut self, pool: &PagePool, frag: PageFrag, len: u32) -> Result {
        let truesize = frag.size();
        if !self.is_open() || len > truesize {
            return Err(EINVAL);
        }
        if self.frags >= MAX_SKB_FRAGS {
            return Err(ENOSPC);
        }
        pool.sync_for_cpu(&frag);
        let shinfo = self.shinfo();
        // SAFETY: By the type invariant the range behind the data is ours, and `frags` is within
        // the array. The page reference moves to the fragment.
        unsafe {
            let sizes = &raw mut (*shinfo).__bindgen_anon_2.__bindgen_anon_1;
            if self.frags == 0 {
                (*sizes).xdp_frags_size = 0;
                (*sizes).xdp_frags_truesize = 0;
            }
            (*sizes).xdp_frags_size = (*sizes).xdp_frags_size.wrapping_add(len);
            (*sizes).xdp_frags_truesize = (*sizes).xdp_frags_truesize.wrapping_add(truesize);
            let offset = frag.start();
            let slot = (&raw mut (*shinfo).frags)
                .cast::<bindings::skb_frag_t>()
                .add(self.frags as usize);
            slot.write(bindings::skb_frag_t {
                netmem: frag.into_netmem().raw(),
                len,
                offset,
            });
            // CAST: At most `MAX_SKB_FRAGS`.
            (*shinfo).nr_frags = self.frags.wrapping_add(1) as u8;
            self.buff.__bindgen_anon_1.__bindgen_anon_1.flags |=
                bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS;
        }
        // INVARIANT: The fragment was written just above.
        self.frags = self.frags.wrapping_add(1);
        self.len = self.len.wrapping_add(len);
        Ok(())
    }

    /// Returns the length of the frame so far in bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Asks the CPU to fetch the headers, which are read when the frame is complete.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: A prefetch has no effect a program can observe.
        unsafe {
            core::arch::asm!(
                "prefetcht0 [{0}]",
                in(reg) self.buff.data,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    /// Makes the frame a packet of the stack: receive queue, protocol and page recycling are set.
    ///
    /// NAPI poll. Returns `None` if no frame is open, or, with the frame left open, if there is no
    /// memory.
    #[inline]
    pub fn build_skb(&mut self, rxq: &XdpRxq) -> Option<SkBuff> {
        if !self.is_open() {
            return None;
        }
        self.buff.rxq = rxq.rxq.get();
        // SAFETY: By the type invariant, and `rxq` is registered by its own. On success the packet
        // takes over all page references.
        let skb = NonNull::new(unsafe { bindings::xdp_build_skb_from_buff(&self.buff) })?;
        // INVARIANT: Without a frame nothing is owned.
        self.head = None;
        // SAFETY: The function returns a new packet with one reference.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// Throws away the frame, if there is one.
    #[inline(never)]
    pub fn clear(&mut self) {
        // INVARIANT: Without a frame nothing is owned.
        let Some(head) = self.head.take() else {
            return;
        };
        // SAFETY: By the type invariant, which held until just above, `frags` fragments are
        // initialized, and they and the head each own one page reference.
        unsafe {
            let frags = (&raw const (*self.shinfo()).frags).cast::<bindings::skb_frag_t>();
            for i in 0..self.frags.min(MAX_SKB_FRAGS) as usize {
                if let Some(netmem) = PageFrag::netmem_from_raw((*frags.add(i)).netmem) {
                    PageFrag::put_netmem(netmem);
                }
            }
            PageFrag::put_netmem(head);
        }
    }
}

/// A place without a frame, to put one in.
///
/// # Invariants
///
/// No frame is open.
pub struct VacantBuff<'a>(&'a mut RxBuff);

impl<'a> VacantBuff<'a> {
    /// Starts a frame: `len` bytes of data that begin `headroom` bytes into `head`.
    ///
    /// Returns `None`, and gives the range back, if the data and the stack's own needs do not fit.
    #[inline]
    pub fn open(
        self,
        pool: &PagePool,
        head: PageFrag,
        headroom: u32,
        len: u32,
    ) -> Option<&'a RxBuff> {
        let this = self.0;
        let frame_sz = head.size();
        // In 64 bits the sum cannot overflow.
        if u64::from(headroom) + u64::from(len) + u64::from(SHINFO_SIZE) > u64::from(frame_sz) {
            return None;
        }
        pool.sync_for_cpu(&head);
        let start = head.as_mut_ptr();
        let data = start.wrapping_add(headroom as usize);
        this.buff.data = data.cast();
        this.buff.data_end = data.wrapping_add(len as usize).cast();
        this.buff.data_meta = data.cast();
        this.buff.data_hard_start = start.cast();
        this.buff.__bindgen_anon_1.frame_sz_flags_init = frame_sz.into();
        this.len = len;
        this.frags = 0;
        // INVARIANT: No other frame is open. The page reference moves here, the room was checked,
        // and there are no fragments.
        this.head = Some(head.into_netmem());
        Some(this)
    }
}

impl Default for RxBuff {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RxBuff {
    fn drop(&mut self) {
        self.clear();
    }
}
