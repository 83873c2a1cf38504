// SPDX-License-Identifier: GPL-2.0

//! The kernel's table of ethtool operations, and the way from it to [`Operations`].

use super::{
    rxnfc,
    Channels,
    Coalesce,
    Cut,
    ExtAck,
    FecParam,
    KernelRingParam,
    LinkKsettings,
    ModuleEeprom,
    Operations,
    PauseParam,
    RingParam,
    RmonHistRange,
    Rxfh,
    Strings,
    RMON_HIST_MAX, //
};
use crate::{
    bindings,
    net::netdevice::{
        Locked,
        NetDevice, //
    }, //
};

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

/// Makes the kernel's table of a driver's [`Operations`].
pub struct Table<T: Operations>(PhantomData<T>);

/// `$f` if the driver implements the operation, nothing otherwise.
macro_rules! optional {
    ($has:expr, $f:expr) => {
        if $has {
            Some($f)
        } else {
            None
        }
    };
}

impl<T: Operations> Table<T> {
    /// The table.
    pub const OPS: &'static bindings::ethtool_ops = &bindings::ethtool_ops {
        // The second flag of the bit-field is `cap_link_lanes_supported`.
        _bitfield_1: bindings::__BindgenBitfieldUnit::new([0, T::CAP_LINK_LANES as u8]),
        op_needs_rtnl: T::OP_NEEDS_RTNL,
        supported_coalesce_params: T::SUPPORTED_COALESCE_PARAMS,
        supported_ring_params: T::SUPPORTED_RING_PARAMS,
        rxfh_max_num_contexts: T::RXFH_CONTEXTS,
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: optional!(T::SOFTWARE_TX_TIMESTAMPS, bindings::ethtool_op_get_ts_info),
        get_drvinfo: optional!(T::HAS_FW_VERSION, Self::get_drvinfo),
        get_link_ext_stats: optional!(T::HAS_LINK_DOWN_EVENTS, Self::get_link_ext_stats),
        get_coalesce: optional!(T::HAS_GET_COALESCE, Self::get_coalesce),
        set_coalesce: optional!(T::HAS_SET_COALESCE, Self::set_coalesce),
        get_ringparam: optional!(T::HAS_GET_RINGPARAM, Self::get_ringparam),
        set_ringparam: optional!(T::HAS_SET_RINGPARAM, Self::set_ringparam),
        get_channels: optional!(T::HAS_GET_CHANNELS, Self::get_channels),
        set_channels: optional!(T::HAS_SET_CHANNELS, Self::set_channels),
        get_pauseparam: optional!(T::HAS_GET_PAUSEPARAM, Self::get_pauseparam),
        set_pauseparam: optional!(T::HAS_SET_PAUSEPARAM, Self::set_pauseparam),
        get_pause_stats: optional!(T::HAS_PAUSE_STATS, Self::get_pause_stats),
        get_strings: optional!(T::HAS_STATS_STRINGS, Self::get_strings),
        get_ethtool_stats: optional!(T::HAS_STATS, Self::get_ethtool_stats),
        get_sset_count: optional!(T::HAS_STATS, Self::get_sset_count),
        get_rx_ring_count: optional!(T::HAS_RX_RING_COUNT, Self::get_rx_ring_count),
        get_rxnfc: optional!(T::HAS_FLOW_RULE, Self::get_rxnfc),
        set_rxnfc: optional!(T::HAS_INSERT_FLOW_RULE, Self::set_rxnfc),
        get_rxfh_key_size: optional!(T::HAS_GET_RXFH, Self::get_rxfh_key_size),
        get_rxfh_indir_size: optional!(T::HAS_GET_RXFH, Self::get_rxfh_indir_size),
        get_rxfh: optional!(T::HAS_GET_RXFH, Self::get_rxfh),
        set_rxfh: optional!(T::HAS_SET_RXFH, Self::set_rxfh),
        create_rxfh_context: optional!(T::HAS_SET_RXFH_CONTEXT, Self::create_rxfh_context),
        modify_rxfh_context: optional!(T::HAS_SET_RXFH_CONTEXT, Self::modify_rxfh_context),
        remove_rxfh_context: optional!(T::HAS_SET_RXFH_CONTEXT, Self::remove_rxfh_context),
        self_test: optional!(T::HAS_SELF_TEST, Self::self_test),
        get_tunable: optional!(T::HAS_PAUSE_STORM_TIMEOUT, Self::get_tunable),
        set_tunable: optional!(T::HAS_SET_PAUSE_STORM_TIMEOUT, Self::set_tunable),
        get_rxfh_fields: optional!(T::HAS_GET_RXFH_FIELDS, Self::get_rxfh_fields),
        set_rxfh_fields: optional!(T::HAS_SET_RXFH_FIELDS, Self::set_rxfh_fields),
        get_link_ksettings: optional!(T::HAS_GET_LINK_KSETTINGS, Self::get_link_ksettings),
        get_fecparam: optional!(T::HAS_GET_FECPARAM, Self::get_fecparam),
        get_fec_stats: optional!(T::HAS_FEC_STATS, Self::get_fec_stats),
        get_eth_phy_stats: optional!(T::HAS_ETH_PHY_STATS, Self::get_eth_phy_stats),
        get_eth_mac_stats: optional!(T::HAS_ETH_MAC_STATS, Self::get_eth_mac_stats),
        get_eth_ctrl_stats: optional!(T::HAS_ETH_CTRL_STATS, Self::get_eth_ctrl_stats),
        get_rmon_stats: optional!(T::HAS_RMON_STATS, Self::get_rmon_stats),
        get_regs_len: optional!(T::HAS_REGS, Self::get_regs_len),
        get_regs: optional!(T::HAS_REGS, Self::get_regs),
        get_module_eeprom_by_page: optional!(T::HAS_MODULE_EEPROM, Self::get_module_eeprom_by_page),
        // SAFETY: Numbers and optional function pointers, for which zero means "not there".
        ..unsafe { core::mem::zeroed() }
    };

    /// Calls `f` with the device and its private data; `otherwise` if that is not a `T`.
    ///
    /// # Safety
    ///
    /// `dev` must be a valid network device for the duration of the call.
    unsafe fn with<R>(
        dev: *mut bindings::net_device,
        otherwise: R,
        f: impl FnOnce(&T, &NetDevice) -> R,
    ) -> R {
        // SAFETY: Passed on from the caller.
        let dev = unsafe { NetDevice::from_ptr(dev) };

        match dev.private::<T>() {
            Some(private) => f(private, dev),
            None => otherwise,
        }
    }

    /// [`Table::with`] for callbacks that return an error number and may change the device.
    ///
    /// # Safety
    ///
    /// As for [`Table::with`]; the caller must hold the lock of `dev`.
    unsafe fn try_with(
        dev: *mut bindings::net_device,
        f: impl FnOnce(&T, &Locked<'_>) -> Result,
    ) -> c_int {
        // SAFETY: Passed on from the caller.
        unsafe {
            Self::with(dev, Err(EOPNOTSUPP), |this, dev| {
                f(this, &Locked::assume(dev))
            })
        }
        .map_or_else(Error::to_errno, |()| 0)
    }
}

/// The callbacks. Their safety requirements are those of the C interface: ethtool's core calls
/// them with the lock of a device that has this table held, with valid pointers to structures
/// nobody else uses, and arrays of the lengths the driver has told it before.
impl<T: Operations> Table<T> {
    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_drvinfo(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: See above.
        unsafe {
            // The last byte stays out of the writer's reach. It is zero, as the core zeroes the
            // structure.
            let [room @ .., _] = &mut (*info).fw_version;
            Self::with(dev, (), |this, _| this.fw_version(&mut Cut(room)));
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_link_ext_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_link_ext_stats,
    ) {
        // SAFETY: See above.
        unsafe {
            Self::with(dev, (), |this, _| {
                (*stats).link_down_events = this.link_down_events()
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut Coalesce,
        _kernel_coalesce: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe { Self::try_with(dev, |this, _| this.get_coalesce(&mut *coalesce)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut Coalesce,
        _kernel_coalesce: *mut bindings::kernel_ethtool_coalesce,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            Self::try_with(dev, |this, dev| {
                this.set_coalesce(dev, &*coalesce, &mut ExtAck::from_ptr(extack))
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_ringparam(
        dev: *mut bindings::net_device,
        ring: *mut RingParam,
        kernel_ring: *mut KernelRingParam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: See above.
        unsafe {
            Self::with(dev, (), |this, _| {
                this.get_ringparam(&mut *ring, &mut *kernel_ring)
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_ringparam(
        dev: *mut bindings::net_device,
        ring: *mut RingParam,
        kernel_ring: *mut KernelRingParam,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            Self::try_with(dev, |this, dev| {
                this.set_ringparam(
                    dev,
                    &mut *ring,
                    &*kernel_ring,
                    &mut ExtAck::from_ptr(extack),
                )
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_channels(dev: *mut bindings::net_device, channels: *mut Channels) {
        // SAFETY: See above.
        unsafe { Self::with(dev, (), |this, _| this.get_channels(&mut *channels)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        channels: *mut Channels,
    ) -> c_int {
        // SAFETY: See above.
        unsafe { Self::try_with(dev, |this, dev| this.set_channels(dev, &*channels)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_pauseparam(dev: *mut bindings::net_device, pause: *mut PauseParam) {
        // SAFETY: See above.
        unsafe { Self::with(dev, (), |this, _| this.get_pauseparam(&mut *pause)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_pauseparam(
        dev: *mut bindings::net_device,
        pause: *mut PauseParam,
    ) -> c_int {
        // SAFETY: See above.
        unsafe { Self::try_with(dev, |this, _| this.set_pauseparam(&mut *pause)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_strings(dev: *mut bindings::net_device, set: u32, data: *mut u8) {
        let is_test = set == bindings::ethtool_stringset_ETH_SS_TEST;
        if !is_test && set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        let count = if is_test { T::TESTS.len() } else { T::STATS };
        // SAFETY: See above. The core has allocated as many names of this length as
        // `get_sset_count` has told.
        let left = unsafe { core::slice::from_raw_parts_mut(data.cast(), count) };
        let mut names = Strings { left };

        if is_test {
            T::TESTS.iter().for_each(|name| names.put(fmt!("{name}")));
            return;
        }
        // SAFETY: See above.
        unsafe { Self::with(dev, (), |this, _| this.stats_strings(&mut names)) };
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: See above. The core has allocated `T::STATS` numbers.
        unsafe {
            let out = core::slice::from_raw_parts_mut(data, T::STATS);
            Self::with(dev, (), |this, _| this.stats(out));
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_sset_count(_dev: *mut bindings::net_device, set: c_int) -> c_int {
        let count = match u32::try_from(set) {
            Ok(bindings::ethtool_stringset_ETH_SS_STATS) => T::STATS,
            Ok(bindings::ethtool_stringset_ETH_SS_TEST) => T::TESTS.len(),
            _ => return EOPNOTSUPP.to_errno(),
        };
        c_int::try_from(count).unwrap_or(0)
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rx_ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: See above.
        unsafe { Self::with(dev, 0, |this, _| this.rx_ring_count()) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rxfh_key_size(_dev: *mut bindings::net_device) -> u32 {
        T::RXFH_KEY_SIZE
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rxfh_indir_size(_dev: *mut bindings::net_device) -> u32 {
        T::RXFH_INDIR_SIZE
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rxfh(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            (*param).hfunc = bindings::ETH_RSS_HASH_TOP as u8;
            Self::try_with(dev, |this, _| this.get_rxfh(&mut rxfh::<T>(&*param)))
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_rxfh(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            let hfunc = u32::from((*param).hfunc);
            if hfunc != bindings::ETH_RSS_HASH_NO_CHANGE && hfunc != bindings::ETH_RSS_HASH_TOP {
                return EINVAL.to_errno();
            }

            Self::try_with(dev, |this, dev| this.set_rxfh(dev, &rxfh::<T>(&*param)))
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rxfh_fields(
        dev: *mut bindings::net_device,
        fields: *mut bindings::ethtool_rxfh_fields,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            Self::try_with(dev, |this, _| {
                (*fields).data = this.get_rxfh_fields((*fields).flow_type)?;
                Ok(())
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_rxfh_fields(
        dev: *mut bindings::net_device,
        fields: *const bindings::ethtool_rxfh_fields,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            Self::try_with(dev, |this, dev| {
                this.set_rxfh_fields(dev, (*fields).flow_type, (*fields).data)
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_link_ksettings(
        dev: *mut bindings::net_device,
        settings: *mut LinkKsettings,
    ) -> c_int {
        // SAFETY: See above.
        unsafe { Self::try_with(dev, |this, _| this.get_link_ksettings(&mut *settings)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_fecparam(dev: *mut bindings::net_device, fec: *mut FecParam) -> c_int {
        // SAFETY: See above.
        unsafe { Self::try_with(dev, |this, _| this.get_fecparam(&mut *fec)) }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_module_eeprom_by_page(
        dev: *mut bindings::net_device,
        page: *const bindings::ethtool_module_eeprom,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above. The core has allocated `length` bytes at `data`.
        let (request, out) = unsafe {
            let page = &*page;
            let request = ModuleEeprom {
                offset: page.offset,
                page: page.page,
                bank: page.bank,
                i2c_address: page.i2c_address,
            };
            (request, slice_of(page.data, page.length as usize))
        };
        let Some(out) = out else {
            return EINVAL.to_errno();
        };
        let length = c_int::try_from(out.len()).unwrap_or(c_int::MAX);

        // SAFETY: See above.
        let result = unsafe {
            Self::try_with(dev, |this, _| {
                this.module_eeprom(request, out, &mut ExtAck::from_ptr(extack))
            })
        };
        if result == 0 {
            length
        } else {
            result
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_regs_len(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: See above.
        let words = unsafe { Self::with(dev, 0, |this, _| this.regs_len()) };

        c_int::try_from(words * size_of::<u32>()).unwrap_or(0)
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_regs(
        dev: *mut bindings::net_device,
        regs: *mut bindings::ethtool_regs,
        data: *mut c_void,
    ) {
        // SAFETY: See above. The core has allocated `len` bytes at `data`, with the alignment of
        // `vzalloc()`.
        unsafe {
            let words = (*regs).len as usize / size_of::<u32>();
            let Some(out) = slice_of(data.cast(), words) else {
                return;
            };
            (*regs).version = Self::with(dev, 0, |this, _| this.regs(out));
        }
    }
}

/// Flow rules. The safety requirements are those of the other callbacks.
impl<T: Operations> Table<T> {
    /// # Safety
    ///
    /// See above. `locations` must be null or have room for as many numbers as `nfc` says.
    unsafe extern "C" fn get_rxnfc(
        dev: *mut bindings::net_device,
        nfc: *mut bindings::ethtool_rxnfc,
        locations: *mut u32,
    ) -> c_int {
        // SAFETY: See above. Both views of the union are a number. The list may begin in the
        // padding at the end of `nfc`, so there is no reference to the whole while it is written.
        unsafe {
            Self::try_with(dev, |this, _| {
                (*nfc).data = T::FLOW_RULES.into();
                match (*nfc).cmd {
                    bindings::ETHTOOL_GRXCLSRLCNT => {
                        (*nfc).__bindgen_anon_1.rule_cnt = Self::list_rules(this, None)?;
                        // The driver is asked where a rule goes that has no location.
                        (*nfc).data |= u64::from(bindings::RX_CLS_LOC_SPECIAL);
                    }
                    bindings::ETHTOOL_GRXCLSRLALL => {
                        let room = (*nfc).__bindgen_anon_1.rule_cnt as usize;
                        let out = slice_of(locations, room);
                        (*nfc).__bindgen_anon_1.rule_cnt = Self::list_rules(this, out)?;
                    }
                    bindings::ETHTOOL_GRXCLSRULE => {
                        let rule = this.flow_rule((*nfc).fs.location).ok_or(EINVAL)?;
                        rxnfc::write_spec(&mut *nfc, &rule);
                    }
                    _ => return Err(EOPNOTSUPP),
                }
                Ok(())
            })
        }
    }

    /// Counts the rules and, if there is room given, lists where they are.
    fn list_rules(this: &T, mut out: Option<&mut [u32]>) -> Result<u32> {
        let mut count = 0;
        for location in (0..T::FLOW_RULES).filter(|&at| this.flow_rule(at).is_some()) {
            if let Some(out) = &mut out {
                // CAST: Widening; and a small number.
                let room = out.get_mut(count as usize);
                *room.ok_or_else(|| Error::from_errno(-(bindings::EMSGSIZE as c_int)))? = location;
            }
            count += 1;
        }
        Ok(count)
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_rxnfc(
        dev: *mut bindings::net_device,
        nfc: *mut bindings::ethtool_rxnfc,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            Self::try_with(dev, |this, dev| {
                let nfc = &mut *nfc;
                match nfc.cmd {
                    bindings::ETHTOOL_SRXCLSRLINS => {
                        let location = rxnfc::read_location(&nfc.fs)?;
                        let rule = rxnfc::read_spec(nfc)?;
                        nfc.fs.location = this.insert_flow_rule(dev, &rule, location)?;
                        Ok(())
                    }
                    bindings::ETHTOOL_SRXCLSRLDEL => this.remove_flow_rule(dev, nfc.fs.location),
                    _ => Err(EOPNOTSUPP),
                }
            })
        }
    }
}

/// RSS contexts, self-test and tunables. The safety requirements are those of the other callbacks.
impl<T: Operations> Table<T> {
    /// Applies the table in `param` to a context, or else the one that the core remembers.
    ///
    /// # Safety
    ///
    /// See above.
    unsafe fn set_context(
        dev: *mut bindings::net_device,
        context: *mut bindings::ethtool_rxfh_context,
        param: *const bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            let indir = if (*param).indir.is_null() {
                context_indir(context)
            } else {
                (*param).indir
            };
            let Some(indir) = slice_of(indir, T::RXFH_INDIR_SIZE as usize) else {
                return EINVAL.to_errno();
            };
            Self::try_with(dev, |this, dev| {
                this.set_rxfh_context(dev, (*param).rss_context, indir)
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn create_rxfh_context(
        dev: *mut bindings::net_device,
        context: *mut bindings::ethtool_rxfh_context,
        param: *const bindings::ethtool_rxfh_param,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above. The core has room for a table behind the context.
        unsafe {
            let hfunc = u32::from((*param).hfunc);
            if hfunc != bindings::ETH_RSS_HASH_NO_CHANGE && hfunc != bindings::ETH_RSS_HASH_TOP {
                return EOPNOTSUPP.to_errno();
            }
            (*context).hfunc = bindings::ETH_RSS_HASH_TOP as u8;
            if (*param).indir.is_null() {
                let rings = Self::with(dev, 1, |this, _| this.rx_ring_count()).max(1);
                let room = slice_of(context_indir(context), T::RXFH_INDIR_SIZE as usize);
                let queues = (0..rings).cycle();
                room.into_iter()
                    .flatten()
                    .zip(queues)
                    .for_each(|(to, queue)| *to = queue);
            }
            Self::set_context(dev, context, param)
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn modify_rxfh_context(
        dev: *mut bindings::net_device,
        context: *mut bindings::ethtool_rxfh_context,
        param: *const bindings::ethtool_rxfh_param,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: See above.
        unsafe { Self::set_context(dev, context, param) }
    }

    /// Nothing is to be done: the device always has the table, which just is no longer in use.
    ///
    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn remove_rxfh_context(
        _dev: *mut bindings::net_device,
        _context: *mut bindings::ethtool_rxfh_context,
        _number: u32,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        0
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn self_test(
        dev: *mut bindings::net_device,
        test: *mut bindings::ethtool_test,
        data: *mut u64,
    ) {
        // SAFETY: See above. The core has allocated a result for each test.
        unsafe {
            let results = core::slice::from_raw_parts_mut(data, T::TESTS.len());
            let offline = (*test).flags & bindings::ethtool_test_flags_ETH_TEST_FL_OFFLINE != 0;
            let passed = Self::with(dev, false, |this, dev| {
                this.self_test(&Locked::assume(dev), offline, results)
            });
            if !passed {
                (*test).flags |= bindings::ethtool_test_flags_ETH_TEST_FL_FAILED;
            }
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_tunable(
        dev: *mut bindings::net_device,
        tunable: *const bindings::ethtool_tunable,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: See above. The core has checked that the value is a `u16`.
        unsafe {
            if (*tunable).id != bindings::tunable_id_ETHTOOL_PFC_PREVENTION_TOUT {
                return EOPNOTSUPP.to_errno();
            }
            Self::try_with(dev, |this, _| {
                data.cast::<u16>()
                    .write_unaligned(this.pause_storm_timeout());
                Ok(())
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn set_tunable(
        dev: *mut bindings::net_device,
        tunable: *const bindings::ethtool_tunable,
        data: *const c_void,
    ) -> c_int {
        // SAFETY: See above. The core has checked that the value is a `u16`.
        unsafe {
            if (*tunable).id != bindings::tunable_id_ETHTOOL_PFC_PREVENTION_TOUT {
                return EOPNOTSUPP.to_errno();
            }
            let timeout = data.cast::<u16>().read_unaligned();
            Self::try_with(dev, |this, dev| this.set_pause_storm_timeout(dev, timeout))
        }
    }
}

/// Returns where the core keeps the indirection table of a context.
///
/// # Safety
///
/// `context` must be valid.
unsafe fn context_indir(context: *mut bindings::ethtool_rxfh_context) -> *mut u32 {
    // SAFETY: By the caller's promise. The table comes after the driver's private part.
    unsafe {
        let offset = usize::from((*context).priv_size).next_multiple_of(size_of::<u32>());
        (&raw mut (*context).data).cast::<u8>().add(offset).cast()
    }
}

/// The statistics groups. The safety requirements are those of the other callbacks. Counters that
/// are not written keep the value that stands for "not there".
impl<T: Operations> Table<T> {
    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_pause_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_pause_stats,
    ) {
        // SAFETY: See above. All views of the union are numbers.
        unsafe {
            Self::with(dev, (), |this, _| {
                let from = this.pause_stats();
                let to = &mut (*stats).__bindgen_anon_1.__bindgen_anon_1;
                to.tx_pause_frames = from.tx_pause_frames;
                to.rx_pause_frames = from.rx_pause_frames;
                to.tx_pause_storm_events = from.tx_pause_storm_events;
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_fec_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_fec_stats,
        _hist: *mut bindings::ethtool_fec_hist,
    ) {
        // SAFETY: See above.
        unsafe {
            Self::with(dev, (), |this, _| {
                let from = this.fec_stats();
                (*stats).corrected_blocks.total = from.corrected_blocks;
                (*stats).uncorrectable_blocks.total = from.uncorrectable_blocks;
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_eth_phy_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_eth_phy_stats,
    ) {
        // SAFETY: See above. All views of the union are numbers.
        unsafe {
            Self::with(dev, (), |this, _| {
                let to = &mut (*stats).__bindgen_anon_1.__bindgen_anon_1;
                to.SymbolErrorDuringCarrier = this.eth_phy_stats();
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_eth_mac_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_eth_mac_stats,
    ) {
        // SAFETY: See above. All views of the union are numbers.
        unsafe {
            Self::with(dev, (), |this, _| {
                let from = this.eth_mac_stats();
                let to = &mut (*stats).__bindgen_anon_1.__bindgen_anon_1;
                to.FramesTransmittedOK = from.FramesTransmittedOK;
                to.FramesReceivedOK = from.FramesReceivedOK;
                to.FrameCheckSequenceErrors = from.FrameCheckSequenceErrors;
                to.AlignmentErrors = from.AlignmentErrors;
                to.OctetsTransmittedOK = from.OctetsTransmittedOK;
                to.FramesLostDueToIntMACXmitError = from.FramesLostDueToIntMACXmitError;
                to.OctetsReceivedOK = from.OctetsReceivedOK;
                to.FramesLostDueToIntMACRcvError = from.FramesLostDueToIntMACRcvError;
                to.MulticastFramesXmittedOK = from.MulticastFramesXmittedOK;
                to.BroadcastFramesXmittedOK = from.BroadcastFramesXmittedOK;
                to.MulticastFramesReceivedOK = from.MulticastFramesReceivedOK;
                to.BroadcastFramesReceivedOK = from.BroadcastFramesReceivedOK;
                to.FrameTooLongErrors = from.FrameTooLongErrors;
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_eth_ctrl_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_eth_ctrl_stats,
    ) {
        // SAFETY: See above. All views of the union are numbers.
        unsafe {
            Self::with(dev, (), |this, _| {
                let from = this.eth_ctrl_stats();
                let to = &mut (*stats).__bindgen_anon_1.__bindgen_anon_1;
                to.MACControlFramesTransmitted = from.MACControlFramesTransmitted;
                to.MACControlFramesReceived = from.MACControlFramesReceived;
            })
        }
    }

    /// # Safety
    ///
    /// See above.
    unsafe extern "C" fn get_rmon_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_rmon_stats,
        ranges: *mut *const RmonHistRange,
    ) {
        const {
            let last = T::RMON_RANGES.last();
            assert!(!T::HAS_RMON_STATS || T::RMON_RANGES.len() <= RMON_HIST_MAX + 1);
            assert!(!T::HAS_RMON_STATS || matches!(last, Some(RmonHistRange { low: 0, high: 0 })));
        };

        // SAFETY: See above. All views of the union are numbers. The table of ranges is static
        // and, as asserted, ended.
        unsafe {
            Self::with(dev, (), |this, _| {
                let from = this.rmon_stats();
                let to = &mut (*stats).__bindgen_anon_1.__bindgen_anon_1;
                to.undersize_pkts = from.undersize_pkts;
                to.oversize_pkts = from.oversize_pkts;
                to.fragments = from.fragments;
                to.jabbers = from.jabbers;
                to.hist = from.hist;
                to.hist_tx = from.hist_tx;
                *ranges = T::RMON_RANGES.as_ptr();
            })
        }
    }
}

/// # Safety
///
/// `data` must be null or point to `len` initialised values nobody else uses during `'a`.
unsafe fn slice_of<'a, V>(data: *mut V, len: usize) -> Option<&'a mut [V]> {
    let data = NonNull::new(data)?;

    // SAFETY: By the caller's promise.
    Some(unsafe { core::slice::from_raw_parts_mut(data.as_ptr(), len) })
}

/// # Safety
///
/// The arrays in `param`, where there are any, must have the sizes `T` says, and be nobody else's
/// during `'a`.
unsafe fn rxfh<'a, T: Operations>(param: &bindings::ethtool_rxfh_param) -> Rxfh<'a> {
    // SAFETY: By the caller's promise.
    unsafe {
        Rxfh {
            key: slice_of(param.key, T::RXFH_KEY_SIZE as usize),
            indir: slice_of(param.indir, T::RXFH_INDIR_SIZE as usize),
        }
    }
}
