// SPDX-License-Identifier: GPL-2.0
//! Receive side scaling: which fields are hashed, and where the hash leads.
//!
//! The guide leaves the layout of the hash input open beyond the ports. Decided
//! here: the enabled fields that the frame has, most significant bit first, in the
//! order source IP, destination IP, source port, destination port, L2 destination,
//! inner flow label, outer flow label, DSCP, L3 type (2 bits), L4 type (2 bits).
//! IPv4 addresses are 32 bits. With the "L4 RSS byte", which is always 0 here as
//! nothing says what it holds, these are the 394 bits that the key is made for.

use fbnic_defs::csr as r;
use fbnic_defs::desc::{l3_type, l4_type};
use packet::parse::{IpVersion, L4Kind};
use packet::toeplitz::{Input, Toeplitz, KEY_LEN};
use packet::Parsed;

use crate::csr::CsrFile;

/// Bits of ACT_TBL1 that enable fields.
mod field {
    pub const IP_SRC: u32 = 1;
    pub const IP_DST: u32 = 1 << 1;
    pub const L4_SRC: u32 = 1 << 2;
    pub const L4_DST: u32 = 1 << 3;
    pub const L2_DA: u32 = 1 << 4;
    pub const L4_BYTE: u32 = 1 << 5;
    pub const INNER_FLOW: u32 = 1 << 6;
    pub const OUTER_FLOW: u32 = 1 << 7;
    pub const DSCP: u32 = 1 << 8;
    pub const L3_PROTO: u32 = 1 << 9;
    pub const L4_PROTO: u32 = 1 << 10;
    pub const ALL: u32 = (1 << 11) - 1;
}

/// Entries of an indirection table.
const TABLE_LEN: u32 = 256;

/// The key and both indirection tables.
pub(super) struct Rss {
    key: [u8; KEY_LEN],
    toeplitz: Toeplitz,
    tables: [Box<[u8]>; 2],
}

impl Default for Rss {
    fn default() -> Self {
        let table = || vec![0; TABLE_LEN as usize].into_boxed_slice();
        Self {
            key: [0; KEY_LEN],
            toeplitz: Toeplitz::new(&[0; KEY_LEN]),
            tables: [table(), table()],
        }
    }
}

impl Rss {
    /// Takes key and tables over from the registers.
    pub fn refresh(&mut self, csr: &CsrFile) {
        let key = read_key(csr);
        if key != self.key {
            self.key = key;
            self.toeplitz = Toeplitz::new(&key);
        }
        for (table, number) in self.tables.iter_mut().zip(0..) {
            for (entry, i) in table.iter_mut().zip(0..TABLE_LEN) {
                // CAST: a queue number has eight bits.
                *entry = csr.load(r::rpc_rss_tbl(number, i)) as u8;
            }
        }
    }

    /// Hashes the fields of `frame` that `enabled` (ACT_TBL1) names; 0 for none.
    pub fn hash(&self, enabled: u32, frame: &[u8], parsed: &Parsed) -> u32 {
        if enabled & field::ALL == 0 {
            return 0;
        }
        let mut input = Input::default();
        push_tuple(&mut input, enabled, parsed);
        if enabled & !(field::IP_SRC | field::IP_DST | field::L4_SRC | field::L4_DST) != 0 {
            push_others(&mut input, enabled, frame, parsed);
        }
        self.toeplitz.hash(input.bytes())
    }

    /// Returns the queue that `hash` leads to in table `number`.
    pub fn queue(&self, number: usize, hash: u32) -> u8 {
        let [first, second] = &self.tables;
        let table = if number == 0 { first } else { second };
        // CAST: the table is indexed by the low byte.
        table.get(hash as usize % 256).copied().unwrap_or(0)
    }
}

/// Reads the key, most significant byte of dword 0 first; of the last dword only
/// the top nine bits exist.
fn read_key(csr: &CsrFile) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    for (bytes, i) in key.chunks_mut(4).zip(0..r::RPC_RSS_KEY_WORDS) {
        let last = i + 1 == r::RPC_RSS_KEY_WORDS;
        let mask = if last { 0xff80_0000 } else { u32::MAX };
        let word = (csr.load(r::rpc_rss_key(i)) & mask).to_be_bytes();
        for (to, from) in bytes.iter_mut().zip(word) {
            *to = from;
        }
    }
    key
}

fn push_tuple(input: &mut Input, enabled: u32, parsed: &Parsed) {
    if let Some(ip) = &parsed.ip {
        for (bit, address) in [(field::IP_SRC, ip.src), (field::IP_DST, ip.dst)] {
            match ip.version {
                _ if enabled & bit == 0 => {}
                // CAST: an IPv4 address occupies the low 32 bits.
                IpVersion::V4 => input.push_bytes(&(address as u32).to_be_bytes()),
                IpVersion::V6 => input.push_bytes(&address.to_be_bytes()),
            }
        }
    }
    if let Some((src, dst)) = parsed.ports() {
        for (bit, port) in [(field::L4_SRC, src), (field::L4_DST, dst)] {
            if enabled & bit != 0 {
                input.push_bytes(&port.to_be_bytes());
            }
        }
    }
}

fn push_others(input: &mut Input, enabled: u32, frame: &[u8], parsed: &Parsed) {
    let on = |bit| enabled & bit != 0;
    let flow = |ip: &Option<packet::parse::IpHeader>| ip.map_or(0, |ip| u128::from(ip.flow_label));
    if on(field::L2_DA) {
        input.push_bytes(frame.get(..6).unwrap_or_default());
    }
    if on(field::L4_BYTE) {
        input.push(0, 8);
    }
    if on(field::INNER_FLOW) {
        input.push(flow(&parsed.ip), 20);
    }
    if on(field::OUTER_FLOW) {
        input.push(flow(&parsed.outer), 20);
    }
    if on(field::DSCP) {
        let class = parsed.ip.map_or(0, |ip| ip.traffic_class);
        input.push(u128::from(class >> 2), 6);
    }
    if on(field::L3_PROTO) {
        input.push(u128::from(l3_kind(parsed)), 2);
    }
    if on(field::L4_PROTO) {
        input.push(u128::from(l4_kind(parsed)), 2);
    }
}

/// Returns the L3 type of a frame as completions report it.
pub fn l3_kind(parsed: &Parsed) -> u8 {
    let outer = parsed.outer.map(|ip| ip.version);
    match (outer, parsed.ip.map(|ip| ip.version)) {
        (_, Some(IpVersion::V4)) | (Some(IpVersion::V4), None) => l3_type::IPV4,
        (Some(IpVersion::V6), Some(IpVersion::V6)) => l3_type::V6V6,
        (_, Some(IpVersion::V6)) | (Some(IpVersion::V6), None) => l3_type::IPV6,
        (None, None) => l3_type::OTHER,
    }
}

/// Returns the L4 type of a frame as completions report it.
pub fn l4_kind(parsed: &Parsed) -> u8 {
    match parsed.l4.map(|l4| l4.kind) {
        Some(L4Kind::Tcp) => l4_type::TCP,
        Some(L4Kind::Udp) => l4_type::UDP,
        None => l4_type::OTHER,
    }
}
