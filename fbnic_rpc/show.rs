// SPDX-License-Identifier: GPL-2.0

//! The classifier's tables as text, for debugfs.
//!
//! File names, columns and numbers are those of the upstream driver. An entry is two lines, with what
//! it compares and with the bits that it does not compare; what becomes of it comes first:
//!
//! | state | meaning |
//! |---|---|
//! | 0 | unused |
//! | 1 | as in the device |
//! | 2 | to be written, at the latest when the interface is opened |
//! | 3 | to be cleared |
//!
//! The bitmap of an address has a bit for each entry of the action table that wants it there: bit 0 for
//! the BMC, those of rules for rules, and for the host one of those above that say what kind of address
//! it is.
//!
//! The lock is held while a table is written, so that all of one file fits together.

use core::fmt;

use super::{
    ntuple::{
        IpEntry,
        Rule,
        IP_TABLES, //
    },
    tcam::{
        self,
        ActEntry,
        MacEntry,
        MacPlan,
        MacTable,
        RxMode,
        ACT_RULES,
        ACT_WORDS, //
    },
    Rpc, //
};
use crate::{
    fbnic_csr::tce::TCE_TCAM_ENTRIES,
    fbnic_debugfs::heading,
    fbnic_dev::Fbnic, //
};

/// Names of the columns.
const ADDRESSES: &str = "Idx S TCAM Bitmap       Addr/Mask";
const IP_ADDRESSES: &str = "Idx S TCAM Bitmap       V Addr/Mask";
const ACTIONS: &str = "Idx S Value/Mask                                              RSS  Dest";

/// Bits of the bitmap of an address that the BMC or the host wants.
const BMC_BIT: u32 = 0;
const BROADCAST_BIT: u32 = 50;
const MULTICAST_BIT: u32 = 51;
const UNICAST_BIT: u32 = 52;
const ALL_MULTI_BIT: u32 = 53;
const PROMISC_BIT: u32 = 54;

/// The numbers of states.
const UNUSED: u8 = 0;
const VALID: u8 = 1;
const TO_WRITE: u8 = 2;
const TO_CLEAR: u8 = 3;

/// What to show of an entry, and its state. `same` tells whether two are the same for the device.
fn choose<T>(
    wanted: Option<T>,
    written: Option<T>,
    same: impl Fn(&T, &T) -> bool,
) -> (u8, Option<T>) {
    match (wanted, written) {
        (None, None) => (UNUSED, None),
        (None, written) => (TO_CLEAR, written),
        (Some(wanted), Some(written)) if same(&wanted, &written) => (VALID, Some(wanted)),
        (wanted, _) => (TO_WRITE, wanted),
    }
}

/// 64 bits in two halves.
struct Bitmap(u64);

impl fmt::Display for Bitmap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // CAST: The lower half.
        write!(out, "{:08x},{:08x}", self.0 >> 32, self.0 as u32)
    }
}

/// Bytes without anything in between.
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// The words of an action's key, the last one first.
struct Key<'a>(&'a [u16; ACT_WORDS]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.0.iter().rev();
        words.try_for_each(|word| write!(out, " {word:04x}"))
    }
}

const NO_ACTION: ActEntry = ActEntry {
    value: [0; ACT_WORDS],
    mask: [0; ACT_WORDS],
    dest: 0,
    hash: 0,
};

impl Rpc {
    /// The Ethernet addresses that are wanted. While the interface is down these are none of the host's.
    fn wanted_macs(&self) -> MacTable {
        if self.up {
            return self.macs;
        }
        let mode = RxMode::default();
        let mut table = MacPlan::new(&self.macs, &mode, &self.bmc, self.rule_macs()).table;
        for slot in &mut table {
            if let Some(entry) = slot {
                entry.host = false;
            }
            *slot = slot.filter(|entry| entry.bmc || entry.rule);
        }
        table
    }

    /// The action wanted at `index`. All are planned when the interface is opened, so that while it is down
    /// those of rules have to be worked out.
    fn wanted_action(&self, index: usize, macs: &MacTable) -> Option<ActEntry> {
        let rule = index.checked_sub(ACT_RULES).map(|n| self.rules.get(n));
        match rule {
            Some(Some(rule)) if !self.up => {
                rule.as_ref()?
                    .entry(&self.ips, macs, &self.fields, self.queues)
            }
            _ => *self.actions.get(index)?,
        }
    }

    /// A bit for each rule that `uses` something.
    fn users(&self, uses: impl Fn(&Rule) -> bool) -> u64 {
        let bit = |n: usize| 1u64.checked_shl((ACT_RULES + n).try_into().unwrap_or(u32::MAX));
        self.rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.as_ref().is_some_and(&uses))
            .filter_map(|(n, _)| bit(n))
            .fold(0, |all, bit| all | bit)
    }

    /// The bitmap of an Ethernet address.
    fn mac_users(&self, entry: &MacEntry) -> u64 {
        let mut users = 0;
        if entry.bmc {
            users |= 1 << BMC_BIT;
        }
        if entry.host {
            users |= 1 << host_bit(entry);
        }
        if entry.rule && entry.is_exact() {
            users |= self.users(|rule| rule.mac() == Some(&entry.value));
        }
        users
    }

    fn show_mac(
        &self,
        out: &mut fmt::Formatter<'_>,
        index: usize,
        (state, entry): (u8, Option<MacEntry>),
    ) -> fmt::Result {
        let entry = entry.unwrap_or_default();
        let (users, value) = (Bitmap(self.mac_users(&entry)), Bytes(&entry.value));
        writeln!(out, "{index:02}  {state} {users} {value}")?;
        writeln!(out, "{:24}{}", "", Bytes(&entry.mask))
    }

    /// The Ethernet addresses with their states, by index.
    fn shown_macs(&self) -> impl Iterator<Item = (u8, Option<MacEntry>)> {
        let same = |a: &MacEntry, b: &MacEntry| (a.value, a.mask) == (b.value, b.mask);
        let macs = self.wanted_macs().into_iter().zip(self.macs_written);
        macs.map(move |(wanted, written)| choose(wanted, written, same))
    }

    fn show_ip(
        &self,
        out: &mut fmt::Formatter<'_>,
        table: usize,
        index: usize,
        (state, entry): (u8, Option<IpEntry>),
    ) -> fmt::Result {
        let (users, version, value, mask) = match &entry {
            Some(entry) => (
                self.users(|rule| rule.needs_ip(table, entry)),
                if entry.is_v6() { 6 } else { 4 },
                *entry.value(),
                entry.ignored(),
            ),
            None => (0, 0, [0; 16], [0; 16]),
        };
        let (users, value) = (Bitmap(users), Bytes(&value));
        writeln!(out, "{index:02}  {state} {users} {version} {value}")?;
        writeln!(out, "{:26}{}", "", Bytes(&mask))
    }
}

/// Which bit tells that the host wants this.
fn host_bit(entry: &MacEntry) -> u32 {
    if entry.mask == [0xff; 6] {
        PROMISC_BIT
    } else if !entry.is_exact() {
        ALL_MULTI_BIT
    } else if tcam::is_broadcast(&entry.value) {
        BROADCAST_BIT
    } else if tcam::is_multicast(&entry.value) {
        MULTICAST_BIT
    } else {
        UNICAST_BIT
    }
}

/// What the tables contain. Process context.
impl Fbnic {
    /// Writes the table of Ethernet addresses that are received.
    pub(crate) fn rpc_show_macs(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(out, ADDRESSES)?;
        let rpc = self.rpc.lock();
        for (index, entry) in rpc.shown_macs().enumerate() {
            rpc.show_mac(out, index, entry)?;
        }
        Ok(())
    }

    /// Writes the table of Ethernet addresses whose frames go to the BMC when they are sent.
    ///
    /// Order and numbers are those of the addresses; the device has them from either end of its table.
    pub(crate) fn rpc_show_tce(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(out, ADDRESSES)?;
        let rpc = self.rpc.lock();
        let of_bmc = |(_, entry): &(u8, Option<MacEntry>)| entry.is_some_and(|entry| entry.bmc);
        let entries = rpc.shown_macs().filter(of_bmc);
        for (index, entry) in entries.take(TCE_TCAM_ENTRIES).enumerate() {
            rpc.show_mac(out, index, entry)?;
        }
        Ok(())
    }

    /// Writes the table of actions.
    pub(crate) fn rpc_show_actions(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(out, ACTIONS)?;
        let rpc = self.rpc.lock();
        let macs = rpc.wanted_macs();
        for (index, written) in rpc.actions_written.iter().enumerate() {
            let wanted = rpc.wanted_action(index, &macs);
            let (state, entry) = choose(wanted, *written, ActEntry::eq);
            let entry = entry.unwrap_or(NO_ACTION);
            let (value, hash, dest) = (Key(&entry.value), entry.hash, entry.dest);
            writeln!(out, "{index:02}  {state}{value}  {hash:04x} {dest:08x}")?;
            writeln!(out, "{:5}{}", "", Key(&entry.mask))?;
        }
        Ok(())
    }

    /// Writes a table of IP addresses: 0 and 1 are source and destination, 2 and 3 the same of the outer
    /// header of a tunnel.
    pub(crate) fn rpc_show_ips(&self, out: &mut fmt::Formatter<'_>, table: usize) -> fmt::Result {
        const { assert!(IP_TABLES == 4) };
        heading(out, IP_ADDRESSES)?;
        let rpc = self.rpc.lock();
        let tables = rpc.ips.get(table).zip(rpc.ips_written.get(table));
        let entries = tables
            .into_iter()
            .flat_map(|(all, written)| all.iter().zip(written));
        for (index, (wanted, written)) in entries.enumerate() {
            rpc.show_ip(out, table, index, choose(*wanted, *written, IpEntry::eq))?;
        }
        Ok(())
    }
}
