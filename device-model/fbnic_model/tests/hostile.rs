// SPDX-License-Identifier: GPL-2.0
//! A driver that writes anything anywhere: the device must neither panic nor stop answering.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use fbnic_defs::csr as r;
use fbnic_model::device::{region, VECTORS};
use fbnic_model::fw::FwConfig;
use fbnic_model::mac::{Fec, LinkMode, Speed};
use fbnic_model::{Config, Device};
use guest_mem::Access;
use proptest::prelude::*;

const RAM: u64 = 1 << 20;
const BASE: u64 = 0x10_0000;
const MAILBOX: u64 = 0x1_8000;

/// One thing a hostile driver or hypervisor does.
#[derive(Clone, Debug)]
enum Deed {
    /// A register of one of the first queue sets.
    Queue {
        set: u32,
        off: u32,
        value: u32,
    },
    /// A ring that lies in memory, of the size that fits.
    Ring {
        set: u32,
        ring: usize,
        page: u8,
    },
    /// Any register.
    Csr {
        csr: u32,
        value: u32,
    },
    /// A mailbox descriptor.
    Mailbox {
        slot: u8,
        desc: u64,
    },
    /// Configuration space.
    Config {
        offset: u16,
        bytes: Vec<u8>,
    },
    /// Guest memory, where rings, frames and messages are.
    Memory {
        at: u32,
        bytes: Vec<u8>,
    },
    /// The window goes away, or comes back.
    Window {
        there: bool,
    },
    Reset,
    Step,
}

/// Base, size and control registers of each kind of ring.
const RINGS: [(u32, u32, u32); 6] = [
    (r::Q_TWQ0_BAL, r::Q_TWQ0_SIZE, r::Q_TWQ0_CTL),
    (r::Q_TWQ1_BAL, r::Q_TWQ1_SIZE, r::Q_TWQ1_CTL),
    (r::Q_TCQ_BAL, r::Q_TCQ_SIZE, r::Q_TCQ_CTL),
    (r::Q_RCQ_BAL, r::Q_RCQ_SIZE, r::Q_RCQ_CTL),
    (r::Q_BDQ_HPQ_BAL, r::Q_BDQ_HPQ_SIZE, r::Q_BDQ_CTL),
    (r::Q_BDQ_PPQ_BAL, r::Q_BDQ_PPQ_SIZE, r::Q_BDQ_CTL),
];

/// Words that look like descriptors with addresses inside memory.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = (any::<u64>(), 0..RAM).prop_map(|(bits, addr)| {
        let bits = bits & !0x3fff_ffff_ffff | (BASE + addr);
        bits.to_le_bytes()
    });
    prop_oneof![
        prop::collection::vec(word, 1..32).prop_map(|words| words.concat()),
        prop::collection::vec(any::<u8>(), 1..256),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let set = 0..3u32;
    prop_oneof![
        4 => (set.clone(), 0..0x300u32, any::<u32>())
            .prop_map(|(set, off, value)| Deed::Queue { set, off, value }),
        4 => (set, 0..RINGS.len(), any::<u8>())
            .prop_map(|(set, ring, page)| Deed::Ring { set, ring, page }),
        2 => (0..r::CSR_COUNT, any::<u32>()).prop_map(|(csr, value)| Deed::Csr { csr, value }),
        2 => (0..0x9000u32, any::<u32>()).prop_map(|(csr, value)| Deed::Csr { csr, value }),
        3 => (0..32u8, any::<u64>(), 0..RAM, any::<bool>()).prop_map(|(slot, bits, addr, near)| {
            let desc = if near { bits & !0x3fff_ffff_fff8 | (BASE + addr) & !7 | 1 } else { bits };
            Deed::Mailbox { slot, desc }
        }),
        1 => (any::<u16>(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(offset, bytes)| Deed::Config { offset, bytes }),
        4 => (0..RAM as u32, words()).prop_map(|(at, bytes)| Deed::Memory { at, bytes }),
        1 => any::<bool>().prop_map(|there| Deed::Window { there }),
        1 => Just(Deed::Reset),
        6 => Just(Deed::Step),
    ]
}

struct Victim {
    device: Device,
    ram: File,
}

impl Victim {
    fn new() -> Self {
        let ram =
            File::from(rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        ram.set_len(RAM).unwrap();
        let device = Device::new(Config {
            mac: [2, 0, 0, 0, 0, 1],
            serial: None,
            vectors: VECTORS,
            seed: 0,
            link: LinkMode {
                speed: Speed::R2x50,
                fec: Fec::Rs,
            },
            firmware: FwConfig::default(),
            cable: net_backend::open(&net_backend::CableSpec::Loopback).unwrap(),
        })
        .unwrap();
        let victim = Self { device, ram };
        victim.window(true);
        victim.open_gates();
        victim
    }

    fn window(&self, there: bool) {
        if there {
            let access = Access {
                read: true,
                write: true,
            };
            let file = self.ram.try_clone().unwrap();
            // Fails when it is there already, as it may.
            let _ = self.device.dma_map(BASE, RAM, access, Some(file), 0);
        } else {
            self.device.dma_unmap(BASE, RAM);
        }
    }

    fn csr(&self, csr: u32, value: u32) {
        self.device
            .region_write(region::BAR0, u64::from(csr) * 4, &value.to_le_bytes());
    }

    /// Everything a driver switches on before frames can flow.
    fn open_gates(&self) {
        self.device.region_write(region::CONFIG, 4, &[6, 0]);
        self.csr(r::PUL_OB_TLP_HDR_AW_CFG, r::PUL_OB_TLP_HDR_BME);
        self.csr(r::PUL_OB_TLP_HDR_AR_CFG, r::PUL_OB_TLP_HDR_BME);
        self.csr(r::MAC_COMMAND_CONFIG, 3);
        self.csr(r::RPC_RMI_CONFIG, 0x260e_1014);
        self.csr(r::RPC_ACT_TBL0_DEFAULT, r::ACT_TBL0_DEST_HOST);
    }

    fn suffer(&self, deed: &Deed) {
        match deed {
            Deed::Queue { set, off, value } => self.csr(r::queue(*set, *off), *value),
            Deed::Ring { set, ring, page } => {
                let (base, size, ctl) = RINGS[*ring];
                self.csr(r::queue(*set, ctl), r::Q_CTL_RESET);
                self.csr(r::queue(*set, base), BASE as u32 + u32::from(*page) * 4096);
                self.csr(r::queue(*set, base + 1), 0);
                self.csr(r::queue(*set, size), 6);
                self.csr(
                    r::queue(*set, ctl),
                    r::Q_CTL_ENABLE | r::Q_BDQ_CTL_PPQ_ENABLE,
                );
            }
            Deed::Csr { csr, value } => self.csr(*csr, *value),
            Deed::Mailbox { slot, desc } => {
                let at = MAILBOX + 8 * u64::from(*slot);
                let [low, high] = [*desc as u32, (*desc >> 32) as u32].map(u32::to_le_bytes);
                self.device.region_write(region::BAR4, at + 4, &high);
                self.device.region_write(region::BAR4, at, &low);
            }
            Deed::Config { offset, bytes } => {
                self.device
                    .region_write(region::CONFIG, u64::from(*offset), bytes);
            }
            Deed::Memory { at, bytes } => {
                let len = bytes.len().min((RAM - u64::from(*at)) as usize);
                self.ram
                    .write_all_at(&bytes[..len], u64::from(*at))
                    .unwrap();
            }
            Deed::Window { there } => self.window(*there),
            Deed::Reset => {
                self.device.reset();
                self.open_gates();
            }
            Deed::Step => {
                self.device.step();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_driver_does_stops_the_device(deeds in prop::collection::vec(deed(), 1..300)) {
        let victim = Victim::new();
        for deed in &deeds {
            victim.suffer(deed);
        }
        // However much work it made, it ends.
        let rounds = (0..100_000).take_while(|_| victim.device.step()).count();
        prop_assert!(rounds < 100_000, "the data path never rests");
        victim.device.reset();
        let mut id = [0; 4];
        victim.device.region_read(region::CONFIG, 0, &mut id);
        prop_assert_eq!(u32::from_le_bytes(id), 0x0013_1d9b);
        let mut spare = [0xff; 4];
        victim.device.region_read(region::BAR0, u64::from(r::MASTER_SPARE_0) * 4, &mut spare);
        prop_assert_eq!(spare, [0; 4]);
    }
}
