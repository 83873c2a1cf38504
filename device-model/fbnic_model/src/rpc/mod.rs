// SPDX-License-Identifier: GPL-2.0
//! The receive parser and classifier (guide, section 9), and the transmit TCAM
//! that goes with it (section 10).
//!
//! The tables are registers. They are compiled into a form that is quick to search
//! when a register among them has changed, before the next frame is looked at; a
//! half-written entry therefore takes effect as far as it has been written.
//!
//! Not known of the key of the action table: word 2 (errors, DSCP) and words 5 to
//! 10 (bytes of the L4 header). The driver always masks them; they are 0 here.

mod rss;
mod tcam;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use fbnic_defs::csr as r;
use packet::parse::{IpHeader, IpVersion, L4Kind};
use packet::Parsed;

pub(crate) use rss::{l3_kind, l4_kind};

use crate::hw::Hw;
use rss::Rss;
use tcam::{ActionKey, ActionTable, ActionWords, Table, TxTable};

/// Where a frame from the wire goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Receive queue set, when the host gets the frame.
    pub host_queue: Option<u32>,
    /// The management controller gets the frame.
    pub bmc: bool,
    /// RSS hash; 0 when no field is hashed.
    pub hash: u32,
    /// Header boundary wanted: 1 L2, 2 L3, 4 L4, 0 none.
    pub dma_hint: u8,
    /// The completion carries a time stamp.
    pub time_stamp: bool,
    /// The completion carries this action index.
    pub report_action: Option<u8>,
}

/// Destinations of a transmitted frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxDestinations(pub u8);

impl TxDestinations {
    /// The wire.
    pub const MAC: u8 = 1;
    /// The management controller.
    pub const BMC: u8 = 2;
    /// The firmware.
    pub const FW: u8 = 4;

    /// Returns whether the frame leaves on the wire.
    pub fn to_wire(self) -> bool {
        self.0 & Self::MAC != 0
    }
}

/// The compiled tables.
#[derive(Default)]
pub(crate) struct Classifier {
    /// [`Hw::rpc_generation`] at the time of compilation.
    generation: Option<u32>,
    macda: Table,
    ip_src: Table,
    ip_dst: Table,
    outer_src: Table,
    outer_dst: Table,
    actions: ActionTable,
    rss: Rss,
    tx: TxTable,
}

impl Classifier {
    /// Compiles the tables if a register of theirs was written since last time.
    pub fn refresh(&mut self, hw: &Hw) {
        let generation = hw.rpc_generation.load(Ordering::Acquire);
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let csr = &hw.csr;
        self.macda.macda(csr);
        self.ip_src.ip(csr, r::RPC_TCAM_IPSRC);
        self.ip_dst.ip(csr, r::RPC_TCAM_IPDST);
        self.outer_src.ip(csr, r::RPC_TCAM_OUTER_IPSRC);
        self.outer_dst.ip(csr, r::RPC_TCAM_OUTER_IPDST);
        self.actions.compile(csr);
        self.rss.refresh(csr);
        self.tx.compile(csr);
    }

    /// Forgets the compiled tables, so that the next refresh compiles anew.
    pub fn reset(&mut self) {
        self.generation = None;
    }

    /// Classifies a received frame.
    pub fn classify(&self, frame: &[u8], parsed: &Parsed) -> Verdict {
        let action = self.actions.find(&self.key(frame, parsed));
        let ActionWords { table0, table1, .. } = action;
        let dropped = table0 & r::ACT_TBL0_DROP != 0;
        let hash = self.rss.hash(table1, frame, parsed);
        let to_host = !dropped && table0 & r::ACT_TBL0_DEST_HOST != 0;
        let index_wanted = table0 & r::ACT_TBL0_ACT_TBL_IDX != 0;
        Verdict {
            host_queue: to_host.then(|| u32::from(self.queue(table0, hash))),
            bmc: !dropped && table0 & r::ACT_TBL0_DEST_BMC != 0,
            hash,
            // CAST: of the hint's nine bits the completion reports six.
            dma_hint: (table0 >> r::ACT_TBL0_DMA_HINT_SHIFT & 0x3f) as u8,
            time_stamp: table0 & r::ACT_TBL0_TS_ENA != 0,
            report_action: action.index.filter(|_| index_wanted),
        }
    }

    fn queue(&self, table0: u32, hash: u32) -> u8 {
        if table0 & r::ACT_TBL0_Q_SEL != 0 {
            // CAST: Q_ID has eight bits.
            return (table0 >> r::ACT_TBL0_Q_ID_SHIFT) as u8;
        }
        let second = table0 & r::ACT_TBL0_RSS_CTXT_ID != 0;
        self.rss.queue(usize::from(second), hash)
    }

    fn key(&self, frame: &[u8], parsed: &Parsed) -> ActionKey {
        let mut key = ActionKey::default();
        key.set(0, self.address_word(parsed));
        key.set(1, self.protocol_word(frame, parsed));
        if let Some((src, dst)) = parsed.ports() {
            key.set(3, src);
            key.set(4, dst);
        }
        key
    }

    /// Word 0: the hits in the four IP tables, four bits each.
    fn address_word(&self, parsed: &Parsed) -> u16 {
        let hit = |index: Option<u8>| index.map_or(0, |index| u16::from(index & 7) | 8);
        let mut word = 0;
        if let Some(ip) = &parsed.ip {
            let is_v6 = ip.version == IpVersion::V6;
            word |= hit(self.ip_src.find_ip(ip.src, is_v6));
            word |= hit(self.ip_dst.find_ip(ip.dst, is_v6)) << 4;
        }
        if let Some(outer) = parsed.outer.as_ref().filter(is_v6) {
            word |= hit(self.outer_src.find(outer.src)) << 8;
            word |= hit(self.outer_dst.find(outer.dst)) << 12;
        }
        word
    }

    /// Word 1: destination MAC hit, IP and L4 kinds.
    fn protocol_word(&self, frame: &[u8], parsed: &Parsed) -> u16 {
        let mut word = 0;
        if let Some(index) = self.macda.find(destination(frame)) {
            word |= u16::from(index & 31) << 5 | 1 << 10;
        }
        if let Some(ip) = &parsed.ip {
            word |= u16::from(is_v6(&ip)) << 11 | 1 << 12;
        }
        word |= u16::from(parsed.outer.is_some()) << 13;
        if let Some(l4) = &parsed.l4 {
            word |= u16::from(l4.kind == L4Kind::Udp) << 14 | 1 << 15;
        }
        word
    }

    /// Returns where the transmit TCAM sends `frame`, if it decides.
    pub fn tx_destinations(&self, frame: &[u8]) -> Option<TxDestinations> {
        self.tx.find(destination(frame)).map(TxDestinations)
    }
}

fn is_v6(ip: &&IpHeader) -> bool {
    ip.version == IpVersion::V6
}

/// Returns the destination address with its first byte on top.
fn destination(frame: &[u8]) -> u128 {
    let bytes = frame.get(..6).unwrap_or_default();
    bytes
        .iter()
        .fold(0, |key, byte| key << 8 | u128::from(*byte))
}
