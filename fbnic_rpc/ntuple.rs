// SPDX-License-Identifier: GPL-2.0

//! Rules of users: what the classifier can do of them, and how.
//!
//! A rule is an entry of the action table. That compares ports itself, but of addresses only where
//! they were found in tables of addresses: Ethernet addresses in the one that [`tcam`] plans,
//! IP addresses in one of four, planned here.
//!
//! Each of those tables finds one entry for an address, the first that matches. A rule for a
//! network therefore does not see the hosts of that network which other rules name.
//!
//! Nothing here depends on the kernel.
//!
//! [`tcam`]: super::tcam

use super::{
    rss::{
        self,
        FlowType,
        FLOW_TYPES,
        TABLES, //
    },
    tcam::{
        self,
        key1,
        tcam_word,
        ActEntry,
        MacAddr,
        MacTable,
        ACT_DEST_HOST,
        ACT_DMA_HINT_L4,
        ACT_DROP,
        ACT_WORDS, //
    },
};
use crate::net::ethtool::flow::{
    EtherMatch,
    FlowAction,
    FlowExt,
    FlowMatch,
    FlowSpec,
    IpMatch,
    L4Match,
    Masked,
    Ports, //
};

/// Rules there can be.
pub const RULES: usize = 48;
/// Entries of a table of IP addresses.
pub const IP_ENTRIES: usize = 8;
/// Data words of an IP address.
pub const IP_WORDS: usize = 8;
/// Tables of IP addresses: source, destination, and the same of the outer header of a tunnel.
pub const IP_TABLES: usize = 4;

/// First action word: frames go to the queue named in the same word.
const ACT_Q_SEL: u32 = 1 << 4;
const ACT_Q_ID_SHIFT: u32 = 8;
/// First action word: frames are spread by the second RSS context.
const ACT_CONTEXT_1: u32 = 1 << 30;

/// Word 0 of an action's key has four bits for each table of IP addresses.
const KEY0_TABLE_BITS: usize = 4;
/// In each of the four: an address was found, and the index is to be compared.
const KEY0_VALID: u16 = 1 << 3;

/// Words of an action's key.
const KEY_ADDRESSES: usize = 0;
const KEY_KIND: usize = 1;
const KEY_SPORT: usize = 3;
const KEY_DPORT: usize = 4;

/// Numbers of protocols.
const PROTO_TCP: u8 = 6;
const PROTO_UDP: u8 = 17;
const PROTO_IPV6: u8 = 41;

const NO_PORTS: Ports = Ports {
    src: Masked { value: 0, mask: 0 },
    dst: Masked { value: 0, mask: 0 },
};

/// An IP address, or a network of them. An IPv4 address is in the last four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpEntry {
    is_v6: bool,
    value: [u8; 16],
    /// Bits that are compared.
    mask: [u8; 16],
}

impl IpEntry {
    /// [`None`] if any address will do.
    fn new<const N: usize>(is_v6: bool, address: &Masked<[u8; N]>) -> Option<Self> {
        fn padded<const N: usize>(bytes: &[u8; N]) -> [u8; 16] {
            let mut out = [0; 16];
            for (to, from) in out.iter_mut().rev().zip(bytes.iter().rev()) {
                *to = *from;
            }
            out
        }

        let entry = Self {
            is_v6,
            value: padded(&address.value),
            mask: padded(&address.mask),
        };
        (entry.mask != [0; 16]).then_some(entry)
    }

    /// The last `N` bytes, as a user gave them.
    fn address<const N: usize>(&self) -> Masked<[u8; N]> {
        fn last<const N: usize>(bytes: &[u8; 16]) -> [u8; N] {
            bytes.last_chunk().copied().unwrap_or([0; N])
        }

        Masked {
            value: last(&self.value),
            mask: last(&self.mask),
        }
    }

    /// The same network, with zeros where nothing is compared: equal if it is the same network.
    fn canonical(mut self) -> Self {
        for (value, mask) in self.value.iter_mut().zip(self.mask) {
            *value &= mask;
        }
        self
    }

    /// Number of bits that are compared.
    fn bits(&self) -> u32 {
        self.mask.iter().map(|byte| byte.count_ones()).sum()
    }

    fn each(&self, other: &Self, f: impl Fn((u8, u8), (u8, u8)) -> bool) -> bool {
        let one = self.value.iter().copied().zip(self.mask);
        let two = other.value.iter().copied().zip(other.mask);
        one.zip(two).all(|(one, two)| f(one, two))
    }

    /// Whether this has to come before `other` to be found: all its addresses are in `other`.
    fn is_within(&self, other: &Self) -> bool {
        self.is_v6 == other.is_v6
            && self.each(other, |one, two| {
                one.1 & two.1 == two.1 && (one.0 ^ two.0) & two.1 == 0
            })
    }

    /// Data words: the last two bytes first, a mask of what is not compared on top.
    pub fn words(&self) -> [u32; IP_WORDS] {
        let mut out = [0; IP_WORDS];
        let values = self.value.chunks_exact(2).rev();
        let masks = self.mask.chunks_exact(2).rev();
        for (to, (value, mask)) in out.iter_mut().zip(values.zip(masks)) {
            let word = |bytes: &[u8]| {
                bytes
                    .iter()
                    .fold(0, |word, byte| word << 8 | u16::from(*byte))
            };
            *to = tcam_word(word(value), !word(mask));
        }
        out
    }

    /// Whether this is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// The address, or the network's first.
    pub fn value(&self) -> &[u8; 16] {
        &self.value
    }

    /// Bits that are not compared.
    pub fn ignored(&self) -> [u8; 16] {
        self.mask.map(|byte| !byte)
    }
}

/// A table of IP addresses. [`None`] is an unused entry.
pub type IpTable = [Option<IpEntry>; IP_ENTRIES];

/// The rules, by location. [`None`] is an unused one.
pub type RuleTable = [Option<Rule>; RULES];

/// What becomes of the frames a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Drop,
    Queue(u8),
    Context(u8),
}

impl Action {
    /// [`None`] for what the device cannot do. `queues` is the number of Rx queues.
    fn new(action: &FlowAction, queues: u32) -> Option<Self> {
        match *action {
            FlowAction::Drop => Some(Self::Drop),
            FlowAction::Queue { queue, vf: 0 } if queue < queues => {
                queue.try_into().ok().map(Self::Queue)
            }
            FlowAction::Context { context, offset: 0 } => {
                let context = u8::try_from(context).ok()?;
                (usize::from(context) < TABLES).then_some(Self::Context(context))
            }
            _ => None,
        }
    }

    /// First action word. A queue that is not there any more is replaced by all there are.
    fn dest(self, queues: u32) -> u32 {
        let dest = match self {
            Self::Drop => ACT_DROP,
            Self::Queue(queue) if u32::from(queue) < queues => {
                ACT_DEST_HOST | ACT_Q_SEL | u32::from(queue) << ACT_Q_ID_SHIFT
            }
            Self::Queue(_) | Self::Context(0) => ACT_DEST_HOST,
            Self::Context(_) => ACT_DEST_HOST | ACT_CONTEXT_1,
        };
        dest | ACT_DMA_HINT_L4
    }
}

/// A rule that the classifier can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    flow: FlowType,
    /// The addresses are those of the outer header, the flow is about the inner one.
    tunnel: bool,
    src: Option<IpEntry>,
    dst: Option<IpEntry>,
    ports: Ports,
    mac: Option<MacAddr>,
    action: Action,
}

impl Rule {
    /// Takes a user's rule apart; [`None`] if it asks for anything the classifier does not
    /// compare. `queues` is the number of Rx queues.
    pub fn new(spec: &FlowSpec, queues: u32) -> Option<Self> {
        if !is_nothing(&spec.ext) {
            return None;
        }
        let action = Action::new(&spec.action, queues)?;
        match &spec.flow {
            FlowMatch::Ip4(ip) => Self::over_ip(false, ip, action),
            FlowMatch::Ip6(ip) => Self::over_ip(true, ip, action),
            FlowMatch::Ether(ether) => Self::over_ether(ether, action),
        }
    }

    fn over_ip<const N: usize>(is_v6: bool, ip: &IpMatch<N>, action: Action) -> Option<Self> {
        if !ip.tos.is_any() {
            return None;
        }
        let (proto, ports) = match ip.l4 {
            L4Match::Tcp(ports) => (Some(PROTO_TCP), ports),
            L4Match::Udp(ports) => (Some(PROTO_UDP), ports),
            L4Match::Other { proto, bytes } => match proto.mask {
                0 => (None, first_bytes(&bytes)),
                0xff => (Some(proto.value), first_bytes(&bytes)),
                _ => return None,
            },
        };
        let has_ports = !ports.src.is_any() || !ports.dst.is_any();
        let (flow, tunnel) = match (proto, is_v6) {
            (Some(PROTO_TCP), true) => (FlowType::Tcp6, false),
            (Some(PROTO_TCP), false) => (FlowType::Tcp4, false),
            (Some(PROTO_UDP), true) => (FlowType::Udp6, false),
            (Some(PROTO_UDP), false) => (FlowType::Udp4, false),
            (None, true) if !has_ports => (FlowType::Ip6, false),
            (None, false) if !has_ports => (FlowType::Ip4, false),
            (Some(PROTO_IPV6), true) if !has_ports => (FlowType::Ip6, true),
            _ => return None,
        };
        Some(Self {
            flow,
            tunnel,
            src: IpEntry::new(is_v6, &ip.src),
            dst: IpEntry::new(is_v6, &ip.dst),
            ports,
            mac: None,
            action,
        })
    }

    fn over_ether(ether: &EtherMatch, action: Action) -> Option<Self> {
        let mac = match ether.dst.mask {
            [0, 0, 0, 0, 0, 0] => None,
            // Only whole addresses, and none that no frame has: all share one table.
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] if ether.dst.value != [0; 6] => {
                Some(ether.dst.value)
            }
            _ => return None,
        };
        if !ether.src.is_any() || !ether.proto.is_any() {
            return None;
        }
        Some(Self {
            flow: FlowType::Ether,
            tunnel: false,
            src: None,
            dst: None,
            ports: NO_PORTS,
            mac,
            action,
        })
    }

    /// The Ethernet address that has to be in the address table.
    pub fn mac(&self) -> Option<&MacAddr> {
        self.mac.as_ref()
    }

    /// The IP addresses that have to be in the tables, by table.
    fn addresses(&self) -> [Option<IpEntry>; IP_TABLES] {
        if self.tunnel {
            [None, None, self.src, self.dst]
        } else {
            [self.src, self.dst, None, None]
        }
    }

    /// Whether the rule has to find `entry` in table `table` of IP addresses.
    pub fn needs_ip(&self, table: usize, entry: &IpEntry) -> bool {
        let address = self.addresses().get(table).copied().flatten();
        address.map(IpEntry::canonical).as_ref() == Some(entry)
    }

    /// The rule as a user would write it.
    pub fn spec(&self) -> FlowSpec {
        let flow = match self.flow {
            FlowType::Udp4 => FlowMatch::Ip4(self.ip(L4Match::Udp(self.ports))),
            FlowType::Tcp4 => FlowMatch::Ip4(self.ip(L4Match::Tcp(self.ports))),
            FlowType::Ip4 => FlowMatch::Ip4(self.ip(self.protocol())),
            FlowType::Udp6 => FlowMatch::Ip6(self.ip(L4Match::Udp(self.ports))),
            FlowType::Tcp6 => FlowMatch::Ip6(self.ip(L4Match::Tcp(self.ports))),
            FlowType::Ip6 => FlowMatch::Ip6(self.ip(self.protocol())),
            FlowType::Ether => FlowMatch::Ether(EtherMatch {
                dst: self.mac.map_or(Masked::default(), |value| Masked {
                    value,
                    mask: [0xff; 6],
                }),
                ..EtherMatch::default()
            }),
        };
        let action = match self.action {
            Action::Drop => FlowAction::Drop,
            Action::Queue(queue) => FlowAction::Queue {
                queue: queue.into(),
                vf: 0,
            },
            Action::Context(context) => FlowAction::Context {
                context: context.into(),
                offset: 0,
            },
        };
        FlowSpec {
            flow,
            ext: FlowExt::default(),
            action,
        }
    }

    fn ip<const N: usize>(&self, l4: L4Match) -> IpMatch<N> {
        const fn any<const N: usize>() -> Masked<[u8; N]> {
            Masked {
                value: [0; N],
                mask: [0; N],
            }
        }

        IpMatch {
            src: self.src.map_or(any(), |entry| entry.address()),
            dst: self.dst.map_or(any(), |entry| entry.address()),
            tos: Masked::default(),
            l4,
        }
    }

    fn protocol(&self) -> L4Match {
        let proto = if self.tunnel {
            Masked {
                value: PROTO_IPV6,
                mask: 0xff,
            }
        } else {
            Masked::default()
        };
        L4Match::Other {
            proto,
            bytes: Masked::default(),
        }
    }

    /// The entry of the action table; [`None`] while an address is not in its table.
    ///
    /// `fields` are the hash fields by kind of flow, `queues` is the number of Rx queues.
    pub fn entry(
        &self,
        ips: &[IpTable; IP_TABLES],
        macs: &MacTable,
        fields: &[u32; FLOW_TYPES],
        queues: u32,
    ) -> Option<ActEntry> {
        let mut entry = ActEntry {
            value: [0; ACT_WORDS],
            mask: [0xffff; ACT_WORDS],
            dest: self.action.dest(queues),
            hash: rss::hash_enable(*fields.get(self.flow.index())?),
        };
        let addresses = self.addresses();
        for (n, (table, address)) in ips.iter().zip(addresses).enumerate() {
            let Some(address) = address.map(IpEntry::canonical) else {
                continue;
            };
            let index = table.iter().position(|slot| *slot == Some(address))?;
            // CAST: There are eight entries.
            let hit = KEY0_VALID | index as u16;
            let shift = n * KEY0_TABLE_BITS;
            entry.compare(KEY_ADDRESSES, hit << shift, 0xf << shift);
        }
        let (mut kind, mut compared) = self.kind();
        if let Some(mac) = &self.mac {
            kind |= tcam::macda_key(tcam::find_mac(macs, mac)?);
            compared |= key1::MACDA_MASK;
        }
        entry.compare(KEY_KIND, kind, compared);
        entry.compare(KEY_SPORT, self.ports.src.value, self.ports.src.mask);
        entry.compare(KEY_DPORT, self.ports.dst.value, self.ports.dst.mask);
        Some(entry)
    }

    /// What the kind of flow sets in word 1 of the key, and the bits that are compared.
    fn kind(&self) -> (u16, u16) {
        let value = tcam::flow_key(self.flow) | key1::MACDA_VALID;
        // Unlike with the entries for kinds of flows, the order of rules is up to the user. So each
        // compares all that tells its kind from others.
        let mut compared = match self.flow {
            FlowType::Ether => key1::MACDA_VALID,
            FlowType::Ip4 | FlowType::Ip6 => key1::MACDA_VALID | key1::IP_VALID | key1::IP_IS_V6,
            _ => {
                key1::MACDA_VALID
                    | key1::IP_VALID
                    | key1::IP_IS_V6
                    | key1::L4_VALID
                    | key1::L4_IS_UDP
            }
        };
        if !self.tunnel {
            return (value, compared);
        }
        compared |= key1::OUTER_IP_VALID;
        (value | key1::OUTER_IP_VALID, compared)
    }
}

impl ActEntry {
    /// Compares the bits of word `word` that `mask` has set.
    fn compare(&mut self, word: usize, value: u16, mask: u16) {
        let words = self.value.get_mut(word).zip(self.mask.get_mut(word));
        if let Some((to_value, to_mask)) = words {
            *to_value |= value;
            *to_mask &= !mask;
        }
    }
}

fn is_nothing(ext: &FlowExt) -> bool {
    ext.mac.is_any() && ext.vlan_etype.is_any() && ext.vlan_tci.is_any() && ext.data.is_any()
}

/// The first four bytes of layer 4 as ports.
fn first_bytes(bytes: &Masked<[u8; 4]>) -> Ports {
    let port = |[a, b, c, d]: [u8; 4]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (value, mask) = (port(bytes.value), port(bytes.mask));
    Ports {
        src: Masked {
            value: value.0,
            mask: mask.0,
        },
        dst: Masked {
            value: value.1,
            mask: mask.1,
        },
    }
}

/// Plans the tables of IP addresses for `rules`; [`None`] if they have too many addresses.
///
/// Addresses that were in `before` keep their places, unless a network of theirs has to go behind
/// an address within it and there is no place.
pub fn plan_ips(before: &[IpTable; IP_TABLES], rules: &RuleTable) -> Option<[IpTable; IP_TABLES]> {
    let mut plan = [[None; IP_ENTRIES]; IP_TABLES];
    for (n, (table, before)) in plan.iter_mut().zip(before).enumerate() {
        let wanted = rules.iter().flatten().filter_map(move |rule| {
            let address = rule.addresses().get(n).copied().flatten();
            address.map(IpEntry::canonical)
        });
        *table = plan_table(before, wanted)?;
    }
    Some(plan)
}

fn plan_table(before: &IpTable, wanted: impl Iterator<Item = IpEntry> + Clone) -> Option<IpTable> {
    let mut table = before.map(|old| old.filter(|old| wanted.clone().any(|entry| entry == *old)));
    for entry in wanted.clone() {
        if table.contains(&Some(entry)) {
            continue;
        }
        match place(&table, &entry).and_then(|index| table.get_mut(index)) {
            Some(slot) => *slot = Some(entry),
            None => return sorted(wanted),
        }
    }
    Some(table)
}

/// A free place for `entry` behind all that is within it and before all it is within. Addresses of
/// IPv4 grow down from the end of the table, those of IPv6 up from its beginning.
fn place(table: &IpTable, entry: &IpEntry) -> Option<usize> {
    let fits = |&index: &usize| {
        table.get(index) == Some(&None)
            && table.iter().enumerate().all(|(at, other)| {
                other.as_ref().is_none_or(|other| {
                    (at < index || !other.is_within(entry))
                        && (at > index || !entry.is_within(other))
                })
            })
    };
    let mut indices = 0..IP_ENTRIES;
    if entry.is_v6 {
        indices.find(fits)
    } else {
        indices.rev().find(fits)
    }
}

/// All addresses anew, those of the smallest networks first; [`None`] if there are too many.
fn sorted(wanted: impl Iterator<Item = IpEntry> + Clone) -> Option<IpTable> {
    let mut table = [None; IP_ENTRIES];
    for index in 0..IP_ENTRIES {
        let left = wanted
            .clone()
            .filter(|entry| !table.contains(&Some(*entry)));
        let next = left.max_by_key(IpEntry::bits);
        if let Some(slot) = table.get_mut(index) {
            *slot = next;
        }
    }
    let mut wanted = wanted;
    wanted
        .all(|entry| table.contains(&Some(entry)))
        .then_some(table)
}
