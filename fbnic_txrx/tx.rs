// SPDX-License-Identifier: GPL-2.0

//! Transmission.
//!
//! A transmit ring has two sides that share [`TxShared`]. [`TxProducer`] is used under the lock of
//! the transmit queue: it maps packets and writes work descriptors. [`TxConsumer`] belongs to a NAPI
//! context: it reads completions, unmaps and frees. Packets go from one to the other through a
//! lockless queue, so that what the device says can only ever complete a packet that was sent, once,
//! and in order.
//!
//! The driver does not trust the work descriptors it reads back, since the device can write to
//! them. What it needs for unmapping is kept in memory the device does not see.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    alloc::KVVec,
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    desc::{
        L3Type,
        L4Type,
        Tcd,
        Twd,
        DONE, //
    },
    headers,
    ring::{
        CompletionHead,
        RingSize, //
    },
    stats::TxStats,
    QueueRegs, //
};
use crate::{
    desc_ring::{
        dma_rmb,
        DescRing, //
    },
    fbnic_csr::queue as regs,
    fbnic_dev::Fbnic,
    net::{
        napi::PollContext,
        netdevice::{
            features,
            NetdevQueue,
            TxStop,
            Xmit,
            XmitContext, //
        },
        skbuff::{
            gso,
            unmap_tx_page,
            DropReason,
            SkBuff,
            MAX_SKB_FRAGS, //
        }, //
    },
    spsc::{
        self,
        Consumer,
        Producer, //
    },
};

/// Descriptors that must be free for the largest packet: one per fragment and one for the linear
/// part, one META and one more for optional metadata, and seven that keep the tail out of the cache
/// line the device reads at the head.
pub const MAX_SKB_DESC: u32 = MAX_SKB_FRAGS + PACKET_OVERHEAD;

/// Descriptors a packet needs in addition to those of its fragments.
const PACKET_OVERHEAD: u32 = 10;

/// Free descriptors with which a stopped queue is woken.
pub const TX_DESC_WAKEUP: u32 = 2 * MAX_SKB_DESC;

/// Smallest transmit ring that can be woken.
pub const TX_DESC_MIN: u32 = TX_DESC_WAKEUP.next_power_of_two();

/// Shortest frame the device takes, bytes without FCS.
const MIN_FRAME_LEN: u32 = 60;

/// What both sides of a transmit ring use.
struct TxShared {
    desc: DescRing,
    size: RingSize,
    /// For each AL in the ring the descriptor as it was written, or 0 if nothing is to be unmapped.
    maps: KVVec<AtomicU64>,
    /// First descriptor in use; written by the consumer.
    head: AtomicU32,
    /// First descriptor not in use; written by the producer.
    tail: AtomicU32,
    dev: ARef<Device>,
}

impl TxShared {
    /// Returns how many descriptors are free.
    #[inline]
    fn unused(&self) -> u32 {
        let head = self.head.load(Ordering::Acquire);
        self.size.unused(head, self.tail.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn set_map(&self, index: u32, twd: Option<Twd>) {
        // CAST: An index of the ring fits.
        if let Some(slot) = self.maps.get(index as usize) {
            slot.store(twd.map_or(0, Twd::into_raw), Ordering::Relaxed);
        }
    }

    /// Ends the mappings of the `count` ALs from `index` on.
    #[inline]
    fn unmap(&self, mut index: u32, count: u32) {
        for _ in 0..count {
            // CAST: An index of the ring fits.
            if let Some(slot) = self.maps.get(index as usize) {
                let twd = Twd::from_raw(slot.load(Ordering::Relaxed));
                if twd.into_raw() != 0 {
                    unmap_tx_page(&self.dev, twd.addr(), twd.len());
                }
            }
            index = self.size.advance(index, 1);
        }
    }

    /// Maps a packet and writes its ALs from `first` on.
    ///
    /// Returns their number, or `None` with nothing left mapped.
    #[inline]
    fn map(&self, skb: &SkBuff, first: u32) -> Option<u32> {
        let len = skb.headlen();
        if len > Twd::MAX_LEN {
            return None;
        }
        let mut twd = Twd::al(skb.map_head_tx(&self.dev)?, len);
        let mut index = first;
        let mut count = 1;
        self.set_map(index, Some(twd));
        for frag in skb.frags() {
            // Known to be written only now, because only the last AL is marked as such.
            self.desc.write(index, twd.into_raw());
            let len = frag.size();
            let addr = if len > Twd::MAX_LEN {
                None
            } else {
                frag.map_tx(&self.dev)
            };
            let Some(addr) = addr else {
                self.unmap(first, count);
                return None;
            };
            twd = Twd::al(addr, len);
            index = self.size.advance(index, 1);
            count += 1;
            self.set_map(index, (!frag.is_net_iov()).then_some(twd));
        }
        self.desc.write(index, twd.last().into_raw());
        Some(count)
    }
}

/// A packet in the ring.
struct TxPacket {
    skb: SkBuff,
    /// Bytes on the wire without FCS, with the headers of all segments.
    bytes: u32,
    /// Frames on the wire.
    segs: u16,
    /// Descriptors, META included. At most `MAX_SKB_DESC`.
    desc_count: u16,
}

/// What a packet asks of the device.
struct Offload {
    meta: Twd,
    bytes: u32,
    segs: u16,
}

/// Creates the two sides of transmit queue `index`, with rings of `size` entries.
///
/// Process context. `regs` are those of the queue.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn new_queue(
    fbnic: &Arc<Fbnic>,
    dev: &Device<Bound>,
    index: u16,
    size: RingSize,
    stats: Arc<TxStats>,
) -> Result<(TxProducer, TxConsumer)> {
    let mut maps = KVVec::with_capacity(size.entries() as usize, GFP_KERNEL)?;
    for _ in 0..size.entries() {
        maps.push(AtomicU64::new(0), GFP_KERNEL)?;
    }
    let generic: &Device = dev;
    let shared = Arc::new(
        TxShared {
            desc: DescRing::new(dev, size.entries())?,
            size,
            maps,
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            dev: generic.into(),
        },
        GFP_KERNEL,
    )?;
    // Each packet has two descriptors at least.
    let (producer, consumer) = spsc::channel(size.entries() / 2)?;
    let queue = QueueRegs::new(fbnic, index);
    let tx = TxProducer {
        shared: shared.clone(),
        packets: producer,
        tail: 0,
        deferred: None,
        doorbell: queue.offset(regs::TWQ0_TAIL),
        fbnic: fbnic.clone(),
        stats: stats.clone(),
    };
    let clean = TxConsumer {
        tcq: DescRing::new(dev, size.entries())?,
        tcq_head: CompletionHead::new(size),
        head: 0,
        packets: consumer,
        shared,
        queue,
        stats,
    };
    Ok((tx, clean))
}

/// The side of a transmit ring that packets are put in at.
///
/// Used under the lock of the transmit queue.
pub struct TxProducer {
    shared: Arc<TxShared>,
    packets: Producer<TxPacket>,
    tail: u32,
    /// META of the last packet in the ring that the device was not told of, and its index.
    deferred: Option<(u32, Twd)>,
    doorbell: usize,
    fbnic: Arc<Fbnic>,
    stats: Arc<TxStats>,
}

impl TxProducer {
    /// Sends `skb`.
    ///
    /// Softirq or process context with bottom halves disabled.
    #[inline]
    pub fn xmit(&mut self, skb: SkBuff, ctx: &XmitContext<'_>) -> Xmit {
        let Some(skb) = skb.put_padto(MIN_FRAME_LEN) else {
            self.drop_one();
            return Xmit::Ok;
        };
        let needed = skb.nr_frags() + PACKET_OVERHEAD;
        if Self::maybe_stop(&self.shared, &self.stats, ctx.queue(), needed) {
            self.flush_doorbell();
            return Xmit::Busy(skb);
        }
        if let Err((skb, reason)) = self.send(skb, ctx) {
            skb.free(reason);
            self.drop_one();
        }
        Xmit::Ok
    }

    #[inline]
    fn send(&mut self, mut skb: SkBuff, ctx: &XmitContext<'_>) -> Result<(), (SkBuff, DropReason)> {
        let Ok(offload) = offload(&mut skb, &self.stats) else {
            return Err((skb, DropReason::HardwareHeader));
        };
        let Some(slot) = self.packets.vacant() else {
            return Err((skb, DropReason::NoMemory));
        };
        let meta_index = self.tail;
        let size = self.shared.size;
        let Some(buffers) = self.shared.map(&skb, size.advance(meta_index, 1)) else {
            return Err((skb, DropReason::NoMemory));
        };
        self.tail = size.advance(meta_index, buffers + 1);
        self.shared.tail.store(self.tail, Ordering::Relaxed);

        skb.tx_timestamp();
        // Stop before the next packet finds no room.
        Self::maybe_stop(&self.shared, &self.stats, ctx.queue(), MAX_SKB_DESC);
        // The packet is accounted before the consumer can see it: a device that completes what it
        // was not told of must not make more bytes complete than were sent.
        let ring = ctx.queue().sent(offload.bytes, ctx.xmit_more());
        let meta = if ring {
            offload.meta.req_completion()
        } else {
            offload.meta
        };
        self.shared.desc.write(meta_index, meta.into_raw());
        slot.push(TxPacket {
            skb,
            bytes: offload.bytes,
            segs: offload.segs,
            // CAST: At most `MAX_SKB_DESC`.
            desc_count: (buffers + 1) as u16,
        });
        if ring {
            self.ring_doorbell();
        } else {
            self.deferred = Some((meta_index, meta));
        }
        Ok(())
    }

    /// Stops the queue if fewer than `needed` descriptors are free, and returns whether it did.
    #[inline]
    fn maybe_stop(shared: &TxShared, stats: &TxStats, queue: &NetdevQueue, needed: u32) -> bool {
        let stopped = matches!(
            queue.maybe_stop(|| shared.unused(), needed, TX_DESC_WAKEUP),
            TxStop::Stopped
        );
        if stopped {
            stats.xmit.stop.add(1);
        }
        stopped
    }

    #[inline]
    fn ring_doorbell(&mut self) {
        self.deferred = None;
        self.fbnic.csr.write32(self.doorbell, self.tail);
    }

    /// Tells the device of packets that were held back for the rest of a burst that does not come.
    #[cold]
    fn flush_doorbell(&mut self) {
        if let Some((index, meta)) = self.deferred {
            let meta = meta.req_completion();
            self.shared.desc.write(index, meta.into_raw());
            self.ring_doorbell();
        }
    }

    #[cold]
    fn drop_one(&mut self) {
        self.flush_doorbell();
        self.stats.xmit.dropped.add(1);
    }

    /// Starts over at the beginning of the ring, after [`TxConsumer::flush`] and before
    /// [`TxConsumer::enable`].
    pub fn reset(&mut self) {
        self.tail = 0;
        self.deferred = None;
        self.shared.tail.store(0, Ordering::Relaxed);
    }
}

/// Works out the META descriptor of a packet.
///
/// Changes the checksum of a packet to be cut into segments, see [`headers::remove_length`].
#[inline]
fn offload(skb: &mut SkBuff, stats: &TxStats) -> Result<Offload> {
    let plain = Offload {
        meta: Twd::meta(),
        bytes: skb.len(),
        segs: 1,
    };
    if !skb.has_partial_checksum() {
        return Ok(plain);
    }
    let meta = plain
        .meta
        .l2_hlen(skb.mac_header_len())
        .csum_offset(skb.csum_offset());
    if skb.is_gso() {
        return large_send(skb, stats, meta);
    }
    stats.xmit.csum_partial.add(1);
    Ok(Offload {
        meta: meta.l3_ihlen(skb.l3_len()).req_cso(),
        ..plain
    })
}

/// Works out the META descriptor of a packet to be cut into segments.
#[inline]
fn large_send(skb: &mut SkBuff, stats: &TxStats, meta: Twd) -> Result<Offload> {
    let len = skb.len();
    let segs = skb.gso_segs();
    let mss = u32::from(skb.gso_size());
    let gso_type = skb.gso_type();
    let is_tcp = gso_type & (gso::TCPV4 | gso::TCPV6) != 0;
    let partial = gso_type & gso::PARTIAL != 0;
    let encapsulation = skb.encapsulation();
    let network = skb.network_offset();
    let outer_len = if encapsulation && !partial {
        skb.inner_network_offset().wrapping_sub(network)
    } else {
        0
    };
    let inner_len = skb.l3_len().checked_sub(outer_len).ok_or(EINVAL)?;
    if mss > Twd::MAX_MSS || outer_len > Twd::MAX_L3_HLEN || inner_len > Twd::MAX_L3_HLEN {
        return Err(EINVAL);
    }

    // CAST: Offsets in a packet fit.
    let start = skb.checksum_start_offset() as usize;
    let (l4, min_len, check) = if is_tcp {
        (L4Type::Tcp, headers::TCP_HLEN, headers::TCP_CHECK)
    } else {
        (L4Type::Udp, headers::UDP_HLEN, headers::UDP_CHECK)
    };
    let head = skb.headers_mut(start.checked_add(min_len).ok_or(EINVAL)?)?;
    let l4_len = if is_tcp {
        headers::tcp_header_len(head, start).ok_or(EINVAL)?
    } else {
        // CAST: 8.
        headers::UDP_HLEN as u32
    };
    let l3 = if partial {
        L3Type::Other
    } else if encapsulation {
        L3Type::V6v6
    } else if headers::ip_version(head, network as usize) == Some(4) {
        L3Type::Ipv4
    } else {
        L3Type::Ipv6
    };
    // CAST: `start` came from a `u32`, and the checksum's length field has 16 bits.
    let payload_len = len.wrapping_sub(start as u32) as u16;
    headers::remove_length(head, start + check, payload_len).ok_or(EINVAL)?;

    stats.xmit.lso.add(segs.into());
    let headers_len = (start as u32).wrapping_add(l4_len);
    let copies = u32::from(segs.saturating_sub(1));
    Ok(Offload {
        meta: meta
            .l3_ohlen(outer_len)
            .l3_ihlen(inner_len)
            .req_lso(l3, l4, l4_len, mss),
        bytes: len.wrapping_add(copies.wrapping_mul(headers_len)),
        segs,
    })
}

/// Returns those of `features` that the device can give this packet.
///
/// Lengths in descriptors count two bytes and have few bits, and tunnels are only understood where
/// IPv6 carries IPv6.
#[inline]
pub fn features_check(skb: &SkBuff, features: u64) -> u64 {
    if !skb.has_partial_checksum() {
        return features;
    }
    let l2_len = skb.mac_header_len();
    let l3_len = skb.l3_len();
    let csum_offset = skb.csum_offset();
    if (l2_len | l3_len | csum_offset) % 2 != 0
        || l2_len > Twd::MAX_L2_HLEN
        || l3_len > Twd::MAX_L3_HLEN
        || csum_offset > Twd::MAX_CSUM_OFFSET
    {
        return features & !(features::CSUM_MASK | features::GSO_MASK);
    }
    if !skb.encapsulation() || !skb.is_gso() {
        return features;
    }
    features_check_tunnel(skb, features)
}

#[cold]
fn features_check_tunnel(skb: &SkBuff, mut features: u64) -> u64 {
    // Without leave to repeat IPv4 identifiers, partial segmentation of inner IPv4 is out.
    if features & features::TSO_MANGLEID == 0 {
        features &= !features::TSO;
    }
    // Other tunnels are left to partial segmentation.
    if skb.gso_type() & gso::IPXIP6 == 0 {
        return features;
    }
    let network = skb.network_offset();
    let inner = skb.inner_network_offset();
    let native = skb.gso_type() & gso::TCPV4 == 0
        && inner.wrapping_sub(network) % 2 == 0
        // CAST: Offsets in a packet fit.
        && headers::ipv6_in_ipv6(skb.linear(), network as usize) == Some(inner as usize);
    if native {
        features
    } else {
        features & !features::GSO_IPXIP6
    }
}

/// The side of a transmit ring that sent packets leave at.
pub(super) struct TxConsumer {
    packets: Consumer<TxPacket>,
    head: u32,
    tcq_head: CompletionHead,
    tcq: DescRing,
    shared: Arc<TxShared>,
    queue: QueueRegs,
    stats: Arc<TxStats>,
}

impl TxConsumer {
    /// Returns the number of the queue.
    pub(super) fn index(&self) -> u16 {
        self.queue.index()
    }

    /// Frees what the device has sent.
    ///
    /// Returns whether there may be more completions. Does at most one turn of the ring, so that a
    /// device cannot keep the CPU here.
    #[inline]
    pub(super) fn poll(&mut self, napi: &PollContext<'_>, budget: u32) -> bool {
        let mut new_head = None;
        let mut left = self.tcq.entries();
        let start = self.tcq_head;
        while left != 0 {
            let raw = self.tcq.read(self.tcq_head.count());
            if !self.tcq_head.is_done(raw & DONE != 0) {
                break;
            }
            match Tcd::decode(raw) {
                Tcd::Head { twq1: false, head } => new_head = Some(u32::from(head)),
                // Nothing asks for these.
                _ => self.bad_completion(raw),
            }
            self.tcq_head.advance();
            left -= 1;
        }
        if self.tcq_head != start {
            self.queue.write(regs::TCQ_HEAD, self.tcq_head.index());
        }
        if let Some(head) = new_head {
            // What the device did before it wrote the completion is to be seen after this.
            dma_rmb();
            self.clean(napi, budget, head);
        }
        left == 0
    }

    /// Frees the packets in front of descriptor `new_head`.
    #[inline]
    fn clean(&mut self, napi: &PollContext<'_>, budget: u32, new_head: u32) {
        let size = self.shared.size;
        if new_head > size.mask() {
            return self.bad_completion(new_head.into());
        }
        let mut left = size.distance(self.head, new_head);
        let (mut packets, mut bytes) = (0u32, 0u32);
        while left != 0 {
            let Some(next) = self.packets.peek() else {
                // The device claims more than it was given.
                self.bad_completion(new_head.into());
                break;
            };
            if u32::from(next.desc_count) > left {
                break;
            }
            let Some(packet) = self.packets.pop() else {
                break;
            };
            left -= u32::from(packet.desc_count);
            packets = packets.wrapping_add(packet.segs.into());
            bytes = bytes.wrapping_add(packet.bytes);
            self.release(packet, budget);
        }
        if bytes == 0 {
            return;
        }
        self.shared.head.store(self.head, Ordering::Release);
        self.stats.clean.packets.add(packets.into());
        self.stats.clean.bytes.add(bytes.into());
        let Some(queue) = napi.device().tx_queue(self.index().into()) else {
            return;
        };
        if queue.completed_wake(packets, bytes, || self.shared.unused(), TX_DESC_WAKEUP) {
            self.stats.clean.wake.add(1);
        }
    }

    /// Unmaps and frees the packet at the head.
    #[inline]
    fn release(&mut self, packet: TxPacket, budget: u32) {
        let size = self.shared.size;
        let buffers = u32::from(packet.desc_count).wrapping_sub(1);
        self.shared.unmap(size.advance(self.head, 1), buffers);
        self.head = size.advance(self.head, packet.desc_count.into());
        packet.skb.consume(budget);
    }

    #[cold]
    fn bad_completion(&self, raw: u64) {
        self.stats.clean.bad_completions.add(1);
        if self.stats.clean.logged.first() {
            let index = self.index();
            dev_err!(
                self.queue.fbnic().dev(),
                "Tx queue {index}: bad completion {raw:#018x}\n"
            );
        }
    }

    /// Sets up the rings in the device and starts them, at index 0. Completions raise `vector`.
    ///
    /// The queue must be disabled and empty.
    pub(super) fn enable(&mut self, vector: u32) {
        let size = self.shared.size;
        self.head = 0;
        self.shared.head.store(0, Ordering::Release);
        self.tcq_head = CompletionHead::new(size);

        let q = &self.queue;
        q.write(regs::TWQ0_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::TWQ0_BAL, regs::TWQ0_BAH, &self.shared.desc);
        q.write(regs::TWQ0_SIZE, size.log2());
        q.write(regs::TWQ0_CTL, regs::QUEUE_CTL_ENABLE);

        q.write(regs::TCQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::TCQ_BAL, regs::TCQ_BAH, &self.tcq);
        q.write(regs::TCQ_SIZE, size.log2());
        q.write(regs::TIM_CTL, vector);
        q.write(regs::TIM_THRESHOLD, size.mask() / 2);
        q.write(regs::TIM_MASK, 0);
        q.write(regs::TCQ_CTL, regs::QUEUE_CTL_ENABLE);
    }

    /// Tells the device to stop. It may still be at work until the idle bits say otherwise.
    pub(super) fn disable(&mut self) {
        let q = &self.queue;
        q.update(regs::TWQ0_CTL, regs::QUEUE_CTL_ENABLE, 0);
        q.update(regs::TWQ1_CTL, regs::QUEUE_CTL_ENABLE, 0);
        q.write(regs::TCQ_CTL, 0);
        q.write(regs::TIM_MASK, 1);
    }

    /// Throws away what was not sent. The device must be idle and the queue stopped.
    ///
    /// `queue` is where the bytes were accounted; it is reset as well.
    pub(super) fn flush(&mut self, queue: Option<&NetdevQueue>) {
        let (mut packets, mut bytes) = (0u32, 0u32);
        while let Some(packet) = self.packets.pop() {
            packets = packets.wrapping_add(packet.segs.into());
            bytes = bytes.wrapping_add(packet.bytes);
            self.release(packet, 0);
        }
        self.shared.head.store(self.head, Ordering::Release);
        self.stats.clean.dropped.add(packets.into());
        self.tcq.clear();
        if let Some(queue) = queue {
            queue.completed(packets, bytes);
            queue.reset();
        }
    }
}

impl Drop for TxConsumer {
    fn drop(&mut self) {
        // What `flush` would have done, for the mappings' sake.
        self.flush(None);
    }
}
