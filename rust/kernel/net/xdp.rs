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
    mem::{size_of, ManuallyDrop},
    ptr::{self, NonNull}, //
};
use kernel::{error::to_result, prelude::*, types::Opaque};

/// Bytes behind the data that the stack needs for its `skb_shared_info`, cache line aligned.
pub const SHINFO_SIZE: u32 = {
    let line = bindings::L1_CACHE_BYTES as usize;
    ((size_of::<bindings::skb_shared_info>() + line - 1) / line * line) as u32
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

/// A received frame whose pieces are still arriving.
///
/// May stay in a ring from one poll to the next. The first piece is a range of a page with room
/// in front of and behind the data, in which the stack will build its metadata.
///
/// # Invariants
///
/// `buff` describes one page range, of which this value owns one page reference, with at least
/// [`SHINFO_SIZE`] bytes behind the data, and as many fragments, each with one page reference, as
/// its shared information says.
pub struct RxBuff {
    buff: bindings::xdp_buff,
    head: Netmem,
    len: u32,
}

// SAFETY: The memory is owned and not tied to a thread.
unsafe impl Send for RxBuff {}

impl RxBuff {
    /// Starts a frame: `len` bytes of data that begin `headroom` bytes into `head`.
    ///
    /// Returns `None`, and gives the range back, if the data and the stack's own needs do not fit.
    #[inline]
    pub fn new(pool: &PagePool, head: PageFrag, headroom: u32, len: u32) -> Option<Self> {
        let frame_sz = head.size();
        let used = headroom.checked_add(len)?.checked_add(SHINFO_SIZE)?;
        if used > frame_sz {
            return None;
        }
        pool.sync_for_cpu(&head);
        let start = head.as_mut_ptr();
        let data = start.wrapping_add(headroom as usize);
        let head = head.into_netmem();
        // INVARIANT: The page reference moved here, the room was checked, and without the flag for
        // fragments the shared information is not looked at.
        Some(Self {
            buff: bindings::xdp_buff {
                data: data.cast(),
                data_end: data.wrapping_add(len as usize).cast(),
                data_meta: data.cast(),
                data_hard_start: start.cast(),
                rxq: ptr::null_mut(),
                txq: ptr::null_mut(),
                __bindgen_anon_1: bindings::xdp_buff__bindgen_ty_1 {
                    frame_sz_flags_init: frame_sz.into(),
                },
            },
            head,
            len,
        })
    }

    #[inline]
    fn flags(&self) -> u32 {
        // SAFETY: Both members of the union are plain integers.
        unsafe { self.buff.__bindgen_anon_1.__bindgen_anon_1.flags }
    }

    #[inline]
    fn set_flags(&mut self, bits: u32) {
        // SAFETY: Both members of the union are plain integers.
        unsafe { self.buff.__bindgen_anon_1.__bindgen_anon_1.flags |= bits };
    }

    #[inline]
    fn has_frags(&self) -> bool {
        self.flags() & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    #[inline]
    fn shinfo(&self) -> *mut bindings::skb_shared_info {
        // SAFETY: Both members of the union are plain integers.
        let frame_sz = unsafe { self.buff.__bindgen_anon_1.__bindgen_anon_1.frame_sz };
        self.buff
            .data_hard_start
            .cast::<u8>()
            .wrapping_add((frame_sz - SHINFO_SIZE) as usize)
            .cast()
    }

    /// Adds a piece of payload: the first `len` bytes of `frag`, all of which counts as used.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the packet has as many fragments as the stack allows, `EINVAL` if `len` is
    /// longer than the range. The range is given back then.
    #[inline]
    pub fn add_frag(&mut self, pool: &PagePool, frag: PageFrag, len: u32) -> Result {
        let truesize = frag.size();
        if len > truesize {
            return Err(EINVAL);
        }
        let shinfo = self.shinfo();
        let count = if self.has_frags() {
            // SAFETY: By the type invariant, and the flag says that the fields are initialized.
            unsafe { (*shinfo).nr_frags }
        } else {
            0
        };
        if u32::from(count) >= MAX_SKB_FRAGS {
            return Err(ENOSPC);
        }
        pool.sync_for_cpu(&frag);
        // SAFETY: By the type invariant the range behind the data is ours, and `count` is within
        // the array. The page reference moves to the fragment.
        unsafe {
            let sizes = &raw mut (*shinfo).__bindgen_anon_2.__bindgen_anon_1;
            if count == 0 {
                (*sizes).xdp_frags_size = 0;
                (*sizes).xdp_frags_truesize = 0;
            }
            (*sizes).xdp_frags_size += len;
            (*sizes).xdp_frags_truesize += truesize;
            (*shinfo).nr_frags = count + 1;
            let offset = frag.start();
            let slot = (&raw mut (*shinfo).frags)
                .cast::<bindings::skb_frag_t>()
                .add(count.into());
            slot.write(bindings::skb_frag_t {
                netmem: frag.into_netmem().raw(),
                len,
                offset,
            });
        }
        self.set_flags(bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS);
        self.len = self.len.wrapping_add(len);
        Ok(())
    }

    /// Returns the length of the frame so far in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty)]
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
    /// NAPI poll. Returns `None`, with everything given back, if there was no memory.
    #[inline]
    pub fn build_skb(mut self, rxq: &XdpRxq) -> Option<SkBuff> {
        self.buff.rxq = rxq.rxq.get();
        // SAFETY: By the type invariant, and `rxq` is registered by its own. On success the packet
        // takes over all page references.
        let skb = NonNull::new(unsafe { bindings::xdp_build_skb_from_buff(&self.buff) })?;
        let _ = ManuallyDrop::new(self);
        // SAFETY: The function returns a new packet with one reference.
        Some(unsafe { SkBuff::from_raw(skb) })
    }
}

impl Drop for RxBuff {
    #[inline(never)]
    fn drop(&mut self) {
        if self.has_frags() {
            let shinfo = self.shinfo();
            // SAFETY: By the type invariant the fragments up to `nr_frags` are initialized, and
            // each owns one page reference.
            unsafe {
                let count = u32::from((*shinfo).nr_frags).min(MAX_SKB_FRAGS);
                let frags = (&raw const (*shinfo).frags).cast::<bindings::skb_frag_t>();
                for i in 0..count as usize {
                    if let Some(netmem) = PageFrag::netmem_from_raw((*frags.add(i)).netmem) {
                        PageFrag::put_netmem(netmem);
                    }
                }
            }
        }
        // SAFETY: By the type invariant, the head's page reference is ours.
        unsafe { PageFrag::put_netmem(self.head) };
    }
}
