// SPDX-License-Identifier: GPL-2.0
//! A target per parser; what each demands besides not panicking is asserted.
#![allow(clippy::unwrap_used, reason = "a test fails that way")]

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use bolero::check;
use fbnic_model::device::{region, VECTORS};
use fbnic_model::fault::spec::{Arm, Deed};
use fbnic_model::fw::tlv::Message;
use fbnic_model::fw::FwConfig;
use fbnic_model::mac::{Fec, LinkMode, Speed};
use fbnic_model::{Config, Device};
use net_backend::stream::{Address, Stream};
use net_backend::{CableSpec, Endpoint, MAX_FRAME};
use packet::lso::{Control, L3Type, L4Type, Lso, Request};
use pci_emu::{ConfigSpace, Identity, Msix, SetIrqs};

/// Inputs of targets that cost microseconds.
const MANY: usize = 20_000;
/// Inputs of targets that need sockets or a device.
const FEW: usize = 300;

/// The mailbox in BAR4.
const MAILBOX: u64 = 0x1_8000;

/// Takes `N` bytes off the front; the missing ones are 0.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (now, later) = bytes.split_at(bytes.len().min(N));
    *bytes = later;
    let mut out = [0; N];
    out[..now.len()].copy_from_slice(now);
    out
}

#[test]
fn firmware_message() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        // Random headers are hardly ever those of messages.
        let mut message = bytes.to_vec();
        if let [_, kind, low, high, ..] = &mut message[..] {
            *kind |= 0x80;
            [*low, *high] = ((bytes.len() / 4) as u16).to_le_bytes();
        }
        for bytes in [bytes, &message] {
            let Ok(message) = Message::parse(bytes, |_, attr| attr % 2 == 0) else {
                continue;
            };
            for id in 0..40 {
                let _ = (message.flag(id), message.u32(id), message.mac_array(id));
            }
        }
    });
}

#[test]
fn frame() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let parsed = packet::parse(bytes);
        let inside = |end: Option<u16>| end.is_none_or(|end| usize::from(end) <= bytes.len());
        assert!(inside(parsed.l3_end()) && inside(parsed.l4_end()));
        let _ = packet::checksum::receive(bytes, &parsed);
    });
}

#[test]
fn large_send() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let mut rest = bytes;
        let [l2, outer, inner, l4, csum, mss, l3, kind] = take(&mut rest).map(usize::from);
        let request = Request {
            l2_len: l2 % 64 * 2,
            outer_len: outer % 64 * 2,
            inner_len: inner % 64 * 2,
            l4_len: l4 % 16 * 4,
            csum_offset: csum * 2,
            mss: mss * 64,
            l3: [L3Type::Other, L3Type::Ipv4, L3Type::Ipv6, L3Type::V6InV6][l3 % 4],
            l4: [L4Type::Tcp, L4Type::Udp][kind % 2],
        };
        let control = Control {
            first_clear: 1,
            middle_clear: 2,
            last_clear: 4,
            increment_id: true,
        };
        let total = usize::from(u16::from_le_bytes(take(&mut rest)));
        let mut header = vec![0; request.header_len()];
        let len = header.len().min(rest.len());
        header[..len].copy_from_slice(&rest[..len]);
        let Ok(lso) = Lso::new(request, control, &header, total) else {
            return;
        };
        let mut sent = 0;
        for n in 0..lso.segments() {
            let payload = lso.payload(n).1;
            sent += payload;
            let mut segment = header.clone();
            segment.resize(header.len() + payload, 0);
            lso.finish(n, &mut segment);
        }
        assert_eq!(sent, total - header.len(), "every byte leaves once");
    });
}

#[test]
fn cable() {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    check!().with_iterations(FEW).for_each(|bytes: &[u8]| {
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("fbnic-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let mut cable = Stream::connect(Address::Unix(path.clone()));
        while !cable.link_up() {
            cable.service(Instant::now());
        }
        let (mut peer, _): (UnixStream, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        drop(peer);
        let frames = Cell::new(0);
        while cable.link_up() {
            cable.service(Instant::now());
            cable.receive(64, &mut |frame| {
                assert!(frame.len() <= MAX_FRAME);
                frames.set(frames.get() + 1);
            });
        }
        assert!(
            frames.get() <= bytes.len() / 4,
            "a frame has a header of four bytes"
        );
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn cable_argument() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let _ = String::from_utf8_lossy(bytes).parse::<CableSpec>();
    });
}

#[test]
fn control_request() {
    // What the control socket hands to serde, with words that lead further than random bytes do.
    const WORDS: [&str; 12] = [
        "{\"fault\":",
        "{\"rcd\":{\"field\":",
        "\"any\"",
        "\"value\":",
        "{\"fw_replaced\":{\"message\":",
        "\"hex\":\"",
        "\"when\":{\"one_in\":",
        "}",
        ",",
        "-1",
        "1e99",
        "18446744073709551616",
    ];
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let words: String = bytes
            .iter()
            .map(|byte| WORDS[usize::from(*byte) % WORDS.len()])
            .collect();
        for text in [String::from_utf8_lossy(bytes).into_owned(), words] {
            if let Ok(arm) = serde_json::from_str::<Arm>(&text) {
                let line = serde_json::to_string(&arm).unwrap();
                assert_eq!(serde_json::from_str::<Arm>(&line).unwrap(), arm);
            }
            let _ = serde_json::from_str::<Deed>(&text);
        }
    });
}

#[test]
fn configuration_space() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let mut space = ConfigSpace::new(Identity {
            vendor: 0x1d9b,
            device: 0x0013,
            class: 0x02_0000,
            bar_sizes: [0x20_0000, 0x4000, 0x2_0000],
            vectors: VECTORS,
            pba_offset: 0x2000,
            serial: Some(1),
        });
        let mut rest = bytes;
        while !rest.is_empty() {
            let [low, high, len] = take(&mut rest);
            let offset = u64::from(u16::from_le_bytes([low, high]));
            let data: [u8; 8] = take(&mut rest);
            space.write(offset, &data[..usize::from(len) % 9]);
            space.read(offset, &mut [0; 8]);
        }
        let mut id = [0; 4];
        space.read(0, &mut id);
        assert_eq!(u32::from_le_bytes(id), 0x0013_1d9b);
    });
}

#[test]
fn interrupt_request() {
    check!().with_iterations(MANY).for_each(|bytes: &[u8]| {
        let msix = Msix::new(VECTORS);
        let mut rest = bytes;
        while !rest.is_empty() {
            let [flags, start, count] = [0; 3].map(|_: u8| u32::from_le_bytes(take(&mut rest)));
            let fds = Vec::new();
            msix.set_irqs(SetIrqs {
                flags,
                start,
                count,
                fds,
            });
            msix.trigger(start as u16);
            msix.read_pba(u64::from(count), &mut [0; 8]);
        }
    });
}

#[test]
fn registers_and_mailbox() {
    check!().with_iterations(FEW).for_each(|bytes: &[u8]| {
        let (speed, fec) = (Speed::R2x50, Fec::Rs);
        let device = Device::new(Config {
            mac: [2, 0, 0, 0, 0, 1],
            serial: None,
            vectors: VECTORS,
            link: LinkMode { speed, fec },
            firmware: FwConfig::default(),
            seed: 0,
            cable: net_backend::open(&CableSpec::Loopback).unwrap(),
        })
        .unwrap();
        device.region_write(region::CONFIG, 4, &[6, 0]);
        let mut rest = bytes;
        while !rest.is_empty() {
            let [what, a, b, c] = take(&mut rest);
            let dword = u64::from(u32::from_le_bytes([a, b, c, 0]));
            let value: [u8; 4] = take(&mut rest);
            match what % 4 {
                0 => device.region_write(region::BAR0, dword * 4, &value),
                1 => device.region_write(region::BAR4, MAILBOX + dword % 64 * 4, &value),
                2 => device.region_read(region::BAR0, dword, &mut [0; 8]),
                _ => _ = device.step(),
            }
        }
        let mut spare = [0xff; 4];
        let at = u64::from(fbnic_defs::csr::MASTER_SPARE_0) * 4;
        device.region_read(region::BAR0, at, &mut spare);
        assert_ne!(
            spare, [0xff; 4],
            "the register that tells whether the device is there"
        );
    });
}
