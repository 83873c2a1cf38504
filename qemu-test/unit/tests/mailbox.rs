// SPDX-License-Identifier: GPL-2.0

//! The mailbox's rings against a firmware that acts the moment a low word is written, as the
//! interface allows it to; and those who wait for answers.

use std::cell::RefCell;
use std::collections::VecDeque;

use fastrand::Rng;
use fbnic_unit::{
    heartbeat::{Heartbeat, PERIOD_MS},
    mailbox_ring::{Desc, Direction, Port, PostError, Ring, SLOTS},
    waiters::{Refusal, Waiters, WAITERS},
};

/// Messages that can be under way in a ring at the same time.
const IN_FLIGHT: u8 = SLOTS - 1;

const HOST: u64 = 1;
const FW: u64 = 2;
const ERR: u64 = 4;

/// What the host did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Shut(Direction),
    Low(usize, u32),
    High(usize, u32),
    Flush,
}

/// The device end: the descriptors in BAR4 and the firmware's own heads.
struct Sim {
    slots: [u64; 2 * SLOTS as usize],
    head: [usize; 2],
    open: [bool; 2],
    steps: Vec<Step>,
    /// Descriptors the firmware has picked up and not completed: ring, slot, contents.
    held: VecDeque<(usize, usize, u64)>,
    gone: bool,
    /// The firmware writes to descriptors only what it may, so that any it takes is the host's.
    honest: bool,
}

struct Device(RefCell<Sim>);

impl Device {
    fn new() -> Self {
        Self(RefCell::new(Sim {
            slots: [0; 32],
            head: [0; 2],
            open: [false; 2],
            steps: Vec::new(),
            held: VecDeque::new(),
            gone: false,
            honest: true,
        }))
    }

    /// A ring after reset, with DMA allowed.
    fn ring(&self, direction: Direction) -> Ring {
        let mut ring = Ring::new(direction);
        ring.reset(self);
        let mut sim = self.0.borrow_mut();
        sim.open[direction as usize] = true;
        sim.steps.clear();
        ring
    }

    /// Completes the oldest descriptor that was picked up, with `flags` besides FW_CMPL and the
    /// length `len`. Returns its address.
    fn complete(&self, flags: u64, len: u64) -> Option<u64> {
        let mut sim = self.0.borrow_mut();
        let (ring, slot, desc) = sim.held.pop_front()?;
        let kept = desc & !(0xffff << 48);
        sim.slots[16 * ring + slot] = kept | len << 48 | FW | flags;
        sim.work();
        Some(desc & ((1 << 46) - 8))
    }

    fn steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.borrow_mut().steps)
    }
}

impl Sim {
    /// The firmware walks over what is done and picks up what is offered, both rings.
    fn work(&mut self) {
        for ring in 0..2 {
            for _ in 0..SLOTS {
                let slot = self.head[ring];
                let desc = self.slots[16 * ring + slot];
                match desc & (HOST | FW) {
                    3 => {}
                    HOST if self.held.iter().any(|h| (h.0, h.1) == (ring, slot)) => break,
                    HOST => {
                        let allowed = self.open[ring] || !self.honest;
                        assert!(allowed, "ring {ring}: offered before DMA is allowed");
                        self.held.push_back((ring, slot, desc));
                    }
                    _ => break,
                }
                self.head[ring] = (slot + 1) % 16;
            }
        }
    }
}

impl Port for Device {
    fn is_present(&self) -> bool {
        !self.0.borrow().gone
    }

    fn read32(&self, offset: usize) -> u32 {
        let sim = self.0.borrow();
        if sim.gone {
            return !0;
        }
        let desc = sim.slots[offset / 8];
        if offset % 8 == 0 {
            desc as u32
        } else {
            (desc >> 32) as u32
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let mut sim = self.0.borrow_mut();
        let (slot, value64) = (offset / 8, u64::from(value));
        if offset % 8 != 0 {
            sim.steps.push(Step::High(slot, value));
            sim.slots[slot] = sim.slots[slot] & 0xffff_ffff | value64 << 32;
            return;
        }
        sim.steps.push(Step::Low(slot, value));
        sim.slots[slot] = sim.slots[slot] & !0xffff_ffff | value64;
        if value64 & (HOST | FW) != HOST {
            sim.held.retain(|&(ring, held, _)| 16 * ring + held != slot);
        }
        sim.work();
    }

    fn flush(&self) {
        self.0.borrow_mut().steps.push(Step::Flush);
    }

    fn shut(&self, direction: Direction) {
        let mut sim = self.0.borrow_mut();
        sim.steps.push(Step::Shut(direction));
        sim.open[direction as usize] = false;
        sim.held.retain(|held| held.0 != direction as usize);
    }
}

#[test]
fn descriptors_have_the_layout_of_the_interface() {
    let desc = Desc::new(0x3fff_ffff_fff8, 0x1234, true).unwrap();
    assert_eq!(desc.raw(), 0x1234_7fff_ffff_fff9);
    assert_eq!(
        (desc.len(), desc.addr(), desc.eom()),
        (0x1234, 0x3fff_ffff_fff8, true)
    );
    assert_eq!(
        (desc.host_cmpl(), desc.fw_cmpl(), desc.fw_err()),
        (true, false, false)
    );
    // Not a multiple of eight, and beyond 46 bits.
    assert_eq!(Desc::new(4, 1, true), None);
    assert_eq!(Desc::new(1 << 46, 1, true), None);
}

#[test]
fn a_reset_ends_dma_first_and_takes_slots_back_low_word_first() {
    for direction in [Direction::Rx, Direction::Tx] {
        let device = Device::new();
        Ring::new(direction).reset(&device);
        let base = 16 * direction as usize;
        let mut want = vec![Step::Shut(direction)];
        let order = std::iter::once((0, 0)).chain((1..16).rev().map(|slot| (slot, 3)));
        for (slot, flags) in order {
            want.extend([
                Step::Low(base + slot, flags),
                Step::Flush,
                Step::High(base + slot, 0),
            ]);
        }
        assert_eq!(device.steps(), want);
    }
}

#[test]
fn after_a_reset_both_heads_are_at_slot_0_wherever_they_were() {
    for start in 0..16 {
        let device = Device::new();
        device.0.borrow_mut().head = [start; 2];
        let mut ring = device.ring(Direction::Tx);
        assert_eq!(device.0.borrow().head[1], 0, "from {start}");
        ring.post(&device, 0x1000, 8, true).unwrap();
        assert_eq!(device.complete(0, 8), Some(0x1000));
        assert!(ring.take(&device).is_some());
    }
}

#[test]
fn a_descriptor_is_published_low_word_last_behind_a_new_end() {
    let device = Device::new();
    let mut ring = device.ring(Direction::Tx);
    for slot in [0, 1] {
        ring.post(&device, 0x1_2345_6000, 20, true).unwrap();
        let want = [
            Step::Low(16 + slot + 1, 0),
            Step::High(16 + slot, 0x0014_4001),
            Step::Flush,
            Step::Low(16 + slot, 0x2345_6001),
        ];
        assert_eq!(device.steps(), want);
    }
}

#[test]
fn fifteen_messages_in_flight_and_no_more() {
    let device = Device::new();
    let mut ring = device.ring(Direction::Tx);
    for round in 0..40_u64 {
        while !ring.is_full() {
            ring.post(&device, 0x1000, 4, true).unwrap();
        }
        let under_way = device.0.borrow().held.len();
        assert_eq!(under_way, usize::from(IN_FLIGHT));
        device.steps();
        assert_eq!(ring.post(&device, 0x1000, 4, true), Err(PostError::Full));
        assert_eq!(device.steps(), [], "a refused message touches nothing");
        // As many slots come free as the firmware has completed.
        for _ in 0..=round % 15 {
            assert!(ring.take(&device).is_none());
            device.complete(0, 4);
            assert!(ring.take(&device).is_some());
        }
        assert!(ring.take(&device).is_none());
    }
}

#[test]
fn a_bad_address_is_not_posted() {
    let device = Device::new();
    let mut ring = device.ring(Direction::Tx);
    assert_eq!(ring.post(&device, 0x1004, 4, true), Err(PostError::Address));
    assert!(ring.is_empty() && device.steps().is_empty());
}

#[test]
fn errors_of_the_firmware_come_back_with_the_descriptor() {
    let device = Device::new();
    let mut ring = device.ring(Direction::Tx);
    for flags in [0, ERR] {
        ring.post(&device, 0x1000, 4, true).unwrap();
        device.complete(flags, 4);
        let (_, desc) = ring.take(&device).unwrap();
        assert_eq!(desc.fw_err(), flags == ERR);
    }
}

#[test]
fn the_firmware_gets_no_page_that_is_being_read_and_none_twice() {
    let page = |slot: u8| 0x1000 * (1 + u64::from(slot));
    let device = Device::new();
    let mut ring = device.ring(Direction::Rx);
    while !ring.is_full() {
        ring.post(&device, page(ring.tail()), 4096, false).unwrap();
    }
    for message in 1..=1000_u64 {
        let written = device.complete(0, message % 4096 + 1);
        let (slot, desc) = ring.take(&device).unwrap();
        assert_eq!(Some(page(slot)), written);
        assert_eq!(u64::from(desc.len()), message % 4096 + 1);
        let offered = |device: &Device| {
            let sim = device.0.borrow();
            let mut pages: Vec<u64> = sim.held.iter().map(|h| h.2 & 0xf_f000).collect();
            pages.sort_unstable();
            pages
        };
        assert!(!offered(&device).contains(&page(slot)));
        ring.post(&device, page(ring.tail()), 4096, false).unwrap();
        let mut pages = offered(&device);
        assert_eq!(pages.len(), 15);
        pages.dedup();
        assert_eq!(pages.len(), 15);
        assert!(ring.take(&device).is_none());
    }
}

#[test]
fn a_device_that_is_gone_has_completed_nothing() {
    let device = Device::new();
    let mut ring = device.ring(Direction::Tx);
    ring.post(&device, 0x1000, 4, true).unwrap();
    device.0.borrow_mut().gone = true;
    assert!(ring.take(&device).is_none());
    assert!(!ring.is_empty());
}

/// Random work at both ends, and a firmware that writes whatever it likes into descriptors.
#[test]
fn a_million_steps_with_firmware_that_lies() {
    let mut rng = Rng::with_seed(9);
    for direction in [Direction::Rx, Direction::Tx] {
        let device = Device::new();
        let mut ring = device.ring(direction);
        device.0.borrow_mut().honest = false;
        let (mut posted, mut taken) = (0_u32, 0_u32);
        for _ in 0..500_000 {
            match rng.u32(..8) {
                0..=2 => posted += u32::from(ring.post(&device, 0x8000, 64, true).is_ok()),
                3..=4 => taken += u32::from(ring.take(&device).is_some()),
                5..=6 => drop(device.complete(rng.u64(..8), rng.u64(..0x1_0000))),
                _ if rng.u32(..50) > 0 => {
                    let slot = 16 * direction as usize + rng.usize(..16);
                    device.0.borrow_mut().slots[slot] = rng.u64(..);
                }
                // A descriptor the firmware has spoilt may stay where it is until then.
                _ => {
                    ring.reset(&device);
                    device.0.borrow_mut().open[direction as usize] = true;
                    taken = posted;
                }
            }
            let pending = posted - taken;
            assert!(pending <= u32::from(IN_FLIGHT) && ring.tail() < SLOTS && ring.head() < SLOTS);
            assert_eq!(ring.is_empty(), pending == 0);
            assert_eq!(ring.is_full(), pending == u32::from(IN_FLIGHT));
        }
        assert!(posted > 10_000);
        // After all that a reset brings both ends together again.
        device.0.borrow_mut().slots[16 * direction as usize..][..16].fill(0);
        let mut ring = device.ring(direction);
        ring.post(&device, 0x1000, 4, true).unwrap();
        assert_eq!(device.complete(0, 4), Some(0x1000));
        assert!(ring.take(&device).is_some());
    }
}

#[test]
fn four_wait_each_for_another_type() {
    let mut waiters = Waiters::default();
    let places: Vec<usize> = [0x39, 0x3d, 0x00, 0x19]
        .iter()
        .map(|reply| waiters.reserve(*reply).unwrap())
        .collect();
    assert_eq!(places.len(), WAITERS);
    assert_eq!(waiters.reserve(0x3d), Err(Refusal::Exists));
    assert_eq!(waiters.reserve(0x21), Err(Refusal::Full));
    // Answers in another order find the right places.
    assert!(waiters.answer(0x00, "test") && waiters.answer(0x39, "qsfp"));
    assert_eq!(waiters.take(places[0]), Some("qsfp"));
    assert_eq!(waiters.take(places[2]), Some("test"));
    assert_eq!(waiters.take(places[1]), None);
    // A place given up is free for another type, or the same.
    waiters.release(places[1]);
    assert_eq!(waiters.reserve(0x21), Ok(places[1]));
    assert_eq!(waiters.reserve(0x3d), Err(Refusal::Full));
}

#[test]
fn late_answers_find_nobody_or_make_way() {
    let mut waiters = Waiters::default();
    assert!(!waiters.expects(0x3d) && !waiters.answer(0x3d, 1));
    let place = waiters.reserve(0x3d).unwrap();
    assert!(waiters.expects(0x3d));
    waiters.release(place);
    assert!(!waiters.answer(0x3d, 2));
    // The late answer to the first question, then that to the second, before anybody looks.
    let place = waiters.reserve(0x3d).unwrap();
    assert!(waiters.answer(0x3d, 3) && waiters.answer(0x3d, 4));
    assert_eq!((waiters.take(place), waiters.take(place)), (Some(4), None));
    // Nor does a place that does not exist hold anything.
    waiters.release(99);
    assert_eq!(waiters.take(99), None);
}

#[test]
fn everybody_is_told_of_the_end() {
    let mut waiters = Waiters::default();
    let (a, b) = (waiters.reserve(1).unwrap(), waiters.reserve(2).unwrap());
    waiters.answer(1, "answer");
    waiters.answer_all(|| "closed");
    assert_eq!(
        (waiters.take(a), waiters.take(b)),
        (Some("answer"), Some("closed"))
    );
}

#[test]
fn the_firmware_is_asked_every_ten_seconds_while_the_port_is_ours() {
    let mut life = Heartbeat::default();
    assert!(!life.is_due(PERIOD_MS) && !life.is_lost());
    life.claimed();
    assert!(!life.is_due(PERIOD_MS - 1) && life.is_due(PERIOD_MS));
    life.released();
    assert!(!life.is_due(PERIOD_MS) && !life.is_lost());
}

#[test]
fn silence_and_an_uptime_that_goes_back_are_deaths() {
    // Uptimes of the answers to the claim and to the questions after it; no answer is `None`.
    for (answers, dies) in [
        (vec![Some(50), Some(60), Some(70)], false),
        (vec![Some(50), Some(50)], false),
        (vec![None], true),
        (vec![Some(50), None], true),
        (vec![Some(50), Some(49)], true),
        (vec![Some(50), Some(60), Some(1)], true),
    ] {
        let mut life = Heartbeat::default();
        life.claimed();
        let mut dead = false;
        for answer in &answers {
            assert!(!dead);
            answer.map(|uptime| life.beat(uptime));
            assert_eq!(life.is_answered(), answer.is_some());
            dead = life.judge();
            life.requested();
        }
        assert_eq!((dead, life.is_lost()), (dies, dies), "{answers:?}");
        // The dead are not asked, until the port was claimed from their successor, however young.
        assert_eq!(life.is_due(PERIOD_MS), !dies);
        life.claimed();
        life.beat(0);
        assert!(!life.judge());
    }
}

#[test]
fn the_uptime_is_known_while_heartbeats_are_exchanged() {
    let mut life = Heartbeat::default();
    life.claimed();
    life.beat(100);
    assert_eq!(life.uptime(), None);
    life.requested();
    assert_eq!(life.uptime(), Some(100));
    life.beat(200);
    assert_eq!(life.uptime(), Some(200));
    life.released();
    assert_eq!(life.uptime(), None);
}
