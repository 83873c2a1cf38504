// SPDX-License-Identifier: GPL-2.0

//! What a network device answers to `ethtool`.
//!
//! A driver implements [`Operations`] for the private data of its network device and hands
//! [`Table::OPS`] to the device. Structures of plain numbers are the kernel's own, under the names
//! ethtool's users know; statistics and everything with pointers in it come as Rust types.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use super::netdevice::{
    self,
    Locked, //
};
use crate::bindings;

use core::marker::PhantomData;

use kernel::{
    fmt,
    prelude::*, //
};

pub mod flow;
mod rxnfc;
mod table;

use flow::{
    FlowSpec,
    Location, //
};
pub use table::Table;

pub use bindings::{
    ethtool_channels as Channels,
    ethtool_coalesce as Coalesce,
    ethtool_fecparam as FecParam,
    ethtool_link_ksettings as LinkKsettings,
    ethtool_pauseparam as PauseParam,
    ethtool_ringparam as RingParam,
    ethtool_rmon_hist_range as RmonHistRange,
    kernel_ethtool_ringparam as KernelRingParam,
    ETHTOOL_COALESCE_RX_MAX_FRAMES,
    ETHTOOL_COALESCE_RX_USECS,
    ETHTOOL_COALESCE_TX_USECS,
    ETHTOOL_FEC_AUTO,
    ETHTOOL_FEC_BASER,
    ETHTOOL_FEC_OFF,
    ETHTOOL_FEC_RS,
    ETHTOOL_OP_NEEDS_RTNL_GLINK,
    ETHTOOL_OP_NEEDS_RTNL_GPAUSEPARAM,
    ETHTOOL_OP_NEEDS_RTNL_LINKSETTINGS,
    ETHTOOL_OP_NEEDS_RTNL_SCHANNELS,
    ETHTOOL_OP_NEEDS_RTNL_SPAUSEPARAM,
    ETHTOOL_OP_NEEDS_RTNL_SRINGPARAM,
    ETHTOOL_OP_NEEDS_RTNL_TEST,
    ETHTOOL_RING_USE_HDS_THRS,
    ETHTOOL_RING_USE_TCP_DATA_SPLIT, //
};

pub use bindings::{
    ethtool_tcp_data_split_ETHTOOL_TCP_DATA_SPLIT_DISABLED as TCP_DATA_SPLIT_DISABLED,
    ethtool_tcp_data_split_ETHTOOL_TCP_DATA_SPLIT_ENABLED as TCP_DATA_SPLIT_ENABLED, //
};

/// Type of connector: direct attach copper, for the `port` of [`LinkKsettings`].
pub const PORT_DA: u8 = bindings::PORT_DA as u8;

/// Asks for the driver's own choice of [`Operations::pause_storm_timeout`].
pub const PAUSE_STORM_AUTO: u16 = bindings::PFC_STORM_PREVENTION_AUTO as u16;

/// Longest name of a statistic, without the NUL that ends it.
pub const STRING_LEN: usize = bindings::ETH_GSTRING_LEN as usize - 1;

/// The explanation that goes with an error.
pub struct ExtAck<'a> {
    ack: *mut bindings::netlink_ext_ack,
    _request: PhantomData<&'a mut bindings::netlink_ext_ack>,
}

impl ExtAck<'_> {
    /// Returns the explanation at `ack`.
    ///
    /// # Safety
    ///
    /// `ack` must be null or valid for the lifetime of the result.
    pub(in crate::net) unsafe fn from_ptr(ack: *mut bindings::netlink_ext_ack) -> Self {
        Self {
            ack,
            _request: PhantomData,
        }
    }

    /// Sets the message. By convention it begins with the module's name.
    pub fn set(&mut self, msg: &'static CStr) {
        if !self.ack.is_null() {
            // SAFETY: The pointer, where there is one, is valid during the callback, which `'a`
            // stands for. The message is static.
            unsafe { (*self.ack)._msg = msg.as_char_ptr() };
        }
    }
}

/// Names of statistics under construction.
pub struct Strings<'a> {
    left: &'a mut [[u8; STRING_LEN + 1]],
}

impl Strings<'_> {
    /// Appends a name, cut off if it is too long. Names without a number in [`Operations::STATS`]
    /// are dropped.
    pub fn put(&mut self, name: fmt::Arguments<'_>) {
        let Some((first, rest)) = core::mem::take(&mut self.left).split_first_mut() else {
            return;
        };
        self.left = rest;

        *first = [0; STRING_LEN + 1];
        // The last byte stays zero and ends the name.
        let [room @ .., _] = first;
        // The writer takes what fits and never fails.
        let _ = fmt::Write::write_fmt(&mut Cut(room), name);
    }
}

/// Writes to a buffer what fits in it, and drops the rest.
struct Cut<'a>(&'a mut [u8]);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = core::mem::take(&mut self.0);
        let len = room.len().min(s.len());
        let (now, later) = room.split_at_mut(len);

        for (to, from) in now.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.0 = later;
        Ok(())
    }
}

/// Receive side scaling as a user sees it. Absent parts are not asked for.
pub struct Rxfh<'a> {
    /// Hash key.
    pub key: Option<&'a mut [u8]>,
    /// Queue for each value of the hash.
    pub indir: Option<&'a mut [u32]>,
}

/// Standard MAC statistics, IEEE 802.3 clause 30.3.1.1.
#[expect(non_snake_case)]
#[derive(Clone, Copy, Default)]
pub struct EthMacStats {
    /// Frames sent without an error.
    pub FramesTransmittedOK: u64,
    /// Frames received without an error.
    pub FramesReceivedOK: u64,
    /// Frames received with a bad checksum.
    pub FrameCheckSequenceErrors: u64,
    /// Frames received with an odd number of nibbles.
    pub AlignmentErrors: u64,
    /// Bytes in frames sent.
    pub OctetsTransmittedOK: u64,
    /// Frames the MAC failed to send.
    pub FramesLostDueToIntMACXmitError: u64,
    /// Bytes in frames received.
    pub OctetsReceivedOK: u64,
    /// Frames the MAC failed to deliver.
    pub FramesLostDueToIntMACRcvError: u64,
    /// Multicast frames sent.
    pub MulticastFramesXmittedOK: u64,
    /// Broadcast frames sent.
    pub BroadcastFramesXmittedOK: u64,
    /// Multicast frames received.
    pub MulticastFramesReceivedOK: u64,
    /// Broadcast frames received.
    pub BroadcastFramesReceivedOK: u64,
    /// Frames longer than the MAC allows.
    pub FrameTooLongErrors: u64,
}

/// MAC control frame statistics, IEEE 802.3 clause 30.3.3.
#[expect(non_snake_case)]
#[derive(Clone, Copy, Default)]
pub struct EthCtrlStats {
    /// Control frames sent.
    pub MACControlFramesTransmitted: u64,
    /// Control frames received.
    pub MACControlFramesReceived: u64,
}

/// Pause statistics.
#[derive(Clone, Copy, Default)]
pub struct PauseStats {
    /// Pause frames sent.
    pub tx_pause_frames: u64,
    /// Pause frames received.
    pub rx_pause_frames: u64,
    /// Times the guard against endless pausing stepped in.
    pub tx_pause_storm_events: u64,
}

/// Forward error correction statistics.
#[derive(Clone, Copy, Default)]
pub struct FecStats {
    /// Blocks received with errors that were corrected.
    pub corrected_blocks: u64,
    /// Blocks received with errors that were not.
    pub uncorrectable_blocks: u64,
}

/// Number of packet size ranges in [`RmonStats`].
pub const RMON_HIST_MAX: usize = 11;

/// Remote monitoring statistics, RFC 2819.
#[derive(Clone, Copy, Default)]
pub struct RmonStats {
    /// Good frames below 64 bytes.
    pub undersize_pkts: u64,
    /// Good frames above the maximum.
    pub oversize_pkts: u64,
    /// Bad frames below 64 bytes.
    pub fragments: u64,
    /// Bad frames above the maximum.
    pub jabbers: u64,
    /// Frames received, by size range.
    pub hist: [u64; RMON_HIST_MAX],
    /// Frames sent, by size range.
    pub hist_tx: [u64; RMON_HIST_MAX],
}

/// A request for a part of the pluggable module's memory.
#[derive(Clone, Copy)]
pub struct ModuleEeprom {
    /// First byte, within the page.
    pub offset: u32,
    /// Page number.
    pub page: u8,
    /// Bank number.
    pub bank: u8,
    /// Address on the I2C bus.
    pub i2c_address: u8,
}

/// The ethtool side of a driver, implemented by a network device's private data.
///
/// All functions run in process context with the device's instance lock held, and with the RTNL
/// as well where [`Operations::OP_NEEDS_RTNL`] says so.
#[vtable]
pub trait Operations: netdevice::Operations {
    /// `ETHTOOL_OP_NEEDS_RTNL_*` bits.
    const OP_NEEDS_RTNL: u32 = 0;

    /// Whether the driver calls [`SkBuff::tx_timestamp`](crate::net::skbuff::SkBuff::tx_timestamp) for
    /// each packet it sends. User space is told.
    const SOFTWARE_TX_TIMESTAMPS: bool = false;
    /// `ETHTOOL_COALESCE_*` bits a user may set.
    const SUPPORTED_COALESCE_PARAMS: u32 = 0;
    /// `ETHTOOL_RING_USE_*` bits a user may set.
    const SUPPORTED_RING_PARAMS: u32 = 0;
    /// The device can tell the number of lanes.
    const CAP_LINK_LANES: bool = false;
    /// Number of statistics of [`Operations::stats`].
    const STATS: usize = 0;
    /// Size of the RSS key in bytes.
    const RXFH_KEY_SIZE: u32 = 0;
    /// Size of the RSS indirection table.
    const RXFH_INDIR_SIZE: u32 = 0;
    /// RSS contexts, the one every device has included.
    const RXFH_CONTEXTS: u32 = 0;
    /// Size of the table of flow rules.
    const FLOW_RULES: u32 = 0;
    /// Names of the tests of [`Operations::self_test`].
    const TESTS: &'static [&'static str] = &[];
    /// Packet size ranges of [`Operations::rmon_stats`], ended by one of zeros.
    const RMON_RANGES: &'static [RmonHistRange] = &[];

    /// Writes the firmware's version for `ethtool -i`, 31 bytes at most.
    fn fw_version(&self, out: &mut dyn fmt::Write) {
        let _ = out;
    }

    /// Number of times the link went down.
    fn link_down_events(&self) -> u64 {
        0
    }

    /// `ethtool -c`.
    fn get_coalesce(&self, coalesce: &mut Coalesce) -> Result {
        let _ = coalesce;
        Err(EOPNOTSUPP)
    }

    /// `ethtool -C`.
    fn set_coalesce(
        &self,
        dev: &Locked<'_>,
        coalesce: &Coalesce,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let _ = (dev, coalesce, extack);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -g`.
    fn get_ringparam(&self, ring: &mut RingParam, kernel_ring: &mut KernelRingParam) {
        let _ = (ring, kernel_ring);
    }

    /// `ethtool -G`.
    fn set_ringparam(
        &self,
        dev: &Locked<'_>,
        ring: &mut RingParam,
        kernel_ring: &KernelRingParam,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let _ = (dev, ring, kernel_ring, extack);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -l`.
    fn get_channels(&self, channels: &mut Channels) {
        let _ = channels;
    }

    /// `ethtool -L`.
    fn set_channels(&self, dev: &Locked<'_>, channels: &Channels) -> Result {
        let _ = (dev, channels);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -a`.
    fn get_pauseparam(&self, pause: &mut PauseParam) {
        let _ = pause;
    }

    /// `ethtool -A`.
    fn set_pauseparam(&self, pause: &mut PauseParam) -> Result {
        let _ = pause;
        Err(EOPNOTSUPP)
    }

    /// `ethtool --include-statistics -a`.
    fn pause_stats(&self) -> PauseStats {
        PauseStats::default()
    }

    /// Names for `ethtool -S`, [`Operations::STATS`] of them.
    fn stats_strings(&self, out: &mut Strings<'_>) {
        let _ = out;
    }

    /// Values for `ethtool -S` in the order of their names.
    fn stats(&self, out: &mut [u64]) {
        let _ = out;
    }

    /// Number of Rx queues flows can be steered to.
    fn rx_ring_count(&self) -> u32 {
        0
    }

    /// `ethtool -x`.
    fn get_rxfh(&self, rxfh: &mut Rxfh<'_>) -> Result {
        let _ = rxfh;
        Err(EOPNOTSUPP)
    }

    /// `ethtool -X`.
    fn set_rxfh(&self, dev: &Locked<'_>, rxfh: &Rxfh<'_>) -> Result {
        let _ = (dev, rxfh);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -X <dev> context <context>`: sets the indirection table of a further RSS context,
    /// which is in use from here on.
    fn set_rxfh_context(&self, dev: &Locked<'_>, context: u32, indir: &[u32]) -> Result {
        let _ = (dev, context, indir);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -n <dev> rx-flow-hash <flow type>`: returns `RXH_*` bits.
    fn get_rxfh_fields(&self, flow_type: u32) -> Result<u32> {
        let _ = flow_type;
        Err(EOPNOTSUPP)
    }

    /// `ethtool -N <dev> rx-flow-hash <flow type> <fields>`.
    fn set_rxfh_fields(&self, dev: &Locked<'_>, flow_type: u32, fields: u32) -> Result {
        let _ = (dev, flow_type, fields);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -n`: returns the flow rule at `location`, if there is one.
    fn flow_rule(&self, location: u32) -> Option<FlowSpec> {
        let _ = location;
        None
    }

    /// `ethtool -N`: adds a flow rule and returns its location.
    ///
    /// Of the rule only the form has been checked, except that an RSS context exists and, with
    /// one, no offset is asked for.
    fn insert_flow_rule(
        &self,
        dev: &Locked<'_>,
        rule: &FlowSpec,
        location: Location,
    ) -> Result<u32> {
        let _ = (dev, rule, location);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -N <dev> delete <location>`.
    fn remove_flow_rule(&self, dev: &Locked<'_>, location: u32) -> Result {
        let _ = (dev, location);
        Err(EOPNOTSUPP)
    }

    /// Plain `ethtool`.
    fn get_link_ksettings(&self, settings: &mut LinkKsettings) -> Result {
        let _ = settings;
        Err(EOPNOTSUPP)
    }

    /// `ethtool --show-fec`.
    fn get_fecparam(&self, fec: &mut FecParam) -> Result {
        let _ = fec;
        Err(EOPNOTSUPP)
    }

    /// `ethtool -S <dev> --groups`: forward error correction.
    fn fec_stats(&self) -> FecStats {
        FecStats::default()
    }

    /// Symbol errors while a carrier was there, of the `eth-phy` group.
    fn eth_phy_stats(&self) -> u64 {
        0
    }

    /// The `eth-mac` group.
    fn eth_mac_stats(&self) -> EthMacStats {
        EthMacStats::default()
    }

    /// The `eth-ctrl` group.
    fn eth_ctrl_stats(&self) -> EthCtrlStats {
        EthCtrlStats::default()
    }

    /// The `rmon` group.
    fn rmon_stats(&self) -> RmonStats {
        RmonStats::default()
    }

    /// Number of 32-bit words in the register dump.
    fn regs_len(&self) -> usize {
        0
    }

    /// `ethtool -d`: fills `out` and returns the version of the dump's format.
    fn regs(&self, out: &mut [u32]) -> u32 {
        let _ = out;
        0
    }

    /// `ethtool -t`: runs the tests and returns whether all have passed.
    ///
    /// `results` has a place for each of [`Operations::TESTS`], 0 for what was passed or not run.
    /// Only if `offline` may the tests disturb traffic.
    fn self_test(&self, dev: &Locked<'_>, offline: bool, results: &mut [u64]) -> bool {
        let _ = (dev, offline, results);
        true
    }

    /// How long the device may pause its link partner at a time, milliseconds; 0 for ever.
    fn pause_storm_timeout(&self) -> u16 {
        0
    }

    /// Sets [`Operations::pause_storm_timeout`], or asks for [`PAUSE_STORM_AUTO`].
    fn set_pause_storm_timeout(&self, dev: &Locked<'_>, timeout: u16) -> Result {
        let _ = (dev, timeout);
        Err(EOPNOTSUPP)
    }

    /// `ethtool -m`: reads `out.len()` bytes of the pluggable module's memory.
    fn module_eeprom(
        &self,
        request: ModuleEeprom,
        out: &mut [u8],
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let _ = (request, out, extack);
        Err(EOPNOTSUPP)
    }
}

/// Kinds of flows, as ethtool numbers them.
pub mod flow_type {
    pub use crate::bindings::{
        AH_ESP_V4_FLOW,
        AH_ESP_V6_FLOW,
        AH_V4_FLOW,
        AH_V6_FLOW,
        ESP_V4_FLOW,
        ESP_V6_FLOW,
        ETHER_FLOW,
        IPV4_FLOW,
        IPV4_USER_FLOW,
        IPV6_FLOW,
        IPV6_USER_FLOW,
        SCTP_V4_FLOW,
        SCTP_V6_FLOW,
        TCP_V4_FLOW,
        TCP_V6_FLOW,
        UDP_V4_FLOW,
        UDP_V6_FLOW, //
    };

    /// Flags that may come along with a kind.
    pub const FLAGS: u32 =
        crate::bindings::FLOW_EXT | crate::bindings::FLOW_MAC_EXT | crate::bindings::FLOW_RSS;
}

/// Adds link modes to what `settings` says is supported.
pub fn add_supported_modes(settings: &mut LinkKsettings, modes: &[u32]) {
    for &mode in modes {
        if let Some(word) = settings.link_modes.supported.get_mut((mode / 64) as usize) {
            *word |= 1 << (mode % 64);
        }
    }
}

/// Returns whether `settings` supports any of `modes`.
pub fn supports_any_mode(settings: &LinkKsettings, modes: &[u32]) -> bool {
    modes.iter().any(|&mode| {
        let word = settings.link_modes.supported.get((mode / 64) as usize);
        word.is_some_and(|word| word >> (mode % 64) & 1 != 0)
    })
}

/// Link mode bits, see `enum ethtool_link_mode_bit_indices`.
pub mod link_mode {
    use crate::bindings;

    /// 25 Gb/s over one lane of copper.
    pub const CR_25000: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_25000baseCR_Full_BIT;
    /// 50 Gb/s over one lane of copper.
    pub const CR_50000: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_50000baseCR_Full_BIT;
    /// 50 Gb/s over two lanes of copper.
    pub const CR2_50000: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_50000baseCR2_Full_BIT;
    /// 100 Gb/s over two lanes of copper.
    pub const CR2_100000: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_100000baseCR2_Full_BIT;
    /// No forward error correction.
    pub const FEC_NONE: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_FEC_NONE_BIT;
    /// Reed-Solomon forward error correction.
    pub const FEC_RS: u32 = bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_FEC_RS_BIT;
    /// BASE-R (fire code) forward error correction.
    pub const FEC_BASER: u32 =
        bindings::ethtool_link_mode_bit_indices_ETHTOOL_LINK_MODE_FEC_BASER_BIT;
}
