// SPDX-License-Identifier: GPL-2.0

//! Rules of users: what is taken, how it is shown again, and what a table with the rules finds.

use fbnic_unit::{
    flow::{EtherMatch, FlowAction, FlowExt, FlowMatch, FlowSpec, IpMatch, L4Match, Masked, Ports},
    ntuple::{plan_ips, IpTable, Rule, RuleTable, IP_ENTRIES, IP_TABLES, RULES},
    rss::{self, FlowType, FLOW_TYPES},
    tcam::{MacEntry, MacTable, MACDA_ENTRIES},
};
use proptest::prelude::*;

const QUEUES: u32 = 4;
const TO_QUEUE: FlowAction = FlowAction::Queue { queue: 3, vf: 0 };
const NO_IPS: [IpTable; IP_TABLES] = [[None; IP_ENTRIES]; IP_TABLES];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn exactly<T>(value: T, mask: T) -> Masked<T> {
    Masked { value, mask }
}

fn network4(address: [u8; 4], prefix: u32) -> Masked<[u8; 4]> {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    exactly(address, mask.to_be_bytes())
}

fn ip<const N: usize>(l4: L4Match) -> IpMatch<N> {
    let any = exactly([0; N], [0; N]);
    IpMatch {
        src: any,
        dst: any,
        tos: Masked::default(),
        l4,
    }
}

fn tcp(src: u16, dst: u16) -> L4Match {
    let port = |port: u16| exactly(port, if port == 0 { 0 } else { 0xffff });
    L4Match::Tcp(Ports {
        src: port(src),
        dst: port(dst),
    })
}

fn other(proto: u8, mask: u8, bytes: [u8; 4], compared: u8) -> L4Match {
    L4Match::Other {
        proto: exactly(proto, mask),
        bytes: exactly(bytes, [compared; 4]),
    }
}

fn spec(flow: FlowMatch, action: FlowAction) -> FlowSpec {
    FlowSpec {
        flow,
        ext: FlowExt::default(),
        action,
    }
}

fn rule(flow: FlowMatch) -> Option<Rule> {
    Rule::new(&spec(flow, TO_QUEUE), QUEUES)
}

fn table(rules: &[Rule]) -> RuleTable {
    let mut table = [None; RULES];
    for (slot, rule) in table.iter_mut().zip(rules) {
        *slot = Some(*rule);
    }
    table
}

fn macs() -> MacTable {
    let mut macs = [None; MACDA_ENTRIES];
    macs[30] = Some(MacEntry {
        value: MAC,
        host: true,
        ..MacEntry::default()
    });
    macs
}

/// Words of the key and the two action words of the only rule.
fn entry(flow: FlowMatch, action: FlowAction) -> ([u32; 11], u32, u16) {
    let rule = Rule::new(&spec(flow, action), QUEUES).unwrap();
    let ips = plan_ips(&NO_IPS, &table(&[rule])).unwrap();
    let entry = rule
        .entry(&ips, &macs(), &rss::DEFAULT_FIELDS, QUEUES)
        .unwrap();
    (entry.words(), entry.dest, entry.hash)
}

/// A word of the key that is not compared.
const ANY: u32 = 0xffff_0000;

#[test]
fn words_of_a_tcp_rule() {
    let mut flow = ip(tcp(80, 0));
    flow.src = network4([10, 1, 2, 3], 32);
    flow.dst = network4([10, 1, 0, 0], 16);
    let (words, dest, hash) = entry(FlowMatch::Ip4(flow), TO_QUEUE);
    // Both addresses at index 7; address hit, IPv4, layer 4 and not UDP.
    let mut want = [ANY; 11];
    want[0] = 0xff00_00ff;
    want[1] = !0xdc00_u32 << 16 & ANY | 0x9400;
    want[3] = 80;
    assert_eq!(
        words.map(|w| format!("{w:08x}")),
        want.map(|w| format!("{w:08x}"))
    );
    // For the host, queue 3, split after layer 4.
    assert_eq!(dest, 1 << 1 | 1 << 4 | 3 << 8 | 4 << 16);
    assert_eq!(hash, 0xf);
}

#[test]
fn words_of_the_other_kinds() {
    let kind = |flow| entry(flow, TO_QUEUE).0[1];
    let compared = |bits: u32, value: u32| !bits << 16 | value;
    let udp = L4Match::Udp(Ports::default());
    assert_eq!(kind(FlowMatch::Ip6(ip(udp))), compared(0xdc00, 0xdc00));
    assert_eq!(kind(FlowMatch::Ip4(ip(udp))), compared(0xdc00, 0xd400));
    assert_eq!(
        kind(FlowMatch::Ip6(ip(tcp(0, 1)))),
        compared(0xdc00, 0x9c00)
    );
    let any = other(0, 0, [0; 4], 0);
    assert_eq!(kind(FlowMatch::Ip4(ip(any))), compared(0x1c00, 0x1400));
    assert_eq!(kind(FlowMatch::Ip6(ip(any))), compared(0x1c00, 0x1c00));
    let tunnel = other(41, 0xff, [0; 4], 0);
    assert_eq!(kind(FlowMatch::Ip6(ip(tunnel))), compared(0x3c00, 0x3c00));
    let ether = EtherMatch::default();
    assert_eq!(kind(FlowMatch::Ether(ether)), compared(0x0400, 0x0400));
    let ether = EtherMatch {
        dst: exactly(MAC, [0xff; 6]),
        ..ether
    };
    assert_eq!(
        kind(FlowMatch::Ether(ether)),
        compared(0x07e0, 0x0400 | 30 << 5)
    );
}

#[test]
fn outer_addresses_of_tunnels() {
    let mut flow = ip(other(41, 0xff, [0; 4], 0));
    flow.src = exactly([7; 16], [0xff; 16]);
    flow.dst = exactly([8; 16], [0xff; 16]);
    let rule = rule(FlowMatch::Ip6(flow)).unwrap();
    let ips = plan_ips(&NO_IPS, &table(&[rule])).unwrap();
    assert!(ips[0].iter().chain(&ips[1]).all(Option::is_none));
    assert_eq!(ips[2][0].unwrap().words(), [0x0707; 8]);
    assert_eq!(ips[3][0].unwrap().words(), [0x0808; 8]);
    assert_eq!(entry(FlowMatch::Ip6(flow), TO_QUEUE).0[0], 0x00ff_8800);
}

#[test]
fn words_of_addresses() {
    let mut flow = ip(tcp(0, 0));
    flow.src = network4([10, 1, 2, 3], 16);
    let rule4 = rule(FlowMatch::Ip4(flow)).unwrap();
    let mut flow = ip(tcp(0, 0));
    let address = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6];
    flow.src = exactly(address, [0xff; 16]);
    let rule6 = rule(FlowMatch::Ip6(flow)).unwrap();
    let ips = plan_ips(&NO_IPS, &table(&[rule4, rule6])).unwrap();
    // IPv4 in the last words, which come first; bits that are not compared are cleared.
    let v4 = ips[0][7].unwrap();
    assert!(!v4.is_v6());
    assert_eq!(v4.words(), [ANY, 0x0a01, ANY, ANY, ANY, ANY, ANY, ANY]);
    let v6 = ips[0][0].unwrap();
    assert!(v6.is_v6());
    assert_eq!(v6.words(), [6, 5, 4, 3, 2, 1, 0xdb8, 0x2001]);
}

#[test]
fn actions() {
    let flow = FlowMatch::Ip4(ip(tcp(1, 2)));
    let dest = |action| entry(flow, action).1;
    assert_eq!(dest(FlowAction::Drop), 1 | 4 << 16);
    let context = |context| FlowAction::Context { context, offset: 0 };
    assert_eq!(dest(context(0)), 1 << 1 | 4 << 16);
    assert_eq!(dest(context(1)), 1 << 1 | 4 << 16 | 1 << 30);
    for refused in [
        FlowAction::Wake,
        FlowAction::Queue {
            queue: QUEUES,
            vf: 0,
        },
        FlowAction::Queue {
            queue: u32::MAX,
            vf: 0,
        },
        FlowAction::Queue { queue: 0, vf: 1 },
        context(2),
        context(0x100),
        FlowAction::Context {
            context: 1,
            offset: 1,
        },
    ] {
        assert_eq!(Rule::new(&spec(flow, refused), QUEUES), None, "{refused:?}");
    }
    // Should the queue be lost after all, the flows go to those that are left.
    let rule = rule(flow).unwrap();
    let entry = rule.entry(&NO_IPS, &macs(), &rss::DEFAULT_FIELDS, 2);
    assert_eq!(entry.unwrap().dest, 1 << 1 | 4 << 16);
}

#[test]
fn what_the_device_does_not_compare_is_refused() {
    let any = other(0, 0, [0; 4], 0);
    let mut with_tos = ip::<4>(any);
    with_tos.tos = exactly(4, 0xff);
    let mut with_class = ip::<16>(tcp(0, 1));
    with_class.tos = exactly(0, 1);
    for (proto, mask, compared) in [(1, 0xff, 0), (0, 0xff, 0), (6, 0x7f, 0), (0, 0, 0xff)] {
        let l4 = other(proto, mask, [0; 4], compared);
        assert_eq!(rule(FlowMatch::Ip4(ip(l4))), None, "{l4:?}");
        assert_eq!(rule(FlowMatch::Ip6(ip(l4))), None, "{l4:?}");
    }
    let tunnel = other(41, 0xff, [0; 4], 0);
    let ether = |dst, src, proto| FlowMatch::Ether(EtherMatch { dst, src, proto });
    let none = Masked::default();
    for flow in [
        FlowMatch::Ip4(with_tos),
        FlowMatch::Ip6(with_class),
        FlowMatch::Ip4(ip(tunnel)),
        FlowMatch::Ip6(ip(other(41, 0xff, [0; 4], 1))),
        ether(exactly(MAC, [0xfe; 6]), none, Masked::default()),
        ether(exactly([0; 6], [0xff; 6]), none, Masked::default()),
        ether(none, exactly(MAC, [0xff; 6]), Masked::default()),
        ether(none, none, exactly(0x0800, 0xffff)),
    ] {
        assert_eq!(rule(flow), None, "{flow:?}");
    }
    let plain = spec(FlowMatch::Ip4(ip(any)), TO_QUEUE);
    assert!(Rule::new(&plain, QUEUES).is_some());
    let mut ext = [FlowExt::default(); 4];
    ext[0].mac.mask[5] = 1;
    ext[1].vlan_etype.mask = 1;
    ext[2].vlan_tci.mask = 1;
    ext[3].data.mask[1] = 1;
    for ext in ext {
        assert_eq!(
            Rule::new(&FlowSpec { ext, ..plain }, QUEUES),
            None,
            "{ext:?}"
        );
    }
}

#[test]
fn protocol_numbers_of_tcp_and_udp_are_taken() {
    // The first four bytes are the ports.
    let bytes = [0x12, 0x34, 0, 80];
    let written = rule(FlowMatch::Ip4(ip(other(6, 0xff, bytes, 0xff)))).unwrap();
    assert_eq!(rule(FlowMatch::Ip4(ip(tcp(0x1234, 80)))), Some(written));
    let udp = L4Match::Udp(Ports::default());
    let written = rule(FlowMatch::Ip6(ip(other(17, 0xff, [0; 4], 0)))).unwrap();
    assert_eq!(rule(FlowMatch::Ip6(ip(udp))), Some(written));
}

#[test]
fn rules_are_shown_as_they_were_written() {
    let mut four = ip(tcp(1, 0));
    // Bits that are not compared are shown all the same.
    four.src = exactly([10, 1, 2, 3], [0xff, 0xff, 0, 0]);
    let mut six = ip(other(41, 0xff, [0; 4], 0));
    six.dst = exactly([9; 16], [0xff; 16]);
    for flow in [
        FlowMatch::Ip4(four),
        FlowMatch::Ip4(ip(other(0, 0, [0; 4], 0))),
        FlowMatch::Ip6(six),
        FlowMatch::Ip6(ip(L4Match::Udp(Ports::default()))),
        FlowMatch::Ether(EtherMatch::default()),
        FlowMatch::Ether(EtherMatch {
            dst: exactly(MAC, [0xff; 6]),
            ..EtherMatch::default()
        }),
    ] {
        for action in [
            FlowAction::Drop,
            TO_QUEUE,
            FlowAction::Context {
                context: 1,
                offset: 0,
            },
        ] {
            let spec = spec(flow, action);
            assert_eq!(Rule::new(&spec, QUEUES).unwrap().spec(), spec);
        }
    }
}

#[test]
fn an_address_without_a_place_switches_its_rule_off() {
    let ether = FlowMatch::Ether(EtherMatch {
        dst: exactly([2, 0, 0, 0, 0, 1], [0xff; 6]),
        ..EtherMatch::default()
    });
    let rule = rule(ether).unwrap();
    assert_eq!(
        rule.entry(&NO_IPS, &macs(), &rss::DEFAULT_FIELDS, QUEUES),
        None
    );
}

/// Rules from these networks of 10.0.0.0/8, as source addresses.
fn from(networks: &[([u8; 4], u32)]) -> Vec<Rule> {
    let rule = |&(address, prefix)| {
        let mut flow = ip(tcp(0, 0));
        flow.src = network4(address, prefix);
        rule(FlowMatch::Ip4(flow)).unwrap()
    };
    networks.iter().map(rule).collect()
}

#[test]
fn addresses_are_counted_once_and_limited() {
    let nine: Vec<_> = (1..=9).map(|n| ([10, 0, 0, n], 32)).collect();
    let rules = from(&nine);
    assert!(plan_ips(&NO_IPS, &table(&rules[..8])).is_some());
    assert!(plan_ips(&NO_IPS, &table(&rules)).is_none());
    // The same network may be written in many ways.
    let same: Vec<_> = (1..=40).map(|n| ([10, 0, 0, n], 24)).collect();
    let ips = plan_ips(&NO_IPS, &table(&from(&same))).unwrap();
    assert_eq!(ips[0].iter().flatten().count(), 1);
}

#[test]
fn addresses_keep_their_places_unless_one_has_to_go_before() {
    let rules = from(&[([10, 0, 0, 1], 32), ([10, 0, 0, 2], 32)]);
    let first = plan_ips(&NO_IPS, &table(&rules[..1])).unwrap();
    let second = plan_ips(&first, &table(&rules)).unwrap();
    assert_eq!(second[0][7], first[0][7]);
    assert!(second[0][6].is_some());
    // A network around the first is behind it, at the cost of moving that.
    let rules = from(&[([10, 0, 0, 1], 32), ([10, 0, 0, 0], 24)]);
    let third = plan_ips(&first, &table(&rules)).unwrap();
    assert_eq!(
        third[0].iter().position(|slot| *slot == first[0][7]),
        Some(0)
    );
    assert!(third[0][1].is_some());
    // One within it finds room before it.
    let wide = plan_ips(&NO_IPS, &table(&rules[1..])).unwrap();
    let both = plan_ips(&wide, &table(&rules)).unwrap();
    assert_eq!(both[0][7], wide[0][7]);
    assert_eq!(both[0][6], first[0][7]);
}

/// A network by how many of the bits of a small address count.
fn networks() -> impl Strategy<Value = ([u8; 4], u32)> {
    (0..8_u8, prop::sample::select(vec![0, 8, 29, 30, 31, 32]))
        .prop_map(|(n, prefix)| ([10, 0, 0, n], prefix))
}

/// What the device finds of a packet: the lowest entry that matches.
fn found(rules: &RuleTable, ips: &[IpTable; IP_TABLES], packet: &Packet) -> Option<usize> {
    let hit = |table: &IpTable, address: [u8; 4]| {
        let address = [
            0,
            0,
            0,
            0,
            0,
            0,
            u16::from_be_bytes([address[0], address[1]]),
            u16::from_be_bytes([address[2], address[3]]),
        ];
        let index = table.iter().position(|entry| {
            entry.is_some_and(|entry| {
                !entry.is_v6()
                    && entry
                        .words()
                        .iter()
                        .zip(address.iter().rev())
                        .all(|(word, have)| (*word as u16 ^ have) & !(word >> 16) as u16 == 0)
            })
        });
        index.map_or(0, |index| index as u16 | 8)
    };
    let mut key = [0_u16; 11];
    key[0] = hit(&ips[0], packet.src) | hit(&ips[1], packet.dst) << 4;
    key[1] = 1 << 15 | 1 << 12 | 1 << 10 | 30 << 5;
    key[3] = packet.sport;
    rules.iter().position(|rule| {
        let entry = rule.and_then(|rule| rule.entry(ips, &macs(), &[0; FLOW_TYPES], QUEUES));
        entry.is_some_and(|entry| {
            let words = entry.words();
            words
                .iter()
                .zip(key)
                .all(|(word, have)| (*word as u16 ^ have) & !(word >> 16) as u16 == 0)
        })
    })
}

#[derive(Clone, Debug)]
struct Packet {
    src: [u8; 4],
    dst: [u8; 4],
    sport: u16,
}

type Network = ([u8; 4], u32);

/// Whether an address is in `network`, and in no smaller one of `all`.
fn is_in(address: [u8; 4], network: Network, all: &[Network]) -> bool {
    let holds = |&(base, prefix): &Network| {
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        (u32::from_be_bytes(base) ^ u32::from_be_bytes(address)) & mask == 0
    };
    let smallest = all
        .iter()
        .filter(|network| holds(network))
        .map(|(_, prefix)| *prefix)
        .max();
    network.1 == 0 || holds(&network) && smallest == Some(network.1)
}

proptest! {
    /// Added one after the other, removed, and looked up.
    #[test]
    fn the_first_rule_that_matches_is_found(
        written in prop::collection::vec((networks(), networks(), 0..3_u16), 1..8),
        removed in any::<prop::sample::Index>(),
        (src, dst, sport) in (0..8_u8, 0..8_u8, 0..3_u16),
    ) {
        let mut rules = [None; RULES];
        let mut ips = NO_IPS;
        for (slot, (src, dst, sport)) in rules.iter_mut().rev().zip(&written) {
            let mut flow = ip(tcp(*sport, 0));
            flow.src = network4(src.0, src.1);
            flow.dst = network4(dst.0, dst.1);
            *slot = rule(FlowMatch::Ip4(flow));
            prop_assert!(slot.is_some());
        }
        for count in 1..=written.len() {
            let mut some = [None; RULES];
            some[RULES - count..].copy_from_slice(&rules[RULES - count..]);
            ips = plan_ips(&ips, &some).unwrap();
        }
        let removed = removed.index(written.len());
        rules[RULES - 1 - removed] = None;
        ips = plan_ips(&ips, &rules).unwrap();

        let mut left: Vec<_> = written.iter().cloned().enumerate().collect();
        left.remove(removed);
        let sources: Vec<_> = left.iter().map(|(_, rule)| rule.0).collect();
        let destinations: Vec<_> = left.iter().map(|(_, rule)| rule.1).collect();
        let packet = Packet { src: [10, 0, 0, src], dst: [10, 0, 0, dst], sport };
        // Rules written later come first.
        let expected = left.iter().rev().find(|(_, (src, dst, sport))| {
            (*sport == 0 || *sport == packet.sport)
                && is_in(packet.src, *src, &sources)
                && is_in(packet.dst, *dst, &destinations)
        });
        let expected = expected.map(|(n, _)| RULES - 1 - n);
        prop_assert_eq!(found(&rules, &ips, &packet), expected);
    }
}

#[test]
fn every_kind_has_its_hash() {
    let udp = L4Match::Udp(Ports::default());
    let any = other(0, 0, [0; 4], 0);
    let kinds = [
        FlowMatch::Ip6(ip(udp)),
        FlowMatch::Ip4(ip(udp)),
        FlowMatch::Ip6(ip(tcp(0, 0))),
        FlowMatch::Ip4(ip(tcp(0, 0))),
        FlowMatch::Ip6(ip(any)),
        FlowMatch::Ip4(ip(any)),
        FlowMatch::Ether(EtherMatch::default()),
    ];
    for (flow, kind) in kinds.into_iter().zip(FlowType::ALL) {
        let mut fields = [0; FLOW_TYPES];
        fields[kind.index()] = rss::rxh::L4_B_2_3;
        let entry = rule(flow).unwrap().entry(&NO_IPS, &macs(), &fields, QUEUES);
        assert_eq!(entry.unwrap().hash, 1 << 3, "{flow:?}");
    }
}
