// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! Everything of a receive queue is used by its NAPI context alone. The driver posts pages in two
//! buffer rings ([`Bdq`]), one for headers and one for payload. The device fills them strictly in
//! order and describes each packet by a group of completions. A completion may hold anything: a
//! buffer counts only if it is one of those posted and not before the last one named, a range in it
//! only if it lies behind all ranges taken from it before ([`PageRing::take`]). A packet that breaks
//! a rule is dropped as a whole.

use core::{
    ops::ControlFlow,
    sync::atomic::Ordering, //
};
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
        Bd,
        Rcd,
        RcdAl,
        RcdMeta,
        BD_FRAG_SIZE, //
    },
    dump::{
        Indices,
        Kind,
        RingDump, //
    },
    ring::{
        payload_end,
        RingSize,
        Room, //
    },
    stats::RxStats,
    xdp_tx::XdpQueue,
    Config,
    QueueRegs,
    Shared, //
};
use crate::{
    desc_ring::DescRing,
    fbnic_csr::{
        queue as regs,
        Doorbell, //
    },
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
            CpuSync,
            Heads,
            PagePool, //
        },
        page_ring::PageRing,
        skbuff::SkBuff,
        xdp::{
            self,
            Running,
            RxBuff,
            Verdict,
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

/// A ring of pages for the device to fill, and their descriptors.
///
/// Indices count pages. A page larger than 4 KiB has several descriptors, whose ids are the page's
/// index times [`BD_FRAG_COUNT`] plus the number of the part.
struct Bdq {
    pages: PageRing,
    desc: DescRing,
    doorbell: Doorbell,
    /// With less pages that the device is done with, the ring is as good as full.
    batch: u32,
}

/// A ring is filled up again when this share of it is used.
///
/// The less often, the fewer doorbells, and the more likely it is that the packets in a page are gone
/// and it can go to the device at once.
const REFILL_SHARE: u32 = 8;

impl Bdq {
    /// Creates an empty ring of `descriptors`.
    fn new(
        dev: &Device<Bound>,
        pool: &PagePool,
        descriptors: u32,
        doorbell: usize,
    ) -> Result<Self> {
        let size = RingSize::new(descriptors / BD_FRAG_COUNT).ok_or(EINVAL)?;
        Ok(Self {
            pages: PageRing::new(pool, size.entries())?,
            desc: DescRing::new(dev, descriptors)?,
            doorbell: Doorbell::new(doorbell).ok_or(EINVAL)?,
            batch: size.entries() / REFILL_SHARE,
        })
    }

    /// Gives back the pages the device is done with and posts as many as fit, if these are many or the
    /// ring is `hungry`: not full otherwise.
    ///
    /// Returns whether there was memory for all of them.
    #[inline(never)]
    fn renew(&mut self, sync: CpuSync<'_>, direct: bool, hungry: bool, queue: &QueueRegs) -> bool {
        if !hungry && self.pages.done() < self.batch {
            return true;
        }
        let before = self.pages.tail();
        let desc = self.desc.writer();
        let done = self.pages.renew(sync, direct, |index, addr| {
            let first = index * BD_FRAG_COUNT;
            for part in 0..BD_FRAG_COUNT {
                let bd = Bd::new(addr + u64::from(part * BD_FRAG_SIZE), first + part);
                desc.write(first + part, bd.into_raw());
            }
        });
        let tail = self.pages.tail();
        if tail != before {
            let csr = &queue.fbnic().csr;
            csr.ring_doorbell(self.doorbell, tail * BD_FRAG_COUNT);
        }
        done
    }

    /// Returns the value of the ring's size register.
    fn log2(&self) -> u32 {
        (self.desc.entries().trailing_zeros()) & regs::QUEUE_SIZE_MASK
    }
}

/// Takes a buffer's id apart: index of the page, and offset of the buffer in it in bytes.
#[inline(always)]
const fn locate(id: u32) -> (u32, u32) {
    // CAST: A page has far less than 4 GiB.
    let offset = (id * BD_FRAG_SIZE) & (PAGE_SIZE as u32 - 1);
    (id / BD_FRAG_COUNT, offset)
}

/// What one poll has received.
#[derive(Default)]
struct Received {
    bytes: u64,
    csum_complete: u64,
    csum_none: u64,
}

impl Received {
    #[inline]
    fn count(&self, stats: &RxStats) {
        stats.bytes.add(self.bytes);
        stats.csum_complete.add(self.csum_complete);
        stats.csum_none.add(self.csum_none);
    }
}

/// What the stack wants to know of packets.
#[derive(Clone, Copy)]
struct Wanted {
    csum: bool,
    hash: bool,
}

/// What one poll of a queue knows and counts.
struct Poll<'a> {
    napi: &'a PollContext<'a>,
    send_back: Option<&'a mut XdpQueue>,
    sync: CpuSync<'a>,
    wanted: Wanted,
    got: Received,
    /// How many packets more may be received.
    left: u32,
}

/// What packets are put together from.
struct Buffers {
    hpq: Bdq,
    ppq: Bdq,
    /// Where headers go of which a program has made something.
    heads: Heads,
    /// A packet was dropped of which the rest is still to come.
    bad: bool,
    /// The rings were not full when they were last looked after.
    hungry: bool,
    queue: QueueRegs,
    stats: Arc<RxStats>,
}

impl Buffers {
    /// Deals with one completion, and says whether there may be another.
    #[inline(always)]
    fn complete(
        &mut self,
        rcd: Rcd,
        pkt: &mut RxBuff,
        poll: &mut Poll<'_>,
        program: Option<Running<'_>>,
    ) -> ControlFlow<()> {
        match rcd {
            Rcd::Meta(meta) => {
                match program {
                    _ if meta.uncorrectable() => self.not_finished(meta, pkt),
                    None => self.finish(meta, pkt, poll),
                    Some(program) => self.filter(program, meta, pkt, poll),
                }
                if poll.left == 0 {
                    return ControlFlow::Break(());
                }
            }
            Rcd::HdrAl(al) => {
                if self.open(al, pkt, poll.sync).is_none() {
                    self.reject("header", al, pkt);
                }
            }
            Rcd::PayAl(al) => {
                if self.add(al, pkt, poll.sync).is_none() {
                    self.reject("payload", al, pkt);
                }
            }
            // Nothing in it is asked for.
            Rcd::OptMeta => {}
        }
        ControlFlow::Continue(())
    }

    /// Opens a packet.
    #[inline(always)]
    fn open(&mut self, al: RcdAl, pkt: &mut RxBuff, sync: CpuSync<'_>) -> Option<()> {
        let (off, len) = (al.off(), al.len());
        let (index, base) = locate(al.buff_id());
        let end = base.wrapping_add(ROOM.header_end(off, len, al.page_fin()));
        let data = base.wrapping_add(off);
        let pages = &mut self.hpq.pages;
        pkt.open(
            sync,
            pages.take_frame::<{ ROOM.head }, { ROOM.tail }>(index, data, len, end)?,
        )
    }

    /// Adds payload to the open packet.
    #[inline(always)]
    fn add(&mut self, al: RcdAl, pkt: &mut RxBuff, sync: CpuSync<'_>) -> Option<()> {
        let (off, len) = (al.off(), al.len());
        let end = payload_end(off, len, al.page_fin())?;
        let (index, base) = locate(al.buff_id());
        let frag = self.ppq.pages.take(index, base + off, base + end)?;
        pkt.add_frag(sync, frag, len).ok()
    }

    /// Drops the packet in work. What else belongs to it is ignored.
    #[cold]
    #[inline(never)]
    fn reject(&mut self, what: &str, al: RcdAl, pkt: &mut RxBuff) {
        pkt.clear();
        if !self.bad {
            self.bad = true;
            self.stats.dropped.add(1);
            self.bad_completion(what, al.into_raw());
        }
    }

    /// Closes the packet and hands it to the stack.
    #[inline(always)]
    fn finish(&mut self, meta: RcdMeta, pkt: &mut RxBuff, poll: &mut Poll<'_>) {
        let (napi, wanted, got) = (poll.napi, poll.wanted, &mut poll.got);
        let delivered = pkt.deliver(napi, |skb| describe(skb, meta, wanted, got));
        let Some(len) = delivered else {
            return self.not_finished(meta, pkt);
        };
        poll.left = poll.left.wrapping_sub(1);
        poll.got.bytes = poll.got.bytes.wrapping_add(len.into());
    }

    /// Closes the packet and lets a program say what becomes of it.
    #[inline(always)]
    fn filter(
        &mut self,
        program: Running<'_>,
        meta: RcdMeta,
        pkt: &mut RxBuff,
        poll: &mut Poll<'_>,
    ) {
        let mut frame = match pkt.frame(&mut self.heads, program) {
            Ok(frame) => frame,
            Err(EMSGSIZE) => {
                self.stats.length_errors.add(1);
                return pkt.clear();
            }
            Err(_) => return self.not_finished(meta, pkt),
        };
        let len = frame.len();
        match frame.run(program) {
            Verdict::Drop => frame.recycle(),
            Verdict::Tx => match &mut poll.send_back {
                Some(queue) => queue.send(frame, poll.sync),
                // There is one wherever something is received.
                None => frame.recycle(),
            },
            Verdict::Pass => {
                let Some((mut skb, left)) = frame.build_skb(&mut self.heads) else {
                    return self.not_finished(meta, pkt);
                };
                if let Some(left) = left {
                    self.hpq.pages.give_back(left);
                }
                // The device has summed up what it received, not what the program made of it.
                let csum = poll.wanted.csum && meta.l4_csum_unnecessary();
                describe(
                    &mut skb,
                    meta,
                    Wanted {
                        csum,
                        ..poll.wanted
                    },
                    &mut poll.got,
                );
                poll.napi.gro_receive(skb);
            }
        }
        poll.left = poll.left.wrapping_sub(1);
        poll.got.bytes = poll.got.bytes.wrapping_add(len.into());
    }

    /// Deals with the end of a packet of which the stack gets nothing.
    #[cold]
    #[inline(never)]
    fn not_finished(&mut self, meta: RcdMeta, pkt: &mut RxBuff) {
        if pkt.is_open() {
            pkt.clear();
            self.stats.dropped.add(1);
            if !meta.uncorrectable() {
                self.stats.alloc_failed.add(1);
            }
        } else if !core::mem::take(&mut self.bad) {
            self.stats.dropped.add(1);
            self.bad_completion("end of no packet", meta.into_raw());
        }
    }

    fn bad_completion(&self, what: &str, raw: u64) {
        self.queue.fbnic().bad_values.rx_completion();
        if self.stats.logged.first() {
            let index = self.queue.index();
            dev_err!(
                self.queue.fbnic().dev(),
                "Rx queue {index}: bad completion ({what}) {raw:#018x}\n"
            );
        }
    }

    /// Gives back the pages the device is done with and posts others, in rings that need it.
    #[inline]
    fn refill(&mut self, sync: CpuSync<'_>, direct: bool) {
        let header = self.hpq.renew(sync, direct, self.hungry, &self.queue);
        let payload = self.ppq.renew(sync, direct, self.hungry, &self.queue);
        self.hungry = !header || !payload;
        if self.hungry {
            let failed = u64::from(!header) + u64::from(!payload);
            self.stats.bdq_alloc_failed.add(failed);
        }
        self.count_posted();
    }

    #[inline]
    fn count_posted(&self) {
        let stats = &self.stats;
        let (hpq, ppq) = (self.hpq.pages.posted(), self.ppq.pages.posted());
        stats.hpq_posted.store(hpq, Ordering::Relaxed);
        stats.ppq_posted.store(ppq, Ordering::Relaxed);
    }
}

/// A receive queue.
///
/// Fields are dropped in order: the packet in work and the rings give their pages back before the
/// pool goes.
pub(super) struct RxQueue {
    rcq: CompletionRing,
    /// The packet that completions are arriving for. There is none before [`Self::bind`].
    pkt: Option<RxBuff>,
    buffers: Buffers,
    pool: PagePool,
    program: Arc<xdp::Slot>,
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
        shared: &Shared<'_>,
    ) -> Result<Self> {
        let stats = shared.rx_stats(index)?;
        let queue = QueueRegs::new(fbnic, index);
        let pool = PagePool::new(netdev, cfg.hpq_size + cfg.ppq_size, index.into())?;
        let bdq = |descriptors, doorbell| Bdq::new(dev, &pool, descriptors, queue.offset(doorbell));
        Ok(Self {
            rcq: CompletionRing::new(dev, RingSize::new(cfg.rcq_size).ok_or(EINVAL)?)?,
            pkt: None,
            buffers: Buffers {
                bad: false,
                hungry: true,
                hpq: bdq(cfg.hpq_size, regs::BDQ_HPQ_TAIL)?,
                ppq: bdq(cfg.ppq_size, regs::BDQ_PPQ_TAIL)?,
                heads: Heads::new(netdev, cfg.hpq_size, index.into())?,
                queue,
                stats,
            },
            pool,
            program: shared.program.clone(),
        })
    }

    fn queue(&self) -> &QueueRegs {
        &self.buffers.queue
    }

    /// Returns the number of the queue.
    pub(super) fn index(&self) -> u16 {
        self.queue().index()
    }

    /// Returns what shows the queue's rings.
    pub(super) fn dumps(&self) -> [RingDump; 3] {
        let Buffers {
            hpq, ppq, stats, ..
        } = &self.buffers;
        let queue = || QueueRegs::new(&self.queue().fbnic, self.index());
        let bdq = |kind, ring: &Bdq| {
            let ring = Some((ring.desc.observer(), 0));
            RingDump::new(kind, queue(), ring, Indices::Posted(stats.clone()))
        };
        let rcq = Some((self.rcq.observer(), self.index()));
        [
            bdq(Kind::Hpq, hpq),
            bdq(Kind::Ppq, ppq),
            RingDump::new(Kind::Rcq, queue(), rcq, Indices::Device),
        ]
    }

    /// Announces the queue to the stack as polled by `napi`. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`XdpRxq::new`].
    pub(super) fn bind(&mut self, netdev: &NetDevice, napi: NapiHandle<'_>) -> Result {
        let rxq = XdpRxq::new(netdev, self.index().into(), napi.id(), &self.pool)?;
        self.pkt = Some(RxBuff::new(rxq));
        self.pool.enable_direct_recycling(napi);
        self.buffers.heads.enable_direct_recycling(napi);
        Ok(())
    }

    /// Receives up to `budget` packets, one at least, and posts new buffers. What programs send back goes to
    /// `send_back`, whose device is told of it.
    ///
    /// Returns the number of packets, `budget` if there may be more completions. Does at most one
    /// turn of the ring, so that a device cannot keep the CPU here with completions that make no
    /// packet.
    #[inline]
    pub(super) fn poll(
        &mut self,
        napi: &PollContext<'_>,
        budget: u32,
        send_back: Option<&mut XdpQueue>,
    ) -> u32 {
        // A context may have many queues, most of them with nothing to do.
        if self.rcq.is_idle() && !self.buffers.hungry {
            return 0;
        }
        match self.program.running(napi) {
            None => self.receive::<false>(napi, budget, None, None),
            Some(program) => self.poll_filtered(napi, budget, program, send_back),
        }
    }

    /// Does what [`Self::poll`] does, with a program.
    #[inline(never)]
    fn poll_filtered(
        &mut self,
        napi: &PollContext<'_>,
        budget: u32,
        program: Running<'_>,
        mut send_back: Option<&mut XdpQueue>,
    ) -> u32 {
        let count = self.receive::<true>(napi, budget, Some(program), send_back.as_deref_mut());
        if let Some(queue) = send_back {
            queue.ring_doorbell();
        }
        count
    }

    /// Does the work of [`Self::poll`]. Two copies of it are made, so that the one without a program
    /// does not have to look for each frame.
    #[inline(always)]
    fn receive<const FILTERED: bool>(
        &mut self,
        napi: &PollContext<'_>,
        budget: u32,
        program: Option<Running<'_>>,
        send_back: Option<&mut XdpQueue>,
    ) -> u32 {
        let Self {
            rcq,
            pkt: Some(pkt),
            buffers,
            pool,
            ..
        } = self
        else {
            return 0;
        };
        let features = napi.device().features();
        let mut poll = Poll {
            napi,
            send_back,
            sync: pool.cpu_sync(),
            wanted: Wanted {
                csum: features & features::RXCSUM != 0,
                hash: features & features::RXHASH != 0,
            },
            got: Received::default(),
            left: budget,
        };
        let program = program.filter(|_| FILTERED);
        let count = rcq.take(|raw| buffers.complete(Rcd::decode(raw), pkt, &mut poll, program));
        buffers.refill(poll.sync, napi.recycle_direct());
        let packets = budget.wrapping_sub(poll.left);
        if count != 0 {
            buffers.stats.packets.add(packets.into());
            poll.got.count(&buffers.stats);
            buffers.queue.write(regs::RCQ_HEAD, rcq.head());
        }
        if count == rcq.size().entries() {
            return budget;
        }
        packets
    }

    /// Sets up the rings in the device and starts them, at index 0. Completions raise `vector`.
    ///
    /// The queue must be disabled and empty. [`Self::fill`] gives it buffers.
    pub(super) fn enable(&mut self, cfg: &Config, tx_pause: bool, vector: u32) {
        self.rcq.rewind();
        self.enable_bdq();

        let q = self.queue();
        q.write(regs::RDE_CTL0, cfg.rde_ctl0(tx_pause));
        q.write(regs::RDE_CTL1, cfg.rde_ctl1());
        q.write(regs::RCQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::RCQ_BAL, regs::RCQ_BAH, self.rcq.dma_address());
        q.write(regs::RCQ_SIZE, self.rcq.size().log2());
        self.set_rx_frames(cfg, vector);
        q.write(regs::RIM_MASK, 0);
        q.write(regs::RCQ_CTL, regs::QUEUE_CTL_ENABLE);
    }

    fn enable_bdq(&self) {
        let Buffers { hpq, ppq, .. } = &self.buffers;
        let q = self.queue();
        q.write(regs::BDQ_CTL, regs::QUEUE_CTL_RESET);
        q.write_base(regs::BDQ_HPQ_BAL, regs::BDQ_HPQ_BAH, hpq.desc.dma_address());
        q.write(regs::BDQ_HPQ_SIZE, hpq.log2());
        q.write_base(regs::BDQ_PPQ_BAL, regs::BDQ_PPQ_BAH, ppq.desc.dma_address());
        q.write(regs::BDQ_PPQ_SIZE, ppq.log2());
        q.write(
            regs::BDQ_CTL,
            regs::QUEUE_CTL_ENABLE | regs::BDQ_CTL_PPQ_ENABLE,
        );
    }

    /// Sets how many completions raise `vector` at once.
    pub(super) fn set_rx_frames(&self, cfg: &Config, vector: u32) {
        let half = self.rcq.size().mask() / 2;
        let q = self.queue();
        q.write(regs::RIM_CTL, vector);
        q.write(regs::RIM_THRESHOLD, cfg.rim_threshold(half));
    }

    /// Posts buffers, while the NAPI context is disabled.
    pub(super) fn fill(&mut self) {
        self.buffers.refill(self.pool.cpu_sync(), false);
    }

    /// Tells the device to stop. It may still be at work until the idle bits say otherwise.
    pub(super) fn disable(&mut self) {
        let q = self.queue();
        q.update(regs::BDQ_CTL, regs::QUEUE_CTL_ENABLE, 0);
        q.write(regs::RCQ_CTL, 0);
        q.write(regs::RIM_MASK, 1);
    }

    /// Takes back all buffers. The device must be idle.
    pub(super) fn flush(&mut self) {
        if let Some(pkt) = &mut self.pkt {
            pkt.clear();
        }
        self.buffers.bad = false;
        self.buffers.hungry = true;
        self.buffers.hpq.pages.reset();
        self.buffers.ppq.pages.reset();
        self.buffers.count_posted();
        self.rcq.clear();
    }
}

/// Tells the stack what the device knows of a packet.
#[inline(always)]
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
        skb.set_hash(meta.rss_hash(), meta.has_l4());
    } else {
        // The packet may have been that of another frame.
        skb.set_hash(0, false);
    }
}
