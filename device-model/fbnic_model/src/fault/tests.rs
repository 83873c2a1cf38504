// SPDX-License-Identifier: GPL-2.0
use std::sync::Arc;

use fbnic_defs::csr as r;

use super::spec::{Deed, When};
use super::*;
use crate::device::{region, VECTORS};
use crate::fw::FwConfig;
use crate::mac::{Fec, LinkMode, Speed};
use crate::{Config, Device};

fn arm(fault: Fault, when: When) -> Arm {
    Arm { fault, when }
}

/// Which of the first `n` messages of vector 0 get lost.
fn losses(faults: &Faults, n: usize) -> Vec<usize> {
    (0..n).filter(|_| faults.msix_lost(0)).collect()
}

fn lost(when: When) -> Arm {
    arm(Fault::MsixLost { vector: Some(0) }, when)
}

#[test]
fn occasions_are_counted() {
    let faults = Faults::new(0);
    faults.arm(lost(When {
        after: 2,
        every: 3,
        times: Some(2),
        ..When::default()
    }));
    assert!(!faults.msix_lost(1), "another vector is no occasion");
    assert_eq!(losses(&faults, 12), [2, 5]);
    assert!(
        !faults.active().has(Hook::Msix),
        "a spent fault costs nothing"
    );
}

#[test]
fn chance_follows_the_seed() {
    let run = |seed| {
        let faults = Faults::new(seed);
        faults.arm(lost(When {
            one_in: 3,
            ..When::default()
        }));
        losses(&faults, 60)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn time_limits_a_fault() {
    let faults = Faults::new(0);
    let down = |when| faults.arm(arm(Fault::LinkDown {}, when));
    let now = Instant::now();
    down(When {
        delay_ms: 60_000,
        ..When::default()
    });
    assert!(!faults.link_down(now));
    assert!(faults.deadline(now).is_some());
    assert!(faults.link_down(now + Duration::from_secs(61)));
    faults.disarm(None);
    down(When {
        for_ms: Some(1000),
        ..When::default()
    });
    assert!(faults.link_down(Instant::now()));
    assert!(!faults.link_down(Instant::now() + Duration::from_secs(2)));
}

#[test]
fn completions_change_as_told() {
    let faults = Faults::new(0);
    let rcd = |field, value| {
        faults.disarm(None);
        faults.arm(arm(
            Fault::Rcd {
                kind: Some(spec::RcdKind::Header),
                field,
                value: Some(value),
                queue: None,
            },
            When::default(),
        ));
        faults.distort(crate::moderation::CqKind::Rx, 0, 0)
    };
    let replaced = |bits| Some(Distortion::Replace(bits));
    assert_eq!(rcd(spec::RcdField::Buffer, 0xffff), replaced(0xffff));
    assert_eq!(rcd(spec::RcdField::Length, 0xffff), replaced(0x1fff << 16));
    assert_eq!(rcd(spec::RcdField::Offset, 1), replaced(1 << 32));
    assert_eq!(rcd(spec::RcdField::Type, 3), replaced(3 << 61));
    let meta = 3 << 61;
    assert_eq!(
        faults.distort(crate::moderation::CqKind::Rx, 0, meta),
        None,
        "not a header"
    );
}

fn device() -> Device {
    let (speed, fec) = (Speed::R2x50, Fec::Rs);
    Device::new(Config {
        mac: [2, 0, 0, 0, 0, 1],
        serial: None,
        vectors: VECTORS,
        link: LinkMode { speed, fec },
        firmware: FwConfig::default(),
        seed: 0,
        cable: net_backend::open(&net_backend::CableSpec::Loopback).unwrap(),
    })
    .unwrap()
}

fn read(device: &Device, index: u32, offset: u64) -> u32 {
    let mut buf = [0; 4];
    device.region_read(index, offset, &mut buf);
    u32::from_le_bytes(buf)
}

#[test]
fn an_unplugged_device_reads_as_ones_and_comes_back() {
    let device = device();
    let at = u64::from(r::QM_TWQ_DEFAULT_META_L) * 4;
    let number = device.arm(arm(Fault::Unplugged { config: true }, When::default()));
    device.region_write(region::BAR0, at, &[1, 0, 0, 0]);
    for index in [region::BAR0, region::BAR2, region::BAR4, region::CONFIG] {
        assert_eq!(read(&device, index, 0), u32::MAX);
    }
    // Whoever goes on asking can be told from who does not.
    let stats = &device.hw().bus_stats;
    assert_eq!((stats.mmio_writes(), stats.mmio_reads.get()), (1, 1));
    assert_eq!((stats.fw_writes.get(), stats.fw_reads.get()), (0, 1));
    assert_eq!(device.disarm(Some(number)), 1);
    assert_eq!(read(&device, region::BAR0, at), 0, "the write was lost");
    assert_eq!(read(&device, region::CONFIG, 0), 0x0013_1d9b);
}

#[test]
fn only_a_device_that_lost_its_link_has_forgotten_everything() {
    let device = device();
    let at = u64::from(r::QM_TWQ_DEFAULT_META_L) * 4;
    for (config, kept) in [(false, 1), (true, 0)] {
        device.region_write(region::BAR0, at, &[1, 0, 0, 0]);
        device.region_write(region::CONFIG, 4, &[6, 0]);
        let number = device.arm(arm(Fault::Unplugged { config }, When::default()));
        assert_eq!(read(&device, region::BAR0, at), u32::MAX);
        device.disarm(Some(number));
        assert_eq!(read(&device, region::BAR0, at), kept);
        assert_eq!(read(&device, region::CONFIG, 4) & 6, 6 * kept);
    }
}

#[test]
fn registers_and_configuration_space_read_as_told() {
    let device = device();
    let csr = Fault::CsrRead {
        first: 5,
        last: Some(6),
        value: Some(0xdead_beef),
        mask: Some(0xffff),
    };
    device.arm(arm(csr, When::default()));
    assert_eq!(read(&device, region::BAR0, 5 * 4), 0xbeef);
    let config = Fault::ConfigRead {
        offset: 4,
        value: Some(0x1122_3344),
        mask: None,
    };
    device.arm(arm(config, When::default()));
    assert_eq!(read(&device, region::CONFIG, 2), 0x3344_0013);
    device.arm(arm(Fault::NeverIdle {}, When::default()));
    assert_eq!(
        read(&device, region::BAR0, u64::from(r::QM_TWQ_IDLE) * 4),
        0
    );
}

/// Opens the gate for reads; whether they may then happen.
fn may_master_the_bus(device: &Device) -> bool {
    let (csr, value) = (r::PUL_OB_TLP_HDR_AR_CFG, r::PUL_OB_TLP_HDR_BME);
    device.inflict(Deed::CsrWrite { csr, value });
    device.hw().can_dma(csr)
}

#[test]
fn resets_leave_bus_mastering_as_configuration_space_has_it() {
    let device = device();
    let command = || read(&device, region::CONFIG, 4) & 4 != 0;
    for on in [false, true] {
        device.region_write(region::CONFIG, 4, &[if on { 6 } else { 2 }, 0]);
        device.inflict(Deed::Flr {});
        assert_eq!(device.hw().csr.load(r::PUL_OB_TLP_HDR_AR_CFG), 0);
        assert_eq!((command(), may_master_the_bus(&device)), (on, on));
    }
    // One that the host asks for in the PCI Express capability clears the command register.
    device.region_write(region::CONFIG, 0x58, &[0x10, 0xa8]);
    assert_eq!((command(), may_master_the_bus(&device)), (false, false));
    device.region_write(region::CONFIG, 4, &[6, 0]);
    device.inflict(Deed::Reset {});
    assert_eq!((command(), may_master_the_bus(&device)), (false, false));
}

#[test]
fn the_worker_survives_its_own_panic() {
    let device = Arc::new(device());
    let worker = std::thread::spawn({
        let device = device.clone();
        move || device.run_worker()
    });
    let csr = r::QM_TWQ_DEFAULT_META_L;
    let wait_for = |done: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait_for(&|| device.hw().mac.link());
    device.region_write(region::CONFIG, 4, &[6, 0]);
    device.inflict(Deed::CsrWrite { csr, value: 7 });
    device.inflict(Deed::WorkerPanic {});
    wait_for(&|| device.hw().csr.load(csr) == 0);
    // Who holds the core lock has the reset behind it.
    device.totals();
    assert!(may_master_the_bus(&device));
    // It works again: the cable is looked at by nobody else.
    device.arm(arm(Fault::LinkDown {}, When::default()));
    wait_for(&|| !device.hw().mac.link());
    device.stop();
    worker.join().unwrap().unwrap();
}
