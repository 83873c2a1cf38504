// SPDX-License-Identifier: GPL-2.0

//! Link management between a MAC, its PCS and the network device.
//!
//! C header: [`include/linux/phylink.h`](srctree/include/linux/phylink.h)

use super::{
    mdio,
    netdevice::NetDevice,
    xpcs::Pcs, //
};
use crate::bindings;

use core::ptr::NonNull;

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    types::Opaque, //
};

/// How MAC and PCS are connected, as far as this driver's hardware goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Not known (yet).
    Na,
    /// 25GBASE-R, one NRZ lane.
    Base25GR,
    /// 50GBASE-R, one PAM4 lane.
    Base50GR,
    /// 50 Gb/s over two NRZ lanes.
    Laui,
    /// 100GBASE-P, two PAM4 lanes.
    Base100GP,
}

impl Interface {
    const fn into_raw(self) -> bindings::phy_interface_t {
        match self {
            Self::Na => bindings::phy_interface_t_PHY_INTERFACE_MODE_NA,
            Self::Base25GR => bindings::phy_interface_t_PHY_INTERFACE_MODE_25GBASER,
            Self::Base50GR => bindings::phy_interface_t_PHY_INTERFACE_MODE_50GBASER,
            Self::Laui => bindings::phy_interface_t_PHY_INTERFACE_MODE_LAUI,
            Self::Base100GP => bindings::phy_interface_t_PHY_INTERFACE_MODE_100GBASEP,
        }
    }
}

/// What the MAC can do, in phylink's terms.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The connection to the PCS at start.
    pub interface: Interface,
    /// All connections the hardware may be switched to.
    pub supported: &'a [Interface],
    /// `MAC_*` bits: speeds and pause modes.
    pub mac_capabilities: u32,
}

/// Symmetric pause, for [`Config::mac_capabilities`].
pub const MAC_SYM_PAUSE: u32 = bindings::MAC_SYM_PAUSE;
/// Asymmetric pause.
pub const MAC_ASYM_PAUSE: u32 = bindings::MAC_ASYM_PAUSE;
/// 25 Gb/s, full duplex.
pub const MAC_25000FD: u32 = bindings::MAC_25000FD;
/// 50 Gb/s, full duplex.
pub const MAC_50000FD: u32 = bindings::MAC_50000FD;
/// 100 Gb/s, full duplex.
pub const MAC_100000FD: u32 = bindings::MAC_100000FD;

/// What phylink has agreed on with the link partner.
#[derive(Clone, Copy, Debug)]
pub struct LinkUp {
    /// Pause frames are sent.
    pub tx_pause: bool,
    /// Received pause frames are obeyed.
    pub rx_pause: bool,
}

/// How phylink drives a MAC.
///
/// Everything runs in process context with phylink's own lock held.
pub trait MacOperations: Send + Sync + 'static {
    /// A change of the link's configuration begins.
    fn prepare(&self) -> Result;

    /// The change is complete.
    fn finish(&self) -> Result;

    /// Traffic must stop.
    fn link_down(&self);

    /// Traffic may flow. `dev` is the network device the link belongs to.
    fn link_up(&self, dev: &NetDevice, link: LinkUp);
}

/// A phylink instance with its PCS.
///
/// Belongs to the private data of a network device, which is dropped before the device itself is
/// freed.
///
/// # Invariants
///
/// `phylink` was created with `config` and is attached to the device at `dev`.
#[pin_data(PinnedDrop)]
pub struct Phylink<M: MacOperations, T: mdio::Operations> {
    #[pin]
    config: Opaque<bindings::phylink_config>,
    mac: M,
    pcs: Pcs<T>,
    dev: NonNull<bindings::net_device>,
    phylink: NonNull<bindings::phylink>,
}

// SAFETY: phylink may be used and destroyed by any thread; `M` and `Pcs` are `Send`.
unsafe impl<M: MacOperations, T: mdio::Operations> Send for Phylink<M, T> {}
// SAFETY: phylink does its own locking; `M` and `Pcs` are `Sync`.
unsafe impl<M: MacOperations, T: mdio::Operations> Sync for Phylink<M, T> {}

impl<M: MacOperations, T: mdio::Operations> Phylink<M, T> {
    const OPS: &'static bindings::phylink_mac_ops = &bindings::phylink_mac_ops {
        mac_select_pcs: Some(Self::mac_select_pcs_callback),
        mac_prepare: Some(Self::mac_prepare_callback),
        mac_config: Some(Self::mac_config_callback),
        mac_finish: Some(Self::mac_finish_callback),
        mac_link_down: Some(Self::mac_link_down_callback),
        mac_link_up: Some(Self::mac_link_up_callback),
        // SAFETY: Optional function pointers, for which zero is `None`.
        ..unsafe { core::mem::zeroed() }
    };

    /// Creates the instance for `dev`, stopped.
    ///
    /// To be called while `dev` is set up, before it is registered: process context, no locks. The
    /// result must be dropped without the RTNL held, and before `dev` is freed, which being part
    /// of the device's private data brings about.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the PCS refuses the interface, `ENOMEM`.
    pub fn new<'a>(
        dev: &'a NetDevice,
        pcs: Pcs<T>,
        setup: Config<'a>,
        mac: M,
    ) -> impl PinInit<Self, Error> + 'a {
        let dev = dev.as_ptr();

        try_pin_init!(&this in Self {
            config <- Opaque::ffi_init(move |slot: *mut bindings::phylink_config| {
                // SAFETY: The slot is valid for writes, and `dev` is a valid device.
                unsafe { slot.write(Self::raw_config(dev, &setup)) }
            }),
            mac,
            pcs,
            dev: NonNull::new(dev).ok_or(EINVAL)?,
            // INVARIANT: phylink is created with the configuration above. It calls back for the
            // PCS at once, for which all fields but this one are needed.
            phylink: NonNull::new(from_err_ptr(
                // SAFETY: `this` is pinned, so the configuration stays where it is. The
                // operations are static.
                unsafe {
                    bindings::phylink_create(
                        Opaque::cast_into(&raw const (*this.as_ptr()).config),
                        core::ptr::null(),
                        setup.interface.into_raw(),
                        Self::OPS,
                    )
                },
            )?).ok_or(ENOMEM)?,
        })
    }

    /// # Safety
    ///
    /// `dev` must be a valid network device.
    unsafe fn raw_config(
        dev: *mut bindings::net_device,
        config: &Config<'_>,
    ) -> bindings::phylink_config {
        // SAFETY: The structure consists of numbers, pointers and optional function pointers, for
        // all of which zero is a valid value.
        let mut raw: bindings::phylink_config = unsafe { core::mem::zeroed() };

        // SAFETY: By the caller's promise.
        raw.dev = unsafe { &raw mut (*dev).dev };
        raw.type_ = bindings::phylink_op_type_PHYLINK_NETDEV;
        // CAST: `unsigned long` has at least 32 bits.
        raw.mac_capabilities = config.mac_capabilities as usize;
        raw.default_an_inband = true;
        for interface in config.supported {
            let bit = interface.into_raw();
            let word = bit / usize::BITS;

            if let Some(word) = raw.supported_interfaces.get_mut(word as usize) {
                *word |= 1 << (bit % usize::BITS);
            }
        }
        raw
    }

    /// Returns the MAC's operations.
    pub fn mac(&self) -> &M {
        &self.mac
    }

    /// Starts or resumes link management. RTNL held.
    pub fn resume(&self) {
        // SAFETY: The instance is valid by the type invariant.
        unsafe { bindings::phylink_resume(self.phylink.as_ptr()) };
    }

    /// Stops link management. With `mac_wol` the link stays up for somebody else on the adapter.
    /// RTNL held.
    pub fn suspend(&self, mac_wol: bool) {
        // SAFETY: The instance is valid by the type invariant.
        unsafe { bindings::phylink_suspend(self.phylink.as_ptr(), mac_wol) };
    }

    /// Makes phylink look at the PCS again; the link may have been down in between. Any context.
    pub fn pcs_changed(&self) {
        self.pcs.change(false);
    }

    /// Fills in `settings` for ethtool. RTNL held.
    pub fn ksettings_get(&self, settings: &mut bindings::ethtool_link_ksettings) -> Result {
        // SAFETY: The instance is valid by the type invariant.
        to_result(unsafe {
            bindings::phylink_ethtool_ksettings_get(self.phylink.as_ptr(), settings)
        })
    }

    /// Fills in `pause` for ethtool. RTNL held.
    pub fn pauseparam_get(&self, pause: &mut bindings::ethtool_pauseparam) {
        // SAFETY: The instance is valid by the type invariant.
        unsafe { bindings::phylink_ethtool_get_pauseparam(self.phylink.as_ptr(), pause) };
    }

    /// Applies `pause`. RTNL held.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` or `EINVAL` if phylink cannot have it.
    pub fn pauseparam_set(&self, pause: &mut bindings::ethtool_pauseparam) -> Result {
        // SAFETY: The instance is valid by the type invariant.
        to_result(unsafe { bindings::phylink_ethtool_set_pauseparam(self.phylink.as_ptr(), pause) })
    }

    /// # Safety
    ///
    /// `config` must be the configuration inside a `Phylink` that lives for `'a`, all fields of
    /// which except `phylink` are initialised.
    unsafe fn from_config<'a>(config: *mut bindings::phylink_config) -> (&'a M, &'a Pcs<T>) {
        let config = config.cast::<Opaque<bindings::phylink_config>>();

        // SAFETY: By the caller's promise. Only the two fields are borrowed, because `phylink` is
        // still being written when phylink calls back for the first time.
        unsafe {
            let this = kernel::container_of!(config, Self, config);
            (&(*this).mac, &(*this).pcs)
        }
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_select_pcs_callback(
        config: *mut bindings::phylink_config,
        _interface: bindings::phy_interface_t,
    ) -> *mut bindings::phylink_pcs {
        // SAFETY: phylink passes the configuration it was created with, in `new()`.
        let (_, pcs) = unsafe { Self::from_config(config) };

        pcs.as_raw()
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_prepare_callback(
        config: *mut bindings::phylink_config,
        _mode: c_uint,
        _interface: bindings::phy_interface_t,
    ) -> c_int {
        // SAFETY: phylink passes the configuration it was created with, in `new()`.
        let (mac, _) = unsafe { Self::from_config(config) };

        mac.prepare().map_or_else(Error::to_errno, |()| 0)
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_config_callback(
        _config: *mut bindings::phylink_config,
        _mode: c_uint,
        _state: *const bindings::phylink_link_state,
    ) {
        // Mandatory for phylink. MACs that take speed and pause at link-up only have nothing to do.
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_finish_callback(
        config: *mut bindings::phylink_config,
        _mode: c_uint,
        _interface: bindings::phy_interface_t,
    ) -> c_int {
        // SAFETY: phylink passes the configuration it was created with, in `new()`.
        let (mac, _) = unsafe { Self::from_config(config) };

        mac.finish().map_or_else(Error::to_errno, |()| 0)
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_link_down_callback(
        config: *mut bindings::phylink_config,
        _mode: c_uint,
        _interface: bindings::phy_interface_t,
    ) {
        // SAFETY: phylink passes the configuration it was created with, in `new()`.
        let (mac, _) = unsafe { Self::from_config(config) };

        mac.link_down();
    }

    /// # Safety
    ///
    /// The arguments must be those phylink passes for an instance made by [`Phylink::new`].
    unsafe extern "C" fn mac_link_up_callback(
        config: *mut bindings::phylink_config,
        _phy: *mut bindings::phy_device,
        _mode: c_uint,
        _interface: bindings::phy_interface_t,
        _speed: c_int,
        _duplex: c_int,
        tx_pause: bool,
        rx_pause: bool,
    ) {
        // SAFETY: phylink passes the configuration it was created with, in `new()`. The link
        // comes up long after the last field was written.
        let (mac, dev) = unsafe {
            let (mac, _) = Self::from_config(config);
            let this = kernel::container_of!(
                config.cast::<Opaque<bindings::phylink_config>>(),
                Self,
                config
            );
            (mac, NetDevice::from_ptr((*this).dev.as_ptr()))
        };
        let link = LinkUp { tx_pause, rx_pause };

        mac.link_up(dev, link);
    }
}

#[pinned_drop]
impl<M: MacOperations, T: mdio::Operations> PinnedDrop for Phylink<M, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The instance is ours by the type invariant. This waits for its work item, so no
        // callback touches the fields that are dropped next.
        unsafe { bindings::phylink_destroy(self.phylink.as_ptr()) };
    }
}
