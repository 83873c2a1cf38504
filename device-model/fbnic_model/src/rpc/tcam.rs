// SPDX-License-Identifier: GPL-2.0
//! The receive TCAMs, compiled from their registers.
//!
//! In every table a data word is VALUE \[15:0\] and MASK \[31:16\], a mask bit of 1
//! meaning "don't care"; an entry counts only while its validate word has bit 31
//! set. Of several matching entries the one with the lowest index wins, which the
//! guide infers for the action table and which is taken for all tables here.

use fbnic_defs::csr as r;

use crate::csr::CsrFile;

/// A 16-bit word of a table.
fn word(csr: &CsrFile, register: u32) -> (u16, u16) {
    let raw = csr.load(register);
    // CAST: the two halves of a 32-bit register.
    (raw as u16, (raw >> 16) as u16)
}

/// One valid entry over a key of up to 128 bits.
#[derive(Clone, Copy)]
struct Entry {
    index: u8,
    /// The entry is for IPv6 addresses.
    is_v6: bool,
    value: u128,
    care: u128,
}

/// A table whose keys have up to 128 bits: MAC or IP addresses.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// Compiles the destination MAC table. Word 0 holds the last two bytes.
    pub fn macda(&mut self, csr: &CsrFile) {
        self.compile(csr, r::RPC_TCAM_MACDA_ENTRIES, 3, r::rpc_tcam_macda);
    }

    /// Compiles one of the IP tables. Word 0 holds the last 16 bits.
    pub fn ip(&mut self, csr: &CsrFile, first: u32) {
        self.compile(csr, r::RPC_TCAM_IP_ENTRIES, 8, |entry, word| {
            first + r::RPC_TCAM_IP_ENTRIES * word + entry
        });
    }

    fn compile(&mut self, csr: &CsrFile, count: u32, words: u32, at: impl Fn(u32, u32) -> u32) {
        self.entries.clear();
        for (index, i) in (0u8..).zip(0..count) {
            let validate = csr.load(at(i, words));
            if validate & r::RPC_TCAM_VALIDATE == 0 {
                continue;
            }
            let mut entry = Entry {
                index,
                is_v6: validate & r::RPC_TCAM_IP_IS_V6 != 0,
                value: 0,
                care: 0,
            };
            for w in 0..words {
                let (value, mask) = word(csr, at(i, w));
                entry.value |= u128::from(value) << (16 * w);
                entry.care |= u128::from(!mask) << (16 * w);
            }
            self.entries.push(entry);
        }
    }

    /// Returns the index of the first entry that matches `key`.
    pub fn find(&self, key: u128) -> Option<u8> {
        let hit = |entry: &&Entry| (entry.value ^ key) & entry.care == 0;
        self.entries.iter().find(hit).map(|entry| entry.index)
    }

    /// As [`Table::find`], among the entries of one IP version.
    pub fn find_ip(&self, key: u128, is_v6: bool) -> Option<u8> {
        let hit = |entry: &&Entry| entry.is_v6 == is_v6 && (entry.value ^ key) & entry.care == 0;
        self.entries.iter().find(hit).map(|entry| entry.index)
    }
}

/// The key of the action table, word n in bits \[16n+15:16n\]; words 8 to 10 lie in
/// the second number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ActionKey {
    low: u128,
    high: u64,
}

impl ActionKey {
    /// Sets word `n`, which has been 0.
    pub fn set(&mut self, n: u32, value: u16) {
        match n {
            0..=7 => self.low |= u128::from(value) << (16 * n),
            8..=10 => self.high |= u64::from(value) << (16 * (n - 8)),
            _ => {}
        }
    }

    /// Compares the bits that `care` has set.
    fn matches(&self, other: &Self, care: &Self) -> bool {
        (self.low ^ other.low) & care.low == 0 && (self.high ^ other.high) & care.high == 0
    }
}

/// What to do with a frame: the words of ACT_TBL0 and ACT_TBL1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ActionWords {
    /// Index of the entry that matched.
    pub index: Option<u8>,
    pub table0: u32,
    pub table1: u32,
}

struct Rule {
    value: ActionKey,
    care: ActionKey,
    action: ActionWords,
}

/// The action table with the actions of its entries.
#[derive(Default)]
pub(super) struct ActionTable {
    rules: Vec<Rule>,
    default: ActionWords,
}

impl ActionTable {
    /// Compiles the table from its registers.
    pub fn compile(&mut self, csr: &CsrFile) {
        self.default = ActionWords {
            index: None,
            table0: csr.load(r::RPC_ACT_TBL0_DEFAULT),
            table1: csr.load(r::RPC_ACT_TBL1_DEFAULT),
        };
        self.rules.clear();
        for (index, i) in (0u8..).zip(0..r::RPC_TCAM_ACT_ENTRIES) {
            let validate = csr.load(r::rpc_tcam_act(i, r::RPC_TCAM_ACT_WORDS));
            if validate & r::RPC_TCAM_VALIDATE == 0 {
                continue;
            }
            let (mut value, mut care) = (ActionKey::default(), ActionKey::default());
            for w in 0..r::RPC_TCAM_ACT_WORDS {
                let (bits, mask) = word(csr, r::rpc_tcam_act(i, w));
                value.set(w, bits);
                care.set(w, !mask);
            }
            let action = ActionWords {
                index: Some(index),
                table0: csr.load(r::rpc_act_tbl0(i)),
                table1: csr.load(r::rpc_act_tbl1(i)),
            };
            self.rules.push(Rule {
                value,
                care,
                action,
            });
        }
    }

    /// Returns the first rule's action that `key` matches, or the default action.
    pub fn find(&self, key: &ActionKey) -> ActionWords {
        let hit = |rule: &&Rule| rule.value.matches(key, &rule.care);
        self.rules
            .iter()
            .find(hit)
            .map_or(self.default, |rule| rule.action)
    }
}

/// The transmit table in front of the management controller (guide, section 10).
///
/// Here, other than in the receive tables, MASK is \[15:0\] and VALUE \[31:16\].
#[derive(Default)]
pub(super) struct TxTable {
    entries: Vec<(Entry, u8)>,
}

impl TxTable {
    /// Compiles the table; it has no entries while TCAM_ENABLE is off.
    pub fn compile(&mut self, csr: &CsrFile) {
        self.entries.clear();
        if csr.load(r::TCE_TXB_CTRL) & r::TCE_TXB_CTRL_TCAM_ENABLE == 0 {
            return;
        }
        let map = csr.load(r::TCE_TCAM_IDX2DEST_MAP);
        for (index, i) in (0u8..).zip(0..r::TCE_RAM_ENTRIES) {
            if csr.load(r::tce_ram_tcam3(i)) & r::RPC_TCAM_VALIDATE == 0 {
                continue;
            }
            let mut entry = Entry {
                index,
                is_v6: false,
                value: 0,
                care: 0,
            };
            for w in 0..3 {
                let (mask, value) = word(csr, r::tce_ram_tcam(w, i));
                entry.value |= u128::from(value) << (16 * w);
                entry.care |= u128::from(!mask) << (16 * w);
            }
            // CAST: the map has four bits per entry.
            let destination = (map >> (4 * i) & 0xf) as u8;
            self.entries.push((entry, destination));
        }
    }

    /// Returns the destinations of frames to `address`: MAC 1, BMC 2, FW 4.
    pub fn find(&self, address: u128) -> Option<u8> {
        let hit = |(entry, _): &&(Entry, u8)| (entry.value ^ address) & entry.care == 0;
        self.entries
            .iter()
            .find(hit)
            .map(|(_, destination)| *destination)
    }
}
