// SPDX-License-Identifier: GPL-2.0

//! Transmission.
//!
//! A transmit queue has two sides. [`TxProducer`] is used under the lock of the transmit queue: it
//! maps packets and writes work descriptors. [`TxConsumer`] belongs to a NAPI context: it reads
//! completions, unmaps and frees. Packets go from one to the other through a
//! [ring](crate::net::tx_ring), so that what the device says can only ever complete a packet that
//! was sent, once, and in order.

use core::ops::ControlFlow;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::Arc, //
};

use super::{
    completion::CompletionRing,
    desc::{
        L3Type,
        L4Type,
        Tcd,
        Twd, //
    },
    dump::{
        Indices,
        Kind,
        RingDump, //
    },
    headers,
    ring::RingSize,
    stats::{
        RxStats,
        TxStats, //
    },
    xdp_tx::XdpQueue,
    QueueRegs,
    MAX_TXQS, //
};
use crate::{
    fbnic_csr::{
        queue as regs,
        Doorbell, //
    },
    fbnic_dev::Fbnic,
    net::{
        self,
        napi::PollContext,
        netdevice::{
            features,
            NetDevice,
            NetdevQueue,
            TxStop,
            Xmit,
            XmitContext, //
        },
        skbuff::{
            gso,
            DropReason,
            SkBuff,
            MAX_SKB_FRAGS, //
        },
        tx_ring::{
            self,
            Consumer,
            Producer,
            Space, //
        }, //
    },
};

/// Descriptors that must be free for the largest packet: one per fragment and one for the linear
/// part, one META and one more for optional metadata, and seven that keep the tail out of the cache
/// line the device reads at the head.
const MAX_SKB_DESC: u32 = MAX_SKB_FRAGS + 10;

/// Free descriptors with which a stopped queue is woken.
const TX_DESC_WAKEUP: u32 = 2 * MAX_SKB_DESC;

/// Smallest transmit ring that can be woken.
pub const TX_DESC_MIN: u32 = TX_DESC_WAKEUP.next_power_of_two();

/// Shortest frame the device takes, bytes without FCS.
const MIN_FRAME_LEN: u32 = 60;

/// The device's descriptors of buffers.
pub(super) struct Buffers;

impl tx_ring::BufferFormat for Buffers {
    const MAX_LEN: u32 = Twd::MAX_LEN;
    const ADDR_BITS: u32 = Twd::ADDR_BITS;
    const MIN_FRAME: u32 = MIN_FRAME_LEN;

    #[inline(always)]
    fn describe(addr: u64, len: u32, last: bool) -> u64 {
        let al = Twd::al(addr, len);
        if last { al.last() } else { al }.into_raw()
    }
}

/// What a packet asks of the device.
struct Offload {
    meta: Twd,
    bytes: u32,
    segs: u16,
}

/// Creates the two sides of transmit queue `index`, with rings of `size` entries.
///
/// Process context.
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
    let (producer, consumer) = tx_ring::new(dev, size.entries())?;
    let queue = QueueRegs::new(fbnic, index);
    let tx = TxProducer {
        ring: producer,
        deferred: None,
        doorbell: Doorbell::new(queue.offset(regs::TWQ0_TAIL)).ok_or(EINVAL)?,
        fbnic: fbnic.clone(),
        stats: stats.clone(),
    };
    let mut clean = TxConsumer::new(fbnic, dev, index, size, stats)?;
    clean.ring = Some(consumer);
    Ok((tx, clean))
}

/// The side of a transmit queue that packets are put in at.
///
/// Used under the lock of the transmit queue. The ring comes first, so that one address does for both.
#[repr(C)]
pub struct TxProducer {
    ring: Producer<Buffers>,
    /// META of the last packet in the ring that the device was not told of, and its index.
    deferred: Option<(u32, Twd)>,
    doorbell: Doorbell,
    fbnic: Arc<Fbnic>,
    stats: Arc<TxStats>,
}

impl TxProducer {
    /// Sends `skb`.
    ///
    /// Softirq or process context with bottom halves disabled.
    #[inline(always)]
    pub fn xmit(&mut self, skb: SkBuff, ctx: &XmitContext<'_>) -> Xmit {
        let Some(skb) = skb.put_padto(MIN_FRAME_LEN) else {
            self.drop_one();
            return Xmit::Ok;
        };
        match self.send(skb, ctx) {
            Ok(()) => Xmit::Ok,
            Err(Unsent::NoRoom(skb)) => {
                self.no_room(ctx.queue());
                Xmit::Busy(skb)
            }
            Err(Unsent::Bad(skb, reason)) => self.reject(skb, reason),
        }
    }

    #[inline(always)]
    fn send(&mut self, mut skb: SkBuff, ctx: &XmitContext<'_>) -> Result<(), Unsent> {
        if !self.ring.has_room(MAX_SKB_DESC) {
            return Err(Unsent::NoRoom(skb));
        }
        let Ok(Offload { meta, bytes, segs }) = offload(&mut skb, &self.stats) else {
            return Err(Unsent::Bad(skb, DropReason::HardwareHeader));
        };
        let mut packet = self
            .ring
            .map(skb, bytes, segs)
            .map_err(|skb| Unsent::Bad(skb, DropReason::NoMemory))?;
        packet.skb().tx_timestamp();
        // Stop before the next packet finds no room.
        if !packet.leaves_room(MAX_SKB_DESC) {
            stop(ctx.queue(), packet.space(), &self.stats);
        }
        // The packet is accounted before the consumer can see it: a device that completes what it
        // was not told of must not make more bytes complete than were sent.
        if ctx.queue().sent(packet.bytes(), ctx.xmit_more()) {
            packet.push(meta.req_completion().into_raw());
            self.ring_doorbell();
        } else {
            self.deferred = Some((packet.push(meta.into_raw()), meta));
        }
        Ok(())
    }

    #[inline(always)]
    fn ring_doorbell(&mut self) {
        self.deferred = None;
        self.fbnic
            .csr
            .ring_doorbell(self.doorbell, self.ring.tail());
    }

    /// Tells the device of packets that were held back for the rest of a burst that does not come.
    fn flush_doorbell(&mut self) {
        if let Some((index, meta)) = self.deferred {
            let meta = meta.req_completion();
            self.ring.rewrite(index, meta.into_raw());
            self.ring_doorbell();
        }
    }

    /// Deals with a packet for which there is no room although the queue was not stopped.
    #[cold]
    #[inline(never)]
    fn no_room(&mut self, queue: &NetdevQueue) {
        stop(queue, self.ring.space(), &self.stats);
        self.flush_doorbell();
    }

    /// Drops a packet that can not be sent.
    #[cold]
    #[inline(never)]
    fn reject(&mut self, skb: SkBuff, reason: DropReason) -> Xmit {
        if matches!(reason, DropReason::NoMemory) && net::ratelimit() {
            dev_err!(self.fbnic.dev(), "Tx: cannot map a packet for DMA\n");
        }
        skb.free(reason);
        self.drop_one();
        Xmit::Ok
    }

    #[cold]
    #[inline(never)]
    fn drop_one(&mut self) {
        self.flush_doorbell();
        self.stats.xmit.dropped.add(1);
    }
}

/// A packet that was not put in the ring.
enum Unsent {
    NoRoom(SkBuff),
    Bad(SkBuff, DropReason),
}

/// Stops the queue until there is room in the ring.
#[cold]
#[inline(never)]
fn stop(queue: &NetdevQueue, space: Space<'_>, stats: &TxStats) {
    if queue.stop(|| space.unused(), TX_DESC_WAKEUP) == TxStop::Stopped {
        stats.xmit.stop.add(1);
    }
}

/// Works out what a packet asks of the device.
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
    // The length that the stack put into the sum. In a tunnel it is that of one segment for UDP, which
    // the header tells.
    let seeded = if is_tcp {
        // CAST: `start` came from a `u32`, and the checksum's length field has 16 bits.
        len.wrapping_sub(start as u32) as u16
    } else {
        headers::udp_len(head, start).ok_or(EINVAL)?
    };
    headers::remove_length(head, start + check, seeded).ok_or(EINVAL)?;

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
    // It would be padded as a whole, and then the padding cut into segments.
    if skb.len() < MIN_FRAME_LEN && skb.is_gso() {
        return features & !features::GSO_MASK;
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
    // The stack computes the outer checksum of a partial segment as if the inner one contained the
    // length of all segments, which is so for TCP and not for UDP.
    let gso_type = skb.gso_type();
    if gso_type & gso::UDP_L4 != 0 && gso_type & (gso::GRE_CSUM | gso::UDP_TUNNEL_CSUM) != 0 {
        features &= !features::GSO_UDP_L4;
    }
    // Other tunnels are left to partial segmentation.
    if gso_type & gso::IPXIP6 == 0 {
        return features;
    }
    let network = skb.network_offset();
    let inner = skb.inner_network_offset();
    let native = gso_type & gso::TCPV4 == 0
        && inner.wrapping_sub(network) % 2 == 0
        // CAST: Offsets in a packet fit.
        && headers::ipv6_in_ipv6(skb.linear(), network as usize) == Some(inner as usize);
    if native {
        features
    } else {
        features & !features::GSO_IPXIP6
    }
}

/// The side of a transmit triad that sent packets leave at.
pub(super) struct TxConsumer {
    tcq: CompletionRing,
    /// What the stack sends. Nothing if the triad is there for XDP only.
    ring: Option<Consumer<Buffers>>,
    /// What XDP programs send back, if they do so here.
    xdp: Option<XdpQueue>,
    size: RingSize,
    queue: QueueRegs,
    stats: Arc<TxStats>,
}

impl TxConsumer {
    /// Creates triad `index` without anything to send. `stats` are those of the queue of that number.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        fbnic: &Arc<Fbnic>,
        dev: &Device<Bound>,
        index: u16,
        size: RingSize,
        stats: Arc<TxStats>,
    ) -> Result<Self> {
        Ok(Self {
            tcq: CompletionRing::new(dev, size)?,
            ring: None,
            xdp: None,
            size,
            queue: QueueRegs::new(fbnic, index),
            stats,
        })
    }

    /// Gives the triad a queue for what XDP programs send back, counted in `stats`.
    ///
    /// Process context, before the triad is enabled.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn add_xdp(&mut self, dev: &Device<Bound>, stats: Arc<RxStats>) -> Result {
        let triad = QueueRegs::new(&self.queue.fbnic, self.index());
        let bad = self.stats.clone();
        self.xdp = Some(XdpQueue::new(dev, triad, self.size, stats, bad)?);
        Ok(())
    }

    /// Returns the number of the triad.
    pub(super) fn index(&self) -> u16 {
        self.queue.index()
    }

    /// Returns what shows the triad's rings. `xdp` is the receive queue that XDP frames are counted for.
    pub(super) fn dumps(&self, xdp: Option<u16>) -> [RingDump; 3] {
        let watch = self.ring.as_ref().map(Consumer::watch);
        let queue = || QueueRegs::new(&self.queue.fbnic, self.index());
        let sent = watch
            .as_ref()
            .map(|watch| (watch.descriptors(), self.index()));
        let sent_back = self.xdp.as_ref().map(XdpQueue::observer);
        let indices = watch.map_or(Indices::Device, Indices::Sent);
        [
            RingDump::new(Kind::Twq0, queue(), sent, indices),
            RingDump::new(
                Kind::Twq1,
                queue(),
                sent_back.zip(xdp.map(|rxq| MAX_TXQS + rxq)),
                Indices::Device,
            ),
            RingDump::new(
                Kind::Tcq,
                queue(),
                Some((self.tcq.observer(), 0)),
                Indices::Device,
            ),
        ]
    }

    /// Returns the queue of what XDP programs send back.
    #[inline]
    pub(super) fn xdp_mut(&mut self) -> Option<&mut XdpQueue> {
        self.xdp.as_mut()
    }

    /// Frees what the device has sent.
    ///
    /// Returns whether there may be more completions.
    #[inline]
    pub(super) fn poll(&mut self, napi: &PollContext<'_>, budget: u32) -> bool {
        if self.tcq.is_idle() {
            return false;
        }
        let (mut last, mut last_xdp) = (None, None);
        let (queue, stats) = (&self.queue, &self.stats);
        let count = self.tcq.take(|raw| {
            if Tcd::is_twq0_head(raw) {
                last = Some(raw);
            } else if Tcd::is_twq1_head(raw) {
                last_xdp = Some(raw);
            } else {
                // Nothing asks for these.
                bad_completion(queue, stats, raw);
            }
            ControlFlow::Continue(())
        });
        if count != 0 {
            self.queue.write(regs::TCQ_HEAD, self.tcq.head());
        }
        if let Some(raw) = last_xdp {
            self.note_xdp(raw);
        }
        if let Some(raw) = last {
            self.clean(napi, budget, raw);
        }
        count == self.size.entries()
    }

    /// Frees the packets of the stack in front of the descriptor that the completion `raw` names.
    #[inline]
    fn clean(&mut self, napi: &PollContext<'_>, budget: u32, raw: u64) {
        let head = Tcd::twq0_head(raw);
        let Some((ring, done)) = self
            .ring
            .as_mut()
            .and_then(|ring| ring.complete(head, budget).map(|done| (ring, done)))
        else {
            return bad_completion(&self.queue, &self.stats, raw);
        };
        if done.frames == 0 {
            return;
        }
        self.stats.clean.packets.add(done.frames.into());
        self.stats.clean.bytes.add(done.bytes.into());
        let Some(queue) = napi.device().tx_queue(self.queue.index().into()) else {
            return;
        };
        let unused = || ring.space().unused();
        if queue.completed_wake(done.frames, done.bytes, unused, TX_DESC_WAKEUP) {
            self.stats.clean.wake.add(1);
        }
    }

    /// Remembers how far the device has got with the frames of XDP programs, as the completion `raw`
    /// says. [`XdpQueue::clean`] frees them.
    #[inline(never)]
    fn note_xdp(&mut self, raw: u64) {
        match &mut self.xdp {
            Some(xdp) => xdp.note(Tcd::twq1_head(raw)),
            None => bad_completion(&self.queue, &self.stats, raw),
        }
    }

    /// Sets up the rings in the device and starts them, at index 0. Completions raise `vector`.
    ///
    /// The queues must be disabled and empty, and were rewound if they were in use before.
    pub(super) fn enable(&mut self, vector: u32) {
        let size = self.size;
        self.tcq.rewind();

        let q = &self.queue;
        if let Some(ring) = &self.ring {
            q.write(regs::TWQ0_CTL, regs::QUEUE_CTL_RESET);
            q.write_base(regs::TWQ0_BAL, regs::TWQ0_BAH, ring.dma_address());
            q.write(regs::TWQ0_SIZE, size.log2());
            q.write(regs::TWQ0_CTL, regs::QUEUE_CTL_ENABLE);
        }
        if let Some(xdp) = &self.xdp {
            xdp.enable(size);
        }

        q.write(regs::TCQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::TCQ_BAL, regs::TCQ_BAH, self.tcq.dma_address());
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

    /// Throws away what was not sent. The device must be idle and the queue of the stack stopped.
    ///
    /// That is among the transmit queues of `netdev` if it is given, and what is accounted for there
    /// is forgotten.
    pub(super) fn flush(&mut self, netdev: Option<&NetDevice>) {
        self.tcq.clear();
        if let Some(xdp) = &mut self.xdp {
            xdp.flush();
        }
        let index = self.index();
        let Some(ring) = &mut self.ring else {
            return;
        };
        let done = ring.flush();
        self.stats.clean.dropped.add(done.frames.into());
        if let Some(queue) = netdev.and_then(|netdev| netdev.tx_queue(index.into())) {
            queue.completed(done.frames, done.bytes);
            queue.reset();
        }
    }

    /// Starts over at the beginning of the ring after [`Self::flush`], together with `producer` if
    /// that is the other side. Returns whether it is.
    pub(super) fn rewind(&mut self, producer: &mut TxProducer) -> bool {
        let Some(ring) = &mut self.ring else {
            return false;
        };
        let done = ring.rewind(&mut producer.ring);
        if done {
            producer.deferred = None;
        }
        done
    }
}

/// Counts a completion that makes no sense, and reports the first of a queue.
#[cold]
#[inline(never)]
pub(super) fn bad_completion(queue: &QueueRegs, stats: &TxStats, raw: u64) {
    queue.fbnic().bad_values.tx_completion();
    if stats.clean.logged.first() {
        let index = queue.index();
        dev_err!(
            queue.fbnic().dev(),
            "Tx queue {index}: bad completion {raw:#018x}\n"
        );
    }
}

impl Drop for TxConsumer {
    fn drop(&mut self) {
        // What is in the ring is freed here, while the device is still bound.
        self.flush(None);
    }
}
