// SPDX-License-Identifier: GPL-2.0

//! What the classifier's tables are planned to contain, at the limits of the tables.

use fbnic_unit::{
    rss::{self, rxh, FlowType},
    tcam::{
        find_mac, fits_mac, plan_actions, ActTable, Bmc, MacAddr, MacEntry, MacPlan, MacTable,
        RxMode, ACT_DEST_BMC, ACT_DEST_HOST, ACT_DROP, ACT_ENTRIES, MACDA_ENTRIES,
    },
};

const DEV: MacAddr = [2, 0, 0, 0, 0, 9];
const EMPTY: MacTable = [None; MACDA_ENTRIES];
const NO_BMC: Bmc = Bmc {
    present: false,
    mac: [[0; 6]; 4],
    all_multi: false,
};

fn mode<'a>(uc: &'a [MacAddr], mc: &'a [MacAddr]) -> RxMode<'a> {
    RxMode {
        dev_addr: DEV,
        uc,
        mc,
        promisc: false,
        allmulti: false,
        broadcast: true,
    }
}

fn planned(before: &MacTable, mode: &RxMode<'_>, bmc: &Bmc) -> MacPlan {
    MacPlan::new(before, mode, bmc, [].iter())
}

fn unicast(n: u8) -> MacAddr {
    [2, 0, 0, 0, 1, n]
}

fn multicast(n: u8) -> MacAddr {
    [1, 0, 0x5e, 0, 0, n]
}

fn at(table: &MacTable, index: usize) -> MacEntry {
    table[index].unwrap_or_default()
}

/// Indices of entries in use.
fn used(table: &MacTable) -> Vec<usize> {
    (0..MACDA_ENTRIES).filter(|&i| table[i].is_some()).collect()
}

#[test]
fn plain_interface() {
    let plan = planned(&EMPTY, &mode(&[], &[]), &NO_BMC);
    assert_eq!(used(&plan.table), [4, 30]);
    assert_eq!(at(&plan.table, 4).value, [0xff; 6]);
    assert_eq!(at(&plan.table, 30).value, DEV);
    assert!(!plan.promisc && !plan.all_multi);

    let mut quiet = mode(&[], &[]);
    quiet.broadcast = false;
    assert_eq!(used(&planned(&EMPTY, &quiet, &NO_BMC).table), [30]);
}

#[test]
fn lists_grow_towards_each_other_and_keep_their_places() {
    let (uc, mc) = ([unicast(1), unicast(2)], [multicast(1), multicast(2)]);
    let first = planned(&EMPTY, &mode(&uc, &mc), &NO_BMC).table;
    assert_eq!(used(&first), [4, 5, 6, 28, 29, 30]);
    assert_eq!(at(&first, 5).value, multicast(1));
    assert_eq!(at(&first, 29).value, unicast(1));

    let (uc, mc) = ([unicast(3), unicast(2)], [multicast(2), multicast(3)]);
    let second = planned(&first, &mode(&uc, &mc), &NO_BMC).table;
    assert_eq!(second[6], first[6]);
    assert_eq!(second[28], first[28]);
    assert_eq!(at(&second, 5).value, multicast(3));
    assert_eq!(at(&second, 29).value, unicast(3));
}

#[test]
fn too_many_unicast_addresses_mean_promiscuous() {
    let list: Vec<_> = (0..7).map(unicast).collect();
    let fits = planned(&EMPTY, &mode(&list[..6], &[]), &NO_BMC);
    assert!(!fits.promisc);
    assert_eq!(fits.table[31], None);

    let over = planned(&EMPTY, &mode(&list, &[]), &NO_BMC);
    assert!(over.promisc && over.all_multi);
    assert_eq!(at(&over.table, 31).mask, [0xff; 6]);
}

#[test]
fn too_many_multicast_addresses_mean_all_multicast() {
    let list: Vec<_> = (0..20).map(multicast).collect();
    let fits = planned(&EMPTY, &mode(&[], &list[..19]), &NO_BMC);
    assert!(!fits.all_multi);

    let over = planned(&EMPTY, &mode(&[], &list), &NO_BMC);
    assert!(over.all_multi && !over.promisc);
    let wildcard = at(&over.table, 31);
    assert_eq!(wildcard.value, [1, 0, 0, 0, 0, 0]);
    assert_eq!(wildcard.mask, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn the_stack_may_repeat_itself() {
    let uc = [DEV, unicast(1), unicast(1)];
    let mc = [[0xff; 6], multicast(1), multicast(1)];
    let plan = planned(&EMPTY, &mode(&uc, &mc), &NO_BMC);
    assert_eq!(used(&plan.table), [4, 5, 29, 30]);
}

#[test]
fn addresses_of_rules_have_their_place() {
    let (uc, mc) = ([unicast(1), unicast(2)], [multicast(1)]);
    let first = planned(&EMPTY, &mode(&uc, &mc), &NO_BMC).table;
    // Those of the interface and of everybody are shared, others are added behind the lists.
    let named = [DEV, [0xff; 6], unicast(2), unicast(7), multicast(8)];
    let second = MacPlan::new(&first, &mode(&uc, &mc), &NO_BMC, named.iter()).table;
    assert_eq!(used(&second), [4, 5, 6, 27, 28, 29, 30]);
    let owners = |index| {
        let entry = at(&second, index);
        (entry.value, entry.host, entry.rule)
    };
    assert_eq!(owners(4), ([0xff; 6], true, true));
    assert_eq!(owners(5), (multicast(1), true, false));
    assert_eq!(owners(6), (multicast(8), false, true));
    assert_eq!(owners(27), (unicast(7), false, true));
    assert_eq!(owners(28), (unicast(2), true, true));
    assert_eq!(owners(29), (unicast(1), true, false));
    assert_eq!(owners(30), (DEV, true, true));
    // What only lists name goes with them, what a rule names stays where it is.
    let third = MacPlan::new(&second, &mode(&[], &[]), &NO_BMC, named.iter()).table;
    assert_eq!(used(&third), [4, 6, 27, 28, 30]);
}

#[test]
fn rules_come_before_lists() {
    let uc: Vec<_> = (0..6).map(unicast).collect();
    let first = planned(&EMPTY, &mode(&uc, &[]), &NO_BMC);
    assert!(!first.promisc);
    assert!(!fits_mac(&first.table, &unicast(9), &NO_BMC));
    assert!(fits_mac(&first.table, &unicast(5), &NO_BMC));
    assert!(fits_mac(&first.table, &multicast(5), &NO_BMC));
    assert!(fits_mac(&first.table, &[0xff; 6], &NO_BMC));
    // The interface gets another address, and a rule needs a place for the former one.
    let named = [unicast(9)];
    let second = MacPlan::new(&first.table, &mode(&uc, &[]), &NO_BMC, named.iter());
    let index = find_mac(&second.table, &unicast(9)).unwrap();
    assert!((24..30).contains(&index) && at(&second.table, index).rule);
    assert!(second.promisc);
}

#[test]
fn words_are_big_endian_from_the_end() {
    let entry = MacEntry {
        value: [1, 2, 3, 4, 5, 6],
        mask: [0xa, 0xb, 0xc, 0xd, 0xe, 0xf],
        host: true,
        bmc: false,
        rule: false,
    };
    assert_eq!(entry.rx_words(), [0x0e0f_0506, 0x0c0d_0304, 0x0a0b_0102]);
    assert_eq!(entry.tx_words(), [0x0506_0e0f, 0x0304_0c0d, 0x0102_0a0b]);
}

#[test]
fn bmc_shares_what_the_host_wants_too() {
    let bmc = Bmc {
        present: true,
        mac: [unicast(50), multicast(1), multicast(9), [0; 6]],
        all_multi: false,
    };
    let plan = planned(&EMPTY, &mode(&[], &[multicast(1)]), &bmc);
    assert_eq!(used(&plan.table), [0, 1, 4, 5, 30]);
    let owners = |index| {
        let entry = at(&plan.table, index);
        (entry.host, entry.bmc)
    };
    assert_eq!(owners(0), (false, true));
    assert_eq!(at(&plan.table, 1).value, multicast(9));
    assert_eq!(owners(1), (false, true));
    assert_eq!(owners(4), (true, true));
    assert_eq!(owners(5), (true, true));
    assert_eq!(owners(30), (true, false));
}

#[test]
fn bmc_all_multicast_uses_the_last_multicast_entry() {
    let bmc = Bmc {
        present: true,
        all_multi: true,
        ..NO_BMC
    };
    let list: Vec<_> = (0..19).map(multicast).collect();
    let plan = planned(&EMPTY, &mode(&[], &list[..18]), &bmc);
    assert!(!plan.all_multi);
    assert!(at(&plan.table, 23).bmc && !at(&plan.table, 23).host);

    let over = planned(&EMPTY, &mode(&[], &list), &bmc);
    assert!(over.all_multi);
    assert!(at(&over.table, 23).bmc && at(&over.table, 23).host);
    assert_eq!(over.table[31], None);
}

fn actions(bmc: &Bmc, fields: &[u32; 7], host_all_multi: bool) -> ActTable {
    let mut table = [None; ACT_ENTRIES];
    plan_actions(&mut table, fields, bmc, host_all_multi);
    table
}

#[test]
fn actions_without_bmc() {
    let table = actions(&NO_BMC, &rss::DEFAULT_FIELDS, false);
    let used: Vec<_> = (0..ACT_ENTRIES).filter(|&i| table[i].is_some()).collect();
    assert_eq!(used, (57..64).collect::<Vec<_>>());

    // Word 1 by kind of flow: address hit, IP, IPv6, L4, UDP as bits 10, 12, 11, 15, 14.
    let values = [0xdc00, 0xd400, 0x9c00, 0x9400, 0x1c00, 0x1400, 0x0400];
    let hashes = [0x3, 0x3, 0xf, 0xf, 0x3, 0x3, 0x10];
    for (n, (value, hash)) in values.into_iter().zip(hashes).enumerate() {
        let entry = table[57 + n].unwrap();
        let mut words = [0xffff_0000; 11];
        words[1] = !value << 16 | value;
        assert_eq!(entry.words(), words, "{n}");
        assert_eq!(entry.dest, ACT_DEST_HOST | 4 << 16);
        assert_eq!(entry.hash, hash);
    }
}

#[test]
fn actions_with_bmc() {
    let bmc = Bmc {
        present: true,
        all_multi: true,
        ..NO_BMC
    };
    let table = actions(&bmc, &rss::DEFAULT_FIELDS, false);
    let first = table[0].unwrap();
    assert_eq!(first.dest, ACT_DEST_BMC);
    // Index bits 2 to 4 must be zero, bits 0 and 1 may be anything, the hit must be there.
    assert_eq!(first.words()[1], 0xf87f_0400 & !(0x1c << 5 << 16) | 0x0400);
    assert_eq!(table[1].unwrap().words()[1] & 0xffff, 0x0400 | 23 << 5);
    // Unicast only for the host, from index 24 on.
    let unicast = table[50].unwrap();
    assert_eq!(unicast.dest, ACT_DEST_HOST | 4 << 16);
    assert_eq!(unicast.words()[1] & 0xffff, 0xdc00 | 24 << 5);
    assert_eq!(
        table[57].unwrap().dest,
        ACT_DEST_HOST | ACT_DEST_BMC | 4 << 16
    );
    // No rule of the BMC's own where the host wants all multicast frames as well.
    assert_eq!(actions(&bmc, &rss::DEFAULT_FIELDS, true)[1], None);
}

#[test]
fn discarded_flows_are_dropped() {
    let mut fields = rss::DEFAULT_FIELDS;
    fields[FlowType::Udp4.index()] = rxh::DISCARD;
    let table = actions(&NO_BMC, &fields, false);
    assert_eq!(table[58].unwrap().dest, ACT_DROP | 4 << 16);
    assert_eq!(table[57].unwrap().dest, ACT_DEST_HOST | 4 << 16);
}

#[test]
fn hash_fields() {
    assert_eq!(rss::hash_enable(0), 0);
    assert_eq!(rss::hash_enable(rxh::IP6_FL), 0xc0);
    assert_eq!(
        rss::hash_enable(rxh::L2DA | rxh::IP_SRC | rxh::L4_B_2_3),
        0x19
    );
    assert!(rss::fields_supported(
        FlowType::Tcp6,
        rxh::IP6_FL | rxh::L4_B_0_1
    ));
    assert!(!rss::fields_supported(FlowType::Tcp4, rxh::IP6_FL));
    assert!(!rss::fields_supported(FlowType::Ip4, rxh::L4_B_0_1));
    assert!(!rss::fields_supported(FlowType::Ether, rxh::IP_SRC));
    assert!(!rss::fields_supported(FlowType::Tcp4, 1 << 2));
    for (flow, fields) in FlowType::ALL.into_iter().zip(rss::DEFAULT_FIELDS) {
        assert!(rss::fields_supported(flow, fields));
    }
}

#[test]
fn keys_are_packed_from_the_top() {
    let mut key = [0; rss::KEY_BYTES];
    for (n, byte) in key.iter_mut().enumerate() {
        *byte = n as u8 + 1;
    }
    key[53] = 0xff;
    let words = rss::key_words(&key);
    assert_eq!(words[0], 0x0102_0304);
    assert_eq!(words[12], 0x3132_3334);
    assert_eq!(words[13], 0x3580_0000);
    rss::trim_key(&mut key);
    assert_eq!(key[53], 0x80);
    assert_eq!(rss::key_words(&key), words);
}

#[test]
fn flows_are_spread_over_all_queues() {
    assert!(rss::spread(1).iter().all(|&queue| queue == 0));
    assert!(rss::spread(0).iter().all(|&queue| queue == 0));
    let three = rss::spread(3);
    assert_eq!(three[..4], [0, 1, 2, 0]);
    assert_eq!(three[255], 0);
    assert_eq!(rss::spread(128)[255], 127);
    assert_eq!(rss::spread(u32::MAX)[255], 255);
}
