// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling: hash fields, key and indirection tables.
//!
//! Nothing here depends on the kernel.

/// Bytes of the key: 425 bits.
pub const KEY_BYTES: usize = 54;

/// Words of the key in the device.
pub const KEY_WORDS: usize = 14;

/// Bits of the last key byte that the hardware uses.
const LAST_BYTE_MASK: u8 = 0x80;

/// Entries of an indirection table.
pub const TABLE_SIZE: usize = 256;

/// Indirection tables, one per RSS context.
pub const TABLES: usize = 2;

/// Kinds of flows, in the order in which the classifier tries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowType {
    /// UDP over IPv6.
    Udp6 = 0,
    /// UDP over IPv4.
    Udp4 = 1,
    /// TCP over IPv6.
    Tcp6 = 2,
    /// TCP over IPv4.
    Tcp4 = 3,
    /// Other IPv6.
    Ip6 = 4,
    /// Other IPv4.
    Ip4 = 5,
    /// Anything else.
    Ether = 6,
}

/// Kinds of flows there are.
pub const FLOW_TYPES: usize = 7;

impl FlowType {
    /// All of them, in order.
    pub const ALL: [FlowType; FLOW_TYPES] = [
        Self::Udp6,
        Self::Udp4,
        Self::Tcp6,
        Self::Tcp4,
        Self::Ip6,
        Self::Ip4,
        Self::Ether,
    ];

    /// Place in tables by kind of flow.
    pub const fn index(self) -> usize {
        // CAST: The discriminants count from zero.
        self as usize
    }
}

/// Hash fields as ethtool's `RXH_*` names them.
pub mod rxh {
    /// Destination Ethernet address.
    pub const L2DA: u32 = 1 << 1;
    /// Source IP address.
    pub const IP_SRC: u32 = 1 << 4;
    /// Destination IP address.
    pub const IP_DST: u32 = 1 << 5;
    /// First two bytes of layer 4: the source port.
    pub const L4_B_0_1: u32 = 1 << 6;
    /// Next two bytes of layer 4: the destination port.
    pub const L4_B_2_3: u32 = 1 << 7;
    /// IPv6 flow label.
    pub const IP6_FL: u32 = 1 << 9;
    /// Drop these frames.
    pub const DISCARD: u32 = 1 << 31;
}

/// Hash fields of each kind of flow that are used unless something else is asked for.
pub const DEFAULT_FIELDS: [u32; FLOW_TYPES] = {
    const L3: u32 = rxh::IP_SRC | rxh::IP_DST;
    const L4: u32 = L3 | rxh::L4_B_0_1 | rxh::L4_B_2_3;
    [L3, L3, L4, L4, L3, L3, rxh::L2DA]
};

/// RSS_ENA bits of an action for the given `RXH_*` fields.
pub fn hash_enable(fields: u32) -> u16 {
    const BITS: [(u32, u16); 6] = [
        (rxh::IP_SRC, 1 << 0),
        (rxh::IP_DST, 1 << 1),
        (rxh::L4_B_0_1, 1 << 2),
        (rxh::L4_B_2_3, 1 << 3),
        (rxh::L2DA, 1 << 4),
        // Of the inner and of the outer header.
        (rxh::IP6_FL, 1 << 6 | 1 << 7),
    ];
    BITS.iter()
        .filter(|(field, _)| fields & field != 0)
        .fold(0, |enable, (_, bits)| enable | bits)
}

/// Whether the device can hash these fields for this kind of flow.
pub fn fields_supported(flow: FlowType, fields: u32) -> bool {
    const L2: u32 = rxh::L2DA | rxh::DISCARD;
    const L3: u32 = L2 | rxh::IP_SRC | rxh::IP_DST;
    const L4: u32 = L3 | rxh::L4_B_0_1 | rxh::L4_B_2_3;
    let allowed = match flow {
        FlowType::Udp6 | FlowType::Tcp6 => L4 | rxh::IP6_FL,
        FlowType::Udp4 | FlowType::Tcp4 => L4,
        FlowType::Ip6 => L3 | rxh::IP6_FL,
        FlowType::Ip4 => L3,
        FlowType::Ether => L2,
    };
    fields & !allowed == 0
}

/// The key as the device wants it: the first byte on top of word 0, the last 7 bits unused.
pub fn key_words(key: &[u8; KEY_BYTES]) -> [u32; KEY_WORDS] {
    let mut words = [0; KEY_WORDS];
    let mut key = *key;
    trim_key(&mut key);
    for (word, bytes) in words.iter_mut().zip(key.chunks(4)) {
        let padded = bytes.iter().copied().chain(core::iter::repeat(0)).take(4);
        *word = padded.fold(0, |word, byte| word << 8 | u32::from(byte));
    }
    words
}

/// Clears the bits of the last byte that the hardware does not have.
pub fn trim_key(key: &mut [u8; KEY_BYTES]) {
    if let Some(last) = key.last_mut() {
        *last &= LAST_BYTE_MASK;
    }
}

/// The default indirection table: queues in turn.
pub fn spread(queues: u32) -> [u8; TABLE_SIZE] {
    let queues = queues.clamp(1, 256);
    let mut table = [0; TABLE_SIZE];
    for (entry, queue) in table.iter_mut().zip((0..queues).cycle()) {
        // CAST: Queue numbers are below 256.
        *entry = queue as u8;
    }
    table
}
