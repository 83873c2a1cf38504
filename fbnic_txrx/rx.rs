// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! Everything of a receive queue is used by its NAPI context alone. The driver posts pages in two
//! buffer rings ([`Bdq`]), one for headers and one for payload. The device fills them strictly in
//! order and describes each packet by a group of completions. A completion may hold anything: a
//! buffer counts only if it is one of those posted and not before the last one named, a range in it
//! only if it lies behind all ranges taken from it before ([`PoolPage::take`]). A packet that breaks
//! a rule is dropped as a whole.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    alloc::KVVec,
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::Arc, //
};

use super::{
    desc::{
        Bd,
        Rcd,
        RcdAl,
        RcdMeta,
        BD_FRAG_SIZE,
        DONE, //
    },
    ring::{
        payload_end,
        CompletionHead,
        RingSize,
        Room, //
    },
    stats::RxStats,
    Config,
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
        napi::{
            NapiHandle,
            PollContext, //
        },
        netdevice::{
            features,
            NetDevice, //
        },
        page::PAGE_SIZE,
        page_pool::{
            PagePool,
            PoolPage, //
        },
        skbuff::{
            HashLevel,
            SkBuff, //
        },
        xdp::{
            RxBuff,
            XdpRxq,
            SHINFO_SIZE, //
        }, //
    },
};

/// Buffer descriptors a page is worth.
// CAST: A page has far less than 4 GiB.
pub(super) const BD_FRAG_COUNT: u32 = PAGE_SIZE as u32 / BD_FRAG_SIZE;

/// Room the device leaves around headers.
pub(super) const ROOM: Room = Room::new(SHINFO_SIZE);

/// Shortest header part the stack can work with: an Ethernet header.
const MIN_HEADER_LEN: u32 = 14;

/// A ring of pages for the device to fill, and the pages in it.
///
/// Indices count pages. A page larger than 4 KiB has several descriptors, whose ids are the page's
/// index times [`BD_FRAG_COUNT`] plus the number of the part.
struct Bdq {
    desc: DescRing,
    size: RingSize,
    pages: KVVec<Option<PoolPage>>,
    /// First page not given back to the pool.
    head: u32,
    /// Page the device is filling; it is done with those before.
    filling: u32,
    /// First page the device does not have.
    tail: u32,
    doorbell: usize,
}

impl Bdq {
    /// Creates an empty ring of `descriptors`.
    fn new(dev: &Device<Bound>, descriptors: u32, doorbell: usize) -> Result<Self> {
        let size = RingSize::new(descriptors / BD_FRAG_COUNT).ok_or(EINVAL)?;
        let mut pages = KVVec::with_capacity(size.entries() as usize, GFP_KERNEL)?;
        for _ in 0..size.entries() {
            pages.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            desc: DescRing::new(dev, descriptors)?,
            size,
            pages,
            head: 0,
            filling: 0,
            tail: 0,
            doorbell,
        })
    }

    /// Returns how many pages the device has.
    #[inline]
    fn posted(&self) -> u32 {
        self.size.used(self.head, self.tail)
    }

    /// Posts as many pages as fit.
    ///
    /// Returns whether there was memory for all of them.
    #[inline]
    fn fill(&mut self, pool: &PagePool, queue: &QueueRegs) -> bool {
        let mut left = self.size.unused(self.head, self.tail);
        let before = self.tail;
        while left != 0 {
            // CAST: An index of the ring fits.
            let Some(slot) = self.pages.get_mut(self.tail as usize) else {
                break;
            };
            let Some(page) = pool.alloc() else {
                break;
            };
            let first = self.tail * BD_FRAG_COUNT;
            for part in 0..BD_FRAG_COUNT {
                let addr = page.dma_addr() + u64::from(part * BD_FRAG_SIZE);
                let bd = Bd::new(addr, first + part);
                self.desc.write(first + part, bd.into_raw());
            }
            *slot = Some(page);
            self.tail = self.size.advance(self.tail, 1);
            left -= 1;
        }
        if self.tail != before {
            queue.write_at(self.doorbell, self.tail * BD_FRAG_COUNT);
        }
        left == 0
    }

    /// Finds the page of buffer `id`, which the device is filling from now on.
    ///
    /// Returns the page and the offset of the buffer in it, or `None` if the device does not have
    /// that buffer or is done with it.
    #[inline]
    fn locate(&mut self, id: u32) -> Option<(&mut PoolPage, u32)> {
        let index = id / BD_FRAG_COUNT;
        // CAST: An id has 16 bits.
        let page = self.pages.get_mut(index as usize)?.as_mut()?;
        let posted = self.size.distance(self.filling, self.tail);
        if self.size.distance(self.filling, index) >= posted {
            return None;
        }
        self.filling = index;
        // CAST: A page has far less than 4 GiB.
        Some((page, (id * BD_FRAG_SIZE) & (PAGE_SIZE as u32 - 1)))
    }

    /// Gives back the pages from the head up to `end`.
    ///
    /// Best called after the packets in them have been dealt with: if the ring is the last to hold a
    /// page no atomic operation is needed.
    #[inline]
    fn drain(&mut self, end: u32, pool: &PagePool, direct: bool) {
        while self.head != end {
            // CAST: An index of the ring fits.
            if let Some(page) = self
                .pages
                .get_mut(self.head as usize)
                .and_then(Option::take)
            {
                page.recycle(pool, direct);
            }
            self.head = self.size.advance(self.head, 1);
        }
    }

    /// Takes back all pages; the device must be idle.
    fn reset(&mut self, pool: &PagePool) {
        self.drain(self.tail, pool, false);
        self.head = 0;
        self.filling = 0;
        self.tail = 0;
    }

    /// Returns the value of the ring's size register.
    fn log2(&self) -> u32 {
        (self.desc.entries().trailing_zeros()) & regs::QUEUE_SIZE_MASK
    }
}

/// What one poll has received.
#[derive(Default)]
struct Received {
    packets: u32,
    bytes: u64,
    csum_complete: u64,
    csum_none: u64,
}

/// What the stack wants to know of packets.
#[derive(Clone, Copy)]
struct Wanted {
    csum: bool,
    hash: bool,
}

/// A receive queue.
///
/// Fields are dropped in order: the packet in work and the rings give their pages back before the
/// registration and the pool go.
pub(super) struct RxQueue {
    rcq_head: CompletionHead,
    rcq: DescRing,
    /// The packet that completions are arriving for.
    pkt: RxBuff,
    /// That packet was dropped already, the rest of it is still to come.
    bad: bool,
    hpq: Bdq,
    ppq: Bdq,
    rxq: Option<Pin<KBox<XdpRxq>>>,
    pool: PagePool,
    queue: QueueRegs,
    stats: Arc<RxStats>,
}

impl RxQueue {
    /// Creates receive queue `index` with empty rings.
    ///
    /// Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` for a size the device does not have.
    pub(super) fn new(
        fbnic: &Arc<Fbnic>,
        netdev: &NetDevice,
        dev: &Device<Bound>,
        index: u16,
        cfg: &Config,
        stats: Arc<RxStats>,
    ) -> Result<Self> {
        let queue = QueueRegs::new(fbnic, index);
        let rcq_size = RingSize::new(cfg.rcq_size).ok_or(EINVAL)?;
        Ok(Self {
            rcq_head: CompletionHead::new(rcq_size),
            rcq: DescRing::new(dev, cfg.rcq_size)?,
            pkt: RxBuff::new(),
            bad: false,
            hpq: Bdq::new(dev, cfg.hpq_size, queue.offset(regs::BDQ_HPQ_TAIL))?,
            ppq: Bdq::new(dev, cfg.ppq_size, queue.offset(regs::BDQ_PPQ_TAIL))?,
            rxq: None,
            pool: PagePool::new(netdev, cfg.hpq_size + cfg.ppq_size, index.into())?,
            queue,
            stats,
        })
    }

    /// Returns the number of the queue.
    pub(super) fn index(&self) -> u16 {
        self.queue.index()
    }

    /// Announces the queue to the stack as polled by `napi`. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`XdpRxq::new`].
    pub(super) fn bind(&mut self, netdev: &NetDevice, napi: NapiHandle<'_>) -> Result {
        let index = self.index().into();
        self.rxq = Some(XdpRxq::new(netdev, index, napi.id(), &self.pool)?);
        self.pool.enable_direct_recycling(napi);
        Ok(())
    }

    /// Receives up to `budget` packets and posts new buffers.
    ///
    /// Returns the number of packets, `budget` if there may be more completions. Does at most one
    /// turn of the ring, so that a device cannot keep the CPU here with completions that make no
    /// packet.
    #[inline]
    pub(super) fn poll(&mut self, napi: &PollContext<'_>, budget: u32) -> u32 {
        let features = napi.device().features();
        let wanted = Wanted {
            csum: features & features::RXCSUM != 0,
            hash: features & features::RXHASH != 0,
        };
        let mut got = Received::default();
        let mut left = self.rcq.entries();
        let start = self.rcq_head;
        while left != 0 && got.packets < budget {
            let raw = self.rcq.read(self.rcq_head.count());
            if !self.rcq_head.is_done(raw & DONE != 0) {
                break;
            }
            // The data was written before the completion and is not to be read before it.
            dma_rmb();
            match Rcd::decode(raw) {
                Rcd::HdrAl(al) => self.header(al),
                Rcd::PayAl(al) => self.payload(al),
                // Nothing in it is asked for.
                Rcd::OptMeta => {}
                Rcd::Meta(meta) => self.finish(meta, wanted, napi, &mut got),
            }
            self.rcq_head.advance();
            left -= 1;
        }
        self.refill(napi.recycle_direct());
        if self.rcq_head != start {
            self.count(&got);
            self.queue.write(regs::RCQ_HEAD, self.rcq_head.index());
        }
        if left == 0 {
            return budget;
        }
        got.packets
    }

    #[inline]
    fn count(&self, got: &Received) {
        let stats = &self.stats;
        stats.packets.add(got.packets.into());
        stats.bytes.add(got.bytes);
        stats.csum_complete.add(got.csum_complete);
        stats.csum_none.add(got.csum_none);
    }

    /// Opens a packet.
    #[inline]
    fn header(&mut self, al: RcdAl) {
        self.bad = false;
        if self.open_packet(al).is_none() {
            self.reject("header");
        }
    }

    #[inline]
    fn open_packet(&mut self, al: RcdAl) -> Option<()> {
        let slot = self.pkt.vacant()?;
        let (page, base) = self.hpq.locate(al.buff_id())?;
        let len = al.len();
        if len < MIN_HEADER_LEN {
            return None;
        }
        let frame = ROOM.header_frame(al.off(), len, al.page_fin());
        let frag = page.take(base.wrapping_add(frame.start), base.wrapping_add(frame.end))?;
        slot.open(&self.pool, frag, frame.headroom, len)?.prefetch();
        Some(())
    }

    /// Adds payload to the open packet.
    #[inline]
    fn payload(&mut self, al: RcdAl) {
        if self.add_payload(al).is_none() {
            self.reject("payload");
        }
    }

    #[inline]
    fn add_payload(&mut self, al: RcdAl) -> Option<()> {
        let (page, base) = self.ppq.locate(al.buff_id())?;
        let (off, len) = (al.off(), al.len());
        let end = payload_end(off, len, al.page_fin())?;
        let frag = page.take(base + off, base + end)?;
        self.pkt.add_frag(&self.pool, frag, len).ok()
    }

    /// Drops the packet in work. What else belongs to it is ignored.
    #[cold]
    fn reject(&mut self, what: &str) {
        self.pkt.clear();
        if !self.bad {
            self.bad = true;
            self.stats.dropped.add(1);
            self.bad_completion(what);
        }
    }

    /// Closes the packet and hands it to the stack.
    #[inline]
    fn finish(
        &mut self,
        meta: RcdMeta,
        wanted: Wanted,
        napi: &PollContext<'_>,
        got: &mut Received,
    ) {
        let len = self.pkt.len();
        let rxq = self.rxq.as_deref();
        let skb = if meta.uncorrectable() {
            None
        } else {
            rxq.and_then(|rxq| self.pkt.build_skb(rxq))
        };
        let Some(mut skb) = skb else {
            return self.not_finished(meta);
        };
        describe(&mut skb, meta, wanted, got);
        napi.gro_receive(skb);
        got.packets = got.packets.wrapping_add(1);
        got.bytes = got.bytes.wrapping_add(len.into());
    }

    /// Deals with the end of a packet of which the stack gets nothing.
    #[cold]
    fn not_finished(&mut self, meta: RcdMeta) {
        if self.pkt.is_open() {
            self.pkt.clear();
            self.stats.dropped.add(1);
            if !meta.uncorrectable() {
                self.stats.alloc_failed.add(1);
            }
        } else if !core::mem::take(&mut self.bad) {
            self.stats.dropped.add(1);
            self.bad_completion("end of no packet");
        }
    }

    /// Gives back the pages the device is done with and posts others in both rings.
    #[inline]
    fn refill(&mut self, direct: bool) {
        self.hpq.drain(self.hpq.filling, &self.pool, direct);
        self.ppq.drain(self.ppq.filling, &self.pool, direct);
        let header = self.hpq.fill(&self.pool, &self.queue);
        let payload = self.ppq.fill(&self.pool, &self.queue);
        if !header || !payload {
            let failed = u64::from(!header) + u64::from(!payload);
            self.stats.bdq_alloc_failed.add(failed);
        }
        let stats = &self.stats;
        stats.hpq_posted.store(self.hpq.posted(), Ordering::Relaxed);
        stats.ppq_posted.store(self.ppq.posted(), Ordering::Relaxed);
    }

    #[cold]
    fn bad_completion(&self, what: &str) {
        self.stats.bad_completions.add(1);
        if self.stats.logged.first() {
            let index = self.index();
            let position = self.rcq_head.index();
            let raw = self.rcq.read(position);
            dev_err!(
                self.queue.fbnic().dev(),
                "Rx queue {index}: bad completion ({what}) {raw:#018x} at {position}\n"
            );
        }
    }

    /// Sets up the rings in the device and starts them, at index 0. Completions raise `vector`.
    ///
    /// The queue must be disabled and empty. [`Self::fill`] gives it buffers.
    pub(super) fn enable(&mut self, cfg: &Config, tx_pause: bool, vector: u32) {
        let size = self.rcq_head.size();
        self.rcq_head = CompletionHead::new(size);
        self.enable_bdq();

        let q = &self.queue;
        q.write(regs::RDE_CTL0, cfg.rde_ctl0(tx_pause));
        q.write(regs::RDE_CTL1, cfg.rde_ctl1());
        q.write(regs::RCQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::RCQ_BAL, regs::RCQ_BAH, &self.rcq);
        q.write(regs::RCQ_SIZE, size.log2());
        self.set_rx_frames(cfg, vector);
        let q = &self.queue;
        q.write(regs::RIM_MASK, 0);
        q.write(regs::RCQ_CTL, regs::QUEUE_CTL_ENABLE);
    }

    fn enable_bdq(&mut self) {
        let q = &self.queue;
        q.write(regs::BDQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::BDQ_HPQ_BAL, regs::BDQ_HPQ_BAH, &self.hpq.desc);
        q.write(regs::BDQ_HPQ_SIZE, self.hpq.log2());
        q.write_base(regs::BDQ_PPQ_BAL, regs::BDQ_PPQ_BAH, &self.ppq.desc);
        q.write(regs::BDQ_PPQ_SIZE, self.ppq.log2());
        q.write(
            regs::BDQ_CTL,
            regs::QUEUE_CTL_ENABLE | regs::BDQ_CTL_PPQ_ENABLE,
        );
    }

    /// Sets how many completions raise `vector` at once.
    pub(super) fn set_rx_frames(&mut self, cfg: &Config, vector: u32) {
        let half = self.rcq_head.size().mask() / 2;
        self.queue.write(regs::RIM_CTL, vector);
        self.queue
            .write(regs::RIM_THRESHOLD, cfg.rim_threshold(half));
    }

    /// Posts buffers, while the NAPI context is disabled.
    pub(super) fn fill(&mut self) {
        self.refill(false);
    }

    /// Tells the device to stop. It may still be at work until the idle bits say otherwise.
    pub(super) fn disable(&mut self) {
        let q = &self.queue;
        q.update(regs::BDQ_CTL, regs::QUEUE_CTL_ENABLE, 0);
        q.write(regs::RCQ_CTL, 0);
        q.write(regs::RIM_MASK, 1);
    }

    /// Takes back all buffers. The device must be idle.
    pub(super) fn flush(&mut self) {
        self.pkt.clear();
        self.bad = false;
        self.hpq.reset(&self.pool);
        self.ppq.reset(&self.pool);
        self.rcq.clear();
        for posted in [&self.stats.hpq_posted, &self.stats.ppq_posted] {
            AtomicU32::store(posted, 0, Ordering::Relaxed);
        }
    }
}

/// Tells the stack what the device knows of a packet.
#[inline]
fn describe(skb: &mut SkBuff, meta: RcdMeta, wanted: Wanted, got: &mut Received) {
    if !wanted.csum {
        got.csum_none = got.csum_none.wrapping_add(1);
    } else if meta.l4_csum_unnecessary() {
        skb.set_checksum_unnecessary();
    } else {
        skb.set_checksum_complete(meta.l2_csum());
        got.csum_complete = got.csum_complete.wrapping_add(1);
    }
    if wanted.hash {
        let level = if meta.has_l4() {
            HashLevel::L4
        } else if meta.has_l3() {
            HashLevel::L3
        } else {
            HashLevel::L2
        };
        skb.set_hash(meta.rss_hash(), level);
    }
}
