// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)
//!
//! [`SkBuff`] owns one packet. It leaves the driver by exactly one of the methods that take it by
//! value, each of which names the reason ([`SkBuff::consume`], [`SkBuff::free`], GRO), or by being
//! dropped, which counts as a drop without a reason.

use crate::{bindings, net::page};
use core::{
    mem::{zeroed, ManuallyDrop},
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicI32, Ordering}, //
};
use kernel::{device, prelude::*};

/// Checksum state of a packet, the values of `skb->ip_summed`.
pub use bindings::{CHECKSUM_COMPLETE, CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, MAX_SKB_FRAGS};

/// Kinds of segmentation a packet can ask for, the bits of `skb_shinfo(skb)->gso_type`.
pub mod gso {
    use crate::bindings;

    // CAST: Single bits, which bindgen takes for signed because they come from an enum.
    /// The device cuts what is behind the outer headers, which the stack filled in beforehand.
    pub const PARTIAL: u32 = bindings::SKB_GSO_PARTIAL as u32;
    /// TCP over IPv4.
    pub const TCPV4: u32 = bindings::SKB_GSO_TCPV4 as u32;
    /// TCP over IPv6.
    pub const TCPV6: u32 = bindings::SKB_GSO_TCPV6 as u32;
    /// In an IPv6 tunnel.
    pub const IPXIP6: u32 = bindings::SKB_GSO_IPXIP6 as u32;
    /// UDP, into datagrams.
    pub const UDP_L4: u32 = bindings::SKB_GSO_UDP_L4 as u32;
    /// In a GRE tunnel with checksums.
    pub const GRE_CSUM: u32 = bindings::SKB_GSO_GRE_CSUM as u32;
    /// In a tunnel over UDP with checksums.
    pub const UDP_TUNNEL_CSUM: u32 = bindings::SKB_GSO_UDP_TUNNEL_CSUM as u32;
}

/// Why a packet is thrown away, a subset of `enum skb_drop_reason`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum DropReason {
    /// No reason worth telling apart.
    NotSpecified = bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
    /// The device's limits do not allow the packet.
    HardwareHeader = bindings::skb_drop_reason_SKB_DROP_REASON_PKT_TOO_SMALL,
    /// No memory, or no room to map the packet for DMA.
    NoMemory = bindings::skb_drop_reason_SKB_DROP_REASON_NOMEM,
}

/// A DMA address as the device sees it.
pub type DmaAddress = u64;

type Headers = bindings::sk_buff__bindgen_ty_4__bindgen_ty_1;

/// One packet, owned.
///
/// As large as a pointer, and so is `Option<SkBuff>`: a transmit ring keeps its packets without a
/// further allocation.
///
/// # Invariants
///
/// The pointer is a valid `sk_buff` and the reference to it belongs to this value. Nobody else
/// changes the packet's length, its linear data's location, its fragments or its offsets while it
/// exists.
#[repr(transparent)]
pub struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: A packet is not tied to the CPU or thread that has it.
unsafe impl Send for SkBuff {}
// SAFETY: Shared access only reads fields that do not change while the packet is owned.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes over the caller's reference to `skb`.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet whose reference the caller gives away.
    #[inline]
    pub(crate) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the requirements of this function.
        Self(skb)
    }

    /// Looks at a packet that somebody else owns.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet that stays unchanged for as long as the result is used.
    #[inline]
    pub(crate) unsafe fn borrow_raw(skb: NonNull<bindings::sk_buff>) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(skb))
    }

    /// Gives the reference away.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    #[inline]
    fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Returns the pointer, whose reference stays with this value.
    #[inline]
    pub(super) fn as_non_null(&self) -> NonNull<bindings::sk_buff> {
        self.0
    }

    #[inline]
    fn headers(&self) -> *mut Headers {
        // SAFETY: By the type invariant the pointer is valid, and only an address is computed.
        unsafe { (&raw mut (*self.as_ptr()).__bindgen_anon_4).cast() }
    }

    #[inline]
    fn shinfo(&self) -> *mut bindings::skb_shared_info {
        // SAFETY: By the type invariant. The shared info starts where the linear buffer ends.
        unsafe {
            let skb = self.as_ptr();
            (*skb).head.add((*skb).end as usize).cast()
        }
    }

    /// Returns the length of the whole packet in bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_ptr()).len }
    }

    /// Returns how many bytes of the packet lie in fragments.
    #[inline]
    pub fn data_len(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_ptr()).data_len }
    }

    /// Returns how many bytes of the packet lie in the linear buffer.
    #[inline]
    pub fn headlen(&self) -> u32 {
        self.len().wrapping_sub(self.data_len())
    }

    /// Returns the index of the transmit queue the stack chose.
    #[inline]
    pub fn queue_mapping(&self) -> u16 {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_ptr()).queue_mapping }
    }

    /// Returns the checksum state, one of the `CHECKSUM_*` values.
    #[inline]
    pub fn ip_summed(&self) -> u32 {
        // SAFETY: By the type invariant, `headers` points into the valid packet.
        unsafe { Headers::ip_summed_raw(self.headers()).into() }
    }

    /// Returns whether the device has to finish the checksum.
    #[inline]
    pub fn has_partial_checksum(&self) -> bool {
        self.ip_summed() == CHECKSUM_PARTIAL
    }

    /// Returns the distance from the start of the buffer to the start of the packet.
    #[inline]
    fn headroom(&self) -> u32 {
        // SAFETY: By the type invariant. Both point into one buffer, far smaller than 4 GiB.
        unsafe { (*self.as_ptr()).data.offset_from((*self.as_ptr()).head) as u32 }
    }

    #[inline]
    fn network_header(&self) -> u32 {
        // SAFETY: By the type invariant, `headers` points into the valid packet.
        unsafe { (*self.headers()).network_header.into() }
    }

    #[inline]
    fn csum_start(&self) -> u32 {
        // SAFETY: By the type invariant. Both members of the union are plain integers.
        unsafe {
            (*self.headers())
                .__bindgen_anon_1
                .__bindgen_anon_1
                .csum_start
                .into()
        }
    }

    /// Returns the length of the link layer header in bytes.
    #[inline]
    pub fn mac_header_len(&self) -> u32 {
        // SAFETY: By the type invariant, `headers` points into the valid packet.
        let mac: u32 = unsafe { (*self.headers()).mac_header.into() };
        self.network_header().wrapping_sub(mac)
    }

    /// Returns the offset of the network header from the start of the packet, in bytes.
    #[inline]
    pub fn network_offset(&self) -> u32 {
        self.network_header().wrapping_sub(self.headroom())
    }

    /// Returns the offset of the inner network header from the start of the packet, in bytes.
    #[inline]
    pub fn inner_network_offset(&self) -> u32 {
        // SAFETY: By the type invariant, `headers` points into the valid packet.
        let inner: u32 = unsafe { (*self.headers()).inner_network_header.into() };
        inner.wrapping_sub(self.headroom())
    }

    /// Returns the offset, from the start of the packet, where the checksum begins, in bytes.
    ///
    /// Meaningful only with [`Self::has_partial_checksum`].
    #[inline]
    pub fn checksum_start_offset(&self) -> u32 {
        self.csum_start().wrapping_sub(self.headroom())
    }

    /// Returns the distance from the checksum's start to the checksum field, in bytes.
    #[inline]
    pub fn csum_offset(&self) -> u32 {
        // SAFETY: By the type invariant. Both members of the union are plain integers.
        unsafe {
            (*self.headers())
                .__bindgen_anon_1
                .__bindgen_anon_1
                .csum_offset
                .into()
        }
    }

    /// Returns the distance from the network header to the checksum's start, in bytes.
    #[inline]
    pub fn l3_len(&self) -> u32 {
        self.csum_start().wrapping_sub(self.network_header())
    }

    /// Returns whether the packet has inner headers.
    #[inline]
    pub fn encapsulation(&self) -> bool {
        // SAFETY: By the type invariant, `headers` points into the valid packet.
        unsafe { Headers::encapsulation_raw(self.headers()) != 0 }
    }

    /// Returns whether the packet has to be cut into segments.
    #[inline]
    pub fn is_gso(&self) -> bool {
        self.gso_size() != 0
    }

    /// Returns the payload of one segment in bytes.
    #[inline]
    pub fn gso_size(&self) -> u16 {
        // SAFETY: By the type invariant.
        unsafe { (*self.shinfo()).gso_size }
    }

    /// Returns the number of segments.
    #[inline]
    pub fn gso_segs(&self) -> u16 {
        // SAFETY: By the type invariant.
        unsafe { (*self.shinfo()).gso_segs }
    }

    /// Returns the kinds of segmentation asked for, bits of [`gso`].
    #[inline]
    pub fn gso_type(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.shinfo()).gso_type }
    }

    /// Returns the number of fragments.
    #[inline]
    pub fn nr_frags(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.shinfo()).nr_frags.into() }
    }

    /// Returns the fragments in packet order.
    #[inline]
    pub fn frags(&self) -> &[Frag] {
        let count = self.nr_frags() as usize;
        // SAFETY: By the type invariant. The stack never makes more fragments than the array holds,
        // and they do not change while the packet is borrowed. `Frag` is transparent.
        unsafe { slice::from_raw_parts((&raw const (*self.shinfo()).frags).cast(), count) }
    }

    /// Returns the linear part of the packet.
    #[inline]
    pub fn linear(&self) -> &[u8] {
        // SAFETY: By the type invariant, the linear part starts at `data` and has `headlen` bytes.
        unsafe { slice::from_raw_parts((*self.as_ptr()).data, self.headlen() as usize) }
    }

    /// Returns the first `len` bytes of the packet for writing.
    ///
    /// Copies the headers if a clone shares them, so earlier results of [`Self::linear`] are stale.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the copy failed, `EINVAL` if the linear part is shorter than `len`.
    #[inline]
    pub fn headers_mut(&mut self, len: usize) -> Result<&mut [u8]> {
        if len > self.headlen() as usize {
            return Err(EINVAL);
        }
        if self.header_cloned() {
            // SAFETY: By the type invariant.
            kernel::error::to_result(unsafe { bindings::skb_cow_head(self.as_ptr(), 0) })?;
        }
        // SAFETY: By the type invariant. Nobody else reads or writes the headers now: either the
        // packet has no clone, or `skb_cow_head` made sure that no clone looks at its headers.
        Ok(unsafe { slice::from_raw_parts_mut((*self.as_ptr()).data, len) })
    }

    /// Returns whether a clone looks at the same headers.
    #[inline]
    fn header_cloned(&self) -> bool {
        // SAFETY: By the type invariant.
        if unsafe { bindings::sk_buff::cloned_raw(self.as_ptr()) } == 0 {
            return false;
        }
        // The upper half counts the clones that only look at the payload, which is how TCP keeps
        // its data while a copy of the packet is being sent.
        // SAFETY: By the type invariant. The counter is only accessed atomically.
        let references = unsafe {
            AtomicI32::from_ptr((&raw mut (*self.shinfo()).dataref).cast()).load(Ordering::Relaxed)
        };
        let mask = (1 << bindings::SKB_DATAREF_SHIFT) - 1;
        (references & mask).wrapping_sub(references >> bindings::SKB_DATAREF_SHIFT) != 1
    }

    /// Pads the packet with zeroes to at least `len` bytes.
    ///
    /// Returns `None` when there was no memory, in which case the packet is gone.
    #[inline]
    pub fn put_padto(self, len: u32) -> Option<Self> {
        if self.len() >= len {
            return Some(self);
        }
        let skb = self.into_raw();
        // SAFETY: The packet is valid. The function frees it if it fails.
        if unsafe { bindings::skb_put_padto(skb, len) } != 0 {
            return None;
        }
        // SAFETY: `skb` came from `into_raw`, and it was not freed.
        Some(unsafe { Self::from_raw(NonNull::new_unchecked(skb)) })
    }

    /// Maps the linear part for `dev`, a valid device, to read.
    ///
    /// Returns what the DMA API does, all-ones if it failed. The caller undoes it before the packet
    /// is freed.
    #[inline]
    pub(super) fn map_head_raw(&self, dev: *mut bindings::device) -> DmaAddress {
        // SAFETY: By the type invariant `data` is `headlen` bytes of allocated memory.
        let addr = unsafe { page::map_single(dev, (*self.as_ptr()).data, self.headlen()) };
        will_be_checked(dev, addr)
    }

    /// Takes the software timestamp that a sender may have asked for.
    #[inline]
    pub fn tx_timestamp(&self) {
        const SOFTWARE: u8 = (bindings::SKBTX_SW_TSTAMP | bindings::SKBTX_BPF) as u8;
        // SAFETY: By the type invariant. A packet being sent has a device.
        let wanted = unsafe {
            let dev = (*self.as_ptr())
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .dev;
            (*self.shinfo()).tx_flags & SOFTWARE != 0
                || cfg!(CONFIG_NETWORK_PHY_TIMESTAMPING)
                    && ((*dev).phydev.addr() | (*dev).hwprov.addr()) != 0
        };
        if wanted {
            // SAFETY: By the type invariant.
            unsafe { bindings::skb_tx_timestamp(self.as_ptr()) };
        }
    }

    /// Frees the packet after it was sent.
    ///
    /// `budget` is what the NAPI poll was called with, 0 outside of it.
    #[inline]
    pub fn consume(self, budget: u32) {
        // SAFETY: The reference is given away.
        unsafe { bindings::napi_consume_skb(self.into_raw(), budget as i32) };
    }

    /// Frees the packet because it could not be sent or received. Any context.
    pub fn free(self, reason: DropReason) {
        // SAFETY: The reference is given away.
        unsafe { bindings::dev_kfree_skb_any_reason(self.into_raw(), reason as u32) };
    }

    /// Adds to the checksum state, which is 0 in a packet that was just received.
    #[inline(always)]
    fn add_ip_summed(&mut self, state: u32) {
        // SAFETY: All zeroes are a valid value of this C structure.
        let mut bits: Headers = unsafe { zeroed() };
        // CAST: Two bits.
        bits.set_ip_summed(state as u8);
        // The byte in which the state is, all else in it zero. A constant after compilation, which
        // setting the bits one by one in the packet is not.
        // SAFETY: The field is one byte. By the type invariant the packet is valid, and it is
        // borrowed exclusively.
        unsafe {
            let byte = (&raw const bits._bitfield_1).cast::<u8>().read();
            *(&raw mut (*self.headers())._bitfield_1).cast::<u8>() |= byte;
        }
    }

    /// Tells the stack that the device has verified the checksum of a packet just received.
    #[inline(always)]
    pub fn set_checksum_unnecessary(&mut self) {
        // It is one sum. Receive offload, which counts those in tunnels here, hands packets back for use
        // once more with what it has counted.
        // SAFETY: By the type invariant, and the packet is borrowed exclusively.
        unsafe { Headers::set_csum_level_raw(self.headers(), 0) };
        self.add_ip_summed(CHECKSUM_UNNECESSARY);
    }

    /// Hands the stack the sum over everything behind the Ethernet header of a packet just received.
    ///
    /// `csum` is the ones' complement sum, not inverted, of 16-bit words in memory order.
    #[inline(always)]
    pub fn set_checksum_complete(&mut self, csum: u16) {
        // SAFETY: By the type invariant, and the packet is borrowed exclusively.
        unsafe { (*self.headers()).__bindgen_anon_1.csum = csum.into() };
        self.add_ip_summed(CHECKSUM_COMPLETE);
    }

    /// Records the flow hash the device computed in a packet just received.
    ///
    /// `l4` says that the hash covers the ports of the transport layer, too.
    #[inline(always)]
    pub fn set_hash(&mut self, hash: u32, l4: bool) {
        // SAFETY: By the type invariant, and the packet is borrowed exclusively.
        unsafe {
            (*self.headers()).hash = hash;
            Headers::set_l4_hash_raw(self.headers(), l4.into());
        }
    }

    /// Makes an empty packet of `pieces`, `len` bytes in all, for which so many bytes of `memory` are
    /// taken.
    ///
    /// # Safety
    ///
    /// Each must be a range of a page from a pool and come with a reference of the page, which the
    /// caller gives away. There must be one at least and at most [`MAX_SKB_FRAGS`]. Nobody else has the
    /// packet.
    #[inline(always)]
    pub(super) unsafe fn put_pieces(
        &mut self,
        pieces: &[bindings::skb_frag_t],
        len: u32,
        memory: u32,
    ) {
        let skb = self.as_ptr();
        let shinfo = self.shinfo();
        // SAFETY: By the type invariant, and the requirements of this function.
        unsafe {
            let slots = (&raw mut (*shinfo).frags).cast::<bindings::skb_frag_t>();
            slots.write(pieces.as_ptr().read());
            // Most packets have no more than that one.
            for index in 1..pieces.len() {
                slots.add(index).write(pieces.as_ptr().add(index).read());
            }
            // CAST: By the requirements of this function.
            (*shinfo).nr_frags = pieces.len() as u8;
            (*skb).len = len;
            (*skb).data_len = len;
            (*skb).truesize = (*skb).truesize.wrapping_add(memory);
            bindings::sk_buff::set_pp_recycle_raw(skb, 1);
        }
    }

    /// Records the receive queue of a packet just received.
    #[inline(always)]
    pub(super) fn record_rx_queue(&mut self, queue: u32) {
        // SAFETY: By the type invariant, and the packet is borrowed exclusively. CAST: Devices do not
        // have so many queues; 0 is none.
        unsafe { (*self.as_ptr()).queue_mapping = (queue as u16).wrapping_add(1) };
    }

    /// Says that memory of the packet is of the kernel's emergency reserve.
    #[inline(always)]
    pub(super) fn set_pfmemalloc(&mut self) {
        // By value, as otherwise the caller would have to keep the packet's address in memory for this
        // rare case.
        #[cold]
        #[inline(never)]
        unsafe fn set(skb: *mut bindings::sk_buff) {
            // SAFETY: The caller guarantees that the packet is valid and its own.
            unsafe { bindings::sk_buff::set_pfmemalloc_raw(skb, 1) };
        }
        // SAFETY: By the type invariant, and the packet is borrowed exclusively.
        unsafe { set(self.as_ptr()) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to give back.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.as_ptr(),
                DropReason::NotSpecified as bindings::skb_drop_reason,
            )
        };
    }
}

/// One fragment of a packet.
///
/// # Invariants
///
/// Describes memory that the packet it is part of keeps alive.
#[repr(transparent)]
pub struct Frag(bindings::skb_frag_t);

impl Frag {
    /// Returns the length in bytes.
    #[inline]
    pub fn size(&self) -> u32 {
        self.0.len
    }

    /// Returns whether the memory belongs to another device and is mapped already.
    #[inline]
    pub fn is_net_iov(&self) -> bool {
        // Bit 0 of a `netmem_ref` tells a `net_iov` from a page.
        self.0.netmem & 1 != 0
    }

    /// Maps the fragment, if it is a page, for `dev`, a valid device, to read.
    ///
    /// Returns what the DMA API does, all-ones if it failed. The caller undoes it.
    #[inline]
    pub(super) fn map_page_raw(&self, dev: *mut bindings::device) -> DmaAddress {
        if self.is_net_iov() {
            return !0;
        }
        // SAFETY: By the type invariant. Without bit 0 the reference is a page.
        let addr = unsafe {
            bindings::dma_map_page_attrs(
                dev,
                self.0.netmem as *mut bindings::page,
                self.0.offset as usize,
                self.0.len as usize,
                bindings::dma_data_direction::DMA_TO_DEVICE,
                0,
            )
        };
        will_be_checked(dev, addr)
    }

    /// Returns where `dev`, a valid device, finds the fragment, if it [is mapped](Self::is_net_iov).
    ///
    /// All-ones if it does not.
    #[cold]
    #[inline(never)]
    pub(super) fn map_net_iov_raw(&self, dev: *mut bindings::device) -> DmaAddress {
        // SAFETY: By the type invariant.
        unsafe { bindings::skb_frag_dma_map(dev, &self.0, 0, self.0.len as usize) }
    }
}

#[inline]
pub(super) fn raw_device(dev: &device::Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// Tells the checker of the DMA API that `addr` gets compared with the error value.
///
/// Callers do that by hand. C's `dma_mapping_error()` tells the checker, where there is one.
#[inline(always)]
fn will_be_checked(dev: *mut bindings::device, addr: DmaAddress) -> DmaAddress {
    #[cfg(CONFIG_DMA_API_DEBUG)]
    // SAFETY: The function only looks the address up in its own list.
    unsafe {
        bindings::debug_dma_mapping_error(dev, addr)
    };
    #[cfg(not(CONFIG_DMA_API_DEBUG))]
    let _ = dev;
    addr
}

/// Ends the mapping of a part of a packet.
///
/// # Safety
///
/// The mapping was made for `dev`, a valid device, and is not used any more.
#[inline]
pub(super) unsafe fn unmap_tx_raw(dev: *mut bindings::device, addr: DmaAddress, len: u32) {
    // SAFETY: By the requirements of this function.
    unsafe {
        bindings::dma_unmap_page_attrs(
            dev,
            addr,
            len as usize,
            bindings::dma_data_direction::DMA_TO_DEVICE,
            0,
        )
    };
}
