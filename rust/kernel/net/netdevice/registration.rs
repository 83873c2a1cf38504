// SPDX-License-Identifier: GPL-2.0

//! Allocation, private data and registration of network devices.

use super::{ops::Adapter, Locked, MacAddress, NetDevice, Operations};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::{align_of, size_of},
    ops::Deref,
    ptr::{self, NonNull}, //
};
use kernel::{
    device::{self, Bound},
    error::to_result,
    prelude::*, //
};

/// What a network device is made with.
pub struct Config {
    /// The largest number of transmit and of receive queues.
    pub max_queues: u32,
    /// The permanent address, which the interface also starts with.
    pub mac: MacAddress,
    /// Features that are on at first; all but those of `fixed_features` can be switched.
    pub features: u64,
    /// Features that can not be switched off.
    pub fixed_features: u64,
    /// Kinds of segmentation the device does with help of the stack, part of `features`.
    pub gso_partial_features: u64,
    /// What the device can do for XDP, bits of [`xdp::features`](crate::net::xdp::features).
    pub xdp_features: u32,
    /// Packets may have data in memory of another device, which [`tx_ring`](crate::net::tx_ring) can do.
    pub netmem_tx: bool,
    /// The smallest and the largest MTU, in bytes.
    pub mtu: (u32, u32),
    /// Frames up to this many bytes are not split into header and payload.
    pub hds_thresh: u32,
    /// The ethtool operations, made for the same private data.
    pub ethtool_ops: &'static bindings::ethtool_ops,
}

/// What lies behind a `struct net_device`: the driver's data, and one slot per transmit queue.
#[repr(C)]
pub(super) struct Private<T: Operations> {
    data: T,
    slots: [Slot<T>; 0],
}

/// The producer of a transmit ring. Only accessed under the transmit lock of the queue.
type Slot<T> = Option<KBox<<T as Operations>::TxQueue>>;

impl<T: Operations> Private<T> {
    #[inline]
    fn from_dev(dev: *mut bindings::net_device) -> *mut Self {
        // The private area is the last member. Only its address is computed here.
        dev.wrapping_add(1).cast()
    }

    /// # Safety
    ///
    /// `dev` must have been allocated by `Registration<T>`, and its data be alive for `'a`.
    #[inline]
    pub(super) unsafe fn of<'a>(dev: *mut bindings::net_device) -> &'a T {
        // SAFETY: By the requirements of this function.
        unsafe { &(*Self::from_dev(dev)).data }
    }

    /// Returns the slot of transmit queue `index`.
    ///
    /// # Safety
    ///
    /// `dev` must have been allocated by `Registration<T>` with more than `index` queues.
    #[inline]
    pub(super) unsafe fn tx_slot(dev: *mut bindings::net_device, index: usize) -> *mut Slot<T> {
        // SAFETY: By the requirements of this function the slot lies within the allocation.
        unsafe {
            (&raw mut (*Self::from_dev(dev)).slots)
                .cast::<Slot<T>>()
                .add(index)
        }
    }
}

impl NetDevice {
    /// Returns the driver's data if this is a device with operations `T`.
    pub fn private<T: Operations>(&self) -> Option<&T> {
        // SAFETY: By the type invariant. The operations tell who allocated the device. They are set
        // once there is data, which lives until the device is no longer registered.
        unsafe {
            ptr::eq((*self.as_ptr()).netdev_ops, Adapter::<T>::netdev_ops())
                .then(|| Private::<T>::of(self.as_ptr()))
        }
    }
}

impl Locked<'_> {
    /// Gives transmit queue `index` its ring. From here on the transmit function is called for it.
    ///
    /// # Errors
    ///
    /// `EINVAL`, if there is no such queue or the device is not one with operations `T`.
    pub fn install_tx_queue<T: Operations>(&self, index: u32, ring: KBox<T::TxQueue>) -> Result {
        self.swap_tx_queue::<T>(index, Some(ring)).map(drop)
    }

    /// Takes the ring of transmit queue `index` away.
    ///
    /// Once this returns nobody is, or gets, inside the transmit function for that queue.
    pub fn remove_tx_queue<T: Operations>(&self, index: u32) -> Option<KBox<T::TxQueue>> {
        self.swap_tx_queue::<T>(index, None).ok().flatten()
    }

    fn swap_tx_queue<T: Operations>(&self, index: u32, ring: Slot<T>) -> Result<Slot<T>> {
        let queue = self.tx_queue(index).ok_or(EINVAL)?;
        self.private::<T>().ok_or(EINVAL)?;
        // SAFETY: The device was allocated for `T` with more than `index` queues. The transmit lock
        // makes the access to the slot exclusive.
        unsafe {
            bindings::netif_tx_lock_queue_bh(queue.as_ptr());
            let old = ptr::replace(Private::<T>::tx_slot(self.as_ptr(), index as usize), ring);
            bindings::netif_tx_unlock_queue_bh(queue.as_ptr());
            Ok(old)
        }
    }
}

/// An allocated device without data, freed when dropped.
struct Allocation<T: Operations> {
    dev: NonNull<bindings::net_device>,
    queues: u32,
    _data: PhantomData<T>,
}

impl<T: Operations> Allocation<T> {
    fn new(parent: &device::Device<Bound>, config: &Config) -> Result<Self> {
        // The kernel aligns the private area to 32 bytes.
        const { assert!(align_of::<Private<T>>() <= 32) };
        let queues = config.max_queues;
        let size = size_of::<Private<T>>() + queues as usize * size_of::<Slot<T>>();
        // SAFETY: Has no requirements.
        let dev = unsafe { bindings::alloc_etherdev_mqs(i32::try_from(size)?, queues, queues) };
        let this = Self {
            dev: NonNull::new(dev).ok_or(ENOMEM)?,
            queues,
            _data: PhantomData,
        };
        this.configure(parent, config);
        Ok(this)
    }

    fn configure(&self, parent: &device::Device<Bound>, config: &Config) {
        let dev = self.dev.as_ptr();
        let all = config.features | config.fixed_features;
        // SAFETY: The device is new and nobody else knows it. `parent` outlives it, since the
        // driver drops the registration before it is unbound. The core allocated `cfg` and
        // `ethtool`, and the tables are static.
        unsafe {
            (*dev).dev.parent = ptr::from_ref(parent).cast_mut().cast();
            (*dev).stat_ops = Adapter::<T>::stat_ops();
            (*dev).ethtool_ops = config.ethtool_ops;
            (*dev).request_ops_lock = true;
            (*(*dev).cfg).hds_thresh = config.hds_thresh;
            // The MAC may have to stay up for a management controller. phylink knows no other way
            // of being told than that of wake on LAN.
            bindings::ethtool_netdev_state::set_wol_enabled_raw((*dev).ethtool, 1);

            let fast = (&raw mut (*dev).__bindgen_anon_1.__bindgen_anon_1)
                .cast::<bindings::net_device__bindgen_ty_1__bindgen_ty_1>();
            type Fast = bindings::net_device__bindgen_ty_1__bindgen_ty_1;
            let flags = Fast::priv_flags_raw(fast);
            Fast::set_priv_flags_raw(
                fast,
                flags | bindings::netdev_priv_flags_IFF_UNICAST_FLT as usize,
            );
            let netmem_tx = if config.netmem_tx {
                bindings::netmem_tx_mode_NETMEM_TX_DMA
            } else {
                bindings::netmem_tx_mode_NETMEM_TX_NONE
            };
            // CAST: The bit field holds two bits.
            Fast::set_netmem_tx_raw(fast, netmem_tx as usize);

            (*dev).gso_partial_features = config.gso_partial_features;
            (*dev).features |= all;
            (*dev).hw_features |= config.features;
            (*dev).vlan_features |= config.features;
            (*dev).hw_enc_features |= config.features;
            (*dev).xdp_features = config.xdp_features;
            (*dev).min_mtu = config.mtu.0;
            (*dev).max_mtu = config.mtu.1;
            bindings::dev_addr_mod(dev, 0, config.mac.as_ptr().cast(), 6);
            bindings::netif_carrier_off(dev);
            bindings::netif_tx_stop_all_queues(dev);
        }
        for index in 0..self.queues as usize {
            // SAFETY: The slot lies within the new allocation.
            unsafe { Private::<T>::tx_slot(dev, index).write(None) };
        }
    }
}

impl<T: Operations> Drop for Allocation<T> {
    fn drop(&mut self) {
        let dev = self.dev.as_ptr();
        for index in 0..self.queues as usize {
            // SAFETY: The slots were initialized by `configure`, and nobody transmits any more.
            unsafe { ptr::drop_in_place(Private::<T>::tx_slot(dev, index)) };
        }
        // SAFETY: The device is not registered, and nobody else has it.
        unsafe { bindings::free_netdev(dev) };
    }
}

/// An allocated device with its data, both dropped in reverse order.
///
/// # Invariants
///
/// The private data of the allocation is initialized.
struct Prepared<T: Operations>(Allocation<T>);

impl<T: Operations> Drop for Prepared<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The device is not registered (any more).
        unsafe { ptr::drop_in_place(&raw mut (*Private::<T>::from_dev(self.0.dev.as_ptr())).data) };
    }
}

/// A registered network device. Dropping it unregisters the device, waits for all users, drops the
/// driver's data and frees the device.
///
/// # Invariants
///
/// The device is registered.
pub struct Registration<T: Operations>(Prepared<T>);

// SAFETY: A device may be registered and unregistered on different threads, and `T` is `Send`.
unsafe impl<T: Operations> Send for Registration<T> {}
// SAFETY: Shared access is only to `NetDevice` and `T`, which are `Sync`.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Allocates a device, builds its data and registers it.
    ///
    /// `parent` does the DMA and must stay bound for the life of the registration. `init` sees the
    /// device before anybody else does. Process context, no lock held.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, what `init` returns, or what `register_netdev` returns.
    pub fn new<I: PinInit<T, Error>>(
        parent: &device::Device<Bound>,
        config: &Config,
        init: impl FnOnce(&NetDevice) -> Result<I>,
    ) -> Result<Self> {
        let allocation = Allocation::<T>::new(parent, config)?;
        let dev = allocation.dev.as_ptr();
        // SAFETY: The device is allocated.
        let data = init(unsafe { NetDevice::from_ptr(dev) })?;
        // SAFETY: The place is valid for `T`, not initialized yet, and does not move.
        unsafe { data.__init(&raw mut (*Private::<T>::from_dev(dev)).data)? };
        // INVARIANT: The data was just initialized.
        let prepared = Prepared(allocation);
        // SAFETY: The device is not registered yet. Only now there is data, which is what these
        // operations tell `NetDevice::private`.
        unsafe { (*dev).netdev_ops = Adapter::<T>::netdev_ops() };
        // SAFETY: The device is complete. The callbacks may be called from here on.
        to_result(unsafe { bindings::register_netdev(dev) })?;
        // INVARIANT: Registered.
        Ok(Self(prepared))
    }

    /// Returns the driver's data.
    pub fn data(&self) -> &T {
        // SAFETY: By the invariant of `Prepared`.
        unsafe { Private::<T>::of(self.0 .0.dev.as_ptr()) }
    }
}

impl<T: Operations> Deref for Registration<T> {
    type Target = NetDevice;

    fn deref(&self) -> &NetDevice {
        // SAFETY: The device lives as long as the registration.
        unsafe { NetDevice::from_ptr(self.0 .0.dev.as_ptr()) }
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Stops the interface and waits for all users.
        unsafe { bindings::unregister_netdev(self.0 .0.dev.as_ptr()) };
    }
}
