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

pub mod rss;
pub mod tcam;

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
    MacEntry,
    MacPlan,
    MacTable,
    ACT_DEST_BMC,
    ACT_DROP,
    ACT_ENTRIES,
    ACT_WORDS,
    MACDA_ENTRIES,
    MACDA_WORDS, //
};

/// Overhead of each frame on the wire, bytes: preamble, check sequence and gap.
const OVERHEAD: u32 = 20;

/// State of the classifier.
pub(crate) struct Rpc {
    key: [u8; KEY_BYTES],
    indirection: [[u8; TABLE_SIZE]; TABLES],
    fields: [u32; FLOW_TYPES],
    bmc: Bmc,
    /// What the tables should contain.
    macs: MacTable,
    actions: ActTable,
    all_multi: bool,
    promisc: bool,
    /// What the device holds.
    macs_written: MacTable,
    actions_written: ActTable,
    /// The Tx table is written from the top next time, so that old and new never mix.
    tce_from_top: bool,
    tce_used: bool,
    /// Queues are up: tables are in use.
    up: bool,
    /// The firmware must be told about the addresses.
    sync_needed: bool,
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
            macs: [None; MACDA_ENTRIES],
            actions <- init_array_from_fn(|_| None),
            all_multi: false,
            promisc: false,
            macs_written: [None; MACDA_ENTRIES],
            actions_written <- init_array_from_fn(|_| None),
            tce_from_top: false,
            tce_used: false,
            up: false,
            sync_needed: false,
        })
    }

    fn set_bmc(&mut self, caps: &Caps) {
        self.bmc = Bmc {
            present: caps.bmc_present,
            mac: caps.bmc_mac,
            all_multi: caps.bmc_all_multi,
        };
    }

    fn plan_actions(&mut self) {
        tcam::plan_actions(&mut self.actions, &self.fields, &self.bmc, self.all_multi);
    }

    /// Writes what differs: actions first, so that no address leads to an old action.
    fn write_rx(&mut self, csr: &Csr) {
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

/// Writes or, for `None`, clears an address.
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

    /// Forgets what the device holds, as it was reset.
    pub(crate) fn rpc_reset(&self) {
        let mut rpc = self.rpc.lock();
        rpc.macs_written.fill(None);
        rpc.actions_written.fill(None);
        rpc.tce_used = false;
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
        let plan = MacPlan::new(&rpc.macs, mode, &rpc.bmc);
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

/// Receive side scaling. Process context.
impl Fbnic {
    fn write_rss(&self, rpc: &Rpc) {
        for (table, entries) in rpc.indirection.iter().enumerate() {
            for (index, queue) in entries.iter().enumerate() {
                self.csr
                    .write32(rpc_rss_tbl(table, index), u32::from(*queue));
            }
        }
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
            self.write_rss(&rpc);
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
            self.write_rss(&rpc);
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
