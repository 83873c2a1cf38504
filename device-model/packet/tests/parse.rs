// SPDX-License-Identifier: GPL-2.0
//! The parser beside etherparse, and beside hand-made frames it must stop at.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails that way")]

use etherparse::{IpNumber, PacketBuilder};
use packet::parse::{parse, IpVersion, L4Kind};
use proptest::prelude::*;

const DA: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SA: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Returns an Ethernet header with `ethertype`, followed by `rest`.
fn eth(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&DA[..], &SA, &ethertype.to_be_bytes(), rest].concat()
}

/// Returns an IPv6 header carrying `rest` as `next`.
fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    header[4..6].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend_from_slice(&[0x20; 16]);
    header.extend_from_slice(&[0x30; 16]);
    header.extend_from_slice(rest);
    header
}

/// Returns an IPv4 header without options carrying `rest` as `protocol`.
fn ipv4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    let total = u16::try_from(20 + rest.len()).unwrap();
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[6..8].copy_from_slice(&fragment.to_be_bytes());
    header.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    header.extend_from_slice(rest);
    header
}

/// Returns a TCP header with ports 1 and 2, 20 bytes.
fn tcp() -> Vec<u8> {
    let mut header = vec![0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10];
    header.extend_from_slice(&[0; 6]);
    header
}

#[test]
fn ipv4_with_options_and_tcp_options() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(SA, DA)
        .ip(etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header {
                options: [7u8, 4, 4, 0].into(),
                protocol: IpNumber::TCP,
                source: [1, 2, 3, 4],
                destination: [5, 6, 7, 8],
                ..Default::default()
            },
            Default::default(),
        ))
        .tcp(100, 200, 1, 2)
        .options(&[etherparse::TcpOptionElement::Timestamp(1, 2)])
        .unwrap()
        .write(&mut frame, b"data")
        .unwrap();
    let parsed = parse(&frame);
    assert_eq!(parsed.l3_end(), Some(14 + 24));
    assert_eq!(parsed.l4_end(), Some(14 + 24 + 32));
    assert_eq!(parsed.ports(), Some((100, 200)));
    assert_eq!(parsed.ip.unwrap().src, 0x0102_0304);
    assert_eq!(parsed.ip.unwrap().dst, 0x0506_0708);
    assert_eq!(parsed.events, Default::default());
}

#[test]
fn fragments_have_no_transport() {
    for flags in [0x2000, 0x0001, 0x1fff] {
        let parsed = parse(&eth(0x0800, &ipv4(6, flags, &tcp())));
        assert!(parsed.events.ipv4_frag && parsed.l4.is_none());
        assert_eq!(parsed.l3_end(), Some(34));
    }
    assert!(parse(&eth(0x0800, &ipv4(6, 0x4000, &tcp()))).l4.is_some());
    for (field, fragment) in [(0x0008u16, true), (0x0001, true), (0x0000, false)] {
        let mut body = vec![6, 0, 0, 0, 0, 0, 0, 9];
        body[2..4].copy_from_slice(&field.to_be_bytes());
        body.extend(tcp());
        let parsed = parse(&eth(0x86dd, &ipv6(44, &body)));
        assert_eq!(parsed.events.ipv6_frag, fragment);
        assert_eq!(parsed.l4.is_none(), fragment);
    }
}

#[test]
fn ipv6_extension_headers() {
    let mut body = vec![60, 0, 1, 4, 0, 0, 0, 0];
    body.extend([6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(tcp());
    let parsed = parse(&eth(0x86dd, &ipv6(0, &body)));
    assert_eq!(parsed.l3_end(), Some(14 + 40 + 24));
    assert_eq!(parsed.l4.unwrap().kind, L4Kind::Tcp);

    let esp = parse(&eth(0x86dd, &ipv6(50, &[0; 16])));
    assert!(esp.events.ipv6_esp && esp.l4.is_none());
    let mobility = parse(&eth(0x86dd, &ipv6(135, &[0; 16])));
    assert!(mobility.events.unknown_ext_hdr && mobility.l4.is_none());
}

#[test]
fn endless_extension_headers_are_given_up() {
    let body = [0u8; 8 * 30];
    let parsed = parse(&eth(0x86dd, &ipv6(0, &body)));
    assert!(parsed.events.unknown_ext_hdr);
    assert_eq!(parsed.l3_end(), Some(14 + 40 + 8 * 8));
}

#[test]
fn every_mix_of_ip_in_ip() {
    let inner4 = ipv4(6, 0, &tcp());
    let inner6 = ipv6(6, &tcp());
    let cases = [
        (
            eth(0x0800, &ipv4(4, 0, &inner4)),
            IpVersion::V4,
            IpVersion::V4,
        ),
        (
            eth(0x0800, &ipv4(41, 0, &inner6)),
            IpVersion::V4,
            IpVersion::V6,
        ),
        (eth(0x86dd, &ipv6(4, &inner4)), IpVersion::V6, IpVersion::V4),
        (
            eth(0x86dd, &ipv6(41, &inner6)),
            IpVersion::V6,
            IpVersion::V6,
        ),
    ];
    for (frame, outer, inner) in cases {
        let parsed = parse(&frame);
        assert_eq!(parsed.outer.unwrap().version, outer);
        assert_eq!(parsed.ip.unwrap().version, inner);
        assert_eq!(parsed.ports(), Some((1, 2)));
        assert_eq!(usize::from(parsed.l4_end().unwrap()), frame.len());
    }
    let three = eth(0x0800, &ipv4(4, 0, &ipv4(4, 0, &inner4)));
    assert!(parse(&three).l4.is_none());
}

#[test]
fn vlan_tags() {
    let one = [
        &[0x00, 0x05][..],
        &[0x08, 0x00],
        &ipv4(17, 0, &[0, 1, 0, 2, 0, 8, 0, 0]),
    ]
    .concat();
    let parsed = parse(&eth(0x8100, &one));
    assert_eq!((parsed.l2_len, parsed.ports()), (18, Some((1, 2))));
    let two = [&[0x00, 0x06][..], &[0x81, 0x00], &one].concat();
    assert_eq!(parse(&eth(0x88a8, &two)).l2_len, 22);
    let three = [&[0x00, 0x06][..], &[0x81, 0x00], &two].concat();
    let parsed = parse(&eth(0x88a8, &three));
    assert!(parsed.events.unknown_ethertype && parsed.ip.is_none());
}

#[test]
fn unknown_things_end_the_walk() {
    assert!(parse(&eth(0x0806, &[0; 46])).events.unknown_ethertype);
    assert!(!parse(&eth(46, &[0; 46])).events.unknown_ethertype);
    let gre = parse(&eth(0x0800, &ipv4(47, 0, &[0; 30])));
    assert!(gre.l4.is_none() && gre.events == Default::default());
    assert!(parse(&eth(0x0800, &ipv4(50, 0, &[0; 30]))).events.ipv4_esp);
}

#[test]
fn malformed_headers_are_reported() {
    let mut bad_ihl = eth(0x0800, &ipv4(6, 0, &tcp()));
    bad_ihl[14] = 0x44;
    assert!(parse(&bad_ihl).events.out_of_hdr && parse(&bad_ihl).ip.is_none());
    let mut bad_option = tcp();
    bad_option[12] = 0x60;
    bad_option.extend([8, 1, 0, 0]);
    let parsed = parse(&eth(0x0800, &ipv4(6, 0, &bad_option)));
    assert!(parsed.events.tcp_opt_err && parsed.l4.is_some());
    assert!(parse(&[]).events.out_of_hdr);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_survived(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let parsed = parse(&frame);
        let _ = packet::checksum::receive(&frame, &parsed);
    }

    #[test]
    fn any_network_layer_is_survived(
        v6 in any::<bool>(), tag in 0u8..8, body in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut body = body;
        if let Some(first) = body.first_mut() {
            *first = if v6 { 0x60 | tag } else { 0x45 | (tag & 2) };
        }
        let frame = eth(if v6 { 0x86dd } else { 0x0800 }, &body);
        let parsed = parse(&frame);
        let ends = [parsed.l3_end(), parsed.l4_end()];
        for end in ends.into_iter().flatten() {
            prop_assert!(usize::from(end) <= frame.len());
        }
        let _ = packet::checksum::receive(&frame, &parsed);
    }

    #[test]
    fn udp_agrees_with_etherparse(
        vlan in 0u8..3, v6 in any::<bool>(), udp in any::<bool>(),
        ports in any::<(u16, u16)>(), payload in prop::collection::vec(any::<u8>(), 0..300),
        pad in 0usize..9, flip in any::<Option<u16>>(),
    ) {
        let link = PacketBuilder::ethernet2(SA, DA);
        let mut frame = Vec::new();
        macro_rules! network {
            ($step:expr) => {{
                let step = $step;
                let step = if v6 {
                    step.ipv6([0x20; 16], [7; 16], 9)
                } else {
                    step.ipv4([9, 9, 9, 9], [8, 8, 8, 8], 9)
                };
                if udp {
                    step.udp(ports.0, ports.1).write(&mut frame, &payload).unwrap();
                } else {
                    step.tcp(ports.0, ports.1, 5, 6).write(&mut frame, &payload).unwrap();
                }
            }};
        }
        match vlan {
            0 => network!(link),
            1 => network!(link.single_vlan(etherparse::VlanId::try_new(5).unwrap())),
            _ => network!(link.double_vlan(
                etherparse::VlanId::try_new(5).unwrap(),
                etherparse::VlanId::try_new(6).unwrap()
            )),
        }
        let end = frame.len();
        frame.extend(std::iter::repeat_n(0x5a, pad));
        let parsed = parse(&frame);
        prop_assert_eq!(parsed.ports(), Some(ports));
        prop_assert_eq!(parsed.ip.unwrap().end, end);
        prop_assert_eq!(usize::from(parsed.l4_end().unwrap()), end - payload.len());
        let sums = packet::checksum::receive(&frame, &parsed);
        prop_assert!(sums.l4_good);
        prop_assert_eq!(sums.l2, packet::checksum::Sum::of(&frame[14..]).fold());
        if let Some(flip) = flip {
            let start = usize::from(parsed.l4.unwrap().offset);
            let at = start + usize::from(flip) % (end - start);
            frame[at] ^= 1;
            prop_assert!(!packet::checksum::receive(&frame, &parse(&frame)).l4_good);
        }
    }
}
