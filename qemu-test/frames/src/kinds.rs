// SPDX-License-Identifier: GPL-2.0
//! The kinds of frames: what stands between the Ethernet addresses and the random bytes.

use fastrand::Rng;

/// Builds headers for a packet whose headers after it and payload have `rest` bytes.
type Build = fn(&mut Rng, usize) -> Vec<u8>;

/// One kind of frame.
pub struct Kind {
    /// What a report calls it.
    pub name: &'static str,
    /// Length of everything `build` returns, in bytes.
    pub length: usize,
    /// Returns ethertype and headers; `rest` is the number of bytes that will follow them.
    pub build: Build,
}

const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ESP: u8 = 50;
const MORE_FRAGMENTS: u16 = 0x2000;

/// All kinds. The lengths are checked against what the builders return by a test.
pub const ALL: &[Kind] = &[
    kind("no ethertype known", 2, |_, _| vec![0x88, 0xb5]),
    kind("802.3 length and LLC", 2, |_, rest| {
        (rest.min(1500) as u16).to_be_bytes().to_vec()
    }),
    kind("IPv4 UDP", 30, |r, n| {
        [v4(r, UDP, n + 8, 0, &[]), udp(r, n, 0)].concat()
    }),
    kind("IPv4 TCP", 42, |r, n| {
        [v4(r, TCP, n + 20, 0, &[]), tcp(r, 0)].concat()
    }),
    kind("IPv4 TCP, options", 54, |r, n| {
        [v4(r, TCP, n + 32, 0, &[]), tcp(r, 12)].concat()
    }),
    kind("IPv4, options", 54, |r, n| {
        [v4(r, UDP, n + 8, 0, &[1; 24]), udp(r, n, 0)].concat()
    }),
    kind("IPv4, wrong checksum", 30, |r, n| {
        let mut headers = [v4(r, UDP, n + 8, 0, &[]), udp(r, n, 0)].concat();
        headers[12] ^= 0x5a;
        headers
    }),
    kind("IPv4 first fragment", 30, |r, n| {
        [v4(r, UDP, n + 8, MORE_FRAGMENTS, &[]), udp(r, n, 0)].concat()
    }),
    kind("IPv4 last fragment", 22, |r, n| v4(r, UDP, n, 185, &[])),
    kind("IPv4 ESP", 30, |r, n| {
        [v4(r, ESP, n + 8, 0, &[]), random(r, 8)].concat()
    }),
    kind("IPv4 GRE IPv4", 46, |r, n| {
        // An inner packet starts with its ethertype, which is also GRE's protocol type.
        [
            v4(r, GRE, n + 24, 0, &[]),
            vec![0, 0],
            v4(r, TCP, n, 0, &[]),
        ]
        .concat()
    }),
    kind("VXLAN IPv4 UDP", 80, |r, n| {
        let inner = [
            random_address(r),
            random_address(r),
            v4(r, UDP, n + 8, 0, &[]),
            udp(r, n, 0),
        ]
        .concat();
        let total = inner.len() + n + 8;
        [
            v4(r, UDP, total + 8, 0, &[]),
            udp(r, total, 4789),
            vec![8, 0, 0, 0, 0, 0, 42, 0],
            inner,
        ]
        .concat()
    }),
    kind("IPv6 UDP", 50, |r, n| {
        [v6(r, UDP, n + 8), udp(r, n, 0)].concat()
    }),
    kind("IPv6 TCP, options", 74, |r, n| {
        [v6(r, TCP, n + 32), tcp(r, 12)].concat()
    }),
    kind("IPv6 extension headers", 74, |r, n| {
        // Hop-by-hop options, then destination options, each padded to 8 and 16 bytes.
        let first = [60, 0, 1, 4, 0, 0, 0, 0];
        let second = [UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        [
            v6(r, 0, n + 32),
            first.to_vec(),
            second.to_vec(),
            udp(r, n, 0),
        ]
        .concat()
    }),
    kind("IPv6 first fragment", 58, |r, n| {
        [
            v6(r, 44, n + 16),
            vec![UDP, 0, 0, 1],
            random(r, 4),
            udp(r, n, 0),
        ]
        .concat()
    }),
    kind("IPv6 ESP", 50, |r, n| {
        [v6(r, ESP, n + 8), random(r, 8)].concat()
    }),
    kind("VLAN IPv4 UDP", 34, |r, n| {
        [tag(r, VLAN), v4(r, UDP, n + 8, 0, &[]), udp(r, n, 0)].concat()
    }),
    kind("VLAN IPv6 TCP, options", 78, |r, n| {
        [tag(r, VLAN), v6(r, TCP, n + 32), tcp(r, 12)].concat()
    }),
    kind("QinQ IPv4 TCP", 50, |r, n| {
        [
            tag(r, SERVICE_VLAN),
            tag(r, VLAN),
            v4(r, TCP, n + 20, 0, &[]),
            tcp(r, 0),
        ]
        .concat()
    }),
    kind("QinQ IPv6 UDP", 58, |r, n| {
        [
            tag(r, SERVICE_VLAN),
            tag(r, VLAN),
            v6(r, UDP, n + 8),
            udp(r, n, 0),
        ]
        .concat()
    }),
];

const fn kind(name: &'static str, length: usize, build: Build) -> Kind {
    Kind {
        name,
        length,
        build,
    }
}

fn random(rng: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// A unicast, locally administered Ethernet address.
fn random_address(rng: &mut Rng) -> Vec<u8> {
    let mut address = random(rng, 6);
    address[0] = 0x06;
    address
}

/// A tag with any priority and any VLAN but the reserved 0 and 4095.
fn tag(rng: &mut Rng, ethertype: u16) -> Vec<u8> {
    let control = (rng.u16(0..8) << 13) | rng.u16(1..4095);
    [ethertype.to_be_bytes(), control.to_be_bytes()].concat()
}

/// Ethertype and IPv4 header. `fragment` is the word of flags and offset. The addresses are nobody's.
fn v4(rng: &mut Rng, protocol: u8, payload: usize, fragment: u16, options: &[u8]) -> Vec<u8> {
    let words = (20 + options.len()) / 4;
    let mut header = vec![0x40 | words as u8, rng.u8(..) & 0xfc];
    header.extend(((words * 4 + payload) as u16).to_be_bytes());
    header.extend(random(rng, 2));
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0, 198, 18]);
    header.extend(random(rng, 2));
    header.extend([198, 19]);
    header.extend(random(rng, 2));
    header.extend(options);
    let checksum = !sum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [IPV4.to_be_bytes().to_vec(), header].concat()
}

/// The Internet checksum's sum of an even number of bytes.
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks_exact(2).fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum + u16::from(carry)
    })
}

/// Ethertype and IPv6 header, with addresses of the documentation prefix.
fn v6(rng: &mut Rng, next: u8, payload: usize) -> Vec<u8> {
    let mut header = IPV6.to_be_bytes().to_vec();
    header.extend([0x60, 0, rng.u8(..), rng.u8(..)]);
    header.extend((payload as u16).to_be_bytes());
    header.extend([next, 64]);
    for _ in 0..2 {
        header.extend([0x3f, 0xff, 0, 1]);
        header.extend(random(rng, 12));
    }
    header
}

/// A UDP header with a random checksum, hence nearly always a wrong one.
fn udp(rng: &mut Rng, payload: usize, port: u16) -> Vec<u8> {
    let port = if port == 0 {
        rng.u16(20000..30000)
    } else {
        port
    };
    let fields = [rng.u16(1024..), port, (payload + 8) as u16, rng.u16(1..)];
    fields
        .iter()
        .flat_map(|field| field.to_be_bytes())
        .collect()
}

/// A TCP header with a random checksum and `options` bytes of no-operations.
fn tcp(rng: &mut Rng, options: usize) -> Vec<u8> {
    let mut header = random(rng, 20);
    header[12] = ((5 + options / 4) as u8) << 4;
    // ACK and PSH only: no flag that some hardware or stack treats in a way of its own.
    header[13] = 0x18;
    header.resize(20 + options, 1);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetHeaders, PacketHeaders};

    #[test]
    fn lengths_are_as_declared() {
        for kind in ALL {
            assert_eq!(
                (kind.build)(&mut Rng::with_seed(1), 100).len(),
                kind.length,
                "{}",
                kind.name
            );
        }
    }

    #[test]
    fn headers_are_what_a_parser_expects() {
        for kind in ALL.iter().filter(|kind| !kind.name.contains("wrong")) {
            let mut frame = [0x06; 12].to_vec();
            frame.extend((kind.build)(&mut Rng::with_seed(7), 100));
            frame.extend([0; 100]);
            let packet = PacketHeaders::from_ethernet_slice(&frame).expect(kind.name);
            if let Some(NetHeaders::Ipv4(header, _)) = packet.net {
                assert_eq!(
                    header.header_checksum,
                    header.calc_header_checksum(),
                    "{}",
                    kind.name
                );
            }
        }
    }
}
