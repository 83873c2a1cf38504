// SPDX-License-Identifier: GPL-2.0
//! Transmit: work rings, gathering, offloads, completions (guide, section 7).
//!
//! Choices where the guide leaves them open:
//! - A packet that cannot be sent as described (no META on TWQ0, a piece of length
//!   0 or outside memory, headers that do not fit, an impossible large send) is
//!   dropped, counted in TWQ_ERR_CNT, and completed, whether it asked or not.
//! - A packet of more descriptors than [`FETCH`] is dropped in the same way.
//! - A packet whose LAST_AL is still missing waits for the next doorbell.
//! - With no room for two completions the ring waits for TCQ_HEAD. With TCQ
//!   disabled packets go out without completions.
//! - A ring that is not memory stops until it is reset.
//! - While the MAC or the drop control keeps frames from leaving, they are
//!   discarded, counted in TMI_DROP, and completed.
//! - A frame that exceeds QM_TQS_MTU_CTL0 is dropped and counted in
//!   TCE_TTI_FRAME_DROP.

use fbnic_defs::csr as r;
use fbnic_defs::desc::{
    l3_type, l4_type, tcd_type, twd_type, Tcd, TcdTimestamp, TwdAl, TwdMeta, DESC_SIZE,
};
use packet::lso::{complete_checksum, Control, L3Type, L4Type, Lso, Request};

use super::cq::CompletionRing;
use super::ring::{Ring, RingRegs};
use super::wire::Wire;
use super::Round;
use crate::device::Cx;
use crate::dma::Dma;
use crate::fault::Hook;
use crate::hw::Hw;
use crate::moderation::CqKind;
use crate::rpc::TxDestinations;

/// Descriptors fetched at once.
const FETCH: usize = 256;
/// Frames that count as one descriptor of a budget: a large send of 64 KiB costs less by
/// its 45 segments than by the 19 descriptors of its pieces, one with a tiny MSS much more.
const FRAMES_PER_UNIT: u64 = 4;
/// Shortest frame without FCS; the MAC pads to it when TX_PAD_EN is set.
const MIN_FRAME: usize = 60;
/// Longest header of a large send that the descriptor's fields can express.
const MAX_HEADER: usize = 63 * 2 + 255 * 2 + 255 * 2 + 15 * 4;
/// Completions a packet may need: a time stamp and a head.
const COMPLETIONS: u32 = 2;

/// The registers of the two work rings of a set.
pub(super) const TWQ: [RingRegs; 2] = [
    RingRegs {
        ctl: r::Q_TWQ0_CTL,
        size: r::Q_TWQ0_SIZE,
        bal: r::Q_TWQ0_BAL,
        doorbell: r::Q_TWQ0_TAIL,
        ptrs: r::Q_TWQ0_PTRS,
    },
    RingRegs {
        ctl: r::Q_TWQ1_CTL,
        size: r::Q_TWQ1_SIZE,
        bal: r::Q_TWQ1_BAL,
        doorbell: r::Q_TWQ1_TAIL,
        ptrs: r::Q_TWQ1_PTRS,
    },
];

/// One work ring.
#[derive(Clone, Copy, Default)]
struct WorkRing {
    ring: Ring,
    head: u32,
    /// Inside a packet that is too long: everything up to LAST_AL is dropped.
    skipping: bool,
    packets: u32,
    errors: u32,
}

struct TxSet {
    work: [WorkRing; 2],
    tcq: CompletionRing,
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The descriptors contradict themselves or each other.
    Descriptor,
    /// A piece is not in memory.
    Memory,
    /// The frame exceeds the device's MTU.
    TooLong,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It is on the wire.
    Wire,
    /// It went to the management controller or the firmware.
    Inside,
    /// It was discarded on purpose.
    Discarded,
}

/// How a ring was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Only a doorbell can bring more to do.
    Idle,
    /// The cable or the bus holds it up.
    Blocked,
    /// The budget is used up.
    More,
}

/// How much work a round may do, in descriptors. One packet more than that at the most.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    /// For one work ring.
    pub ring: usize,
    /// For all of them.
    pub round: usize,
}

/// One packet found among fetched descriptors.
struct Found {
    /// Descriptors it takes.
    len: usize,
    /// `None` for a packet without META.
    meta: Option<TwdMeta>,
    well_formed: bool,
}

/// All transmit queues.
pub(super) struct TxEngine {
    sets: Vec<TxSet>,
    /// Sets with work, or with work that is held up.
    pending: u128,
    /// Set that the next round starts with.
    next: u32,
    /// Work done in this round, in the units of [`Budget`].
    spent: usize,
    fetched: Box<[u8; FETCH * DESC_SIZE as usize]>,
    pieces: Vec<TwdAl>,
    header: Box<[u8; MAX_HEADER]>,
}

impl TxEngine {
    pub fn new() -> Self {
        let set = |_| TxSet {
            work: [WorkRing::default(); 2],
            tcq: CompletionRing::new(CqKind::Tx),
        };
        Self {
            sets: (0..r::QUEUES).map(set).collect(),
            pending: 0,
            next: 0,
            spent: 0,
            fetched: Box::new([0; FETCH * DESC_SIZE as usize]),
            pieces: Vec::with_capacity(FETCH),
            header: Box::new([0; MAX_HEADER]),
        }
    }

    /// Acts on a write to a control register; false if it is none of this engine's.
    pub fn control(&mut self, cx: &mut Cx<'_>, queue: u32, off: u32, value: u32) -> bool {
        let Some(set) = self.sets.get_mut(queue as usize) else {
            return false;
        };
        if off == r::Q_TCQ_CTL {
            set.tcq.control(cx, queue, value);
            self.pending |= 1 << queue;
            return true;
        }
        let Some(which) = TWQ.iter().position(|regs| regs.ctl == off) else {
            return false;
        };
        if let (Some(work), Some(regs)) = (set.work.get_mut(which), TWQ.get(which)) {
            if work.ring.control(cx.hw, queue, regs, value) {
                work.head = 0;
                work.skipping = false;
            }
        }
        self.pending |= 1 << queue;
        true
    }

    /// Works on all rings with something to do, as far as `budget` goes. Returns
    /// whether some have more.
    pub fn run(&mut self, round: &mut Round<'_, '_>, wire: &mut Wire, budget: Budget) -> bool {
        self.pending |= round.cx.hw.doorbells.take_tx();
        self.spent = 0;
        let mut more = false;
        let mut left = self.pending;
        // Starting with another set each time keeps one from having the cable to itself.
        let start = self.next;
        while left != 0 {
            let queue = (left.rotate_right(start).trailing_zeros() + start) % r::QUEUES;
            if self.spent >= budget.round {
                // Those that had no turn come first in the next round.
                self.next = queue;
                return true;
            }
            left &= !(1 << queue);
            match self.run_set(round, wire, queue, budget.ring) {
                Left::Idle => self.pending &= !(1 << queue),
                Left::Blocked => self.next = queue,
                Left::More => more = true,
            }
        }
        if more {
            self.next = (start + 1) % r::QUEUES;
        }
        more
    }

    fn run_set(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        queue: u32,
        budget: usize,
    ) -> Left {
        let first = self.run_ring(round, wire, queue, 0, budget);
        let second = self.run_ring(round, wire, queue, 1, budget);
        if let Some(set) = self.sets.get_mut(queue as usize) {
            publish(round.cx, queue, set);
        }
        match (first, second) {
            (Left::More, _) | (_, Left::More) => Left::More,
            (Left::Blocked, _) | (_, Left::Blocked) => Left::Blocked,
            (Left::Idle, Left::Idle) => Left::Idle,
        }
    }

    fn run_ring(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        queue: u32,
        which: usize,
        budget: usize,
    ) -> Left {
        let limit = self.spent.saturating_add(budget);
        loop {
            let count = match self.fetch(round.cx, queue, which) {
                Ok(count) => count,
                Err(left) => return left,
            };
            let mut at = 0;
            while at < count {
                if self.spent >= limit {
                    return Left::More;
                }
                if !wire.ready() {
                    return Left::Blocked;
                }
                let Some(set) = self.sets.get(queue as usize) else {
                    return Left::Idle;
                };
                if set.tcq.enabled() && set.tcq.free(round.cx.hw, queue) < COMPLETIONS {
                    return Left::Idle;
                }
                let skipping = set.work.get(which).is_some_and(|work| work.skipping);
                let Some(found) = self.find(at, count, which, skipping, round.cx.hw) else {
                    break;
                };
                at += found.len;
                let before = round.counters.tx.frames();
                self.packet(round, wire, queue, which, &found);
                self.spend(found.len, round.counters.tx.frames() - before);
            }
            if at == 0 {
                if !self.skip_overlong(queue, which, count) {
                    return Left::Idle;
                }
                self.spend(count, 0);
            }
        }
    }

    /// Charges the budget for `descriptors` that became `frames`.
    fn spend(&mut self, descriptors: usize, frames: u64) {
        let frames = usize::try_from(frames / FRAMES_PER_UNIT).unwrap_or(usize::MAX);
        self.spent = self.spent.saturating_add(descriptors.max(frames));
    }

    /// Fetches what the ring has, up to [`FETCH`] descriptors. `Err` tells why nothing.
    fn fetch(&mut self, cx: &Cx<'_>, queue: u32, which: usize) -> Result<usize, Left> {
        let set = self.sets.get_mut(queue as usize).ok_or(Left::Idle)?;
        let work = set.work.get_mut(which).ok_or(Left::Idle)?;
        let regs = TWQ.get(which).ok_or(Left::Idle)?;
        if !work.ring.enabled {
            return Err(Left::Idle);
        }
        let tail = work.ring.doorbell(cx.hw, queue, regs);
        let available = work.ring.distance(work.head, tail) as usize;
        if available == 0 {
            return Err(Left::Idle);
        }
        let stalled = cx.dma.faults(Hook::Stall);
        if stalled.is_some_and(|faults| faults.stalled(queue, true)) {
            return Err(Left::Blocked);
        }
        if !cx.dma.can_read() || !cx.dma.can_write() {
            return Err(Left::Blocked);
        }
        let count = available.min(FETCH);
        let first = count.min(work.ring.until_wrap(work.head) as usize);
        let bytes = |n: usize| n * DESC_SIZE as usize;
        let (buffer, _) = self.fetched.split_at_mut(bytes(count));
        let (before, after) = buffer.split_at_mut(bytes(first));
        let read = cx
            .dma
            .read(work.ring.entry(work.head), before)
            .and_then(|()| cx.dma.read(work.ring.entry(0), after));
        if let Err(error) = read {
            log::warn!("TWQ{which} of queue {queue} stopped: {error}");
            work.errors = work.errors.wrapping_add(1);
            work.ring.enabled = false;
            return Err(Left::Idle);
        }
        Ok(count)
    }

    fn descriptor(&self, n: usize) -> u64 {
        let at = n * DESC_SIZE as usize;
        let bytes = self.fetched.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Finds the packet that starts at descriptor `at` and puts its pieces into
    /// `self.pieces`. `None` if it does not end among the `count` fetched.
    fn find(
        &mut self,
        at: usize,
        count: usize,
        which: usize,
        skipping: bool,
        hw: &Hw,
    ) -> Option<Found> {
        self.pieces.clear();
        let mut found = Found {
            len: 0,
            meta: (which == 1).then(|| default_meta(hw)),
            well_formed: !skipping,
        };
        for n in at..count {
            let raw = self.descriptor(n);
            let piece = TwdAl::from_bits(raw);
            found.len = n - at + 1;
            match piece.kind() {
                twd_type::META if found.len == 1 && which == 0 && !skipping => {
                    found.meta = Some(TwdMeta::from_bits(raw));
                }
                twd_type::META if found.len > 1 && which == 0 => {
                    // The next packet begins before this one has ended.
                    found.len -= 1;
                    found.well_formed = false;
                    return Some(found);
                }
                twd_type::META => found.well_formed = false,
                twd_type::OPT_META => {}
                kind => {
                    found.well_formed &= piece.len() > 0;
                    self.pieces.push(piece);
                    if kind == twd_type::LAST_AL {
                        found.well_formed &= found.meta.is_some();
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// Drops the part that was fetched of a packet which exceeds [`FETCH`]. Returns
    /// false when the packet's end may simply not be in the ring yet.
    fn skip_overlong(&mut self, queue: u32, which: usize, count: usize) -> bool {
        let set = self.sets.get_mut(queue as usize);
        let Some(work) = set.and_then(|set| set.work.get_mut(which)) else {
            return false;
        };
        if count < FETCH {
            return false;
        }
        work.skipping = true;
        // CAST: FETCH is far under 2^32.
        work.head = work.ring.wrap(work.head + FETCH as u32);
        true
    }

    /// Sends one packet and completes it.
    fn packet(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        queue: u32,
        which: usize,
        found: &Found,
    ) {
        let result = match found.meta {
            Some(meta) if found.well_formed => self.send(round, wire, meta),
            _ => Err(Fault::Descriptor),
        };
        let Some(set) = self.sets.get_mut(queue as usize) else {
            return;
        };
        let Some(work) = set.work.get_mut(which) else {
            return;
        };
        // CAST: a packet has at most FETCH descriptors.
        work.head = work.ring.wrap(work.head + found.len as u32);
        work.skipping = false;
        let frames = &mut round.counters.frames;
        match result {
            Ok(Sent::Wire) => {}
            Ok(Sent::Inside) => frames.tx_inside += 1,
            Ok(Sent::Discarded) => frames.tx_discarded += 1,
            Err(_) => frames.tx_bad += 1,
        }
        if let Err(fault) = result {
            work.errors = work.errors.wrapping_add(1);
            log::debug!("TWQ{which} of queue {queue}: packet dropped: {fault:?}");
            if fault == Fault::TooLong {
                round.counters.add(r::TCE_TTI_FRAME_DROP_PKTS, 1);
                let bytes = self.pieces.iter().map(|piece| u64::from(piece.len())).sum();
                round.cx.hw.csr.add64(r::TCE_TTI_FRAME_DROP_BYTE_L, bytes);
            }
        } else {
            work.packets = work.packets.wrapping_add(1);
        }
        let meta = found.meta.unwrap_or_default();
        if which == 0 && meta.req_ts() {
            stamp(round, set, result);
        }
        if meta.req_completion() || result.is_err() {
            complete(round.cx.dma, set, which);
        }
    }

    fn send(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        meta: TwdMeta,
    ) -> Result<Sent, Fault> {
        let total = self.pieces.iter().map(|p| usize::from(p.len())).sum();
        if wire.discarding() {
            Wire::discard(round.cx.hw, round.counters, total);
            return Ok(Sent::Discarded);
        }
        if meta.req_lso() {
            self.send_large(round, wire, meta, total)
        } else {
            self.send_one(round, wire, meta, total)
        }
    }

    fn send_one(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        meta: TwdMeta,
        total: usize,
    ) -> Result<Sent, Fault> {
        let hw = round.cx.hw;
        if total < 14 {
            return Err(Fault::Descriptor);
        }
        check_mtu(hw, total)?;
        let len = padded(hw, total);
        let mark = wire.mark(len);
        let frame = wire.begin(len).ok_or(Fault::TooLong)?;
        let (data, padding) = frame.split_at_mut(total);
        padding.fill(0);
        let mut source = Gather::new(&self.pieces);
        let built = source
            .copy(round.cx.dma, data)
            .and_then(|()| checksum(meta, frame));
        let to = destinations(round, meta, frame);
        if built.is_err() || !to.to_wire() {
            wire.truncate(mark);
            return built.map(|()| Sent::Inside);
        }
        round.counters.tx.frame(frame);
        Ok(Sent::Wire)
    }

    fn send_large(
        &mut self,
        round: &mut Round<'_, '_>,
        wire: &mut Wire,
        meta: TwdMeta,
        total: usize,
    ) -> Result<Sent, Fault> {
        let dma = round.cx.dma;
        let request = request(meta)?;
        let header_len = request.header_len();
        let Some(header) = self.header.get_mut(..header_len) else {
            return Err(Fault::Descriptor);
        };
        // Segments may leave before the last piece is read, so all are looked at first.
        let in_memory = |piece: &TwdAl| dma.is_readable(piece.addr(), usize::from(piece.len()));
        if !self.pieces.iter().all(in_memory) {
            return Err(Fault::Memory);
        }
        if total < header_len {
            return Err(Fault::Descriptor);
        }
        let mut source = Gather::new(&self.pieces);
        source.copy(dma, header)?;
        let lso = Lso::new(request, control(round.cx.hw), header, total)
            .map_err(|_| Fault::Descriptor)?;
        check_mtu(round.cx.hw, header_len + lso.payload(0).1)?;
        if !destinations(round, meta, header).to_wire() {
            return Ok(Sent::Inside);
        }
        for n in 0..lso.segments() {
            let len = header_len + lso.payload(n).1;
            let on_wire = padded(round.cx.hw, len);
            let mark = wire.mark(on_wire);
            let frame = wire.begin(on_wire).ok_or(Fault::TooLong)?;
            let (segment, padding) = frame.split_at_mut(len);
            padding.fill(0);
            let (head, payload) = segment.split_at_mut(header_len);
            head.copy_from_slice(header);
            if let Err(fault) = source.copy(dma, payload) {
                // The place holds left-overs of earlier frames, which must not leave.
                wire.truncate(mark);
                return Err(fault);
            }
            lso.finish(n, segment);
            round.counters.tx.frame(frame);
        }
        Ok(Sent::Wire)
    }
}

/// Reads through the pieces of a packet in order.
struct Gather<'a> {
    pieces: std::slice::Iter<'a, TwdAl>,
    addr: u64,
    left: usize,
}

impl<'a> Gather<'a> {
    fn new(pieces: &'a [TwdAl]) -> Self {
        Self {
            pieces: pieces.iter(),
            addr: 0,
            left: 0,
        }
    }

    /// Fills `out` with the bytes that come next.
    fn copy(&mut self, dma: Dma<'_>, mut out: &mut [u8]) -> Result<(), Fault> {
        while !out.is_empty() {
            if self.left == 0 {
                let piece = self.pieces.next().ok_or(Fault::Descriptor)?;
                self.addr = piece.addr();
                self.left = usize::from(piece.len());
                continue;
            }
            let (now, later) = out.split_at_mut(self.left.min(out.len()));
            dma.read(self.addr, now).map_err(|_| Fault::Memory)?;
            self.addr += now.len() as u64;
            self.left -= now.len();
            out = later;
        }
        Ok(())
    }
}

/// Returns the metadata of packets on TWQ1, which bring none.
fn default_meta(hw: &Hw) -> TwdMeta {
    let low = u64::from(hw.csr.load(r::QM_TWQ_DEFAULT_META_L));
    let high = u64::from(hw.csr.load(r::QM_TWQ_DEFAULT_META_H));
    TwdMeta::from_bits(high << 32 | low)
}

fn check_mtu(hw: &Hw, len: usize) -> Result<(), Fault> {
    match hw.csr.load(r::QM_TQS_MTU_CTL0) as usize {
        0 => Ok(()),
        mtu if len <= mtu => Ok(()),
        _ => Err(Fault::TooLong),
    }
}

/// The length on the wire of a frame of `len` bytes, a segment of a large send included.
fn padded(hw: &Hw, len: usize) -> usize {
    let command = hw.csr.load(r::MAC_COMMAND_CONFIG);
    if command & r::MAC_COMMAND_CONFIG_TX_PAD_EN != 0 {
        len.max(MIN_FRAME)
    } else {
        len
    }
}

/// Where `frame` goes: what the TCAM says, else the descriptor, else the wire.
fn destinations(round: &Round<'_, '_>, meta: TwdMeta, frame: &[u8]) -> TxDestinations {
    if let Some(to) = round.classifier.tx_destinations(frame) {
        return to;
    }
    let flags = [
        (meta.dest_mac(), TxDestinations::MAC),
        (meta.dest_bmc(), TxDestinations::BMC),
        (meta.dest_fw(), TxDestinations::FW),
    ];
    let chosen = flags.iter().filter(|(on, _)| *on).map(|(_, to)| to).sum();
    match chosen {
        0 => TxDestinations(TxDestinations::MAC),
        chosen => TxDestinations(chosen),
    }
}

/// Completes the checksum that a packet asks for (REQ_CSO).
fn checksum(meta: TwdMeta, frame: &mut [u8]) -> Result<(), Fault> {
    if !meta.req_cso() {
        return Ok(());
    }
    let halves =
        usize::from(meta.l2_hlen()) + usize::from(meta.l3_ohlen()) + usize::from(meta.l3_ihlen());
    let field = usize::from(meta.csum_offset()) * 2;
    // The type fields are not filled in; UDP's checksum is the one at offset 6.
    if complete_checksum(frame, halves * 2, halves * 2 + field, field == 6) {
        Ok(())
    } else {
        Err(Fault::Descriptor)
    }
}

/// Translates the descriptor of a large send.
fn request(meta: TwdMeta) -> Result<Request, Fault> {
    Ok(Request {
        l2_len: usize::from(meta.l2_hlen()) * 2,
        outer_len: usize::from(meta.l3_ohlen()) * 2,
        inner_len: usize::from(meta.l3_ihlen()) * 2,
        l4_len: usize::from(meta.l4_hlen()) * 4,
        csum_offset: usize::from(meta.csum_offset()) * 2,
        mss: usize::from(meta.mss()),
        l3: match meta.l3_type() {
            l3_type::IPV4 => L3Type::Ipv4,
            l3_type::IPV6 => L3Type::Ipv6,
            l3_type::V6V6 => L3Type::V6InV6,
            _ => L3Type::Other,
        },
        l4: match meta.l4_type() {
            l4_type::TCP => L4Type::Tcp,
            l4_type::UDP => L4Type::Udp,
            _ => return Err(Fault::Descriptor),
        },
    })
}

/// Reads TCE_LSO_CTRL: three groups of nine TCP flags, and the IPv4 ID mode.
fn control(hw: &Hw) -> Control {
    let value = hw.csr.load(r::TCE_LSO_CTRL);
    // CAST: the mask leaves nine bits.
    let flags = |shift: u32| (value >> shift & 0x1ff) as u16;
    Control {
        first_clear: flags(0),
        middle_clear: flags(9),
        last_clear: flags(18),
        increment_id: value & r::TCE_LSO_CTRL_IPID_MODE_INC != 0,
    }
}

/// Writes the time stamp a packet asked for. A packet that did not get onto the
/// wire gets an invalid one, because the driver waits for it either way.
fn stamp(round: &mut Round<'_, '_>, set: &mut TxSet, result: Result<Sent, Fault>) {
    if !set.tcq.enabled() {
        return;
    }
    let mut tcd = TcdTimestamp::new().with_kind(tcd_type::TIMESTAMP);
    let counter = match result {
        Ok(Sent::Wire) => {
            tcd.set_ts(round.cx.hw.ptp.now() & ((1 << 40) - 1));
            r::TMI_GOOD_PTP_TS
        }
        Ok(Sent::Inside) => {
            tcd.set_ts_invalid(true);
            tcd.set_illegal_ts_req(true);
            r::TMI_ILLEGAL_PTP_REQS
        }
        Ok(Sent::Discarded) | Err(_) => {
            tcd.set_ts_invalid(true);
            r::TMI_BAD_PTP_TS
        }
    };
    round.counters.add(counter, 1);
    // A ring that cannot be written shows the driver nothing, whatever is done.
    let _ = set.tcq.push(round.cx.dma, tcd.into_bits());
}

/// Reports the head of one work ring, and with it all packets before.
fn complete(dma: Dma<'_>, set: &mut TxSet, which: usize) {
    if !set.tcq.enabled() {
        return;
    }
    let [first, second] = &set.work;
    // CAST: a ring has at most 2^16 entries.
    let tcd = Tcd::new()
        .with_kind(tcd_type::HEAD)
        .with_twq1(which == 1)
        .with_head0(first.head as u16)
        .with_head1(second.head as u16);
    // As for time stamps.
    let _ = set.tcq.push(dma, tcd.into_bits());
}

/// Shows indices and counters of a set in its registers.
fn publish(cx: &mut Cx<'_>, queue: u32, set: &mut TxSet) {
    let counters = [
        (r::Q_TWQ0_PKT_CNT, r::Q_TWQ0_ERR_CNT),
        (r::Q_TWQ1_PKT_CNT, r::Q_TWQ1_ERR_CNT),
    ];
    for ((work, regs), (packets, errors)) in set.work.iter_mut().zip(&TWQ).zip(counters) {
        if !work.ring.enabled && work.packets == 0 && work.errors == 0 {
            continue;
        }
        work.ring.publish(cx.hw, queue, regs, work.head);
        let take = std::mem::take::<u32>;
        cx.hw
            .csr
            .add32(r::queue(queue, packets), take(&mut work.packets));
        cx.hw
            .csr
            .add32(r::queue(queue, errors), take(&mut work.errors));
    }
    set.tcq.publish(cx, queue);
}
