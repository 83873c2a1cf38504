// SPDX-License-Identifier: GPL-2.0
//! Segmentation, judged by an independent decoder of the segments.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails that way")]

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use packet::checksum::Sum;
use packet::lso::{complete_checksum, Control, Error, L3Type, L4Type, Lso, Request};
use proptest::prelude::*;

/// The flags the driver programs: PSH and FIN only on the last, CWR only on the first.
const CONTROL: Control = Control {
    first_clear: 0x009,
    middle_clear: 0x089,
    last_clear: 0x080,
    increment_id: true,
};

/// A packet as a stack hands it over, and the request that goes with it.
fn big_packet(v6: bool, udp: bool, payload: &[u8], mss: usize) -> (Vec<u8>, Request) {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
    let net = if v6 {
        link.ipv6([3; 16], [4; 16], 64)
    } else {
        link.ipv4([1, 1, 1, 1], [2, 2, 2, 2], 64)
    };
    if udp {
        net.udp(5, 6).write(&mut frame, payload).unwrap();
    } else {
        let step = net.tcp(5, 6, 0xffff_ff00, 100).ack(7).psh().fin();
        step.write(&mut frame, payload).unwrap();
    }
    let inner_len = if v6 { 40 } else { 20 };
    let (l4_len, csum_offset) = if udp { (8, 6) } else { (20, 16) };
    let l4 = 14 + inner_len;
    // The seed: pseudo-header sum without a length.
    let addresses = if v6 { 22..54 } else { 26..34 };
    let seed = Sum::of(&frame[addresses])
        .plus_word(if udp { 17 } else { 6 })
        .fold()
        .to_le_bytes();
    frame[l4 + csum_offset..l4 + csum_offset + 2].copy_from_slice(&seed);
    let request = Request {
        l2_len: 14,
        outer_len: 0,
        inner_len,
        l4_len,
        csum_offset,
        mss,
        l3: if v6 { L3Type::Ipv6 } else { L3Type::Ipv4 },
        l4: if udp { L4Type::Udp } else { L4Type::Tcp },
    };
    (frame, request)
}

fn segment(frame: &[u8], request: Request) -> Result<Vec<Vec<u8>>, Error> {
    let (header, payload) = frame.split_at(request.header_len());
    let lso = Lso::new(request, CONTROL, header, frame.len())?;
    Ok((0..lso.segments())
        .map(|n| {
            let (start, len) = lso.payload(n);
            let mut segment = [header, &payload[start..start + len]].concat();
            lso.finish(n, &mut segment);
            segment
        })
        .collect())
}

proptest! {
    #[test]
    fn segments_are_whole_packets(
        v6 in any::<bool>(), udp in any::<bool>(), mss in 1usize..1500,
        payload in prop::collection::vec(any::<u8>(), 1..5000),
    ) {
        let (frame, request) = big_packet(v6, udp, &payload, mss);
        let segments = segment(&frame, request).unwrap();
        prop_assert_eq!(segments.len(), payload.len().div_ceil(mss));
        let mut rebuilt = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            let parsed = packet::parse(segment);
            prop_assert!(packet::checksum::receive(segment, &parsed).l4_good);
            prop_assert!(!parsed.ip.unwrap().truncated);
            let sliced = SlicedPacket::from_ethernet(segment).unwrap();
            if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
                let header = ip.header();
                prop_assert_eq!(usize::from(header.total_len()), segment.len() - 14);
                prop_assert_eq!(usize::from(header.identification()), n);
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            }
            match sliced.transport.unwrap() {
                TransportSlice::Tcp(tcp) => {
                    let advance = u32::try_from(rebuilt.len()).unwrap();
                    prop_assert_eq!(tcp.sequence_number(), 0xffff_ff00u32.wrapping_add(advance));
                    prop_assert_eq!(tcp.fin() && tcp.psh(), n + 1 == segments.len());
                    rebuilt.extend_from_slice(tcp.payload());
                }
                TransportSlice::Udp(udp) => {
                    prop_assert_eq!(usize::from(udp.length()), udp.payload().len() + 8);
                    rebuilt.extend_from_slice(udp.payload());
                }
                _ => prop_assert!(false, "neither TCP nor UDP"),
            }
        }
        prop_assert_eq!(rebuilt, payload);
    }

    #[test]
    fn any_request_is_survived(
        l2 in 0usize..130, outer in 0usize..520, inner in 0usize..520, l4 in 0usize..64,
        csum in 0usize..32, mss in 0usize..100, l3 in 0u8..4, udp in any::<bool>(),
        mut frame in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let request = Request {
            l2_len: l2, outer_len: outer, inner_len: inner, l4_len: l4, csum_offset: csum, mss,
            l3: [L3Type::Other, L3Type::Ipv4, L3Type::Ipv6, L3Type::V6InV6][usize::from(l3)],
            l4: if udp { L4Type::Udp } else { L4Type::Tcp },
        };
        if let Some(first) = frame.get_mut(l2 + outer) {
            *first = if l3 == 1 { 0x45 } else { 0x60 };
        }
        let header_len = request.header_len();
        if header_len <= frame.len() {
            let _ = segment(&frame, request);
        }
        let _ = Lso::new(request, CONTROL, &frame, 1500);
    }

    #[test]
    fn checksum_completion_is_bounded(
        mut frame in prop::collection::vec(any::<u8>(), 0..100), start in 0usize..200, field in 0usize..200
    ) {
        let fits = start <= field && field + 2 <= frame.len();
        prop_assert_eq!(complete_checksum(&mut frame, start, field, true), fits);
    }
}

#[test]
fn ipv6_in_ipv6_edits_both_lengths() {
    let (inner, request) = big_packet(true, false, &[7; 1000], 400);
    let mut frame = inner[..14].to_vec();
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, 41, 64]);
    frame.extend_from_slice(&[9; 32]);
    frame.extend_from_slice(&inner[14..]);
    let request = Request {
        outer_len: 40,
        l3: L3Type::V6InV6,
        ..request
    };
    for segment in segment(&frame, request).unwrap() {
        let parsed = packet::parse(&segment);
        assert_eq!(parsed.outer.unwrap().end, segment.len());
        assert_eq!(parsed.ip.unwrap().end, segment.len());
        assert!(!parsed.outer.unwrap().truncated && !parsed.ip.unwrap().truncated);
        assert!(packet::checksum::receive(&segment, &parsed).l4_good);
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let (frame, request) = big_packet(false, false, &[0; 100], 10);
    assert_eq!(
        segment(&frame, Request { mss: 0, ..request }),
        Err(Error::ZeroMss)
    );
    let mut fragment = frame.clone();
    fragment[20] = 0x20;
    assert_eq!(segment(&fragment, request), Err(Error::Fragment));
    assert_eq!(
        segment(
            &frame,
            Request {
                inner_len: 24,
                ..request
            }
        ),
        Err(Error::BadHeader)
    );
    let one = Lso::new(request, CONTROL, &frame[..54], 54).unwrap();
    assert_eq!((one.segments(), one.payload(0)), (1, (0, 0)));
    let tiny = Request { mss: 1, ..request };
    let much = Lso::new(tiny, CONTROL, &frame[..54], 54 + 200_000);
    assert_eq!(much.err(), Some(Error::TooLong));
}

#[test]
fn udp_zero_is_sent_as_all_ones() {
    let mut frame = vec![0xff, 0xff, 0, 0];
    assert!(complete_checksum(&mut frame, 0, 2, true));
    assert_eq!(frame[2..], [0xff, 0xff]);
    let mut frame = vec![0xff, 0xff, 0, 0];
    assert!(complete_checksum(&mut frame, 0, 2, false));
    assert_eq!(frame[2..], [0, 0]);
}
