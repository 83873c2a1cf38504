// SPDX-License-Identifier: GPL-2.0
//! The data path with a driver's side played by the test: kind, then hostile.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use fbnic_defs::csr as r;
use fbnic_defs::desc::{
    rcd_type, tcd_type, twd_type, Bd, RcdAl, RcdMeta, Tcd, TcdTimestamp, TwdAl, TwdMeta,
};
use guest_mem::{Access, GuestMem};
use net_backend::{Endpoint, FrameBatch, BATCH_CAPACITY};
use proptest::prelude::*;

use super::DataPath;
use crate::bus;
use crate::device::Cx;
use crate::dma::Dma;
use crate::fault::spec::{Arm, Direction, Fault, When};
use crate::hw::Hw;
use crate::intr::tests::Sent;
use crate::mac::{Fec, LinkMode, Speed};
use crate::moderation::Moderator;

/// Guest memory of the tests: one window.
const BASE: u64 = 0x10_0000;
const SIZE: u64 = 0x10_0000;
/// Entries of every ring.
const ENTRIES: u32 = 64;
const TWQ: u64 = BASE;
const TCQ: u64 = BASE + 0x1000;
const RCQ: u64 = BASE + 0x2000;
const HPQ: u64 = BASE + 0x3000;
const PPQ: u64 = BASE + 0x4000;
const TWQ1: u64 = BASE + 0x5000;
/// Packet data, then header and payload buffers of 64 fragments each.
const DATA: u64 = BASE + 0x1_0000;
const HEADERS: u64 = BASE + 0x4_0000;
const PAYLOADS: u64 = BASE + 0x8_0000;

/// A queue set, its memory, and the far end of the cable.
struct Rig {
    hw: Hw,
    mem: GuestMem,
    moderator: Moderator,
    data: DataPath,
    far: Box<dyn Endpoint>,
    queue: u32,
    twq_tail: u32,
    tcq_head: u32,
    rcq_head: u32,
    /// How far the data path's clock is ahead.
    later: std::time::Duration,
}

impl Rig {
    fn new() -> Self {
        Self::with_queue(3)
    }

    fn with_queue(queue: u32) -> Self {
        let mode = LinkMode {
            speed: Speed::R2x50,
            fec: Fec::Rs,
        };
        let hw = Hw::new(Arc::new(Sent::default()), mode).unwrap();
        hw.bus_master
            .store(true, std::sync::atomic::Ordering::SeqCst);
        let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(SIZE).unwrap();
        let mut mem = GuestMem::new();
        let access = Access {
            read: true,
            write: true,
        };
        mem.map(BASE, SIZE, access, Some(file), 0).unwrap();
        let (near, far) = net_backend::pair().unwrap();
        let mut rig = Self {
            hw,
            mem,
            moderator: Moderator::new(),
            data: DataPath::new(near),
            far,
            queue,
            twq_tail: 0,
            tcq_head: 0,
            rcq_head: 0,
            later: std::time::Duration::ZERO,
        };
        rig.start();
        rig
    }

    /// Brings the device up as the driver does.
    fn start(&mut self) {
        for (csr, value) in [
            (r::PUL_OB_TLP_HDR_AW_CFG, r::PUL_OB_TLP_HDR_BME),
            (r::PUL_OB_TLP_HDR_AR_CFG, r::PUL_OB_TLP_HDR_BME),
            (r::MAC_COMMAND_CONFIG, 3),
            (r::RPC_RMI_CONFIG, 0x260e_1014),
            (r::QM_TQS_MTU_CTL0, 9743),
            (r::QM_TWQ_DEFAULT_META_L, 0xe),
            (r::QM_TWQ_DEFAULT_META_H, 0x20),
            (r::TCE_LSO_CTRL, 0x0a01_1209),
            (r::rxb_pbuf_cfg(4), 0xc0 << 13),
            (
                r::RPC_ACT_TBL0_DEFAULT,
                r::ACT_TBL0_DEST_HOST | r::ACT_TBL0_Q_SEL | self.queue << 8 | 4 << 16,
            ),
        ] {
            self.hw.csr.store(csr, value);
        }
        for (size, bal, base) in [
            (r::Q_TWQ0_SIZE, r::Q_TWQ0_BAL, TWQ),
            (r::Q_TWQ1_SIZE, r::Q_TWQ1_BAL, TWQ1),
            (r::Q_TCQ_SIZE, r::Q_TCQ_BAL, TCQ),
            (r::Q_RCQ_SIZE, r::Q_RCQ_BAL, RCQ),
            (r::Q_BDQ_HPQ_SIZE, r::Q_BDQ_HPQ_BAL, HPQ),
            (r::Q_BDQ_PPQ_SIZE, r::Q_BDQ_PPQ_BAL, PPQ),
        ] {
            self.set(size, ENTRIES.trailing_zeros());
            self.set(bal, u32::try_from(base).unwrap());
        }
        self.rules(0, 1536);
        for ctl in [
            r::Q_TWQ0_CTL,
            r::Q_TWQ1_CTL,
            r::Q_TCQ_CTL,
            r::Q_RCQ_CTL,
            r::Q_BDQ_CTL,
        ] {
            self.control(ctl, r::Q_CTL_RESET);
            self.control(ctl, r::Q_CTL_ENABLE | r::Q_BDQ_CTL_PPQ_ENABLE);
        }
    }

    fn rules(&mut self, ctl0: u32, max_header: u32) {
        self.set(r::Q_RDE_CTL0, ctl0 | 192 << 20 | 320 << 11);
        self.set(r::Q_RDE_CTL1, max_header << 12);
    }

    fn set(&mut self, off: u32, value: u32) {
        self.hw.csr.store(r::queue(self.queue, off), value);
    }

    fn get(&self, off: u32) -> u32 {
        bus::peek(&self.hw, r::queue(self.queue, off))
    }

    fn run<T>(&mut self, f: impl FnOnce(&mut DataPath, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            hw: &self.hw,
            dma: Dma::new(&self.hw, &self.mem),
            moderator: &mut self.moderator,
            now: Instant::now() + self.later,
        };
        f(&mut self.data, &mut cx)
    }

    fn control(&mut self, off: u32, value: u32) {
        let csr = r::queue(self.queue, off);
        self.hw.csr.store(csr, value);
        self.run(|data, cx| data.queue_control(cx, csr, value));
    }

    /// Runs rounds until there is nothing left to do.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.run(|data, cx| data.service(cx)) {
                return;
            }
        }
        panic!("the data path never comes to rest");
    }

    fn word(&self, addr: u64) -> u64 {
        self.mem.load_u64(addr).unwrap()
    }

    fn bytes(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem.read(addr, &mut bytes).unwrap();
        bytes
    }

    /// Puts descriptors into TWQ0 and rings.
    fn post(&mut self, descriptors: &[u64]) {
        for descriptor in descriptors {
            let at = TWQ + u64::from(self.twq_tail) * 8;
            self.mem.store_u64_release(at, *descriptor).unwrap();
            self.twq_tail = (self.twq_tail + 1) % ENTRIES;
        }
        self.set(r::Q_TWQ0_TAIL, self.twq_tail);
        self.hw.doorbells.ring_tx(self.queue);
        self.settle();
    }

    /// Takes the transmit completions, and gives their room back.
    fn completions(&mut self) -> Vec<u64> {
        let tail = self.get(r::Q_TCQ_PTRS) >> 16;
        let mut found = Vec::new();
        while self.tcq_head != tail {
            found.push(self.word(TCQ + u64::from(self.tcq_head) * 8));
            self.tcq_head = (self.tcq_head + 1) % ENTRIES;
        }
        self.set(r::Q_TCQ_HEAD, self.tcq_head);
        self.hw.doorbells.ring_tx(self.queue);
        found
    }

    fn received_by_far(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.far
            .receive(usize::MAX, &mut |frame| frames.push(frame.to_vec()));
        frames
    }

    fn buffers(&mut self, headers: u32, payloads: u32) {
        for n in 0..ENTRIES {
            for (ring, buffers) in [(HPQ, HEADERS), (PPQ, PAYLOADS)] {
                let bd = Bd::new()
                    .with_id(u16::try_from(n).unwrap())
                    .with_addr_4k((buffers >> 12) + u64::from(n));
                let at = ring + u64::from(n) * 8;
                self.mem.store_u64_release(at, bd.into_bits()).unwrap();
            }
        }
        self.set(r::Q_BDQ_HPQ_TAIL, headers);
        self.set(r::Q_BDQ_PPQ_TAIL, payloads);
        self.hw.doorbells.ring_rx(self.queue);
    }

    /// Sends frames from the far end.
    fn arrive(&mut self, frames: &[Vec<u8>]) {
        let mut batch = FrameBatch::with_capacity(BATCH_CAPACITY);
        assert!(frames.iter().all(|frame| batch.push(frame)));
        self.far.send(&mut batch);
        self.settle();
    }

    /// Takes the receive completions, and gives their room back.
    fn arrivals(&mut self) -> Vec<u64> {
        let tail = self.get(r::Q_RCQ_PTRS) >> 16;
        let mut found = Vec::new();
        while self.rcq_head != tail {
            found.push(self.word(RCQ + u64::from(self.rcq_head) * 8));
            self.rcq_head = (self.rcq_head + 1) % ENTRIES;
        }
        self.set(r::Q_RCQ_HEAD, self.rcq_head);
        self.hw.doorbells.ring_rx(self.queue);
        found
    }

    /// Puts a packet's bytes to `DATA` and returns descriptors in pieces of `piece`.
    fn packet(&self, meta: TwdMeta, bytes: &[u8], piece: usize) -> Vec<u64> {
        self.mem.write(DATA, bytes).unwrap();
        let mut out = vec![meta.into_bits()];
        let mut at = DATA;
        for chunk in bytes.chunks(piece) {
            let al = TwdAl::new()
                .with_addr(at)
                .with_len(u16::try_from(chunk.len()).unwrap())
                .with_kind(twd_type::AL);
            out.push(al.into_bits());
            at += chunk.len() as u64;
        }
        if let Some(last) = out.last_mut() {
            *last |= 3 << 46;
        }
        out
    }
}

/// A UDP packet over IPv4 with a correct checksum, `len` bytes in all.
fn udp_frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    let total = u16::try_from(len - 14).unwrap();
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[34..42].copy_from_slice(&[0, 7, 0, 9, 0, 0, 0, 0]);
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    let parsed = packet::parse(&frame);
    let pseudo = packet::checksum::pseudo_header(&parsed.ip.unwrap(), 17, u32::from(total - 20));
    let sum = pseudo.plus(packet::checksum::Sum::of(&frame[34..]));
    frame[40..42].copy_from_slice(&sum.field());
    frame
}

fn meta() -> TwdMeta {
    TwdMeta::new().with_req_completion(true)
}

#[test]
fn a_packet_leaves_and_is_completed() {
    let mut rig = Rig::new();
    let frame = udp_frame(300);
    let descriptors = rig.packet(meta(), &frame, 128);
    rig.post(&descriptors);
    assert_eq!(rig.received_by_far(), [frame]);
    let completions = rig.completions();
    assert_eq!(completions.len(), 1);
    let tcd = Tcd::from_bits(completions[0]);
    assert!(tcd.done() && tcd.kind() == tcd_type::HEAD && tcd.head0() == 4 && !tcd.twq1());
    assert_eq!(rig.get(r::Q_TWQ0_PTRS), 4 << 16 | 4);
    assert_eq!(rig.get(r::Q_TWQ0_PKT_CNT), 1);
    assert_eq!(rig.hw.csr.load(r::MAC_STAT_TX_TRANSMITTED_OK), 1);
}

#[test]
fn completions_change_phase_with_every_pass() {
    let mut rig = Rig::new();
    for n in 0..200u32 {
        let descriptors = rig.packet(meta(), &udp_frame(60), 60);
        rig.post(&descriptors);
        let done: Vec<_> = rig.completions().iter().map(|tcd| tcd >> 63).collect();
        assert_eq!(done, [u64::from(n / ENTRIES % 2 == 0)]);
    }
    assert_eq!(rig.received_by_far().len(), 200);
}

#[test]
fn twq1_uses_the_default_metadata() {
    let mut rig = Rig::new();
    let frame = udp_frame(100);
    let descriptors = rig.packet(meta(), &frame, 200);
    rig.mem.store_u64_release(TWQ1, descriptors[1]).unwrap();
    rig.set(r::Q_TWQ1_TAIL, 1);
    rig.hw.doorbells.ring_tx(rig.queue);
    rig.settle();
    assert_eq!(rig.received_by_far(), [frame]);
    let tcd = Tcd::from_bits(rig.completions()[0]);
    assert!(tcd.twq1() && tcd.head1() == 1 && tcd.head0() == 0);
}

/// A UDP packet over IPv4 with `payload` bytes to be cut into segments of 1000 and less.
fn large_send(payload: usize) -> (TwdMeta, Vec<u8>) {
    let mut frame = udp_frame(42 + payload);
    // The seed of a large send: the pseudo-header's sum without a length.
    let seed = packet::checksum::Sum::of(&frame[26..34]).plus_word(17);
    frame[40..42].copy_from_slice(&seed.fold().to_le_bytes());
    let meta = meta()
        .with_req_lso(true)
        .with_l2_hlen(7)
        .with_l3_type(1)
        .with_l3_ihlen(10)
        .with_l4_type(2)
        .with_l4_hlen(2)
        .with_csum_offset(3)
        .with_mss(1000);
    (meta, frame)
}

#[test]
fn a_large_send_is_cut_and_stamped() {
    let mut rig = Rig::new();
    let (meta, frame) = large_send(2500);
    let meta = meta.with_req_ts(true);
    let descriptors = rig.packet(meta, &frame, 700);
    rig.post(&descriptors);
    let segments = rig.received_by_far();
    let lens: Vec<_> = segments.iter().map(Vec::len).collect();
    assert_eq!(lens, [1042, 1042, 542]);
    for segment in &segments {
        let parsed = packet::parse(segment);
        assert!(packet::checksum::receive(segment, &parsed).l4_good);
    }
    let completions = rig.completions();
    let stamp = TcdTimestamp::from_bits(completions[0]);
    assert!(stamp.kind() == tcd_type::TIMESTAMP && !stamp.ts_invalid());
    assert_eq!(completions.len(), 2);
}

#[test]
fn a_large_send_that_fails_leaves_no_unfinished_segment() {
    let (meta, frame) = large_send(2500);
    let mut rig = Rig::new();
    let descriptors = rig.packet(meta, &frame, 700);
    rig.post(&descriptors);
    let whole = rig.received_by_far();
    let mut cut_short = 0;
    for after in 0..12 {
        let mut rig = Rig::new();
        let dir = Some(Direction::Read);
        rig.hw.faults.arm(Arm {
            fault: Fault::DmaRefused { dir },
            when: When {
                after,
                times: Some(1),
                ..When::default()
            },
        });
        let descriptors = rig.packet(meta, &frame, 700);
        rig.post(&descriptors);
        let segments = rig.received_by_far();
        assert_eq!(segments, whole[..segments.len()], "transfer {after}");
        let failed = segments.len() < whole.len();
        assert_eq!(rig.get(r::Q_TWQ0_ERR_CNT), u32::from(failed));
        cut_short += u32::from(failed && !segments.is_empty());
    }
    assert!(
        cut_short > 1,
        "no transfer between two segments was refused"
    );
}

/// Posts `count` large sends that are cut into 9,000 segments each, without a round.
/// They stay in the device, as the far end would not take so many.
fn huge_sends(rig: &mut Rig, count: usize) {
    rig.hw.csr.store(r::MAC_COMMAND_CONFIG, 3 | 1 << 10);
    let (meta, frame) = large_send(9000);
    let descriptors = rig.packet(meta.with_mss(1), &frame, frame.len());
    for (n, descriptor) in (0..).zip(descriptors.iter().cycle().take(2 * count)) {
        rig.mem.store_u64_release(TWQ + n * 8, *descriptor).unwrap();
    }
    rig.set(r::Q_TWQ0_TAIL, 2 * u32::try_from(count).unwrap());
    rig.hw.doorbells.ring_tx(rig.queue);
}

#[test]
fn a_round_ends_after_the_segments_it_may_send() {
    let mut rig = Rig::new();
    huge_sends(&mut rig, 3);
    for sent in 1..=3 {
        assert_eq!(rig.run(|data, cx| data.service(cx)), sent < 3);
        assert_eq!(rig.get(r::Q_TWQ0_PTRS) >> 16, 2 * sent);
    }
    assert_eq!(rig.hw.csr.load(r::MAC_STAT_TX_TRANSMITTED_OK), 27_000);
}

#[test]
fn the_next_round_goes_on_with_the_rings_that_had_no_turn() {
    let mut rig = Rig::new();
    let queues = [3, 4, 100];
    for queue in queues {
        rig.queue = queue;
        rig.start();
        huge_sends(&mut rig, 2);
    }
    let mut turns = Vec::new();
    for _ in 0..6 {
        let heads = |rig: &mut Rig| {
            queues.map(|queue| rig.hw.csr.load(r::queue(queue, r::Q_TWQ0_PTRS)) >> 16)
        };
        let before = heads(&mut rig);
        rig.run(|data, cx| data.service(cx));
        let after = heads(&mut rig);
        let moved = |n: &usize| before[*n] != after[*n];
        turns.extend((0..queues.len()).filter(moved).map(|n| queues[n]));
    }
    assert_eq!(turns, [3, 4, 100, 3, 4, 100]);
}

#[test]
fn skipped_descriptors_use_up_a_round_too() {
    let mut rig = Rig::new();
    // Two fetches of descriptors that never end a packet.
    rig.set(r::Q_TWQ0_SIZE, 9);
    rig.control(r::Q_TWQ0_CTL, r::Q_CTL_RESET);
    rig.control(r::Q_TWQ0_CTL, r::Q_CTL_ENABLE);
    let endless = TwdAl::new().with_addr(DATA).with_len(1).with_kind(2);
    for n in 0..512 {
        let at = TWQ + n * 8;
        rig.mem.store_u64_release(at, endless.into_bits()).unwrap();
    }
    rig.set(r::Q_TWQ0_TAIL, 511);
    rig.hw.doorbells.ring_tx(rig.queue);
    assert!(rig.run(|data, cx| data.service(cx)));
    assert_eq!(rig.get(r::Q_TWQ0_PTRS) >> 16, 256);
    assert!(!rig.run(|data, cx| data.service(cx)));
}

#[test]
fn the_mac_pads_short_segments_as_any_frame() {
    let mut rig = Rig::new();
    for (pad, last) in [(0, 43), (r::MAC_COMMAND_CONFIG_TX_PAD_EN, 60)] {
        rig.hw.csr.store(r::MAC_COMMAND_CONFIG, 3 | pad);
        let (meta, frame) = large_send(1001);
        let descriptors = rig.packet(meta, &frame, 700);
        rig.post(&descriptors);
        let segments = rig.received_by_far();
        let lens: Vec<_> = segments.iter().map(Vec::len).collect();
        assert_eq!(lens, [1042, last]);
        let parsed = packet::parse(&segments[1]);
        assert!(packet::checksum::receive(&segments[1], &parsed).l4_good);
        assert!(segments[1][43..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn faulty_packets_are_dropped_counted_and_completed() {
    let mut rig = Rig::new();
    let good = udp_frame(64);
    let al = |addr: u64, len: u16, kind: u8| {
        let al = TwdAl::new().with_addr(addr).with_len(len).with_kind(kind);
        al.into_bits()
    };
    let stamped = meta().with_req_ts(true).into_bits();
    let plain = meta().into_bits();
    let cases: [&[u64]; 8] = [
        // No META.
        &[al(DATA, 64, 3)],
        // Length 0, too short, outside memory, at the end of memory, beyond the MTU.
        &[plain, al(DATA, 0, 3)],
        &[plain, al(DATA, 13, 3)],
        &[stamped, al(0x7000_0000, 64, 3)],
        &[plain, al(DATA, 64, 2), al(BASE + SIZE - 8, 64, 3)],
        &[plain, al(DATA, 9744, 3)],
        // Offloads with impossible fields.
        &[meta().with_req_lso(true).into_bits(), al(DATA, 64, 3)],
        &[
            meta().with_req_cso(true).with_l2_hlen(63).into_bits(),
            al(DATA, 64, 3),
        ],
    ];
    for (n, case) in (1..).zip(cases) {
        rig.post(case);
        assert!(rig.received_by_far().is_empty(), "case {n}");
        assert_eq!(rig.get(r::Q_TWQ0_ERR_CNT), n);
        let stamp = usize::from(case[0] == stamped);
        let completions = rig.completions();
        assert_eq!(completions.len(), 1 + stamp, "case {n}");
        if stamp == 1 {
            assert!(TcdTimestamp::from_bits(completions[0]).ts_invalid());
        }
        let descriptors = rig.packet(meta(), &good, 64);
        rig.post(&descriptors);
        assert_eq!(rig.received_by_far(), [good.clone()], "after case {n}");
        assert_eq!(rig.completions().len(), 1);
    }
    assert_eq!(rig.hw.csr.load(r::TCE_TTI_FRAME_DROP_PKTS), 1);
}

#[test]
fn a_packet_without_its_end_waits() {
    let mut rig = Rig::new();
    let frame = udp_frame(90);
    let descriptors = rig.packet(meta(), &frame, 30);
    rig.post(&descriptors[..3]);
    assert!(rig.received_by_far().is_empty() && rig.completions().is_empty());
    rig.post(&descriptors[3..]);
    assert_eq!(rig.received_by_far(), [frame]);
}

#[test]
fn a_full_completion_ring_stalls_until_it_is_read() {
    let mut rig = Rig::new();
    rig.set(r::Q_TCQ_SIZE, 2);
    rig.control(r::Q_TCQ_CTL, r::Q_CTL_RESET);
    rig.control(r::Q_TCQ_CTL, r::Q_CTL_ENABLE);
    for _ in 0..6 {
        let descriptors = rig.packet(meta(), &udp_frame(60), 60);
        rig.post(&descriptors);
    }
    assert_eq!(rig.received_by_far().len(), 2);
    rig.set(r::Q_TCQ_HEAD, 2);
    rig.hw.doorbells.ring_tx(rig.queue);
    rig.settle();
    assert_eq!(rig.received_by_far().len(), 2);
}

#[test]
fn without_bus_mastering_nothing_moves() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    rig.hw.csr.store(r::PUL_OB_TLP_HDR_AW_CFG, 0);
    let descriptors = rig.packet(meta(), &udp_frame(60), 60);
    rig.post(&descriptors);
    rig.arrive(&[udp_frame(60)]);
    assert!(rig.received_by_far().is_empty() && rig.arrivals().is_empty());
    assert_eq!(rig.get(r::Q_RDE_BDQ_DROP_CNT), 1);
    let bme = r::PUL_OB_TLP_HDR_BME;
    rig.hw.csr.store(r::PUL_OB_TLP_HDR_AW_CFG, bme);
    rig.settle();
    assert_eq!(rig.received_by_far().len(), 1);
}

#[test]
fn frames_are_discarded_while_the_driver_says_so() {
    let mut rig = Rig::new();
    rig.hw.csr.store(r::TMI_DROP_CTRL, r::TMI_DROP_CTRL_EN);
    let descriptors = rig.packet(meta(), &udp_frame(60), 60);
    rig.post(&descriptors);
    assert!(rig.received_by_far().is_empty());
    assert_eq!(rig.completions().len(), 1);
    assert_eq!(rig.hw.csr.load(r::TMI_DROP_PKTS), 1);
}

#[test]
fn small_frames_share_a_header_fragment() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    let frames: Vec<_> = (0..5).map(|n| udp_frame(60 + n)).collect();
    rig.arrive(&frames);
    let rcds = rig.arrivals();
    assert_eq!(rcds.len(), 10);
    let mut expected = 256;
    for (n, (pair, frame)) in rcds.chunks(2).zip(&frames).enumerate() {
        let header = RcdAl::from_bits(pair[0]);
        assert_eq!(header.kind(), rcd_type::HDR_AL);
        if header.buff_id() == 0 {
            assert_eq!(usize::from(header.off()), expected);
            expected = (expected + frame.len() + 320 + 192).next_multiple_of(128);
        }
        assert_eq!(header.page_fin(), n == 3);
        assert_eq!(header.buff_id(), u16::from(n > 3));
        let at = HEADERS + u64::from(header.buff_id()) * 4096 + u64::from(header.off());
        assert_eq!(rig.bytes(at, frame.len()), *frame);
        let meta = RcdMeta::from_bits(pair[1]);
        assert_eq!(meta.kind(), rcd_type::META);
        assert!(meta.l4_csum_unnecessary() && meta.l3_type() == 1 && meta.l4_type() == 2);
        let sum = packet::checksum::Sum::of(&frame[14..]);
        assert_eq!(meta.l2_csum(), sum.fold());
    }
    assert_eq!(rig.get(r::Q_BDQ_HPQ_PTRS), 2 << 16 | 8);
    assert_eq!(rig.get(r::Q_RDE_PKT_CNT), 5);
}

#[test]
fn buffers_are_seen_before_the_first_frame_comes() {
    let mut rig = Rig::new();
    rig.buffers(8, 9);
    assert_eq!(rig.get(r::Q_BDQ_HPQ_PTRS), 8);
    assert_eq!(rig.get(r::Q_BDQ_PPQ_PTRS), 9);
    rig.arrive(&[udp_frame(60)]);
    assert_eq!(rig.get(r::Q_RCQ_PTRS), 2 << 16);
    rig.arrivals();
    assert_eq!(rig.get(r::Q_RCQ_PTRS), 2 << 16 | 2);
    rig.control(r::Q_BDQ_CTL, r::Q_CTL_RESET);
    assert_eq!(rig.get(r::Q_BDQ_HPQ_PTRS), 0);
}

#[test]
fn a_long_frame_is_divided() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    let frame = udp_frame(9000);
    rig.arrive(&[frame.clone()]);
    let rcds = rig.arrivals();
    let kinds: Vec<_> = rcds
        .iter()
        .map(|rcd| RcdAl::from_bits(*rcd).kind())
        .collect();
    assert_eq!(kinds, [0, 1, 1, 3]);
    let mut rebuilt = Vec::new();
    for rcd in &rcds[..3] {
        let al = RcdAl::from_bits(*rcd);
        let buffers = if al.kind() == 0 { HEADERS } else { PAYLOADS };
        let at = buffers + u64::from(al.buff_id()) * 4096 + u64::from(al.off());
        rebuilt.extend(rig.bytes(at, usize::from(al.len())));
        assert!(al.kind() == 0 || al.page_fin());
    }
    assert_eq!(rebuilt, frame);
    assert_eq!(RcdAl::from_bits(rcds[0]).len(), 1536);
}

#[test]
fn headers_are_split_off_where_asked() {
    let mut rig = Rig::new();
    rig.buffers(16, 16);
    let frame = udp_frame(200);
    for (max_header, len, hint, overflow) in [(256, 42, 4, false), (20, 20, 4, true)] {
        rig.rules(1 << 31, max_header);
        rig.arrive(&[frame.clone()]);
        let rcds = rig.arrivals();
        let header = RcdAl::from_bits(rcds[0]);
        assert_eq!((header.len(), header.dma_hint()), (len, hint));
        assert_eq!(header.overflow(), overflow);
        assert_eq!(RcdAl::from_bits(rcds[1]).len(), 200 - len);
    }
}

#[test]
fn without_buffers_frames_are_dropped_or_wait() {
    let mut rig = Rig::new();
    rig.arrive(&[udp_frame(60)]);
    assert_eq!(rig.get(r::Q_RDE_BDQ_DROP_CNT), 1);
    rig.rules(2 << 29, 1536);
    rig.arrive(&[udp_frame(61), udp_frame(62)]);
    assert!(rig.arrivals().is_empty());
    rig.buffers(8, 8);
    rig.settle();
    assert_eq!(rig.arrivals().len(), 4);
    assert_eq!(rig.get(r::Q_RDE_BDQ_DROP_CNT), 1);
}

#[test]
fn frames_count_once_when_they_arrive_although_they_wait() {
    let mut rig = Rig::new();
    // All go to the host and to the management controller, and wait for buffers.
    rig.hw.csr.set_bits(r::RPC_ACT_TBL0_DEFAULT, 2 << 1);
    rig.rules(2 << 29, 1536);
    let mut unknown = udp_frame(60);
    unknown[12..14].copy_from_slice(&[0x12, 0x34]);
    rig.arrive(&vec![unknown; 3]);
    let counts =
        |rig: &Rig| [r::RPC_UNKN_ETYPE, r::rxb_intf_frm_cnt_dst(2)].map(|csr| rig.hw.csr.load(csr));
    assert_eq!(counts(&rig), [3, 3]);
    rig.buffers(8, 8);
    rig.settle();
    assert_eq!(rig.arrivals().len(), 6);
    assert_eq!(counts(&rig), [3, 3]);
}

#[test]
fn what_the_packet_buffer_cannot_hold_is_lost_there() {
    let mut rig = Rig::new();
    rig.rules(2 << 29, 1536);
    let frames: Vec<_> = (0..50).map(|_| udp_frame(9000)).collect();
    rig.arrive(&frames);
    let lost = rig.hw.csr.load(r::rxb_drop_frms_sts(4));
    assert!(lost > 0 && lost < 20, "{lost}");
    let pause = 0x1400;
    rig.hw.csr.store(r::RXB_PAUSE_DROP_CTRL, pause);
    rig.arrive(&frames);
    assert_eq!(rig.hw.csr.load(r::rxb_drop_frms_sts(4)), lost);
    assert_eq!(rig.hw.csr.load(r::MAC_STAT_TX_XOFF), 1);
}

#[test]
fn a_full_completion_ring_drops_frames() {
    let mut rig = Rig::new();
    rig.buffers(60, 60);
    let frames: Vec<_> = (0..40).map(|_| udp_frame(60)).collect();
    rig.arrive(&frames);
    assert_eq!(rig.get(r::Q_RDE_CQ_DROP_CNT), 40 - 31);
    assert_eq!(rig.arrivals().len(), 62);
    rig.arrive(&frames[..1]);
    assert_eq!(rig.arrivals().len(), 2);
}

#[test]
fn a_disabled_ring_is_not_written() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    rig.control(r::Q_RCQ_CTL, 0);
    rig.control(r::Q_TWQ0_CTL, 0);
    rig.arrive(&[udp_frame(60)]);
    let descriptors = rig.packet(meta(), &udp_frame(60), 60);
    rig.post(&descriptors);
    assert_eq!((rig.word(RCQ), rig.word(TCQ)), (0, 0));
    assert_eq!(rig.bytes(HEADERS, 4096), vec![0; 4096]);
    assert!(rig.received_by_far().is_empty());
}

#[test]
fn buffers_outside_memory_cost_their_frame() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    let bad = Bd::new().with_id(9).with_addr_4k(0x7_0000);
    rig.mem.store_u64_release(HPQ, bad.into_bits()).unwrap();
    rig.arrive(&[udp_frame(60), udp_frame(61)]);
    let rcds = rig.arrivals();
    assert_eq!(rcds.len(), 2);
    assert_eq!(RcdAl::from_bits(rcds[0]).buff_id(), 1);
    assert_eq!(rig.get(r::Q_RDE_PKT_ERR_CNT), 1);
}

#[test]
fn a_far_end_that_reads_nothing_holds_packets_then_costs_them() {
    let mut rig = Rig::new();
    let frame = udp_frame(9000);
    let mut posted = 0;
    while rig.get(r::Q_TWQ0_PTRS) >> 16 == rig.twq_tail && posted < 1000 {
        let descriptors = rig.packet(meta(), &frame, 9000);
        rig.post(&descriptors);
        rig.completions();
        posted += 1;
    }
    assert!(posted < 1000, "no back-pressure");
    assert_eq!(rig.hw.csr.load(r::TMI_DROP_PKTS), 0);
    assert!(rig.data.wait().deadline.is_some());
    rig.later = std::time::Duration::from_secs(2);
    rig.settle();
    assert_eq!(rig.hw.csr.load(r::TMI_DROP_PKTS), 1);
    // Nothing is left to wait for but the far end itself.
    assert!(rig.data.wait().deadline.is_none());
    assert_eq!(rig.received_by_far().len(), posted - 1);
    let descriptors = rig.packet(meta(), &frame, 9000);
    rig.post(&descriptors);
    assert_eq!(rig.received_by_far().len(), 1);
}

#[test]
fn the_mac_sends_its_frames_back_in_loopback() {
    let mut rig = Rig::new();
    rig.buffers(8, 8);
    rig.hw.csr.store(r::MAC_COMMAND_CONFIG, 3 | 1 << 10);
    let descriptors = rig.packet(meta(), &udp_frame(77), 77);
    rig.post(&descriptors);
    assert!(rig.received_by_far().is_empty());
    assert_eq!(RcdAl::from_bits(rig.arrivals()[0]).len(), 77);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in the work ring, it drains as long as completions are read, or
    /// waits for the end of a packet.
    #[test]
    fn any_work_descriptors_are_survived(
        raw in prop::collection::vec((any::<u64>(), 0u8..4, any::<bool>()), 1..60)
    ) {
        let mut rig = Rig::new();
        let mut descriptors: Vec<_> = raw.iter().map(|(bits, kind, sane)| {
            let bits = bits & !(3 << 46) | u64::from(*kind) << 46;
            if *sane && *kind >= 2 {
                let al = TwdAl::from_bits(bits);
                al.with_addr(DATA + al.addr() % 0x1000).with_len(al.len() % 3000).into_bits()
            } else {
                bits
            }
        }).collect();
        descriptors.push(TwdAl::new().with_kind(twd_type::LAST_AL).into_bits());
        rig.post(&descriptors);
        for _ in 0..100 {
            rig.completions();
            rig.settle();
            rig.received_by_far();
        }
        let ptrs = rig.get(r::Q_TWQ0_PTRS);
        prop_assert_eq!(ptrs >> 16, ptrs & 0xffff);
    }

    /// Whatever the registers of a set hold, frames come in and nothing breaks.
    #[test]
    fn any_registers_and_buffers_are_survived(
        values in prop::collection::vec((0u32..0x300, any::<u32>(), any::<bool>()), 0..80),
        buffers in prop::collection::vec(any::<u64>(), 64),
        lens in prop::collection::vec(60usize..20_000, 1..20),
        queue in 0u32..128,
    ) {
        let mut rig = Rig::with_queue(queue);
        rig.buffers(50, 50);
        for (n, bits) in buffers.iter().enumerate() {
            if bits % 3 == 0 {
                rig.mem.store_u64_release(HPQ + n as u64 * 8, *bits).unwrap();
            }
        }
        for (off, value, control) in values {
            rig.set(off, value);
            if control {
                rig.control(off, value);
            }
        }
        let mut frames: Vec<_> = lens.iter().map(|len| udp_frame(*len)).collect();
        frames.push(vec![0xff; 14]);
        for frame in frames {
            rig.arrive(&[frame]);
            let descriptors = rig.packet(meta(), &udp_frame(100), 100);
            rig.post(&descriptors);
        }
        for off in [r::Q_TWQ0_CTL, r::Q_TWQ1_CTL, r::Q_TCQ_CTL, r::Q_RCQ_CTL, r::Q_BDQ_CTL] {
            rig.control(off, 0);
        }
        rig.settle();
        rig.run(|data, _| data.reset());
        rig.settle();
    }

    /// Whatever arrives while whatever is in the classifier's tables.
    #[test]
    fn any_classifier_tables_and_frames_are_survived(
        tables in prop::collection::vec((0x8400u32..0x8f20, any::<u32>()), 0..400),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..30),
    ) {
        let mut rig = Rig::new();
        rig.buffers(60, 60);
        for (csr, value) in tables {
            rig.hw.csr.store(csr, value);
        }
        rig.hw.rpc_generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        rig.arrive(&frames);
        rig.arrivals();
        rig.settle();
    }
}
