// SPDX-License-Identifier: GPL-2.0

//! Between the kernel's form of flow rules and that of [`flow`](super::flow).

use super::flow::{
    EtherMatch,
    FlowAction,
    FlowExt,
    FlowMatch,
    FlowSpec,
    IpMatch,
    L4Match,
    Location,
    Masked,
    Ports, //
};
use crate::bindings;

use kernel::prelude::*;

// Cookies that stand for no queue.
// CAST: Negative numbers of any width mean the same.
const COOKIE_DROP: u64 = bindings::RX_CLS_FLOW_DISC as u64;
const COOKIE_WAKE: u64 = bindings::RX_CLS_FLOW_WAKE as u64;

/// Where the number of the virtual function is in a cookie. Nothing is known to be above it.
const COOKIE_VF_SHIFT: u32 = bindings::ETHTOOL_RX_FLOW_SPEC_RING_VF_OFF;

const FLAGS: u32 = bindings::FLOW_EXT | bindings::FLOW_MAC_EXT | bindings::FLOW_RSS;

/// An address of 16 bytes from the four words the kernel has for it.
fn bytes16(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// The other way round.
fn words16(bytes: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, from) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        let mut buffer = [0; 4];
        buffer.copy_from_slice(from);
        *word = u32::from_ne_bytes(buffer);
    }
    words
}

fn masked<S, T>(value: S, mask: S, convert: impl Fn(S) -> T) -> Masked<T> {
    Masked {
        value: convert(value),
        mask: convert(mask),
    }
}

fn ports(psrc: (u16, u16), pdst: (u16, u16)) -> Ports {
    Ports {
        src: masked(psrc.0, psrc.1, u16::from_be),
        dst: masked(pdst.0, pdst.1, u16::from_be),
    }
}

/// Reads a rule that came from user space.
///
/// # Errors
///
/// `EINVAL` for kinds of flows that [`FlowMatch`] does not have, and cookies that mean nothing.
pub(super) fn read_spec(nfc: &bindings::ethtool_rxnfc) -> Result<FlowSpec> {
    // SAFETY: Both views of the union are a number, and the core has filled it.
    let context = unsafe { nfc.__bindgen_anon_1.rss_context };
    let fs = &nfc.fs;

    Ok(FlowSpec {
        flow: read_flow(fs)?,
        ext: read_ext(fs),
        action: read_action(fs, context)?,
    })
}

fn read_flow(fs: &bindings::ethtool_rx_flow_spec) -> Result<FlowMatch> {
    match fs.flow_type & !FLAGS {
        bindings::TCP_V4_FLOW => Ok(FlowMatch::Ip4(read_l4_ip4(fs, L4Match::Tcp))),
        bindings::UDP_V4_FLOW => Ok(FlowMatch::Ip4(read_l4_ip4(fs, L4Match::Udp))),
        bindings::IPV4_USER_FLOW => read_user_ip4(fs).map(FlowMatch::Ip4),
        bindings::TCP_V6_FLOW => Ok(FlowMatch::Ip6(read_l4_ip6(fs, L4Match::Tcp))),
        bindings::UDP_V6_FLOW => Ok(FlowMatch::Ip6(read_l4_ip6(fs, L4Match::Udp))),
        bindings::IPV6_USER_FLOW => Ok(FlowMatch::Ip6(read_user_ip6(fs))),
        bindings::ETHER_FLOW => Ok(FlowMatch::Ether(read_ether(fs))),
        _ => Err(EINVAL),
    }
}

fn read_l4_ip4(fs: &bindings::ethtool_rx_flow_spec, l4: impl Fn(Ports) -> L4Match) -> IpMatch<4> {
    // SAFETY: All views of the unions are plain numbers, and the core has filled them.
    let (h, m) = unsafe { (fs.h_u.tcp_ip4_spec, fs.m_u.tcp_ip4_spec) };
    IpMatch {
        src: masked(h.ip4src, m.ip4src, u32::to_ne_bytes),
        dst: masked(h.ip4dst, m.ip4dst, u32::to_ne_bytes),
        tos: masked(h.tos, m.tos, |tos| tos),
        l4: l4(ports((h.psrc, m.psrc), (h.pdst, m.pdst))),
    }
}

fn read_user_ip4(fs: &bindings::ethtool_rx_flow_spec) -> Result<IpMatch<4>> {
    // SAFETY: As above.
    let (h, m) = unsafe { (fs.h_u.usr_ip4_spec, fs.m_u.usr_ip4_spec) };
    // There is nothing to choose about the version.
    if m.ip_ver != 0 {
        return Err(EINVAL);
    }
    Ok(IpMatch {
        src: masked(h.ip4src, m.ip4src, u32::to_ne_bytes),
        dst: masked(h.ip4dst, m.ip4dst, u32::to_ne_bytes),
        tos: masked(h.tos, m.tos, |tos| tos),
        l4: L4Match::Other {
            proto: masked(h.proto, m.proto, |proto| proto),
            bytes: masked(h.l4_4_bytes, m.l4_4_bytes, u32::to_ne_bytes),
        },
    })
}

fn read_l4_ip6(fs: &bindings::ethtool_rx_flow_spec, l4: impl Fn(Ports) -> L4Match) -> IpMatch<16> {
    // SAFETY: As above.
    let (h, m) = unsafe { (fs.h_u.tcp_ip6_spec, fs.m_u.tcp_ip6_spec) };
    IpMatch {
        src: masked(h.ip6src, m.ip6src, bytes16),
        dst: masked(h.ip6dst, m.ip6dst, bytes16),
        tos: masked(h.tclass, m.tclass, |tclass| tclass),
        l4: l4(ports((h.psrc, m.psrc), (h.pdst, m.pdst))),
    }
}

fn read_user_ip6(fs: &bindings::ethtool_rx_flow_spec) -> IpMatch<16> {
    // SAFETY: As above.
    let (h, m) = unsafe { (fs.h_u.usr_ip6_spec, fs.m_u.usr_ip6_spec) };
    IpMatch {
        src: masked(h.ip6src, m.ip6src, bytes16),
        dst: masked(h.ip6dst, m.ip6dst, bytes16),
        tos: masked(h.tclass, m.tclass, |tclass| tclass),
        l4: L4Match::Other {
            proto: masked(h.l4_proto, m.l4_proto, |proto| proto),
            bytes: masked(h.l4_4_bytes, m.l4_4_bytes, u32::to_ne_bytes),
        },
    }
}

fn read_ether(fs: &bindings::ethtool_rx_flow_spec) -> EtherMatch {
    // SAFETY: As above.
    let (h, m) = unsafe { (fs.h_u.ether_spec, fs.m_u.ether_spec) };
    EtherMatch {
        dst: masked(h.h_dest, m.h_dest, |mac| mac),
        src: masked(h.h_source, m.h_source, |mac| mac),
        proto: masked(h.h_proto, m.h_proto, u16::from_be),
    }
}

/// Reads the fields that only count when their flag is set.
fn read_ext(fs: &bindings::ethtool_rx_flow_spec) -> FlowExt {
    let (h, m) = (&fs.h_ext, &fs.m_ext);
    let mut ext = FlowExt::default();
    if fs.flow_type & bindings::FLOW_MAC_EXT != 0 {
        ext.mac = masked(h.h_dest, m.h_dest, |mac| mac);
    }
    if fs.flow_type & bindings::FLOW_EXT != 0 {
        ext.vlan_etype = masked(h.vlan_etype, m.vlan_etype, u16::from_be);
        ext.vlan_tci = masked(h.vlan_tci, m.vlan_tci, u16::from_be);
        ext.data = masked(h.data, m.data, |data| data.map(u32::from_be));
    }
    ext
}

fn read_action(fs: &bindings::ethtool_rx_flow_spec, context: u32) -> Result<FlowAction> {
    // CAST: The low half is the queue.
    let queue = fs.ring_cookie as u32;
    let vf = u8::try_from(fs.ring_cookie >> COOKIE_VF_SHIFT);

    match fs.ring_cookie {
        COOKIE_DROP => Ok(FlowAction::Drop),
        COOKIE_WAKE => Ok(FlowAction::Wake),
        _ if fs.flow_type & bindings::FLOW_RSS == 0 => Ok(FlowAction::Queue { queue, vf: vf? }),
        _ if vf? == 0 => Ok(FlowAction::Context {
            context,
            offset: queue,
        }),
        _ => Err(EINVAL),
    }
}

/// Reads where a new rule is to go.
pub(super) fn read_location(fs: &bindings::ethtool_rx_flow_spec) -> Result<Location> {
    match fs.location {
        bindings::RX_CLS_LOC_ANY => Ok(Location::Any),
        bindings::RX_CLS_LOC_FIRST => Ok(Location::First),
        bindings::RX_CLS_LOC_LAST => Ok(Location::Last),
        special if special & bindings::RX_CLS_LOC_SPECIAL != 0 => Err(EINVAL),
        location => Ok(Location::At(location)),
    }
}

/// Writes a rule for user space. The location stays as it is.
pub(super) fn write_spec(nfc: &mut bindings::ethtool_rxnfc, spec: &FlowSpec) {
    nfc.fs = bindings::ethtool_rx_flow_spec {
        location: nfc.fs.location,
        // SAFETY: Plain numbers, for which zeros are valid.
        ..unsafe { core::mem::zeroed() }
    };
    nfc.__bindgen_anon_1.rss_context = 0;
    nfc.fs.flow_type = match &spec.flow {
        FlowMatch::Ip4(ip) => write_ip4(&mut nfc.fs, ip),
        FlowMatch::Ip6(ip) => write_ip6(&mut nfc.fs, ip),
        FlowMatch::Ether(ether) => write_ether(&mut nfc.fs, ether),
    };
    write_ext(&mut nfc.fs, &spec.ext);
    write_action(nfc, spec.action);
}

/// Sets a field of both halves of a rule.
macro_rules! set {
    ($fs:ident.$spec:ident.$field:ident, $masked:expr, $convert:expr) => {{
        let (masked, convert) = ($masked, $convert);
        $fs.h_u.$spec.$field = convert(masked.value);
        $fs.m_u.$spec.$field = convert(masked.mask);
    }};
}

fn write_ip4(fs: &mut bindings::ethtool_rx_flow_spec, ip: &IpMatch<4>) -> u32 {
    // All kinds have addresses and type of service at the same place.
    set!(fs.usr_ip4_spec.ip4src, ip.src, u32::from_ne_bytes);
    set!(fs.usr_ip4_spec.ip4dst, ip.dst, u32::from_ne_bytes);
    set!(fs.usr_ip4_spec.tos, ip.tos, |tos: u8| tos);
    match ip.l4 {
        L4Match::Tcp(ports) | L4Match::Udp(ports) => {
            set!(fs.tcp_ip4_spec.psrc, ports.src, u16::to_be);
            set!(fs.tcp_ip4_spec.pdst, ports.dst, u16::to_be);
        }
        L4Match::Other { proto, bytes } => {
            set!(fs.usr_ip4_spec.proto, proto, |proto: u8| proto);
            set!(fs.usr_ip4_spec.l4_4_bytes, bytes, u32::from_ne_bytes);
            // CAST: The number 1.
            fs.h_u.usr_ip4_spec.ip_ver = bindings::ETH_RX_NFC_IP4 as u8;
        }
    }
    match ip.l4 {
        L4Match::Tcp(_) => bindings::TCP_V4_FLOW,
        L4Match::Udp(_) => bindings::UDP_V4_FLOW,
        L4Match::Other { .. } => bindings::IPV4_USER_FLOW,
    }
}

fn write_ip6(fs: &mut bindings::ethtool_rx_flow_spec, ip: &IpMatch<16>) -> u32 {
    set!(fs.usr_ip6_spec.ip6src, ip.src, words16);
    set!(fs.usr_ip6_spec.ip6dst, ip.dst, words16);
    set!(fs.usr_ip6_spec.tclass, ip.tos, |tclass: u8| tclass);
    match ip.l4 {
        L4Match::Tcp(ports) | L4Match::Udp(ports) => {
            set!(fs.tcp_ip6_spec.psrc, ports.src, u16::to_be);
            set!(fs.tcp_ip6_spec.pdst, ports.dst, u16::to_be);
        }
        L4Match::Other { proto, bytes } => {
            set!(fs.usr_ip6_spec.l4_proto, proto, |proto: u8| proto);
            set!(fs.usr_ip6_spec.l4_4_bytes, bytes, u32::from_ne_bytes);
        }
    }
    match ip.l4 {
        L4Match::Tcp(_) => bindings::TCP_V6_FLOW,
        L4Match::Udp(_) => bindings::UDP_V6_FLOW,
        L4Match::Other { .. } => bindings::IPV6_USER_FLOW,
    }
}

fn write_ether(fs: &mut bindings::ethtool_rx_flow_spec, ether: &EtherMatch) -> u32 {
    set!(fs.ether_spec.h_dest, ether.dst, |mac: [u8; 6]| mac);
    set!(fs.ether_spec.h_source, ether.src, |mac: [u8; 6]| mac);
    set!(fs.ether_spec.h_proto, ether.proto, u16::to_be);
    bindings::ETHER_FLOW
}

fn write_ext(fs: &mut bindings::ethtool_rx_flow_spec, ext: &FlowExt) {
    if !ext.mac.is_any() {
        fs.flow_type |= bindings::FLOW_MAC_EXT;
        fs.h_ext.h_dest = ext.mac.value;
        fs.m_ext.h_dest = ext.mac.mask;
    }
    if !ext.vlan_etype.is_any() || !ext.vlan_tci.is_any() || !ext.data.is_any() {
        fs.flow_type |= bindings::FLOW_EXT;
        fs.h_ext.vlan_etype = ext.vlan_etype.value.to_be();
        fs.m_ext.vlan_etype = ext.vlan_etype.mask.to_be();
        fs.h_ext.vlan_tci = ext.vlan_tci.value.to_be();
        fs.m_ext.vlan_tci = ext.vlan_tci.mask.to_be();
        fs.h_ext.data = ext.data.value.map(u32::to_be);
        fs.m_ext.data = ext.data.mask.map(u32::to_be);
    }
}

fn write_action(nfc: &mut bindings::ethtool_rxnfc, action: FlowAction) {
    nfc.fs.ring_cookie = match action {
        FlowAction::Drop => COOKIE_DROP,
        FlowAction::Wake => COOKIE_WAKE,
        FlowAction::Queue { queue, vf } => u64::from(vf) << COOKIE_VF_SHIFT | u64::from(queue),
        FlowAction::Context { context, offset } => {
            nfc.fs.flow_type |= bindings::FLOW_RSS;
            nfc.__bindgen_anon_1.rss_context = context;
            offset.into()
        }
    };
}
