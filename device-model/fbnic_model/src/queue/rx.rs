// SPDX-License-Identifier: GPL-2.0
//! Receive: from the cable through parser and classifier into host buffers (guide,
//! section 8).
//!
//! Choices where the guide leaves them open:
//! - A header fragment is finished (PAGE_FIN) when what is left of it could not
//!   take another header of MAX_HDR bytes with its head- and tailroom.
//! - Each packet's payload starts a fresh fragment, and every payload fragment is
//!   finished (PAYLD_PACK "none" is the only packing there is).
//! - A header that would not leave its tailroom in a fragment is cut as if MAX_HDR
//!   were that small. With EN_HDR_SPLIT a header cut short sets OVERFLOW.
//! - A frame that needs more than four payload fragments, or buffers that are not
//!   memory, is dropped and counted in RDE_PKT_ERR_CNT; such buffers are consumed.
//! - DROP_MODE "wait" is taken for "never": the frame waits in the packet buffer,
//!   with all that arrive after it, and what does not fit there is lost and counted
//!   in RXB_DROP_FRMS_STS.
//! - A frame for a queue that is not enabled is dropped.
//! - Pause: while it is enabled, the packet buffer takes in addition what a far end
//!   that obeys pause frames would hold back, up to [`fifo::LARGEST`] bytes. Crossing
//!   RXB_PAUSE_THLD counts as one sent XOFF. The cable itself is always read: the
//!   far end may be a hypervisor whose virtual CPUs wait for the socket, and with
//!   them the driver that would post buffers.
//! - Pause frames from the far end are counted and passed on like other frames; they do
//!   not stop the transmitter, which the cable holds back as long as the far end is full.

use fbnic_defs::csr as r;
use fbnic_defs::desc::{rcd_type, Bd, RcdAl, RcdMeta, RcdOptMeta};
use packet::checksum;
use packet::Parsed;

use super::cq::CompletionRing;
use super::fifo::{self, Fifo};
use super::ring::{Ring, RingRegs};
use super::Round;
use crate::device::Cx;
use crate::dma::Dma;
use crate::fault::Hook;
use crate::hw::Hw;
use crate::moderation::CqKind;
use crate::rpc::{l3_kind, l4_kind, Verdict};

/// Bytes of a host buffer fragment.
const FRAGMENT: usize = 4096;
/// Alignment of headers in a fragment.
const ALIGN: usize = 128;
/// Payload fragments of one frame at most.
const MAX_PAYLOAD: usize = 4;
/// Shortest header the driver accepts.
const MIN_HEADER: usize = 14;
/// Number of the host and of the management controller among the buffer's outputs.
const TO_HOST: u32 = 3;
const TO_BMC: u32 = 2;
/// Number of the wire among the buffer's inputs.
const FROM_WIRE: u32 = 0;
/// The part of the packet buffer that holds frames for the host.
const FIFO: u32 = r::RXB_FIFO_NET_TO_HOST;
/// Bytes of the unit in which thresholds and levels of the packet buffer are given.
const FIFO_UNIT: usize = 64;
/// RXB_PAUSE_THLD of that part: ON \[12:0\], OFF \[25:13\].
const PAUSE_THLD: u32 = 0x8009 + FIFO;
/// Bit of that part in RXB_PAUSE_DROP_CTRL, among PAUSE_ENABLE \[15:8\].
const PAUSE_ENABLE: u32 = 1 << (8 + FIFO);

pub(super) const HPQ: RingRegs = RingRegs {
    ctl: r::Q_BDQ_CTL,
    size: r::Q_BDQ_HPQ_SIZE,
    bal: r::Q_BDQ_HPQ_BAL,
    doorbell: r::Q_BDQ_HPQ_TAIL,
    ptrs: r::Q_BDQ_HPQ_PTRS,
};
pub(super) const PPQ: RingRegs = RingRegs {
    ctl: r::Q_BDQ_CTL,
    size: r::Q_BDQ_PPQ_SIZE,
    bal: r::Q_BDQ_PPQ_BAL,
    doorbell: r::Q_BDQ_PPQ_TAIL,
    ptrs: r::Q_BDQ_PPQ_PTRS,
};

/// A ring of buffers, consumed in order.
struct BufferRing {
    regs: &'static RingRegs,
    ring: Ring,
    head: u32,
}

impl BufferRing {
    fn new(regs: &'static RingRegs) -> Self {
        Self {
            regs,
            ring: Ring::default(),
            head: 0,
        }
    }

    fn control(&mut self, hw: &Hw, queue: u32, value: u32) {
        if self.ring.control(hw, queue, self.regs, value) {
            self.head = 0;
        }
    }

    fn available(&self, hw: &Hw, queue: u32) -> u32 {
        let tail = self.ring.doorbell(hw, queue, self.regs);
        self.ring.distance(self.head, tail)
    }

    /// Takes the next buffer; `None` if it, or its descriptor, is not memory. The
    /// caller knows that one is available.
    fn take(&mut self, dma: Dma<'_>) -> Option<Bd> {
        let descriptor = dma.load_u64(self.ring.entry(self.head));
        self.head = self.ring.wrap(self.head + 1);
        let buffer = Bd::from_bits(descriptor.ok()?);
        dma.check(buffer.addr(), FRAGMENT).then_some(buffer)
    }

    fn publish(&self, hw: &Hw, queue: u32) {
        self.ring.publish(hw, queue, self.regs, self.head);
    }
}

/// A header fragment with room for more.
#[derive(Clone, Copy)]
struct OpenFragment {
    buffer: Bd,
    /// Where the next header goes.
    offset: usize,
}

struct RxSet {
    rcq: CompletionRing,
    headers: BufferRing,
    payloads: BufferRing,
    payloads_enabled: bool,
    open: Option<OpenFragment>,
    packets: u32,
}

impl RxSet {
    fn new() -> Self {
        Self {
            rcq: CompletionRing::new(CqKind::Rx),
            headers: BufferRing::new(&HPQ),
            payloads: BufferRing::new(&PPQ),
            payloads_enabled: false,
            open: None,
            packets: 0,
        }
    }
}

/// The placement rules of one queue, RDE_CTL0 and RDE_CTL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    split: bool,
    may_drop: bool,
    headroom: usize,
    tailroom: usize,
    /// Most bytes in a header fragment, already such that a fresh one has room.
    max_header: usize,
}

impl Rules {
    fn read(hw: &Hw, queue: u32) -> Self {
        let ctl0 = hw.csr.load(r::queue(queue, r::Q_RDE_CTL0));
        let ctl1 = hw.csr.load(r::queue(queue, r::Q_RDE_CTL1));
        let room = |shift: u32| (ctl0 >> shift & r::RDE_CTL0_ROOM_MASK) as usize;
        let headroom = room(r::RDE_CTL0_MIN_HROOM_SHIFT);
        let tailroom = room(r::RDE_CTL0_MIN_TROOM_SHIFT);
        let max_header = ctl1 >> r::RDE_CTL1_MAX_HDR_SHIFT & r::RDE_CTL1_MAX_HDR_MASK;
        let mode = ctl0 >> r::RDE_CTL0_DROP_MODE_SHIFT & r::RDE_CTL0_DROP_MODE_MASK;
        // Both rooms have nine bits, so at least 3 KiB remain.
        let possible = FRAGMENT - headroom.next_multiple_of(ALIGN) - tailroom;
        Self {
            split: ctl0 & r::RDE_CTL0_EN_HDR_SPLIT != 0,
            may_drop: mode == 0,
            headroom,
            tailroom,
            max_header: (max_header as usize).clamp(MIN_HEADER, possible),
        }
    }

    /// Where the first header of a fragment goes.
    fn first_offset(&self) -> usize {
        self.headroom.next_multiple_of(ALIGN)
    }

    /// Where the header after one of `len` bytes at `offset` goes.
    fn next_offset(&self, offset: usize, len: usize) -> usize {
        (offset + len + self.tailroom + self.headroom).next_multiple_of(ALIGN)
    }

    /// Whether a header of `len` bytes at `offset` leaves its tailroom.
    fn fits(&self, offset: usize, len: usize) -> bool {
        offset + len + self.tailroom <= FRAGMENT
    }
}

/// How a frame is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    header: usize,
    /// Boundary that was used: 0 none, 1 L2, 2 L3, 4 L4.
    hint: u8,
    overflow: bool,
}

/// Divides a frame of `len` bytes according to `rules`.
fn divide(rules: &Rules, wanted: u8, len: usize, parsed: &Parsed) -> Division {
    if !rules.split {
        return Division {
            header: len.min(rules.max_header),
            hint: 0,
            overflow: false,
        };
    }
    let l4 = parsed.l4_end().filter(|_| wanted & 4 != 0);
    let l3 = parsed.l3_end().filter(|_| wanted & 6 != 0);
    let (end, hint) = match (l4, l3) {
        (Some(end), _) => (end, 4),
        (None, Some(end)) => (end, 2),
        (None, None) => (parsed.l2_len, 1),
    };
    let header = usize::from(end).clamp(MIN_HEADER, len.max(MIN_HEADER));
    Division {
        header: header.min(rules.max_header).min(len),
        hint,
        overflow: header > rules.max_header,
    }
}

/// What became of a frame at its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// It is in host memory.
    Done,
    /// It is dropped for good and counted.
    Bad,
    /// There was no room in the completion ring.
    NoCompletions,
    /// There were no buffers.
    NoBuffers,
}

/// All receive queues.
pub(super) struct RxEngine {
    sets: Vec<RxSet>,
    /// Sets that got something in this round.
    touched: u128,
    fifo: Fifo,
    /// The far end has been told to stop.
    paused: bool,
    from_wire: Flow,
    to_host: Flow,
    to_bmc: Flow,
}

/// Frames and bytes at a port of the packet buffer.
#[derive(Default)]
struct Flow {
    frames: u32,
    bytes: u64,
}

impl Flow {
    fn add(&mut self, frame: &[u8]) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes += frame.len() as u64;
    }
}

impl RxEngine {
    pub fn new() -> Self {
        Self {
            sets: (0..r::QUEUES).map(|_| RxSet::new()).collect(),
            touched: 0,
            fifo: Fifo::new(),
            paused: false,
            from_wire: Flow::default(),
            to_host: Flow::default(),
            to_bmc: Flow::default(),
        }
    }

    /// Forgets all rings and frames.
    pub fn reset(&mut self) {
        self.sets.iter_mut().for_each(|set| *set = RxSet::new());
        self.touched = 0;
        self.fifo.clear();
        self.paused = false;
    }

    /// Acts on a write to a control register.
    pub fn control(&mut self, cx: &mut Cx<'_>, queue: u32, off: u32, value: u32) {
        let Some(set) = self.sets.get_mut(queue as usize) else {
            return;
        };
        match off {
            r::Q_RCQ_CTL => set.rcq.control(cx, queue, value),
            r::Q_BDQ_CTL => {
                set.headers.control(cx.hw, queue, value);
                set.payloads.control(cx.hw, queue, value);
                set.payloads_enabled = value & r::Q_BDQ_CTL_PPQ_ENABLE != 0;
                if value & r::Q_CTL_RESET != 0 {
                    set.open = None;
                }
            }
            _ => {}
        }
    }

    /// Takes one frame from the wire.
    pub fn receive(&mut self, round: &mut Round<'_, '_>, frame: &[u8]) {
        let csr = &round.cx.hw.csr;
        if !round.cx.hw.mac.rx_enabled(csr) {
            round.counters.frames.rx_off += 1;
            return;
        }
        let config = csr.load(r::RPC_RMI_CONFIG);
        let mtu = (config >> r::RMI_CONFIG_MTU_SHIFT) as usize;
        if mtu != 0 && frame.len() > mtu {
            csr.add64(r::MAC_STAT_RX_TOOLONG, 1);
            round.counters.add(r::RPC_OVR_SIZE_ERR, 1);
            round.counters.frames.rx_too_long += 1;
            return;
        }
        round.counters.rx.frame(frame);
        if config & r::RMI_CONFIG_ENABLE == 0 {
            round.counters.frames.rx_off += 1;
            return;
        }
        self.from_wire.add(frame);
        let parsed = packet::parse(frame);
        let verdict = round.classifier.classify(frame, &parsed);
        // Before the frame may come to wait: each counts once, and when it arrives.
        count_events(round, &parsed);
        if verdict.bmc {
            self.to_bmc.add(frame);
        }
        if self.fifo.is_empty() && self.deliver(round, frame, &parsed, &verdict) {
            return;
        }
        self.hold(round, frame);
    }

    /// Puts a frame into the packet buffer, or counts it as lost there.
    fn hold(&mut self, round: &mut Round<'_, '_>, frame: &[u8]) {
        let csr = &round.cx.hw.csr;
        let limit = if csr.load(r::RXB_PAUSE_DROP_CTRL) & PAUSE_ENABLE != 0 {
            fifo::LARGEST
        } else {
            buffer_size(round.cx.hw)
        };
        if !self.fifo.push(frame, limit) {
            round.counters.frames.rx_buffer_full += 1;
            round.counters.add(r::rxb_drop_frms_sts(FIFO), 1);
            csr.add64(r::rxb_drop_bytes_sts_l(FIFO), frame.len() as u64);
        }
    }

    /// Compares the packet buffer's level with the pause thresholds.
    fn update_pause(&mut self, hw: &Hw) {
        if !self.paused && self.fifo.is_empty() {
            return;
        }
        let enabled = hw.csr.load(r::RXB_PAUSE_DROP_CTRL) & PAUSE_ENABLE != 0;
        let thresholds = hw.csr.load(PAUSE_THLD);
        let (on, off) = (thresholds & 0x1fff, thresholds >> 13 & 0x1fff);
        let limit = if self.paused { off } else { on };
        let paused = enabled && self.fifo.level() > limit as usize * FIFO_UNIT;
        if paused && !self.paused {
            hw.csr.add64(r::MAC_STAT_TX_XOFF, 1);
        }
        self.paused = paused;
    }

    /// Tries the frames in the packet buffer again.
    pub fn retry(&mut self, round: &mut Round<'_, '_>) {
        if self.fifo.is_empty() {
            return;
        }
        let mut fifo = std::mem::take(&mut self.fifo);
        while let Some(frame) = fifo.front() {
            let parsed = packet::parse(frame);
            // The tables may have changed while the frame waited.
            let verdict = round.classifier.classify(frame, &parsed);
            if !self.deliver(round, frame, &parsed, &verdict) {
                break;
            }
            fifo.pop();
        }
        self.fifo = fifo;
    }

    /// Places a frame where its verdict sends it; false if it has to wait.
    fn deliver(
        &mut self,
        round: &mut Round<'_, '_>,
        frame: &[u8],
        parsed: &Parsed,
        verdict: &Verdict,
    ) -> bool {
        let Some(queue) = verdict.host_queue else {
            round.counters.frames.rx_filtered += 1;
            return true;
        };
        let set = self.sets.get_mut(queue as usize);
        let Some(set) = set.filter(|set| set.rcq.enabled() && set.headers.ring.enabled) else {
            round.counters.frames.rx_queue_off += 1;
            return true;
        };
        let rules = Rules::read(round.cx.hw, queue);
        let frames = &mut round.counters.frames;
        let placed = place(round.cx, queue, set, &rules, frame, parsed, verdict);
        let (register, total) = match placed {
            Placed::Done | Placed::Bad => {
                let total = if placed == Placed::Done {
                    &mut frames.rx_placed
                } else {
                    &mut frames.rx_bad
                };
                *total += 1;
                self.touched |= 1 << queue;
                self.to_host.add(frame);
                return true;
            }
            Placed::NoCompletions => (r::Q_RDE_CQ_DROP_CNT, &mut frames.rx_no_completions),
            Placed::NoBuffers => (r::Q_RDE_BDQ_DROP_CNT, &mut frames.rx_no_buffers),
        };
        if rules.may_drop {
            *total += 1;
            round.cx.hw.csr.add32(r::queue(queue, register), 1);
        }
        rules.may_drop
    }

    /// Shows indices and counters, and reports completions, at the end of a round.
    pub fn publish(&mut self, cx: &mut Cx<'_>) {
        let mut touched = std::mem::take(&mut self.touched);
        while touched != 0 {
            let queue = touched.trailing_zeros();
            touched &= touched - 1;
            if let Some(set) = self.sets.get_mut(queue as usize) {
                let packets = std::mem::take(&mut set.packets);
                cx.hw.csr.add32(r::queue(queue, r::Q_RDE_PKT_CNT), packets);
                set.headers.publish(cx.hw, queue);
                set.payloads.publish(cx.hw, queue);
                set.rcq.publish(cx, queue);
            }
        }
        self.update_pause(cx.hw);
        self.publish_flows(cx.hw);
    }

    fn publish_flows(&mut self, hw: &Hw) {
        let csr = &hw.csr;
        // CAST: the buffer has at most 1 MiB.
        let level = (self.fifo.level().min(buffer_size(hw)) / FIFO_UNIT) as u32;
        csr.store(r::rxb_pbuf_fifo_level(FIFO), level);
        let input = std::mem::take(&mut self.from_wire);
        if input.frames > 0 {
            csr.add32(r::rxb_drbo_frm_cnt_src(FROM_WIRE), input.frames);
            let low = r::rxb_drbo_byte_cnt_src_l(FROM_WIRE);
            csr.add64_at(low, r::rxb_drbo_byte_cnt_src_h(FROM_WIRE), input.bytes);
        }
        for (output, flow) in [(TO_HOST, &mut self.to_host), (TO_BMC, &mut self.to_bmc)] {
            let flow = std::mem::take(flow);
            if flow.frames == 0 {
                continue;
            }
            csr.add32(r::rxb_intf_frm_cnt_dst(output), flow.frames);
            csr.add32(r::rxb_pbuf_frm_cnt_dst(output), flow.frames);
            let low = r::rxb_intf_byte_cnt_dst_l(output);
            csr.add64_at(low, r::rxb_intf_byte_cnt_dst_h(output), flow.bytes);
            let low = r::rxb_pbuf_byte_cnt_dst_l(output);
            csr.add64_at(low, r::rxb_pbuf_byte_cnt_dst_h(output), flow.bytes);
        }
    }
}

/// Returns the size of the packet buffer for the host in bytes.
fn buffer_size(hw: &Hw) -> usize {
    let units = hw.csr.load(r::rxb_pbuf_cfg(FIFO)) >> 13 & 0x1ff;
    units as usize * 2048
}

fn count_events(round: &mut Round<'_, '_>, parsed: &Parsed) {
    let events = &parsed.events;
    if *events == packet::parse::Events::default() {
        return;
    }
    let counters = [
        (events.tcp_opt_err, r::RPC_TCP_OPT_ERR),
        (events.unknown_ethertype, r::RPC_UNKN_ETYPE),
        (events.ipv4_frag, r::RPC_IPV4_FRAG),
        (events.ipv6_frag, r::RPC_IPV6_FRAG),
        (events.ipv4_esp, r::RPC_IPV4_ESP),
        (events.ipv6_esp, r::RPC_IPV6_ESP),
        (events.unknown_ext_hdr, r::RPC_UNKN_EXT_HDR),
        (events.out_of_hdr, r::RPC_OUT_OF_HDR_ERR),
    ];
    for (seen, register) in counters {
        if seen {
            round.counters.add(register, 1);
        }
    }
}

/// Puts a frame into host buffers and writes its completions.
fn place(
    cx: &Cx<'_>,
    queue: u32,
    set: &mut RxSet,
    rules: &Rules,
    frame: &[u8],
    parsed: &Parsed,
    verdict: &Verdict,
) -> Placed {
    let division = divide(rules, verdict.dma_hint, frame.len(), parsed);
    let (header, payload) = frame.split_at(division.header.min(frame.len()));
    let pieces = payload.len().div_ceil(FRAGMENT);
    if pieces > MAX_PAYLOAD {
        return drop_bad(cx, queue);
    }
    let optional = verdict.time_stamp || verdict.report_action.is_some();
    // CAST: there are at most MAX_PAYLOAD pieces.
    let needed = 2 + pieces as u32 + u32::from(optional);
    if set.rcq.free(cx.hw, queue) < needed {
        return Placed::NoCompletions;
    }
    let open = set
        .open
        .filter(|open| rules.fits(open.offset, header.len()));
    let stalled = cx.dma.faults(Hook::Stall);
    if stalled.is_some_and(|faults| faults.stalled(queue, false))
        || !cx.dma.can_read()
        || !cx.dma.can_write()
        || open.is_none() && set.headers.available(cx.hw, queue) == 0
        || pieces > 0 && !has_payload_buffers(cx.hw, queue, set, pieces)
    {
        return Placed::NoBuffers;
    }
    let Some(descriptors) = fill(cx, set, rules, open, &division, header, payload) else {
        return drop_bad(cx, queue);
    };
    for descriptor in descriptors.iter().take(1 + pieces) {
        // A ring that cannot be written shows the driver nothing, whatever is done.
        let _ = set.rcq.push(cx.dma, descriptor.into_bits());
    }
    if optional {
        let _ = set.rcq.push(cx.dma, opt_meta(cx.hw, verdict).into_bits());
    }
    let meta = meta(frame, parsed, verdict);
    let _ = set.rcq.push(cx.dma, meta.into_bits());
    set.packets = set.packets.wrapping_add(1);
    Placed::Done
}

fn has_payload_buffers(hw: &Hw, queue: u32, set: &RxSet, pieces: usize) -> bool {
    set.payloads_enabled && set.payloads.available(hw, queue) as usize >= pieces
}

/// Counts a frame that can never be delivered.
fn drop_bad(cx: &Cx<'_>, queue: u32) -> Placed {
    cx.hw.csr.add32(r::queue(queue, r::Q_RDE_PKT_ERR_CNT), 1);
    Placed::Bad
}

/// Copies a frame into buffers and returns the descriptors that name them, the
/// header's first. `None` if a buffer is not memory.
fn fill(
    cx: &Cx<'_>,
    set: &mut RxSet,
    rules: &Rules,
    open: Option<OpenFragment>,
    division: &Division,
    header: &[u8],
    payload: &[u8],
) -> Option<[RcdAl; 1 + MAX_PAYLOAD]> {
    let mut out = [RcdAl::new(); 1 + MAX_PAYLOAD];
    let [first, rest @ ..] = &mut out;
    set.open = None;
    let fragment = match open {
        Some(open) => open,
        None => OpenFragment {
            buffer: set.headers.take(cx.dma)?,
            offset: rules.first_offset(),
        },
    };
    let addr = fragment.buffer.addr() + fragment.offset as u64;
    cx.dma.write_frame(addr, header).ok()?;
    let next = rules.next_offset(fragment.offset, header.len());
    if rules.fits(next, rules.max_header) {
        set.open = Some(OpenFragment {
            offset: next,
            ..fragment
        });
    }
    // CAST: an offset and a length in a fragment are at most 4096.
    *first = RcdAl::new()
        .with_kind(rcd_type::HDR_AL)
        .with_buff_id(fragment.buffer.id())
        .with_off(fragment.offset as u16)
        .with_len(header.len() as u16)
        .with_dma_hint(division.hint)
        .with_overflow(division.overflow)
        .with_page_fin(set.open.is_none());
    for (piece, descriptor) in payload.chunks(FRAGMENT).zip(rest) {
        let buffer = set.payloads.take(cx.dma)?;
        cx.dma.write_frame(buffer.addr(), piece).ok()?;
        // CAST: as above.
        *descriptor = RcdAl::new()
            .with_kind(rcd_type::PAY_AL)
            .with_buff_id(buffer.id())
            .with_len(piece.len() as u16)
            .with_page_fin(true);
    }
    Some(out)
}

fn opt_meta(hw: &Hw, verdict: &Verdict) -> RcdOptMeta {
    let ts = if verdict.time_stamp { hw.ptp.now() } else { 0 };
    RcdOptMeta::new()
        .with_kind(rcd_type::OPT_META)
        .with_ts(ts & ((1 << 40) - 1))
        .with_ts_valid(verdict.time_stamp)
        .with_action(verdict.report_action.unwrap_or(0))
        .with_action_valid(verdict.report_action.is_some())
}

fn meta(frame: &[u8], parsed: &Parsed, verdict: &Verdict) -> RcdMeta {
    let sums = checksum::receive(frame, parsed);
    RcdMeta::new()
        .with_kind(rcd_type::META)
        .with_rss_hash(verdict.hash)
        .with_l2_csum(sums.l2)
        .with_l3_type(l3_kind(parsed))
        .with_l4_type(l4_kind(parsed))
        .with_l4_csum_unnecessary(sums.l4_good)
        .with_err_parser(parsed.events.out_of_hdr)
}
