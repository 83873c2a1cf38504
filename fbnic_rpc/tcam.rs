// SPDX-License-Identifier: GPL-2.0

//! What the classifier's tables should contain.
//!
//! The tables are planned as a whole from what is wanted, then compared with what the device
//! holds; only the difference is written. Nothing here depends on the kernel.
//!
//! Addresses (MACDA TCAM):
//!
//! | index | use |
//! |---|---|
//! | 0–3 | BMC only |
//! | 4 | broadcast |
//! | 5–23 | multicast, growing up; 23 serves a BMC that wants all multicast |
//! | 24–29 | further unicast addresses, growing down |
//! | 30 | the host's own address |
//! | 31 | promiscuous, or all multicast |
//!
//! Actions:
//!
//! | index | use |
//! |---|---|
//! | 0 | BMC unicast |
//! | 1 | BMC all multicast, unless the host wants it too |
//! | 2–49 | user rules |
//! | 50–56 | host unicast by kind of flow, with a BMC |
//! | 57–63 | any address by kind of flow, for the host and a BMC if there is one |

use core::ops::Range;

use super::rss::{
    self,
    rxh,
    FlowType,
    FLOW_TYPES, //
};

/// Entries of the address table.
pub const MACDA_ENTRIES: usize = 32;
/// Entries of the action table.
pub const ACT_ENTRIES: usize = 64;
/// Data words of an address entry.
pub const MACDA_WORDS: usize = 3;
/// Data words of an action entry.
pub const ACT_WORDS: usize = 11;

const BMC_FIRST: usize = 0;
const BROADCAST: usize = 4;
const MULTICAST_FIRST: usize = 5;
/// First index of unicast addresses of the host; the last multicast one is below.
pub const BOUNDARY: usize = 24;
const HOST: usize = 30;
const PROMISC: usize = 31;
/// Where unicast addresses besides the host's own go, the highest index first: they grow towards
/// the multicast addresses.
const UNICAST: Range<usize> = BOUNDARY..HOST;

const ACT_BMC: usize = 0;
const ACT_BMC_ALL_MULTI: usize = 1;
/// First index of user rules.
pub const ACT_RULES: usize = 2;
const ACT_UNICAST: usize = 50;
const ACT_ANY: usize = 57;

/// An Ethernet address.
pub type MacAddr = [u8; 6];

const BROADCAST_ADDR: MacAddr = [0xff; 6];
const ALL_MULTI_VALUE: MacAddr = [1, 0, 0, 0, 0, 0];
const ALL_MULTI_MASK: MacAddr = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

/// An entry of the address table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MacEntry {
    /// What to compare with.
    pub value: MacAddr,
    /// Bits that are not compared.
    pub mask: MacAddr,
    /// The host wants these frames.
    pub host: bool,
    /// The BMC wants these frames.
    pub bmc: bool,
    /// A user's rule names the address.
    pub rule: bool,
}

impl MacEntry {
    fn exact(value: MacAddr) -> Self {
        Self {
            value,
            ..Self::default()
        }
    }

    fn all_multi() -> Self {
        Self {
            value: ALL_MULTI_VALUE,
            mask: ALL_MULTI_MASK,
            ..Self::default()
        }
    }

    /// Whether this is one address.
    pub fn is_exact(&self) -> bool {
        self.mask == [0; 6]
    }

    /// The words of `value` and `mask`, the last two bytes of the address first.
    fn words(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        let word = |mac: &MacAddr, i: usize| {
            let byte = |i: usize| mac.get(i).copied().unwrap_or(0);
            u16::from_be_bytes([byte(2 * i), byte(2 * i + 1)])
        };
        (0..MACDA_WORDS)
            .rev()
            .map(move |i| (word(&self.value, i), word(&self.mask, i)))
    }

    /// Data words for the Rx address table: mask on top.
    pub fn rx_words(&self) -> [u32; MACDA_WORDS] {
        let mut out = [0; MACDA_WORDS];
        for (to, (value, mask)) in out.iter_mut().zip(self.words()) {
            *to = tcam_word(value, mask);
        }
        out
    }

    /// Data words for the Tx table: value on top.
    pub fn tx_words(&self) -> [u32; MACDA_WORDS] {
        let mut out = [0; MACDA_WORDS];
        for (to, (value, mask)) in out.iter_mut().zip(self.words()) {
            *to = tcam_word(mask, value);
        }
        out
    }
}

/// A data word of the Rx tables.
pub(super) const fn tcam_word(value: u16, mask: u16) -> u32 {
    (mask as u32) << 16 | value as u32
}

/// An entry of the action table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActEntry {
    pub(super) value: [u16; ACT_WORDS],
    /// Bits that are not compared.
    pub(super) mask: [u16; ACT_WORDS],
    /// First action word: where frames go.
    pub dest: u32,
    /// Second action word: what is hashed.
    pub hash: u16,
}

/// First action word: frames are dropped.
pub const ACT_DROP: u32 = 1 << 0;
/// First action word: frames go to the host.
pub const ACT_DEST_HOST: u32 = 1 << 1;
/// First action word: frames go to the BMC.
pub const ACT_DEST_BMC: u32 = 2 << 1;
/// First action word: headers are split after layer 4.
pub(super) const ACT_DMA_HINT_L4: u32 = 4 << 16;

/// Word 1 of an action's key.
pub(super) mod key1 {
    pub(in super::super) const MACDA_SHIFT: u16 = 5;
    pub(in super::super) const MACDA_MASK: u16 = 0x1f << MACDA_SHIFT;
    pub(in super::super) const MACDA_VALID: u16 = 1 << 10;
    pub(in super::super) const IP_IS_V6: u16 = 1 << 11;
    pub(in super::super) const IP_VALID: u16 = 1 << 12;
    pub(in super::super) const OUTER_IP_VALID: u16 = 1 << 13;
    pub(in super::super) const L4_IS_UDP: u16 = 1 << 14;
    pub(in super::super) const L4_VALID: u16 = 1 << 15;
}

impl ActEntry {
    /// An entry that compares only word 1, and of that not the bits in `mask`.
    fn on_word1(value: u16, mask: u16, dest: u32) -> Self {
        let mut entry = Self {
            value: [0; ACT_WORDS],
            mask: [0xffff; ACT_WORDS],
            dest,
            hash: 0,
        };
        entry.value[1] = value;
        entry.mask[1] = mask;
        entry
    }

    /// Data words.
    pub fn words(&self) -> [u32; ACT_WORDS] {
        let mut out = [0; ACT_WORDS];
        for (to, (value, mask)) in out.iter_mut().zip(self.value.iter().zip(self.mask)) {
            *to = tcam_word(*value, mask);
        }
        out
    }
}

/// The address table. `None` is an unused entry.
pub type MacTable = [Option<MacEntry>; MACDA_ENTRIES];
/// The action table. `None` is an unused entry.
pub type ActTable = [Option<ActEntry>; ACT_ENTRIES];

/// What the BMC wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bmc {
    /// There is one.
    pub present: bool,
    /// Its addresses; zero ones are unused.
    pub mac: [MacAddr; 4],
    /// It wants all multicast frames.
    pub all_multi: bool,
}

/// What the host wants to receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct RxMode<'a> {
    /// The interface's address.
    pub dev_addr: MacAddr,
    /// Further unicast addresses.
    pub uc: &'a [MacAddr],
    /// Multicast addresses.
    pub mc: &'a [MacAddr],
    /// Everything.
    pub promisc: bool,
    /// Every multicast frame.
    pub allmulti: bool,
    /// Broadcast frames.
    pub broadcast: bool,
}

/// Whether `mac` is that of a group, or of everybody.
pub fn is_multicast(mac: &MacAddr) -> bool {
    mac[0] & 1 != 0
}

/// Whether `mac` is that of everybody.
pub fn is_broadcast(mac: &MacAddr) -> bool {
    *mac == BROADCAST_ADDR
}

/// [`is_multicast`], for iterators over references.
fn is_group(mac: &&MacAddr) -> bool {
    is_multicast(mac)
}

/// Whether entry `index` holds exactly `mac`.
fn holds(table: &MacTable, index: usize, mac: &MacAddr) -> bool {
    matches!(table.get(index), Some(Some(entry)) if entry.is_exact() && entry.value == *mac)
}

/// The first entry that holds exactly `mac`, which is the one that frames to it find.
pub fn find_mac(table: &MacTable, mac: &MacAddr) -> Option<usize> {
    (0..MACDA_ENTRIES).find(|&index| holds(table, index, mac))
}

/// Where multicast addresses of the host go.
fn multicast_range(bmc: &Bmc) -> Range<usize> {
    MULTICAST_FIRST..BOUNDARY - usize::from(bmc.present && bmc.all_multi)
}

/// Whether entry `index` of the address table may be the BMC's.
pub fn mac_may_serve_bmc(index: usize) -> bool {
    index <= BROADCAST || index == BOUNDARY - 1
}

/// Whether entry `index` of the action table may lead to the BMC while the interface is down.
pub fn action_may_serve_bmc(index: usize) -> bool {
    index <= ACT_BMC_ALL_MULTI || index == ACT_ENTRIES - 1
}

/// Whether there is a place in `table` for an address that a user rule names.
pub fn fits_mac(table: &MacTable, mac: &MacAddr, bmc: &Bmc) -> bool {
    let mut range = if is_multicast(mac) {
        multicast_range(bmc)
    } else {
        UNICAST
    };
    *mac == BROADCAST_ADDR
        || find_mac(table, mac).is_some()
        || range.any(|index| table.get(index) == Some(&None))
}

/// A plan of the address table.
pub struct MacPlan {
    /// The table.
    pub table: MacTable,
    /// All multicast frames are wanted by the host, asked for or for want of entries.
    pub all_multi: bool,
    /// Everything is wanted by the host, asked for or for want of entries.
    pub promisc: bool,
}

impl MacPlan {
    /// Plans the table for `mode`, `bmc` and the addresses that user rules name. Addresses that
    /// were in `before` keep their place.
    pub fn new<'r>(
        before: &MacTable,
        mode: &RxMode<'_>,
        bmc: &Bmc,
        rules: impl Iterator<Item = &'r MacAddr> + Clone,
    ) -> Self {
        let mut plan = Self {
            table: [None; MACDA_ENTRIES],
            all_multi: false,
            promisc: false,
        };
        let multicast = multicast_range(bmc);
        let unicast = UNICAST.rev();

        plan.set(BROADCAST, |entry| {
            entry.value = BROADCAST_ADDR;
            entry.host = mode.broadcast;
            entry.bmc = bmc.present;
        });
        let shared = |mac: &&MacAddr| **mac == BROADCAST_ADDR || **mac == mode.dev_addr;
        let named = rules.clone().filter(|mac| !shared(mac));
        let (group, single) = (
            named.clone().filter(is_group),
            named.filter(|mac| !is_group(mac)),
        );
        let mc = mode.mc.iter().filter(|mac| **mac != BROADCAST_ADDR);
        let uc = mode.uc.iter().filter(|mac| **mac != mode.dev_addr);
        let (for_rule, for_host) = (MacEntry::for_rule, MacEntry::for_host);
        plan.keep(before, multicast.clone(), group.clone(), for_rule);
        plan.keep(before, multicast.clone(), mc.clone(), for_host);
        plan.keep(before, unicast.clone(), single.clone(), for_rule);
        plan.keep(before, unicast.clone(), uc.clone(), for_host);
        // Rules come first: lists that have too many addresses turn on reception of everything.
        plan.add(multicast.clone(), group, true, for_rule);
        plan.add(unicast.clone(), single, true, for_rule);
        let mc_fits = plan.add(multicast.clone(), mc, false, for_host);
        let uc_fits = plan.add(unicast, uc, false, for_host);
        plan.set(HOST, |entry| {
            entry.value = mode.dev_addr;
            entry.host = true;
        });
        for mac in rules.filter(shared) {
            let index = if *mac == BROADCAST_ADDR {
                BROADCAST
            } else {
                HOST
            };
            plan.set(index, |entry| *entry = entry.for_rule());
        }

        plan.promisc = mode.promisc || !uc_fits;
        plan.all_multi = mode.allmulti || !mc_fits || plan.promisc;
        if bmc.present {
            plan.place_bmc(bmc, multicast);
        }
        plan.place_wildcards(bmc);
        plan
    }

    /// Fills in entry `index`; an entry that nobody wants stays unused.
    fn set(&mut self, index: usize, fill: impl FnOnce(&mut MacEntry)) {
        let Some(slot) = self.table.get_mut(index) else {
            return;
        };
        let mut entry = slot.unwrap_or_default();
        fill(&mut entry);
        *slot = (entry.host || entry.bmc || entry.rule).then_some(entry);
    }

    /// Gives the addresses that had an entry in `range` the same one again.
    fn keep<'m>(
        &mut self,
        before: &MacTable,
        range: impl Iterator<Item = usize>,
        addresses: impl Iterator<Item = &'m MacAddr> + Clone,
        mark: impl Fn(MacEntry) -> MacEntry,
    ) {
        for index in range {
            let Some(Some(old)) = before.get(index) else {
                continue;
            };
            let wanted = old.is_exact() && addresses.clone().any(|mac| *mac == old.value);
            if wanted && (self.is_free(index) || holds(&self.table, index, &old.value)) {
                self.set(index, |entry| {
                    entry.value = old.value;
                    *entry = mark(*entry);
                });
            }
        }
    }

    /// Gives each address that has no entry in `range` the first free one, after
    /// [`MacPlan::keep`]. If there is none, that of an address which no rule names, for `evict`.
    /// Returns false if there was not enough room.
    fn add<'m>(
        &mut self,
        range: impl Iterator<Item = usize> + Clone,
        addresses: impl Iterator<Item = &'m MacAddr>,
        evict: bool,
        mark: impl Fn(MacEntry) -> MacEntry,
    ) -> bool {
        let mut fits = true;
        for mac in addresses {
            let own = self.find(range.clone(), mac);
            let free = || range.clone().find(|&index| self.is_free(index));
            let other = || range.clone().find(|&index| evict && !self.is_named(index));
            match own.or_else(free).or_else(other) {
                Some(index) => self.set(index, |entry| {
                    if entry.value != *mac {
                        *entry = MacEntry::exact(*mac);
                    }
                    *entry = mark(*entry);
                }),
                None => fits = false,
            }
        }
        fits
    }

    /// Whether a rule names the address of entry `index`.
    fn is_named(&self, index: usize) -> bool {
        matches!(self.table.get(index), Some(Some(entry)) if entry.rule)
    }

    fn is_free(&self, index: usize) -> bool {
        self.table.get(index) == Some(&None)
    }

    /// The entry in `range` that holds exactly `mac`.
    fn find(&self, mut range: impl Iterator<Item = usize>, mac: &MacAddr) -> Option<usize> {
        range.find(|&index| holds(&self.table, index, mac))
    }

    /// Adds the addresses of the BMC: to those it shares with the host, else to its own range.
    fn place_bmc(&mut self, bmc: &Bmc, multicast: Range<usize>) {
        let wanted = || bmc.mac.iter().filter(|mac| **mac != [0; 6]);
        let mut own = BMC_FIRST..BROADCAST;
        for mac in wanted().filter(|mac| !is_multicast(mac)) {
            if let Some(index) = own.next() {
                self.set(index, |entry| *entry = MacEntry::exact(*mac).for_bmc());
            }
        }
        for mac in wanted().filter(|mac| is_multicast(mac)) {
            if let Some(shared) = self.find(multicast.clone(), mac) {
                self.set(shared, |entry| entry.bmc = true);
            } else if *mac != BROADCAST_ADDR {
                if let Some(index) = own.next() {
                    self.set(index, |entry| *entry = MacEntry::exact(*mac).for_bmc());
                }
            }
        }
    }

    /// Adds the entries that match more than one address.
    fn place_wildcards(&mut self, bmc: &Bmc) {
        let bmc_all_multi = bmc.present && bmc.all_multi;
        let host_all_multi = self.all_multi;
        if bmc_all_multi {
            // Comes after the other multicast entries, so that shared ones reach both.
            self.set(BOUNDARY - 1, |entry| {
                *entry = MacEntry::all_multi().for_bmc();
                entry.host = host_all_multi;
            });
        }
        if self.promisc {
            self.set(PROMISC, |entry| {
                entry.mask = [0xff; 6];
                entry.host = true;
            });
        } else if host_all_multi && !bmc_all_multi {
            self.set(PROMISC, |entry| *entry = MacEntry::all_multi().for_host());
        }
    }
}

impl MacEntry {
    fn for_host(mut self) -> Self {
        self.host = true;
        self
    }

    fn for_rule(mut self) -> Self {
        self.rule = true;
        self
    }

    fn for_bmc(mut self) -> Self {
        self.bmc = true;
        self
    }
}

/// The part of an action's key that names a kind of flow. A mask is the complement of the value,
/// so that only bits that are set are compared: the order of the entries does the rest.
pub(super) fn flow_key(flow: FlowType) -> u16 {
    const IP4: u16 = key1::IP_VALID;
    const IP6: u16 = key1::IP_VALID | key1::IP_IS_V6;
    const TCP: u16 = key1::L4_VALID;
    const UDP: u16 = key1::L4_VALID | key1::L4_IS_UDP;
    match flow {
        FlowType::Udp6 => IP6 | UDP,
        FlowType::Udp4 => IP4 | UDP,
        FlowType::Tcp6 => IP6 | TCP,
        FlowType::Tcp4 => IP4 | TCP,
        FlowType::Ip6 => IP6,
        FlowType::Ip4 => IP4,
        FlowType::Ether => 0,
    }
}

/// An address index in an action's key.
pub(super) const fn macda_key(index: usize) -> u16 {
    // CAST: Indices are below 32.
    (index as u16) << key1::MACDA_SHIFT | key1::MACDA_VALID
}

/// Where frames of a kind of flow go.
fn flow_dest(fields: u32, with_bmc: bool) -> u32 {
    let mut dest = 0;
    if fields & rxh::DISCARD == 0 {
        dest |= ACT_DEST_HOST;
    }
    if with_bmc {
        dest |= ACT_DEST_BMC;
    }
    if dest == 0 {
        dest = ACT_DROP;
    }
    dest | ACT_DMA_HINT_L4
}

/// Plans the action table in place. `fields` are the hash fields by kind of flow, `host_all_multi`
/// whether the host wants all multicast frames. User rules stay as they are.
pub fn plan_actions(
    table: &mut ActTable,
    fields: &[u32; FLOW_TYPES],
    bmc: &Bmc,
    host_all_multi: bool,
) {
    for (index, slot) in table.iter_mut().enumerate() {
        *slot = match index {
            ACT_BMC => bmc.present.then(|| {
                // The low two bits of the index are not compared: entries 0 to 3.
                let mask = !(0x1c << key1::MACDA_SHIFT) & !key1::MACDA_VALID;
                ActEntry::on_word1(key1::MACDA_VALID, mask, ACT_DEST_BMC)
            }),
            ACT_BMC_ALL_MULTI => (bmc.present && bmc.all_multi && !host_all_multi).then(|| {
                let mask = !key1::MACDA_MASK & !key1::MACDA_VALID;
                ActEntry::on_word1(macda_key(BOUNDARY - 1), mask, ACT_DEST_BMC)
            }),
            ACT_UNICAST..ACT_ANY if !bmc.present => None,
            ACT_UNICAST..ACT_ENTRIES => flow_action(index, fields, bmc),
            _ => continue,
        };
    }
}

/// The action of one of the last fourteen entries.
fn flow_action(index: usize, fields: &[u32; FLOW_TYPES], bmc: &Bmc) -> Option<ActEntry> {
    let any = index >= ACT_ANY;
    let flow = *FlowType::ALL.get((index - ACT_UNICAST) % FLOW_TYPES)?;
    let fields = *fields.get(flow.index())?;
    let address = if any {
        key1::MACDA_VALID
    } else {
        macda_key(BOUNDARY)
    };
    let value = address | flow_key(flow);
    let mut entry = ActEntry::on_word1(value, !value, flow_dest(fields, any && bmc.present));
    entry.hash = rss::hash_enable(fields);
    Some(entry)
}
