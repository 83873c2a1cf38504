// SPDX-License-Identifier: GPL-2.0
//! The classifier with tables as the driver writes them.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use fbnic_defs::csr as r;
use packet::toeplitz::{Toeplitz, KEY_LEN};

use super::{Classifier, TxDestinations, Verdict};
use crate::hw::Hw;
use crate::intr::tests::Sent;
use crate::mac::{Fec, LinkMode, Speed};

const HOST_MAC: [u8; 6] = [2, 0xfb, 0x1c, 0, 0, 7];
const VALID: u32 = 1 << 31;
/// RSS over addresses and ports.
const FOUR_TUPLE: u32 = 0xf;

fn hw() -> Hw {
    let mode = LinkMode {
        speed: Speed::R2x50,
        fec: Fec::Rs,
    };
    let hw = Hw::new(Arc::new(Sent::default()), mode).unwrap();
    hw.csr.store(r::RPC_ACT_TBL0_DEFAULT, r::ACT_TBL0_DROP);
    hw
}

fn macda(hw: &Hw, entry: u32, address: [u8; 6], mask: [u8; 6]) {
    for word in 0..3u32 {
        let at = 4 - 2 * word as usize;
        let value = u32::from(u16::from_be_bytes([address[at], address[at + 1]]));
        let mask = u32::from(u16::from_be_bytes([mask[at], mask[at + 1]]));
        hw.csr
            .store(r::rpc_tcam_macda(entry, word), mask << 16 | value);
    }
    hw.csr.store(r::rpc_tcam_macda(entry, 3), VALID);
}

/// Writes a rule whose mask is the complement of its value, as the driver does.
fn rule(hw: &Hw, entry: u32, words: &[(u32, u16)], table0: u32, table1: u32) {
    for word in 0..r::RPC_TCAM_ACT_WORDS {
        let found = words.iter().find(|(n, _)| *n == word);
        let value = found.map_or(0, |(_, value)| *value);
        let bits = u32::from(!value) << 16 | u32::from(value);
        hw.csr.store(r::rpc_tcam_act(entry, word), bits);
    }
    hw.csr.store(r::rpc_act_tbl0(entry), table0);
    hw.csr.store(r::rpc_act_tbl1(entry), table1);
    hw.csr
        .store(r::rpc_tcam_act(entry, r::RPC_TCAM_ACT_WORDS), VALID);
}

fn classify(hw: &Hw, frame: &[u8]) -> Verdict {
    hw.rpc_generation.fetch_add(1, Ordering::SeqCst);
    let mut classifier = Classifier::default();
    classifier.refresh(hw);
    classifier.classify(frame, &packet::parse(frame))
}

fn tcp4(src_port: u16) -> Vec<u8> {
    let mut frame = [&HOST_MAC[..], &[2; 6], &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend([66, 9, 149, 187, 161, 142, 100, 80]);
    frame.extend(src_port.to_be_bytes());
    frame.extend([
        6, 0xe6, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0,
    ]);
    frame
}

#[test]
fn without_a_match_the_default_action_drops() {
    let verdict = classify(&hw(), &tcp4(1));
    assert_eq!((verdict.host_queue, verdict.bmc), (None, false));
}

#[test]
fn the_host_address_spreads_by_toeplitz() {
    let hw = hw();
    macda(&hw, 30, HOST_MAC, [0; 6]);
    let any_mac_hit = (1, 1 << 10);
    let tcp_over_ip4 = (1, 1 << 10 | 1 << 12 | 1 << 15);
    rule(&hw, 60, &[tcp_over_ip4], r::ACT_TBL0_DEST_HOST, FOUR_TUPLE);
    rule(&hw, 63, &[any_mac_hit], r::ACT_TBL0_DEST_HOST, 1 << 4);
    let mut key = [0; KEY_LEN];
    for (i, byte) in (0u32..).zip(key.iter_mut().take(52)) {
        *byte = u8::try_from(i * 73 % 256).unwrap();
    }
    for (i, word) in (0..13).zip(key.chunks_exact(4)) {
        hw.csr.store(
            r::rpc_rss_key(i),
            u32::from_be_bytes(word.try_into().unwrap()),
        );
    }
    for i in 0..256 {
        hw.csr.store(r::rpc_rss_tbl(0, i), i % 5);
    }
    let toeplitz = Toeplitz::new(&key);
    for port in 1..200u16 {
        let frame = tcp4(port);
        let verdict = classify(&hw, &frame);
        let hash = toeplitz.hash(&frame[26..38]);
        assert_eq!(verdict.hash, hash);
        assert_eq!(verdict.host_queue, Some(hash % 256 % 5));
    }
    let arp = [&HOST_MAC[..], &[2; 6], &[8, 6], &[0; 46]].concat();
    assert_eq!(classify(&hw, &arp).hash, toeplitz.hash(&HOST_MAC));
    let mut other = tcp4(1);
    other[0] = 4;
    assert_eq!(classify(&hw, &other).host_queue, None);
}

#[test]
fn the_lowest_rule_wins_and_names_its_queue() {
    let hw = hw();
    macda(&hw, 31, [0; 6], [0xff; 6]);
    let host = r::ACT_TBL0_DEST_HOST;
    let steer = host | r::ACT_TBL0_Q_SEL | 77 << 8 | r::ACT_TBL0_ACT_TBL_IDX;
    rule(&hw, 5, &[(1, 1 << 15), (3, 4000)], steer, 0);
    rule(&hw, 63, &[(1, 1 << 10)], host | r::ACT_TBL0_DEST_BMC, 0);
    let verdict = classify(&hw, &tcp4(4000));
    assert_eq!(
        (verdict.host_queue, verdict.report_action),
        (Some(77), Some(5))
    );
    let verdict = classify(&hw, &tcp4(95));
    assert_eq!((verdict.host_queue, verdict.bmc), (Some(0), true));
    // An entry counts only while it is valid.
    hw.csr.store(r::rpc_tcam_act(5, r::RPC_TCAM_ACT_WORDS), 0);
    assert_eq!(classify(&hw, &tcp4(4000)).host_queue, Some(0));
}

#[test]
fn ip_tables_tell_versions_apart() {
    let hw = hw();
    // 161.142.100.80 in the last 32 bits, the first 96 masked.
    for word in 0..9 {
        let value = match word {
            0 => 0x6450,
            1 => 0xa18e,
            8 => VALID,
            _ => 0xffff_0000,
        };
        hw.csr.store(r::RPC_TCAM_IPDST + 8 * word + 2, value);
    }
    let steer = r::ACT_TBL0_DEST_HOST | r::ACT_TBL0_Q_SEL | 9 << 8;
    // Destination table hit with index 2.
    rule(&hw, 2, &[(0, 0xa << 4)], steer, 0);
    assert_eq!(classify(&hw, &tcp4(1)).host_queue, Some(9));
    hw.csr
        .store(r::RPC_TCAM_IPDST + 8 * 8 + 2, VALID | r::RPC_TCAM_IP_IS_V6);
    assert_eq!(classify(&hw, &tcp4(1)).host_queue, None);
}

#[test]
fn the_transmit_table_has_value_and_mask_the_other_way_round() {
    let hw = hw();
    for word in 0..3u32 {
        let at = 4 - 2 * word as usize;
        let value = u32::from(u16::from_be_bytes([HOST_MAC[at], HOST_MAC[at + 1]]));
        hw.csr.store(r::tce_ram_tcam(word, 4), value << 16);
    }
    hw.csr.store(r::tce_ram_tcam3(4), VALID);
    hw.csr.store(r::TCE_TCAM_IDX2DEST_MAP, 2 << 16);
    let look = |hw: &Hw| {
        let mut classifier = Classifier::default();
        classifier.refresh(hw);
        classifier.tx_destinations(&tcp4(1))
    };
    assert_eq!(look(&hw), None);
    hw.csr.store(r::TCE_TXB_CTRL, r::TCE_TXB_CTRL_TCAM_ENABLE);
    assert_eq!(look(&hw), Some(TxDestinations(TxDestinations::BMC)));
}
