// SPDX-License-Identifier: GPL-2.0

//! What the network device answers to `ethtool`.

mod regs;
mod selftest;
mod stats;

use kernel::{
    fmt,
    prelude::*, //
};

use crate::{
    fbnic_devlink::VersionText,
    fbnic_fw::{
        messages::{
            QsfpRead,
            QSFP_PAGE, //
        },
        CallError, //
    },
    fbnic_mac::{
        Aui,
        Fec, //
    },
    fbnic_netdev::FbnicNet,
    fbnic_pci::NON_NAPI_VECTORS,
    fbnic_rpc::{
        ntuple::{
            Rule,
            RULES, //
        },
        rss::{
            FlowType,
            KEY_BYTES,
            TABLES,
            TABLE_SIZE, //
        }, //
    },
    fbnic_txrx::{
        Config,
        HDS_THRESH_MAX,
        MAX_RXQS,
        MAX_TXQS,
        RX_DESC_MIN,
        TX_DESC_MIN, //
    },
    net::{
        ethtool::{
            self,
            add_supported_modes,
            flow::{
                FlowSpec,
                Location, //
            },
            flow_type,
            link_mode,
            supports_any_mode,
            Channels,
            Coalesce,
            EthCtrlStats,
            EthMacStats,
            ExtAck,
            FecParam,
            FecStats,
            KernelRingParam,
            LinkKsettings,
            ModuleEeprom,
            PauseParam,
            PauseStats,
            RingParam,
            RmonHistRange,
            RmonStats,
            Rxfh,
            Strings, //
        },
        netdevice::Locked, //
    }, //
};

/// Longest interrupt moderation in microseconds: the widths of the fields in INTR_CQ_REARM.
const USECS_MAX: u32 = (1 << 14) - 1;

/// Most frames per interrupt: the width of the field in RIM_THRESHOLD, which counts descriptors,
/// of which a frame takes at least two.
const RX_FRAMES_MAX: u32 = ((1 << 15) - 1) / 2;

/// Address of a pluggable module on its I2C bus.
const MODULE_I2C_ADDRESS: u8 = 0x50;

#[vtable]
impl ethtool::Operations for FbnicNet {
    const OP_NEEDS_RTNL: u32 = ethtool::ETHTOOL_OP_NEEDS_RTNL_LINKSETTINGS
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_GPAUSEPARAM
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_SPAUSEPARAM
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_SCHANNELS
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_SRINGPARAM
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_GLINK
        | ethtool::ETHTOOL_OP_NEEDS_RTNL_TEST;
    const SOFTWARE_TX_TIMESTAMPS: bool = true;
    const SUPPORTED_COALESCE_PARAMS: u32 = ethtool::ETHTOOL_COALESCE_RX_USECS
        | ethtool::ETHTOOL_COALESCE_TX_USECS
        | ethtool::ETHTOOL_COALESCE_RX_MAX_FRAMES;
    const SUPPORTED_RING_PARAMS: u32 =
        ethtool::ETHTOOL_RING_USE_TCP_DATA_SPLIT | ethtool::ETHTOOL_RING_USE_HDS_THRS;
    const CAP_LINK_LANES: bool = true;
    const STATS: usize = stats::COUNT;
    // CAST: Small constants.
    const RXFH_KEY_SIZE: u32 = KEY_BYTES as u32;
    // CAST: Small constants.
    const RXFH_INDIR_SIZE: u32 = TABLE_SIZE as u32;
    // CAST: Small constants.
    const RXFH_CONTEXTS: u32 = TABLES as u32;
    // CAST: Small constants.
    const FLOW_RULES: u32 = RULES as u32;
    const TESTS: &'static [&'static str] = &selftest::NAMES;
    const RMON_RANGES: &'static [RmonHistRange] = stats::RMON_RANGES;

    fn fw_version(&self, out: &mut dyn fmt::Write) {
        let mgmt = self.fbnic().fw_caps().running.mgmt;
        let commit = core::str::from_utf8(mgmt.commit()).unwrap_or_default();
        let separator = if commit.is_empty() { "" } else { "_" };

        // What does not fit is cut off, which is no error.
        let version = VersionText(mgmt.version);
        let _ = out.write_fmt(fmt!("{version}{separator}{commit}"));
    }

    fn link_down_events(&self) -> u64 {
        self.link().down_events()
    }

    fn get_coalesce(&self, coalesce: &mut Coalesce) -> Result {
        let config = self.config();

        coalesce.tx_coalesce_usecs = config.tx_usecs.into();
        coalesce.rx_coalesce_usecs = config.rx_usecs.into();
        coalesce.rx_max_coalesced_frames = config.rx_max_frames;
        Ok(())
    }

    fn set_coalesce(
        &self,
        dev: &Locked<'_>,
        coalesce: &Coalesce,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        if coalesce.rx_coalesce_usecs > USECS_MAX {
            extack.set(c"fbnic: rx_usecs is above device max");
            return Err(EINVAL);
        }
        if coalesce.tx_coalesce_usecs > USECS_MAX {
            extack.set(c"fbnic: tx_usecs is above device max");
            return Err(EINVAL);
        }
        if coalesce.rx_max_coalesced_frames > RX_FRAMES_MAX {
            extack.set(c"fbnic: rx_frames is above device max");
            return Err(EINVAL);
        }

        let config = Config {
            rx_usecs: coalesce.rx_coalesce_usecs.try_into()?,
            tx_usecs: coalesce.tx_coalesce_usecs.try_into()?,
            rx_max_frames: coalesce.rx_max_coalesced_frames,
            ..self.config()
        };
        self.set_coalesce(dev, &config);
        Ok(())
    }

    fn get_ringparam(&self, ring: &mut RingParam, kernel_ring: &mut KernelRingParam) {
        let config = self.config();

        ring.rx_max_pending = Config::QUEUE_SIZE_MAX;
        ring.rx_mini_max_pending = Config::QUEUE_SIZE_MAX;
        ring.rx_jumbo_max_pending = Config::QUEUE_SIZE_MAX;
        ring.tx_max_pending = Config::QUEUE_SIZE_MAX;
        ring.rx_pending = config.rcq_size;
        ring.rx_mini_pending = config.hpq_size;
        ring.rx_jumbo_pending = config.ppq_size;
        ring.tx_pending = config.txq_size;
        // CAST: The values of this enumeration fit a byte.
        kernel_ring.tcp_data_split = ethtool::TCP_DATA_SPLIT_ENABLED as u8;
        kernel_ring.hds_thresh_max = HDS_THRESH_MAX;
        kernel_ring.hds_thresh = config.hds_thresh;
    }

    fn set_ringparam(
        &self,
        dev: &Locked<'_>,
        ring: &mut RingParam,
        kernel_ring: &KernelRingParam,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let config = Config {
            rcq_size: ring_size(ring.rx_pending, RX_DESC_MIN, extack)?,
            hpq_size: ring_size(ring.rx_mini_pending, Config::QUEUE_SIZE_MIN, extack)?,
            ppq_size: ring_size(ring.rx_jumbo_pending, Config::QUEUE_SIZE_MIN, extack)?,
            txq_size: ring_size(ring.tx_pending, TX_DESC_MIN, extack)?,
            hds_thresh: kernel_ring.hds_thresh,
            ..self.config()
        };
        if u32::from(kernel_ring.tcp_data_split) == ethtool::TCP_DATA_SPLIT_DISABLED {
            extack.set(c"fbnic: Cannot disable TCP data split");
            return Err(EINVAL);
        }
        if config.hds_thresh > HDS_THRESH_MAX {
            return Err(EINVAL);
        }
        if self.splits_frames(dev.mtu(), &config) {
            extack.set(c"fbnic: Use higher HDS threshold or multi-buf capable program");
            return Err(EINVAL);
        }

        self.set_config(dev, &config)
    }

    fn get_channels(&self, channels: &mut Channels) {
        let config = self.config();
        let (tx, rx) = (u32::from(config.num_tx), u32::from(config.num_rx));
        let napi = u32::from(config.num_napi);

        channels.max_rx = MAX_RXQS.into();
        channels.max_tx = MAX_TXQS.into();
        channels.max_combined = MAX_RXQS.min(MAX_TXQS).into();
        channels.max_other = NON_NAPI_VECTORS;
        // With more queues than contexts all contexts serve both directions. Otherwise the excess
        // of queues over contexts is the number of those that do.
        channels.combined_count = if rx > napi || tx > napi {
            rx.min(tx)
        } else {
            (rx + tx).saturating_sub(napi)
        };
        channels.rx_count = rx.saturating_sub(channels.combined_count);
        channels.tx_count = tx.saturating_sub(channels.combined_count);
        channels.other_count = NON_NAPI_VECTORS;
    }

    fn set_channels(&self, dev: &Locked<'_>, channels: &Channels) -> Result {
        let max_napi = self.max_napi();
        let (rx, tx) = (channels.rx_count, channels.tx_count);
        let combined = channels.combined_count;
        let standalone = rx.saturating_add(tx);
        let num_rx = rx.saturating_add(combined);
        let num_tx = tx.saturating_add(combined);

        // A queue of its own needs a context of its own, and besides combined ones there can be
        // queues of one direction only.
        if (rx != 0 && tx != 0 && combined != 0)
            || (standalone != 0 && standalone.saturating_add(combined) > max_napi)
            || num_rx > MAX_RXQS.into()
            || num_tx > MAX_TXQS.into()
            || channels.other_count != NON_NAPI_VECTORS
        {
            return Err(EINVAL);
        }

        let config = Config {
            num_rx: num_rx.try_into()?,
            num_tx: num_tx.try_into()?,
            num_napi: standalone
                .saturating_add(combined)
                .min(max_napi)
                .try_into()?,
            ..self.config()
        };
        self.set_config(dev, &config)
    }

    fn get_pauseparam(&self, pause: &mut PauseParam) {
        self.link().pauseparam_get(pause);
    }

    fn set_pauseparam(&self, pause: &mut PauseParam) -> Result {
        self.link().pauseparam_set(pause)
    }

    fn pause_stats(&self) -> PauseStats {
        stats::pause(self.fbnic())
    }

    fn stats_strings(&self, out: &mut Strings<'_>) {
        stats::strings(out);
    }

    fn stats(&self, out: &mut [u64]) {
        stats::values(self, out);
    }

    fn rx_ring_count(&self) -> u32 {
        self.config().num_rx.into()
    }

    fn get_rxfh(&self, rxfh: &mut Rxfh<'_>) -> Result {
        let rss = self.fbnic().rss();

        if let Some(key) = &mut rxfh.key {
            for (to, from) in key.iter_mut().zip(rss.key) {
                *to = from;
            }
        }
        if let Some(indir) = &mut rxfh.indir {
            let table = rss.indirection.first().ok_or(EINVAL)?;
            for (to, from) in indir.iter_mut().zip(table) {
                *to = (*from).into();
            }
        }
        Ok(())
    }

    fn set_rxfh(&self, _dev: &Locked<'_>, rxfh: &Rxfh<'_>) -> Result {
        if let Some(indir) = &rxfh.indir {
            self.set_indirection(0, indir)?;
        }
        if let Some(key) = &rxfh.key {
            let mut bytes = [0; KEY_BYTES];
            for (to, from) in bytes.iter_mut().zip(key.iter()) {
                *to = *from;
            }
            self.fbnic().set_rss_key(&bytes);
        }
        Ok(())
    }

    fn set_rxfh_context(&self, _dev: &Locked<'_>, context: u32, indir: &[u32]) -> Result {
        self.set_indirection(context, indir)
    }

    fn get_rxfh_fields(&self, flow_type: u32) -> Result<u32> {
        Ok(self.fbnic().flow_hash(flow(flow_type)?))
    }

    fn set_rxfh_fields(&self, _dev: &Locked<'_>, flow_type: u32, fields: u32) -> Result {
        self.fbnic().set_flow_hash(flow(flow_type)?, fields)
    }

    fn flow_rule(&self, location: u32) -> Option<FlowSpec> {
        self.fbnic().rule(location).map(|rule| rule.spec())
    }

    fn insert_flow_rule(
        &self,
        dev: &Locked<'_>,
        rule: &FlowSpec,
        location: Location,
    ) -> Result<u32> {
        // Like the C driver: the user's order is that in which the rules are added.
        if location != Location::Any {
            return Err(EINVAL);
        }
        let rule = Rule::new(rule, self.config().num_rx.into()).ok_or(EINVAL)?;
        let location = self.fbnic().add_rule(&rule)?;

        self.sync_rx_mode(dev);
        Ok(location)
    }

    fn remove_flow_rule(&self, dev: &Locked<'_>, location: u32) -> Result {
        self.fbnic().remove_rule(location)?;
        self.sync_rx_mode(dev);
        Ok(())
    }

    fn get_link_ksettings(&self, settings: &mut LinkKsettings) -> Result {
        self.link().ksettings_get(settings)?;

        settings.base.port = ethtool::PORT_DA;
        settings.lanes = if self.link().settings().aui.two_lanes() {
            2
        } else {
            1
        };
        // PAM4 signalling does not work without RS-FEC, with NRZ there is a choice.
        if supports_any_mode(settings, &[link_mode::CR2_100000, link_mode::CR_50000]) {
            add_supported_modes(settings, &[link_mode::FEC_RS]);
        }
        if supports_any_mode(settings, &[link_mode::CR2_50000, link_mode::CR_25000]) {
            let all = [link_mode::FEC_BASER, link_mode::FEC_NONE, link_mode::FEC_RS];
            add_supported_modes(settings, &all);
        }
        Ok(())
    }

    fn get_fecparam(&self, fec: &mut FecParam) -> Result {
        let settings = self.link().settings();

        fec.active_fec = match settings.fec {
            Fec::Off => ethtool::ETHTOOL_FEC_OFF,
            Fec::Rs => ethtool::ETHTOOL_FEC_RS,
            Fec::Baser => ethtool::ETHTOOL_FEC_BASER,
        };
        fec.fec = fec.active_fec;
        if matches!(settings.aui, Aui::Gaui50x1 | Aui::Gaui100x2) {
            fec.fec |= ethtool::ETHTOOL_FEC_AUTO;
        }
        Ok(())
    }

    fn fec_stats(&self) -> FecStats {
        stats::fec(self.fbnic())
    }

    fn eth_phy_stats(&self) -> u64 {
        self.fbnic().symbol_errors()
    }

    fn eth_mac_stats(&self) -> EthMacStats {
        stats::eth_mac(self.fbnic())
    }

    fn eth_ctrl_stats(&self) -> EthCtrlStats {
        stats::eth_ctrl(self.fbnic())
    }

    fn rmon_stats(&self) -> RmonStats {
        stats::rmon(self.fbnic())
    }

    fn regs_len(&self) -> usize {
        regs::len()
    }

    fn regs(&self, out: &mut [u32]) -> u32 {
        regs::dump(&self.fbnic().csr, out)
    }

    fn self_test(&self, dev: &Locked<'_>, offline: bool, results: &mut [u64]) -> bool {
        selftest::run(self, dev, offline, results)
    }

    fn pause_storm_timeout(&self) -> u16 {
        self.fbnic().pause_storm_timeout()
    }

    fn set_pause_storm_timeout(&self, _dev: &Locked<'_>, timeout: u16) -> Result {
        let timeout = (timeout != ethtool::PAUSE_STORM_AUTO).then_some(timeout);
        self.fbnic().set_pause_storm_timeout(timeout)
    }

    fn module_eeprom(
        &self,
        request: ModuleEeprom,
        out: &mut [u8],
        extack: &mut ExtAck<'_>,
    ) -> Result {
        if request.i2c_address != MODULE_I2C_ADDRESS {
            extack.set(c"fbnic: Invalid i2c address. Only 0x50 is supported");
            return Err(EINVAL);
        }
        if out.len() > QSFP_PAGE {
            return Err(EINVAL);
        }

        let read = QsfpRead {
            bank: request.bank.into(),
            page: request.page.into(),
            offset: request.offset,
            length: out.len().try_into()?,
        };
        let data = self
            .fbnic()
            .fw_qsfp_read(read)
            .inspect_err(|error| extack.set(module_failure(error)))?;
        for (to, from) in out.iter_mut().zip(data) {
            *to = from;
        }
        Ok(())
    }
}

impl FbnicNet {
    /// Checks and sets the indirection table of an RSS context.
    fn set_indirection(&self, context: u32, indir: &[u32]) -> Result {
        let num_rx = self.config().num_rx;
        let mut table = [0; TABLE_SIZE];

        for (to, from) in table.iter_mut().zip(indir) {
            let queue = u8::try_from(*from)?;
            if u16::from(queue) >= num_rx {
                return Err(EINVAL);
            }
            *to = queue;
        }
        // CAST: Widening.
        self.fbnic().set_rss_indirection(context as usize, &table)
    }
}

/// What to tell users of a failure to read the memory of a module.
fn module_failure(error: &CallError) -> &'static CStr {
    match error {
        CallError::Unsent(_) => c"fbnic: Failed to send the read request to the firmware",
        CallError::TimedOut | CallError::Killed => c"fbnic: Firmware did not answer in time",
        CallError::Answer(_) => c"fbnic: Failed to read EEPROM",
    }
}

/// Rounds a ring's size up to a power of two and checks that it is not below `min`.
fn ring_size(wanted: u32, min: u32, extack: &mut ExtAck<'_>) -> Result<u32> {
    let size = if wanted == 0 {
        0
    } else {
        wanted.checked_next_power_of_two().ok_or(EINVAL)?
    };

    if size < min.max(Config::QUEUE_SIZE_MIN) {
        extack.set(c"fbnic: requested ring size too small");
        return Err(EINVAL);
    }
    if size > Config::QUEUE_SIZE_MAX {
        return Err(EINVAL);
    }
    Ok(size)
}

/// The classifier's kind of flow for one of ethtool's. Kinds it does not tell apart share one.
fn flow(kind: u32) -> Result<FlowType> {
    match kind & !flow_type::FLAGS {
        flow_type::TCP_V4_FLOW => Ok(FlowType::Tcp4),
        flow_type::TCP_V6_FLOW => Ok(FlowType::Tcp6),
        flow_type::UDP_V4_FLOW => Ok(FlowType::Udp4),
        flow_type::UDP_V6_FLOW => Ok(FlowType::Udp6),
        flow_type::AH_V4_FLOW
        | flow_type::ESP_V4_FLOW
        | flow_type::AH_ESP_V4_FLOW
        | flow_type::SCTP_V4_FLOW
        | flow_type::IPV4_FLOW
        | flow_type::IPV4_USER_FLOW => Ok(FlowType::Ip4),
        flow_type::AH_V6_FLOW
        | flow_type::ESP_V6_FLOW
        | flow_type::AH_ESP_V6_FLOW
        | flow_type::SCTP_V6_FLOW
        | flow_type::IPV6_FLOW
        | flow_type::IPV6_USER_FLOW => Ok(FlowType::Ip6),
        flow_type::ETHER_FLOW => Ok(FlowType::Ether),
        _ => Err(EINVAL),
    }
}
