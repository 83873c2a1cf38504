// SPDX-License-Identifier: GPL-2.0
//! The receive parser: finds the headers of a frame without copying it.
//!
//! Understood are Ethernet II with up to two VLAN tags, IPv4 with options, IPv6
//! with extension headers, one level of IP in IP (any mix of versions), TCP and
//! UDP. GRE, ESP, fragments and every other protocol end the walk at the network
//! layer. UDP tunnels are UDP to the parser, as they are to the classifier.
//!
//! Multi-byte fields are big-endian in the frame; all numbers in [`Parsed`] are in
//! host order and all offsets count bytes from the start of the frame.

use std::ops::ControlFlow;

/// EtherTypes the parser follows.
mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
    pub const QINQ_OLD: u16 = 0x9100;
    /// Below this an EtherType is an IEEE 802.3 length.
    pub const MIN: u16 = 0x0600;
}

/// IP protocol numbers the parser follows or reports.
mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTH: u8 = 51;
    pub const DEST_OPTS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// Longest chain of IPv6 extension headers that is followed.
const MAX_EXTENSIONS: usize = 8;
/// VLAN tags that are followed.
const MAX_TAGS: usize = 2;

/// IP version of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One IP header, options or extension headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// IP version.
    pub version: IpVersion,
    /// Where the header starts.
    pub offset: u16,
    /// Where its options or last known extension header end.
    pub header_end: u16,
    /// Where the packet ends by its own length field, at most the frame's end.
    pub end: usize,
    /// The length field promises more bytes than the frame has.
    pub truncated: bool,
    /// The packet is a fragment, first or other.
    pub fragment: bool,
    /// Protocol of what follows `header_end`.
    pub protocol: u8,
    /// DSCP and ECN as one byte.
    pub traffic_class: u8,
    /// IPv6 flow label, 0 for IPv4.
    pub flow_label: u32,
    /// Source address; an IPv4 address stands in the low 32 bits.
    pub src: u128,
    /// Destination address; an IPv4 address stands in the low 32 bits.
    pub dst: u128,
}

/// Transport protocol that the parser recognises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A TCP or UDP header that is wholly inside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Header {
    /// TCP or UDP.
    pub kind: L4Kind,
    /// Where the header starts.
    pub offset: u16,
    /// Where the header, TCP options included, ends.
    pub header_end: u16,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Oddities met on the way, each of which the device counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The TCP data offset is under 5 or its options are malformed.
    pub tcp_opt_err: bool,
    /// The EtherType is not one that is followed.
    pub unknown_ethertype: bool,
    /// An IPv4 fragment.
    pub ipv4_frag: bool,
    /// An IPv6 fragment.
    pub ipv6_frag: bool,
    /// ESP directly in IPv4.
    pub ipv4_esp: bool,
    /// ESP in IPv6.
    pub ipv6_esp: bool,
    /// An IPv6 extension header that is not followed.
    pub unknown_ext_hdr: bool,
    /// A header is malformed or reaches beyond the end of the frame.
    pub out_of_hdr: bool,
}

/// Result of parsing one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Length of the Ethernet header with its VLAN tags; 0 when even that is cut.
    pub l2_len: u16,
    /// The innermost EtherType.
    pub ethertype: u16,
    /// The outer header of IP in IP, else none.
    pub outer: Option<IpHeader>,
    /// The only or the inner IP header.
    pub ip: Option<IpHeader>,
    /// The transport header behind `ip`.
    pub l4: Option<L4Header>,
    /// What else was seen.
    pub events: Events,
}

impl Parsed {
    /// Returns where the network layer ends, if there is one.
    #[must_use]
    pub fn l3_end(&self) -> Option<u16> {
        self.ip.or(self.outer).map(|ip| ip.header_end)
    }

    /// Returns where the transport header ends, if one was recognised.
    #[must_use]
    pub fn l4_end(&self) -> Option<u16> {
        self.l4.map(|l4| l4.header_end)
    }

    /// Returns the TCP or UDP destination and source port.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.l4.map(|l4| (l4.src_port, l4.dst_port))
    }
}

/// Parses `frame`, which starts with its destination address and has no FCS.
///
/// Never fails: a header that is missing or malformed ends the walk, and what was
/// found before it stands.
#[must_use]
pub fn parse(frame: &[u8]) -> Parsed {
    let mut parser = Parser {
        frame,
        out: Parsed::default(),
    };
    if parser.link().and_then(|at| parser.network(at)).is_none() {
        parser.out.events.out_of_hdr = true;
    }
    parser.out
}

/// Walks a frame. Each step returns `None` where the frame ends too early.
struct Parser<'a> {
    frame: &'a [u8],
    out: Parsed,
}

impl Parser<'_> {
    fn u8(&self, at: usize) -> Option<u8> {
        self.frame.get(at).copied()
    }

    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    /// Reads the Ethernet header and its tags; returns where the network layer starts.
    fn link(&mut self) -> Option<usize> {
        let mut at = 12;
        let mut ethertype = self.u16(at)?;
        for _ in 0..MAX_TAGS {
            if !matches!(
                ethertype,
                ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD
            ) {
                break;
            }
            self.out.l2_len = offset(at + 2)?;
            ethertype = self.u16(at + 4)?;
            at += 4;
        }
        self.out.l2_len = offset(at + 2)?;
        self.out.ethertype = ethertype;
        Some(at + 2)
    }

    /// Reads one IP header, or two where the first carries another.
    fn network(&mut self, at: usize) -> Option<()> {
        let version = match self.out.ethertype {
            ethertype::IPV4 => IpVersion::V4,
            ethertype::IPV6 => IpVersion::V6,
            other => {
                self.out.events.unknown_ethertype = other >= ethertype::MIN;
                return Some(());
            }
        };
        let ip = self.ip(version, at, self.frame.len())?;
        self.out.ip = Some(ip);
        let inner = match ip.protocol {
            _ if ip.fragment => None,
            protocol::IPIP => Some(IpVersion::V4),
            protocol::IPV6 => Some(IpVersion::V6),
            _ => None,
        };
        let Some(version) = inner else {
            return self.transport(&ip);
        };
        self.out.outer = Some(ip);
        self.out.ip = None;
        let inner = self.ip(version, usize::from(ip.header_end), ip.end)?;
        self.out.ip = Some(inner);
        self.transport(&inner)
    }

    fn ip(&mut self, version: IpVersion, at: usize, limit: usize) -> Option<IpHeader> {
        match version {
            IpVersion::V4 => self.ipv4(at, limit),
            IpVersion::V6 => self.ipv6(at, limit),
        }
    }

    fn ipv4(&mut self, at: usize, limit: usize) -> Option<IpHeader> {
        let first = self.u8(at)?;
        let header = usize::from(first & 15) * 4;
        let total = usize::from(self.u16(at + 2)?);
        let header_end = at.checked_add(header)?;
        if first >> 4 != 4 || header < 20 || total < header || header_end > limit {
            return None;
        }
        let fragment = self.u16(at + 6)? & 0x3fff != 0;
        let protocol = self.u8(at + 9)?;
        self.out.events.ipv4_frag |= fragment;
        self.out.events.ipv4_esp |= protocol == protocol::ESP;
        Some(IpHeader {
            version: IpVersion::V4,
            offset: offset(at)?,
            header_end: offset(header_end)?,
            end: limit.min(at + total),
            truncated: at + total > limit,
            fragment,
            protocol,
            traffic_class: self.u8(at + 1)?,
            flow_label: 0,
            src: u128::from(u32::from_be_bytes(self.bytes(at + 12)?)),
            dst: u128::from(u32::from_be_bytes(self.bytes(at + 16)?)),
        })
    }

    fn ipv6(&mut self, at: usize, limit: usize) -> Option<IpHeader> {
        let first = u32::from_be_bytes(self.bytes(at)?);
        let payload = usize::from(self.u16(at + 4)?);
        if first >> 28 != 6 || at + 40 > limit {
            return None;
        }
        let end = at + 40 + payload;
        let mut ip = IpHeader {
            version: IpVersion::V6,
            offset: offset(at)?,
            header_end: offset(at + 40)?,
            end: limit.min(end),
            truncated: end > limit,
            fragment: false,
            protocol: self.u8(at + 6)?,
            // CAST: the mask leaves eight bits.
            traffic_class: ((first >> 20) & 0xff) as u8,
            flow_label: first & 0xf_ffff,
            src: u128::from_be_bytes(self.bytes(at + 8)?),
            dst: u128::from_be_bytes(self.bytes(at + 24)?),
        };
        for _ in 0..MAX_EXTENSIONS {
            if self.extension(&mut ip)?.is_break() {
                return Some(ip);
            }
        }
        self.out.events.unknown_ext_hdr |= is_extension(ip.protocol);
        Some(ip)
    }

    /// Steps over the extension header `ip.protocol` names, or breaks if it names none.
    fn extension(&mut self, ip: &mut IpHeader) -> Option<ControlFlow<()>> {
        let at = usize::from(ip.header_end);
        let len = match ip.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DEST_OPTS => {
                8 + usize::from(self.u8(at + 1)?) * 8
            }
            protocol::FRAGMENT => 8,
            protocol::AUTH => 8 + usize::from(self.u8(at + 1)?) * 4,
            protocol::ESP => {
                self.out.events.ipv6_esp = true;
                return Some(ControlFlow::Break(()));
            }
            other => {
                self.out.events.unknown_ext_hdr |= is_extension(other);
                return Some(ControlFlow::Break(()));
            }
        };
        if at + len > ip.end {
            return None;
        }
        if ip.protocol == protocol::FRAGMENT {
            // An atomic fragment (offset 0, no more to come) is a whole packet.
            ip.fragment |= self.u16(at + 2)? & 0xfff9 != 0;
            self.out.events.ipv6_frag |= ip.fragment;
        }
        ip.protocol = self.u8(at)?;
        ip.header_end = offset(at + len)?;
        Some(if ip.fragment {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn transport(&mut self, ip: &IpHeader) -> Option<()> {
        let kind = match ip.protocol {
            _ if ip.fragment => return Some(()),
            protocol::TCP => L4Kind::Tcp,
            protocol::UDP => L4Kind::Udp,
            _ => return Some(()),
        };
        let at = usize::from(ip.header_end);
        let len = match kind {
            L4Kind::Udp => 8,
            L4Kind::Tcp => {
                let len = usize::from(self.u8(at + 12)? >> 4) * 4;
                self.out.events.tcp_opt_err |= len < 20;
                len.max(20)
            }
        };
        if at + len > ip.end {
            return None;
        }
        if kind == L4Kind::Tcp {
            let options = self.frame.get(at + 20..at + len)?;
            self.out.events.tcp_opt_err |= !tcp_options_are_sound(options);
        }
        self.out.l4 = Some(L4Header {
            kind,
            offset: offset(at)?,
            header_end: offset(at + len)?,
            src_port: self.u16(at)?,
            dst_port: self.u16(at + 2)?,
        });
        Some(())
    }
}

/// Returns `at` as an offset; headers beyond 64 KiB are out of the parser's reach.
fn offset(at: usize) -> Option<u16> {
    u16::try_from(at).ok()
}

fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTH
            | protocol::DEST_OPTS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
            | 253
            | 254
    )
}

/// Checks that the TCP options fill their space exactly.
fn tcp_options_are_sound(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return true,
            1 => options = rest,
            _ => {
                let len = usize::from(rest.first().copied().unwrap_or(0));
                match options.get(len..) {
                    Some(next) if len >= 2 => options = next,
                    _ => return false,
                }
            }
        }
    }
    true
}
