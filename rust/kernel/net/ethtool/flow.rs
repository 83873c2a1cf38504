// SPDX-License-Identifier: GPL-2.0

//! Rules that steer received flows, as a user of ethtool writes them.
//!
//! Nothing here depends on the kernel. Addresses are in network byte order, all other numbers in
//! that of the CPU.

/// A field of a packet, and which of its bits a rule compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked<T> {
    /// What to compare with. Bits that are not compared may be anything.
    pub value: T,
    /// Bits that are compared.
    pub mask: T,
}

impl<T: Default + PartialEq> Masked<T> {
    /// Whether no bit is compared.
    pub fn is_any(&self) -> bool {
        self.mask == T::default()
    }
}

/// The ports of TCP or UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub src: Masked<u16>,
    /// Destination port.
    pub dst: Masked<u16>,
}

/// What a rule asks of layer 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Match {
    /// TCP with these ports.
    Tcp(Ports),
    /// UDP with these ports.
    Udp(Ports),
    /// Any protocol, told by its number.
    Other {
        /// Number of the protocol.
        proto: Masked<u8>,
        /// The first four bytes of its header.
        bytes: Masked<[u8; 4]>,
    },
}

/// What a rule asks of IP, with addresses of `N` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpMatch<const N: usize> {
    /// Source address.
    pub src: Masked<[u8; N]>,
    /// Destination address.
    pub dst: Masked<[u8; N]>,
    /// Type of service or traffic class.
    pub tos: Masked<u8>,
    /// What is on top of it.
    pub l4: L4Match,
}

/// What a rule asks of Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EtherMatch {
    /// Destination address.
    pub dst: Masked<[u8; 6]>,
    /// Source address.
    pub src: Masked<[u8; 6]>,
    /// Type.
    pub proto: Masked<u16>,
}

/// The flows a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowMatch {
    /// IPv4.
    Ip4(IpMatch<4>),
    /// IPv6.
    Ip6(IpMatch<16>),
    /// Anything over Ethernet.
    Ether(EtherMatch),
}

/// What a rule asks for besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowExt {
    /// Destination Ethernet address.
    pub mac: Masked<[u8; 6]>,
    /// Type of the VLAN tag.
    pub vlan_etype: Masked<u16>,
    /// VLAN tag.
    pub vlan_tci: Masked<u16>,
    /// Whatever driver and user have agreed upon.
    pub data: Masked<[u32; 2]>,
}

/// What becomes of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowAction {
    /// They are dropped.
    Drop,
    /// They wake the system.
    Wake,
    /// They go to one queue.
    Queue {
        /// Number of the queue.
        queue: u32,
        /// Number of a virtual function plus one; 0 stands for the device itself.
        vf: u8,
    },
    /// They are spread by an RSS context.
    Context {
        /// Number of the context.
        context: u32,
        /// What is added to each number in its indirection table.
        offset: u32,
    },
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSpec {
    /// The flows it is about.
    pub flow: FlowMatch,
    /// What it asks for besides.
    pub ext: FlowExt,
    /// What becomes of them.
    pub action: FlowAction,
}

/// Where in the table a new rule goes. Of several rules that match a packet the one with the
/// lowest location counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Here, in the place of a rule that may be there.
    At(u32),
    /// Wherever the driver likes.
    Any,
    /// Before as many rules as possible.
    First,
    /// After as many rules as possible.
    Last,
}
