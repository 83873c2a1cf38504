// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)
//!
//! A driver implements [`Operations`] for the type of its private data and creates a
//! [`Registration`]. The kernel's callbacks arrive as methods of that type:
//!
//! | callbacks | locks held | receives |
//! |---|---|---|
//! | open, stop, MTU, address, receive mode | RTNL (but not the receive mode) and the netdev lock | [`Locked`] |
//! | statistics | RTNL, the netdev lock, or RCU | [`NetDevice`] |
//! | transmit | the queue's transmit lock, bottom halves off | the queue's own data, exclusively |
//!
//! The registration asks the core to take the netdev lock around every operation
//! (`request_ops_lock`), so NAPI contexts can be added and removed without further ado.

mod ops;
mod queue;
mod registration;

pub use ops::{
    AddressList,
    LinkStats,
    Operations,
    QueueStatsRx,
    QueueStatsTx,
    Xmit,
    XmitContext, //
};
pub use queue::{NetdevQueue, QueueType, TxStop};
pub use registration::{Config, Registration};

use crate::{bindings, net::rtnl};
use core::{ffi::CStr, marker::PhantomData, ops::Deref, ptr::addr_of};
use kernel::{
    device::{self, Bound},
    error::to_result,
    prelude::*,
    types::Opaque,
};

/// Offload features, the `NETIF_F_*` bits of `netdev_features_t`.
pub mod features {
    pub use crate::bindings::{
        NETIF_F_CSUM_MASK as CSUM_MASK, NETIF_F_GSO_GRE as GSO_GRE,
        NETIF_F_GSO_GRE_CSUM as GSO_GRE_CSUM, NETIF_F_GSO_IPXIP4 as GSO_IPXIP4,
        NETIF_F_GSO_IPXIP6 as GSO_IPXIP6, NETIF_F_GSO_MASK as GSO_MASK,
        NETIF_F_GSO_PARTIAL as GSO_PARTIAL, NETIF_F_GSO_UDP_L4 as GSO_UDP_L4,
        NETIF_F_GSO_UDP_TUNNEL as GSO_UDP_TUNNEL,
        NETIF_F_GSO_UDP_TUNNEL_CSUM as GSO_UDP_TUNNEL_CSUM, NETIF_F_HW_CSUM as HW_CSUM,
        NETIF_F_NTUPLE as NTUPLE, NETIF_F_RXCSUM as RXCSUM, NETIF_F_RXHASH as RXHASH,
        NETIF_F_SG as SG, NETIF_F_TSO as TSO, NETIF_F_TSO6 as TSO6, NETIF_F_TSO_ECN as TSO_ECN,
        NETIF_F_TSO_MANGLEID as TSO_MANGLEID,
    };
}

/// Interface flags, the `IFF_*` bits.
pub mod flags {
    pub use crate::bindings::{
        net_device_flags_IFF_ALLMULTI as ALLMULTI, net_device_flags_IFF_BROADCAST as BROADCAST,
        net_device_flags_IFF_PROMISC as PROMISC,
    };
}

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// A network device that somebody else keeps alive.
///
/// # Invariants
///
/// Always a valid, initialized `struct net_device`.
#[repr(transparent)]
pub struct NetDevice(Opaque<bindings::net_device>);

// SAFETY: The methods only call functions and read fields that any thread may use.
unsafe impl Send for NetDevice {}
// SAFETY: As above.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// Returns the device behind a pointer of the C side.
    ///
    /// # Safety
    ///
    /// `dev` must be a valid network device for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the requirements of this function; `NetDevice` is transparent.
        unsafe { &*dev.cast() }
    }

    /// Returns the pointer for the C side.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Returns the raw parent device, which does the DMA.
    #[inline]
    pub(crate) fn dma_device_raw(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant. The parent is set before anybody sees the device.
        unsafe { (*self.as_ptr()).dev.parent }
    }

    /// Returns the parent device, which does the DMA.
    #[inline]
    pub fn dma_device(&self) -> &device::Device {
        // SAFETY: The parent outlives its network device, and `Device` is transparent.
        unsafe { &*self.dma_device_raw().cast() }
    }

    /// Returns the interface's name. It may change at any time unless the RTNL is held.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type invariant. The array is always terminated.
        unsafe { CStr::from_char_ptr((&raw const (*self.as_ptr()).name).cast()) }
    }

    /// Returns the features that are switched on.
    #[inline]
    pub fn features(&self) -> u64 {
        // SAFETY: By the type invariant. The field may change at any time.
        unsafe { (&raw const (*self.as_ptr()).features).read_volatile() }
    }

    /// Returns the interface flags, bits of [`flags`].
    pub fn flags(&self) -> u32 {
        // SAFETY: By the type invariant. The field may change at any time.
        unsafe { (&raw const (*self.as_ptr()).flags).read_volatile() }
    }

    /// Returns the maximum transmission unit in bytes. It may change unless the netdev lock is held.
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant. The field may change at any time.
        unsafe { (&raw const (*self.as_ptr()).mtu).read_volatile() }
    }

    /// Returns the device's own address.
    pub fn dev_addr(&self) -> MacAddress {
        // SAFETY: By the type invariant. An Ethernet device's address has six bytes.
        unsafe { (*self.as_ptr()).dev_addr.cast::<MacAddress>().read() }
    }

    #[inline]
    fn state_bit(&self, bit: u32) -> bool {
        // SAFETY: By the type invariant. The field may change at any time.
        let state = unsafe { addr_of!((*self.as_ptr()).state).read_volatile() };
        state & (1 << bit) != 0
    }

    /// Returns whether the interface is up, from just before open until just before stop.
    pub fn is_running(&self) -> bool {
        self.state_bit(bindings::netdev_state_t___LINK_STATE_START)
    }

    /// Returns whether the device is present, see [`Self::detach`].
    pub fn is_present(&self) -> bool {
        self.state_bit(bindings::netdev_state_t___LINK_STATE_PRESENT)
    }

    /// Returns whether the link is up.
    pub fn carrier_ok(&self) -> bool {
        !self.state_bit(bindings::netdev_state_t___LINK_STATE_NOCARRIER)
    }

    /// Marks the device as gone and stops its queues. Any context.
    pub fn detach(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_device_detach(self.as_ptr()) };
    }

    /// Marks the device as present again and wakes its queues.
    pub fn attach(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_device_attach(self.as_ptr()) };
    }

    /// Returns how many queues the device was made with.
    pub fn num_queues(&self, kind: QueueType) -> u32 {
        // SAFETY: By the type invariant. The fields do not change.
        unsafe {
            match kind {
                QueueType::Rx => (*self.as_ptr()).num_rx_queues,
                QueueType::Tx => (*self.as_ptr()).num_tx_queues,
            }
        }
    }

    /// Returns how many queues are in use. Under the RTNL or the netdev lock, or it may change.
    pub fn real_num_queues(&self, kind: QueueType) -> u32 {
        // SAFETY: By the type invariant.
        unsafe {
            match kind {
                QueueType::Rx => (*self.as_ptr()).real_num_rx_queues,
                QueueType::Tx => (*self.as_ptr()).real_num_tx_queues,
            }
        }
    }

    /// Returns transmit queue `index`, or `None` beyond the number the device was made with.
    #[inline]
    pub fn tx_queue(&self, index: u32) -> Option<&NetdevQueue> {
        // SAFETY: By the type invariant. Array and count do not change.
        unsafe {
            if index >= (*self.as_ptr()).num_tx_queues {
                return None;
            }
            Some(NetdevQueue::from_ptr(
                (*self.as_ptr())._tx.add(index as usize),
            ))
        }
    }

    /// Lets the stack transmit again on all queues.
    pub fn wake_all_tx_queues(&self) {
        (0..self.real_num_queues(QueueType::Tx))
            .filter_map(|index| self.tx_queue(index))
            .for_each(NetdevQueue::wake);
    }

    /// Stops all transmit queues and waits until nobody is inside the transmit function.
    ///
    /// Process context.
    pub fn tx_disable(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_tx_disable(self.as_ptr()) };
    }

    /// Returns whether a user has chosen the RSS indirection table, which then should stay.
    pub fn is_rxfh_configured(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::netif_is_rxfh_configured(self.as_ptr()) }
    }

    /// Returns how many persistent NAPI configurations the device has.
    pub fn max_napi(&self) -> u32 {
        // SAFETY: By the type invariant. The field does not change.
        unsafe { (*self.as_ptr()).num_napi_configs }
    }

    /// Takes the netdev lock. Process context, not held yet; the RTNL may be.
    pub fn lock_instance(&self) -> InstanceGuard<'_> {
        // SAFETY: By the type invariant. The guard gives the lock back.
        unsafe { bindings::netdev_lock(self.as_ptr()) };
        // INVARIANT: The lock was just taken.
        InstanceGuard(Locked {
            dev: self,
            _not_send: PhantomData,
        })
    }

    /// Takes the RTNL and the netdev lock, for control paths that do not come from the core.
    ///
    /// Process context, neither of them held.
    pub fn lock(&self) -> LockGuard<'_> {
        let rtnl = rtnl::lock();
        LockGuard {
            dev: self.lock_instance(),
            _rtnl: rtnl,
        }
    }
}

/// A network device whose netdev lock is held by the current thread.
///
/// # Invariants
///
/// The lock is held for as long as this value exists.
pub struct Locked<'a> {
    dev: &'a NetDevice,
    _not_send: PhantomData<*mut ()>,
}

impl Deref for Locked<'_> {
    type Target = NetDevice;

    fn deref(&self) -> &NetDevice {
        self.dev
    }
}

impl Locked<'_> {
    /// Vouches for the lock of `dev`.
    ///
    /// # Safety
    ///
    /// The current thread must hold the netdev lock of `dev` while the result exists.
    pub(crate) unsafe fn assume(dev: &NetDevice) -> Locked<'_> {
        // INVARIANT: By the requirements of this function.
        Locked {
            dev,
            _not_send: PhantomData,
        }
    }

    /// Returns the parent device, which is bound to the driver as long as operations are called.
    pub fn bound_device(&self) -> &device::Device<Bound> {
        // SAFETY: The registration is dropped, after which no operation is called any more, before
        // the driver is unbound. `Device` is transparent in its context.
        unsafe { &*self.dma_device_raw().cast() }
    }

    /// Tells the stack how many queues are in use. The RTNL must be held as well.
    ///
    /// # Errors
    ///
    /// `EINVAL` beyond the numbers the device was made with, `ENOMEM`.
    pub fn set_real_num_queues(&self, tx: u32, rx: u32) -> Result {
        // SAFETY: By the type invariant the netdev lock is held.
        to_result(unsafe { bindings::netif_set_real_num_queues(self.as_ptr(), tx, rx) })
    }

    /// Takes the interface down as a user would. The RTNL must be held as well, and nothing that
    /// the driver's own stop operation waits for.
    pub fn close(&self) {
        // SAFETY: By the type invariant the netdev lock is held, and by the caller's duty the RTNL.
        unsafe { bindings::netif_close(self.as_ptr()) };
    }

    /// Brings the interface up as a user would. The RTNL must be held as well.
    ///
    /// # Errors
    ///
    /// What the driver's open operation returns.
    pub fn open(&self) -> Result {
        // SAFETY: As for `close`. Nobody is there to read an explanation.
        to_result(unsafe { bindings::netif_open(self.as_ptr(), core::ptr::null_mut()) })
    }

    /// Sets the device's own address.
    pub fn set_dev_addr(&self, addr: &MacAddress) {
        // SAFETY: By the type invariant the lock that protects the address is held.
        unsafe { bindings::dev_addr_mod(self.as_ptr(), 0, addr.as_ptr().cast(), 6) };
    }

    /// Sets the maximum transmission unit in bytes.
    pub fn set_mtu(&self, mtu: u32) {
        // SAFETY: By the type invariant. Readers take no lock, hence the volatile write.
        unsafe { (&raw mut (*self.as_ptr()).mtu).write_volatile(mtu) };
    }

    /// Calls `f` with the device's unicast and multicast address lists.
    ///
    /// `f` runs with the address list lock held and bottom halves off; it must not sleep.
    pub fn with_addresses<R>(&self, f: impl FnOnce(AddressList<'_>, AddressList<'_>) -> R) -> R {
        let dev = self.as_ptr();
        // SAFETY: By the type invariants. The lists do not change under the lock.
        unsafe {
            bindings::netif_addr_lock_bh(dev);
            let result = f(
                AddressList::from_ptr(&raw mut (*dev).uc),
                AddressList::from_ptr(&raw mut (*dev).mc),
            );
            bindings::netif_addr_unlock_bh(dev);
            result
        }
    }
}

/// The netdev lock of a device, given back when dropped.
///
/// # Invariants
///
/// The current thread holds the lock.
pub struct InstanceGuard<'a>(Locked<'a>);

impl<'a> Deref for InstanceGuard<'a> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Locked<'a> {
        &self.0
    }
}

impl Drop for InstanceGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::netdev_unlock(self.0.as_ptr()) };
    }
}

/// The RTNL and the netdev lock of a device, given back in the order of the fields when dropped.
pub struct LockGuard<'a> {
    dev: InstanceGuard<'a>,
    _rtnl: rtnl::Guard,
}

impl<'a> Deref for LockGuard<'a> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Locked<'a> {
        &self.dev
    }
}

/// Returns the number of queue pairs a device should start with on this machine.
pub fn default_rss_queues() -> u32 {
    // SAFETY: Has no requirements.
    let count = unsafe { bindings::netif_get_num_default_rss_queues() };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Returns whether `addr` can be the address of one station.
pub fn is_valid_ether_addr(addr: &MacAddress) -> bool {
    addr[0] & 1 == 0 && addr != &[0; 6]
}
