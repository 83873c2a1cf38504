// SPDX-License-Identifier: GPL-2.0

//! The Rx parser and classifier (RPC): which frames are received, and by which queue.
//!
//! [`tcam`] decides what the tables should contain, [`rss`] what is hashed; this file remembers
//! what the device holds and writes the difference.
//!
//! All state is under one spin lock, which is taken in process context only (bottom halves may be
//! disabled), because the stack updates address lists under its own spin lock.

use kernel::{
    io::Io,
    prelude::*, //
};
use pin_init::init_array_from_fn;

use crate::{
    fbnic_csr::{
        rpc::*,
        tce::*,
        Csr, //
    },
    fbnic_dev::Fbnic,
    fbnic_fw::{
        Caps,
        MacSync, //
    },
    fbnic_mac::MAX_FRAME,
    random, //
};

pub mod ntuple;
pub mod rss;
mod show;
pub mod tcam;

use ntuple::{
    IpEntry,
    IpTable,
    Rule,
    RuleTable,
    IP_TABLES,
    IP_WORDS, //
};
use rss::{
    FlowType,
    DEFAULT_FIELDS,
    FLOW_TYPES,
    KEY_BYTES,
    TABLES,
    TABLE_SIZE, //
};
pub use tcam::RxMode;
use tcam::{
    ActEntry,
    ActTable,
    Bmc,
    MacAddr,
    MacEntry,
    MacPlan,
    MacTable,
    ACT_DEST_BMC,
    ACT_DROP,
    ACT_ENTRIES,
    ACT_RULES,
    ACT_WORDS,
    MACDA_ENTRIES,
    MACDA_WORDS, //
};

/// Overhead of each frame on the wire, bytes: preamble, check sequence and gap.
const OVERHEAD: u32 = 20;

/// Tables of IP addresses without any.
const NO_IPS: [IpTable; IP_TABLES] = [[None; ntuple::IP_ENTRIES]; IP_TABLES];

/// State of the classifier.
pub(crate) struct Rpc {
    key: [u8; KEY_BYTES],
    indirection: [[u8; TABLE_SIZE]; TABLES],
    fields: [u32; FLOW_TYPES],
    bmc: Bmc,
    /// Number of Rx queues.
    queues: u32,
    rules: RuleTable,
    /// What the tables should contain.
    ips: [IpTable; IP_TABLES],
    macs: MacTable,
    actions: ActTable,
    all_multi: bool,
    promisc: bool,
    /// What the device holds.
    ips_written: [IpTable; IP_TABLES],
    macs_written: MacTable,
    actions_written: ActTable,
    /// The Tx table is written from the top next time, so that old and new never mix.
    tce_from_top: bool,
    tce_used: bool,
    /// Queues are up: tables are in use.
    up: bool,
    /// The firmware must be told about the addresses.
    sync_needed: bool,
    /// The tables may hold what somebody else has written.
    left_over: bool,
}

/// Keys and tables, as ethtool sees them.
pub struct RssConfig {
    /// Hash key.
    pub key: [u8; KEY_BYTES],
    /// Indirection tables: queue by hash modulo the size.
    pub indirection: [[u8; TABLE_SIZE]; TABLES],
}

impl Rpc {
    /// A random key, nothing received. Built in place: the tables are too large for the stack.
    pub(crate) fn new() -> impl Init<Self> {
        let mut key = [0; KEY_BYTES];
        random::fill_bytes(&mut key);
        rss::trim_key(&mut key);
        init!(Self {
            key,
            indirection: [[0; TABLE_SIZE]; TABLES],
            fields: DEFAULT_FIELDS,
            bmc: Bmc::default(),
            queues: 1,
            rules <- init_array_from_fn(|_| None),
            ips: NO_IPS,
            macs: [None; MACDA_ENTRIES],
            actions <- init_array_from_fn(|_| None),
            all_multi: false,
            promisc: false,
            ips_written: NO_IPS,
            macs_written: [None; MACDA_ENTRIES],
            actions_written <- init_array_from_fn(|_| None),
            tce_from_top: false,
            tce_used: false,
            up: false,
            sync_needed: false,
            left_over: true,
        })
    }

    fn set_bmc(&mut self, caps: &Caps) {
        self.bmc = Bmc {
            present: caps.bmc_present,
            mac: caps.bmc_mac,
            all_multi: caps.bmc_all_multi,
        };
    }

    /// Clears what a driver before this one may have left in the tables, as a kernel does that crashed.
    ///
    /// What may serve the BMC stays until the entries are written anew.
    fn clear_left_over(&mut self, csr: &Csr) {
        if !core::mem::replace(&mut self.left_over, false) {
            return;
        }
        let bmc = self.bmc.present;
        (0..ACT_ENTRIES)
            .filter(|&index| !(bmc && tcam::action_may_serve_bmc(index)))
            .for_each(|index| write_action(csr, index, None));
        (0..MACDA_ENTRIES)
            .filter(|&index| !(bmc && tcam::mac_may_serve_bmc(index)))
            .for_each(|index| write_mac(csr, index, None));
        for table in 0..IP_TABLES {
            (0..ntuple::IP_ENTRIES).for_each(|index| write_ip(csr, table, index, None));
        }
    }

    /// Plans the action table, after those of addresses.
    fn plan_actions(&mut self) {
        tcam::plan_actions(&mut self.actions, &self.fields, &self.bmc, self.all_multi);
        let slots = self.actions.iter_mut().skip(ACT_RULES);
        for (slot, rule) in slots.zip(&self.rules) {
            *slot = rule
                .as_ref()
                .and_then(|rule| rule.entry(&self.ips, &self.macs, &self.fields, self.queues));
        }
    }

    /// Writes what differs: actions first, so that no Ethernet address leads to an old action.
    fn write_rx(&mut self, csr: &Csr) {
        self.write_ips(csr);
        let actions = self.actions.iter().zip(&mut self.actions_written);
        for (index, (wanted, written)) in actions.enumerate() {
            if wanted != written {
                write_action(csr, index, wanted.as_ref());
                *written = *wanted;
            }
        }
        let macs = self.macs.iter().zip(&mut self.macs_written);
        for (index, (wanted, written)) in macs.enumerate().rev() {
            if wanted != written {
                write_mac(csr, index, wanted.as_ref());
                *written = *wanted;
                self.sync_needed = true;
            }
        }
    }

    /// Writes the IP addresses that differ. No rule is left that would find another address in the
    /// place of its own.
    fn write_ips(&mut self, csr: &Csr) {
        if self.ips == self.ips_written {
            return;
        }
        let actions = self.actions.iter().zip(&mut self.actions_written);
        for (index, (wanted, written)) in actions.enumerate() {
            if written.is_some() && wanted != written {
                write_action(csr, index, None);
                *written = None;
            }
        }
        let tables = self.ips.iter().zip(&mut self.ips_written).enumerate();
        for (table, (wanted, written)) in tables {
            for (index, (wanted, written)) in wanted.iter().zip(written).enumerate() {
                if wanted != written {
                    write_ip(csr, table, index, wanted.as_ref());
                    *written = *wanted;
                }
            }
        }
    }

    /// Writes the table that routes transmitted frames to the BMC.
    fn write_tce(&mut self, csr: &Csr) {
        // Without a BMC the table is empty, which it need be told only once.
        if !self.bmc.present && self.tce_used {
            return;
        }
        self.tce_used = !self.bmc.present;

        let wanted = self.macs.iter().flatten().filter(|entry| entry.bmc);
        if self.tce_from_top {
            let entries = (0..TCE_TCAM_ENTRIES).rev();
            write_tce_entries(csr, entries, wanted.rev());
        } else {
            write_tce_entries(csr, 0..TCE_TCAM_ENTRIES, wanted);
        }
        self.tce_from_top = !self.tce_from_top;
    }

    /// What to tell the firmware.
    fn mac_sync(&self) -> MacSync {
        let mut sync = MacSync {
            promisc: self.promisc,
            all_multi: self.all_multi,
            ..MacSync::default()
        };
        let host = self.macs.iter().flatten().filter(|entry| entry.host);
        for entry in host.filter(|entry| entry.is_exact()) {
            if entry.value == [0xff; 6] {
                sync.broadcast = true;
                continue;
            }
            let list = if entry.value[0] & 1 == 0 {
                &mut sync.unicast
            } else {
                &mut sync.multicast
            };
            match list.iter_mut().find(|slot| slot.is_none()) {
                Some(slot) => *slot = Some(entry.value),
                None if entry.value[0] & 1 == 0 => sync.promisc = true,
                None => sync.all_multi = true,
            }
        }
        sync
    }
}

/// Writes or, for `None`, clears an action and its key.
fn write_action(csr: &Csr, index: usize, entry: Option<&ActEntry>) {
    let Some(entry) = entry else {
        // Ascending, so that the entry becomes invalid with its last word.
        for word in 0..=ACT_WORDS {
            csr.write32(rpc_tcam_act(index, word), 0);
        }
        return;
    };
    csr.write32(rpc_act_tbl0(index), entry.dest);
    csr.write32(rpc_act_tbl1(index), u32::from(entry.hash));
    for (word, value) in entry.words().into_iter().enumerate() {
        csr.write32(rpc_tcam_act(index, word), value);
    }
    csr.flush();
    csr.write32(rpc_tcam_act(index, ACT_WORDS), RPC_TCAM_VALIDATE);
}

/// Writes or, for `None`, clears an IP address.
fn write_ip(csr: &Csr, table: usize, index: usize, entry: Option<&IpEntry>) {
    let (register, validate): (fn(usize, usize) -> usize, u32) = match table {
        0 => (rpc_tcam_ipsrc, RPC_TCAM_IP_IS_V6),
        1 => (rpc_tcam_ipdst, RPC_TCAM_IP_IS_V6),
        // These are of IPv6 always.
        2 => (rpc_tcam_outer_ipsrc, 0),
        _ => (rpc_tcam_outer_ipdst, 0),
    };
    let Some(entry) = entry else {
        for word in 0..=IP_WORDS {
            csr.write32(register(index, word), 0);
        }
        return;
    };
    for (word, value) in entry.words().into_iter().enumerate() {
        csr.write32(register(index, word), value);
    }
    csr.flush();
    let version = if entry.is_v6() { validate } else { 0 };
    csr.write32(register(index, IP_WORDS), version | RPC_TCAM_VALIDATE);
}

/// Writes or, for `None`, clears an Ethernet address.
fn write_mac(csr: &Csr, index: usize, entry: Option<&MacEntry>) {
    let Some(entry) = entry else {
        for word in 0..=MACDA_WORDS {
            csr.write32(rpc_tcam_macda(index, word), 0);
        }
        return;
    };
    for (word, value) in entry.rx_words().into_iter().enumerate() {
        csr.write32(rpc_tcam_macda(index, word), value);
    }
    csr.flush();
    csr.write32(rpc_tcam_macda(index, MACDA_WORDS), RPC_TCAM_VALIDATE);
}

/// Writes the entries of the Tx table in the given order and clears those left over.
fn write_tce_entries<'a>(
    csr: &Csr,
    entries: impl Iterator<Item = usize>,
    mut wanted: impl Iterator<Item = &'a MacEntry>,
) {
    for index in entries {
        let Some(entry) = wanted.next() else {
            for word in 0..=MACDA_WORDS {
                csr.write32(tce_ram_tcam(index, word), 0);
            }
            continue;
        };
        let mut dest = TCE_TCAM_DEST_BMC;
        if entry.value[0] & 1 != 0 {
            dest |= TCE_TCAM_DEST_MAC;
        }
        csr.update32(
            TCE_TCAM_IDX2DEST_MAP,
            0xf << (4 * index),
            dest << (4 * index),
        );
        for (word, value) in entry.tx_words().into_iter().enumerate() {
            csr.write32(tce_ram_tcam(index, word), value);
        }
        csr.flush();
        csr.write32(
            tce_ram_tcam(index, MACDA_WORDS),
            TCE_RAM_TCAM3_MCQ_MASK | TCE_RAM_TCAM3_DEST_MASK | TCE_RAM_TCAM3_VALIDATE,
        );
    }
}

/// Reception as a whole. Process context; the caller sees to it that these do not overlap.
impl Fbnic {
    /// Spreads flows evenly over `queues` Rx queues. At creation of the network device, and when
    /// the number of queues changes unless the user has set a table.
    pub fn rss_init(&self, queues: u32) {
        self.rpc.lock().indirection[0] = rss::spread(queues);
    }

    /// Returns whether flows are spread over no more than the first `queues` Rx queues.
    pub fn rss_fits(&self, queues: u32) -> bool {
        let rpc = self.rpc.lock();
        rpc.indirection[0]
            .iter()
            .all(|queue| u32::from(*queue) < queues)
    }

    /// Takes note of the number of Rx queues.
    pub fn use_queues(&self, queues: u32) {
        self.rpc.lock().queues = queues;
        // CAST: The device has 128 queues.
        self.stats_use_queues(queues as usize);
    }

    /// Plans the rules at `ndo_open`. Sleeps.
    pub fn rpc_open(&self) {
        let caps = self.fw_caps();
        self.fw_take_bmc_changed();
        let mut rpc = self.rpc.lock();
        rpc.set_bmc(&caps);
        rpc.plan_actions();
    }

    /// Lets frames in, once the queues are enabled. [`Fbnic::set_rx_mode`] must follow.
    pub fn rpc_up(&self) {
        let mut rpc = self.rpc.lock();
        rpc.up = true;
        rpc.clear_left_over(&self.csr);
        self.write_rss(&rpc);

        // What no rule matches is dropped.
        self.csr.write32(RPC_ACT_TBL0_DEFAULT, ACT_DROP);
        self.csr.flush();
        self.csr.write32(RPC_ACT_TBL1_DEFAULT, 0);
        self.csr.write_reg(
            RPC_RMI_CONFIG::zeroed()
                .with_mtu(MAX_FRAME)
                .with_const_oh_bytes::<OVERHEAD>()
                .with_enable(true),
        );
    }

    /// Lets no more frames in, before the queues are disabled. Traffic of the BMC goes on.
    pub fn rpc_down(&self) {
        let csr = &self.csr;
        let mut guard = self.rpc.lock();
        let rpc = &mut *guard;
        rpc.up = false;
        let bmc = rpc.bmc.present;

        for (index, written) in rpc.macs_written.iter_mut().enumerate().rev() {
            if written.is_some_and(|entry| !(bmc && entry.bmc)) {
                write_mac(csr, index, None);
                *written = None;
            }
        }
        for (index, written) in rpc.actions_written.iter_mut().enumerate().rev() {
            let Some(entry) = written else {
                continue;
            };
            // The last entry keeps serving the BMC, whose addresses are the only ones left.
            if bmc && index == ACT_ENTRIES - 1 {
                csr.write32(rpc_act_tbl0(index), ACT_DEST_BMC);
                csr.write32(rpc_act_tbl1(index), 0);
                entry.dest = ACT_DEST_BMC;
                entry.hash = 0;
                continue;
            }
            write_action(csr, index, None);
            *written = None;
        }
        if !bmc {
            csr.write_reg(RPC_RMI_CONFIG::zeroed().with_const_oh_bytes::<OVERHEAD>());
        }
    }

    /// Knows no longer what the device holds, as it was reset or is new.
    pub(crate) fn rpc_reset(&self) {
        let mut rpc = self.rpc.lock();
        rpc.ips_written = NO_IPS;
        rpc.macs_written.fill(None);
        rpc.actions_written.fill(None);
        rpc.tce_used = false;
        rpc.left_over = true;
        rpc.up = false;
    }

    /// Sets which addresses are received, between [`Fbnic::rpc_up`] and [`Fbnic::rpc_down`].
    ///
    /// More unicast or multicast addresses than there are entries for turn on promiscuous or
    /// all-multicast mode. May be called with bottom halves disabled.
    pub fn set_rx_mode(&self, mode: &RxMode<'_>) {
        let mut rpc = self.rpc.lock();
        if !rpc.up {
            return;
        }
        let plan = MacPlan::new(&rpc.macs, mode, &rpc.bmc, rpc.rule_macs());
        rpc.macs = plan.table;
        rpc.all_multi = plan.all_multi;
        rpc.promisc = plan.promisc;
        rpc.plan_actions();
        rpc.write_rx(&self.csr);
        rpc.write_tce(&self.csr);
    }

    /// Writes all tables again, after firmware that was restarted may have lost them.
    pub(crate) fn rpc_rewrite(&self) {
        let csr = &self.csr;
        let mut guard = self.rpc.lock();
        let rpc = &mut *guard;
        if !rpc.up {
            return;
        }
        for (index, written) in rpc.actions_written.iter_mut().enumerate().rev() {
            if written.take().is_some() {
                write_action(csr, index, None);
            }
        }
        for (index, written) in rpc.macs_written.iter_mut().enumerate().rev() {
            if written.take().is_some() {
                write_mac(csr, index, None);
            }
        }
        for (table, written) in rpc.ips_written.iter_mut().enumerate() {
            for (index, written) in written.iter_mut().enumerate() {
                if written.take().is_some() {
                    write_ip(csr, table, index, None);
                }
            }
        }
        rpc.tce_used = false;
        rpc.write_rx(csr);
        rpc.write_tce(csr);
    }

    /// Once a second: takes over changes of the BMC, and tells the firmware about addresses.
    /// Returns whether the address lists must be set again by [`Fbnic::set_rx_mode`].
    pub(crate) fn rpc_service(&self) -> bool {
        if !self.rpc.lock().up {
            return false;
        }
        let changed = self.fw_take_bmc_changed();
        if changed {
            let caps = self.fw_caps();
            let mut rpc = self.rpc.lock();
            rpc.set_bmc(&caps);
            rpc.sync_needed = true;
        }

        let mut rpc = self.rpc.lock();
        let sync =
            (rpc.bmc.present && core::mem::take(&mut rpc.sync_needed)).then(|| rpc.mac_sync());
        drop(rpc);
        if let Some(sync) = sync.filter(|_| self.fw_is_open()) {
            if let Err(error) = self.fw_send(&sync) {
                dev_warn!(
                    self.dev(),
                    "cannot tell firmware about addresses: {:?}\n",
                    error
                );
            }
        }
        changed
    }
}

impl Rpc {
    /// The Ethernet addresses that rules name.
    fn rule_macs(&self) -> impl Iterator<Item = &MacAddr> + Clone {
        self.rules.iter().flatten().filter_map(Rule::mac)
    }

    /// Replaces the rule at `location`; `EINVAL` if there is no such place.
    fn set_rule(&mut self, location: usize, rule: Option<Rule>) -> Result<Option<Rule>> {
        let slot = self.rules.get_mut(location).ok_or(EINVAL)?;
        Ok(core::mem::replace(slot, rule))
    }

    /// Whether the Ethernet address that a new rule names has a place in the table, or will have
    /// when the interface is opened.
    fn has_place(&self, rule: &Rule) -> bool {
        let Some(mac) = rule.mac() else {
            return true;
        };
        if self.up {
            return tcam::fits_mac(&self.macs, mac, &self.bmc);
        }
        let (before, mode) = ([None; MACDA_ENTRIES], RxMode::default());
        let plan = MacPlan::new(&before, &mode, &self.bmc, self.rule_macs());
        tcam::fits_mac(&plan.table, mac, &self.bmc)
    }
}

/// Rules of users, by location; of several that match a frame the first counts. Process context;
/// the caller sees to it that these do not overlap.
impl Fbnic {
    /// The rule at `location`.
    pub fn rule(&self, location: u32) -> Option<Rule> {
        // CAST: Widening.
        *self.rpc.lock().rules.get(location as usize)?
    }

    /// Adds a rule before all others, if possible, and returns its location.
    /// [`Fbnic::set_rx_mode`] must follow, which makes the device use it.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are too many rules or addresses in them.
    pub fn add_rule(&self, rule: &Rule) -> Result<u32> {
        let mut guard = self.rpc.lock();
        let rpc = &mut *guard;
        let free = rpc.rules.iter().rposition(Option::is_none);
        let location = free.filter(|_| rpc.has_place(rule)).ok_or(ENOSPC)?;

        rpc.set_rule(location, Some(*rule))?;
        let Some(plan) = ntuple::plan_ips(&rpc.ips, &rpc.rules) else {
            rpc.set_rule(location, None)?;
            return Err(ENOSPC);
        };
        rpc.ips = plan;
        Ok(location.try_into()?)
    }

    /// Removes the rule at `location`. [`Fbnic::set_rx_mode`] must follow, which makes the device
    /// forget it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is none.
    pub fn remove_rule(&self, location: u32) -> Result {
        let mut guard = self.rpc.lock();
        let rpc = &mut *guard;

        // CAST: Widening.
        rpc.set_rule(location as usize, None)?.ok_or(EINVAL)?;
        // Fewer rules always fit.
        if let Some(plan) = ntuple::plan_ips(&rpc.ips, &rpc.rules) {
            rpc.ips = plan;
        }
        Ok(())
    }
}

/// Receive side scaling. Process context.
impl Fbnic {
    fn write_rss(&self, rpc: &Rpc) {
        for table in 0..TABLES {
            self.write_rss_table(rpc, table);
        }
        self.write_rss_key(rpc);
    }

    fn write_rss_table(&self, rpc: &Rpc, table: usize) {
        let entries = rpc.indirection.get(table).into_iter().flatten();
        for (index, queue) in entries.enumerate() {
            // A context may name queues that were lost with the interrupts for them.
            let queue = u32::from(*queue) % rpc.queues.max(1);
            self.csr.write32(rpc_rss_tbl(table, index), queue);
        }
    }

    fn write_rss_key(&self, rpc: &Rpc) {
        for (index, word) in rss::key_words(&rpc.key).into_iter().enumerate() {
            self.csr.write32(rpc_rss_key(index), word);
        }
    }

    /// Key and indirection tables.
    pub fn rss(&self) -> RssConfig {
        let rpc = self.rpc.lock();
        RssConfig {
            key: rpc.key,
            indirection: rpc.indirection,
        }
    }

    /// Sets the hash key. Bits past the 425th are kept, to be read back as they were set, but unused.
    pub fn set_rss_key(&self, key: &[u8; KEY_BYTES]) {
        let mut rpc = self.rpc.lock();
        rpc.key = *key;
        if rpc.up {
            self.write_rss_key(&rpc);
        }
    }

    /// Sets the indirection table of an RSS context. The caller has checked the queue numbers.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such context.
    pub fn set_rss_indirection(&self, context: usize, table: &[u8; TABLE_SIZE]) -> Result {
        let mut rpc = self.rpc.lock();
        *rpc.indirection.get_mut(context).ok_or(EINVAL)? = *table;
        if rpc.up {
            self.write_rss_table(&rpc, context);
        }
        Ok(())
    }

    /// The `RXH_*` fields hashed for a kind of flow.
    pub fn flow_hash(&self, flow: FlowType) -> u32 {
        let rpc = self.rpc.lock();
        rpc.fields.get(flow.index()).copied().unwrap_or(0)
    }

    /// Sets the `RXH_*` fields hashed for a kind of flow.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device cannot hash them.
    pub fn set_flow_hash(&self, flow: FlowType, fields: u32) -> Result {
        if !rss::fields_supported(flow, fields) {
            return Err(EINVAL);
        }
        let mut rpc = self.rpc.lock();
        *rpc.fields.get_mut(flow.index()).ok_or(EINVAL)? = fields;
        if rpc.up {
            rpc.plan_actions();
            rpc.write_rx(&self.csr);
        }
        Ok(())
    }
}
