// SPDX-License-Identifier: GPL-2.0

//! The operations of a network device and the tables through which the kernel calls them.

use super::{
    registration::Private,
    Locked,
    MacAddress,
    NetDevice,
    NetdevQueue, //
};
use crate::{
    bindings,
    net::{ethtool::ExtAck, skbuff::SkBuff, xdp::Program},
};
use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::{offset_of, zeroed},
    ptr::NonNull, //
};
use kernel::{error::from_result, prelude::*};

/// Interface statistics, `struct rtnl_link_stats64`.
pub type LinkStats = bindings::rtnl_link_stats64;
/// Statistics of one receive queue. Fields that are not counted are to be left alone.
pub type QueueStatsRx = bindings::netdev_queue_stats_rx;
/// Statistics of one transmit queue. Fields that are not counted are to be left alone.
pub type QueueStatsTx = bindings::netdev_queue_stats_tx;

/// What became of a packet handed to [`Operations::start_xmit`].
pub enum Xmit {
    /// Sent or dropped, in any case no longer the stack's.
    Ok,
    /// No room although the queue was not stopped; the stack keeps the packet and tries again.
    Busy(SkBuff),
}

/// The surroundings of one call of [`Operations::start_xmit`].
///
/// # Invariants
///
/// The transmit lock of `queue` is held.
pub struct XmitContext<'a> {
    queue: &'a NetdevQueue,
}

impl XmitContext<'_> {
    /// Returns the queue.
    #[inline]
    pub fn queue(&self) -> &NetdevQueue {
        self.queue
    }

    /// Returns whether the stack will hand over another packet right away.
    #[inline]
    pub fn xmit_more(&self) -> bool {
        #[cfg(all(CONFIG_X86_64, CONFIG_SMP, not(CONFIG_PREEMPT_RT)))]
        {
            let more: u32;
            // SAFETY: Reads one byte of the per-CPU variable, which always exists. By the type
            // invariant bottom halves are off, so the CPU does not change in between.
            unsafe {
                core::arch::asm!(
                    "movzx {more:e}, byte ptr gs:[rip + {softnet_data} + {offset}]",
                    more = out(reg) more,
                    softnet_data = sym bindings::softnet_data,
                    offset = const offset_of!(bindings::softnet_data, xmit.more),
                    options(nostack, preserves_flags, readonly),
                );
            }
            more != 0
        }
        #[cfg(not(all(CONFIG_X86_64, CONFIG_SMP, not(CONFIG_PREEMPT_RT))))]
        // SAFETY: By the type invariant a transmission is under way on this CPU.
        unsafe {
            bindings::netdev_xmit_more()
        }
    }
}

/// A list of addresses the stack wants to receive.
///
/// # Invariants
///
/// A valid list that does not change during `'a`.
#[derive(Clone, Copy)]
pub struct AddressList<'a> {
    list: *mut bindings::netdev_hw_addr_list,
    _list: PhantomData<&'a ()>,
}

impl<'a> AddressList<'a> {
    /// # Safety
    ///
    /// `list` must be valid and unchanging for `'a`.
    pub(super) unsafe fn from_ptr(list: *mut bindings::netdev_hw_addr_list) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            list,
            _list: PhantomData,
        }
    }

    /// Returns the addresses in the list's order.
    pub fn iter(&self) -> impl Iterator<Item = MacAddress> + 'a {
        // SAFETY: By the type invariant, the head of the list stays valid.
        let head = unsafe { &raw mut (*self.list).list };
        // SAFETY: As above.
        let mut next = unsafe { (*head).next };
        core::iter::from_fn(move || {
            if next == head {
                return None;
            }
            // SAFETY: By the type invariant every entry but the head is the `list` member of an
            // address, which is at least six bytes long.
            unsafe {
                let entry = next
                    .byte_sub(offset_of!(bindings::netdev_hw_addr, list))
                    .cast::<bindings::netdev_hw_addr>();
                next = (*next).next;
                Some((&raw const (*entry).addr).cast::<MacAddress>().read())
            }
        })
    }
}

/// The operations of a network device, implemented by its private data.
#[vtable]
pub trait Operations: Send + Sync + Sized + 'static {
    /// The producer side of one transmit ring, see [`NetDevice::install_tx_queue`].
    type TxQueue: Send + 'static;

    /// Brings the interface up. RTNL and netdev lock held.
    fn open(this: &Self, dev: &Locked<'_>) -> Result;

    /// Brings the interface down. RTNL and netdev lock held.
    fn stop(this: &Self, dev: &Locked<'_>);

    /// Puts a packet on the ring. Transmit lock of the queue held, bottom halves off.
    fn start_xmit(queue: &mut Self::TxQueue, skb: SkBuff, context: &XmitContext<'_>) -> Xmit;

    /// Takes away the features the device can not apply to this very packet. Bottom halves off.
    fn features_check(_skb: &SkBuff, _dev: &NetDevice, features: u64) -> u64 {
        features
    }

    /// Applies interface flags and address lists while the interface is up. Netdev lock held.
    fn set_rx_mode(
        this: &Self,
        dev: &Locked<'_>,
        uc: AddressList<'_>,
        mc: AddressList<'_>,
    ) -> Result;

    /// Applies the device's new address, already set. RTNL and netdev lock held.
    fn set_mac_address(this: &Self, dev: &Locked<'_>);

    /// Checks a new MTU, in bytes, which is then set. RTNL and netdev lock held.
    fn change_mtu(this: &Self, dev: &Locked<'_>, mtu: u32) -> Result;

    /// Attaches an XDP program in the place of the one there is, or detaches that.
    ///
    /// RTNL and netdev lock held.
    fn set_xdp_program(
        this: &Self,
        dev: &Locked<'_>,
        program: Option<Program>,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let _ = (this, dev, program, extack);
        Err(EOPNOTSUPP)
    }

    /// Adds up the interface's statistics. Any lock or RCU held, may not sleep.
    fn get_stats64(this: &Self, dev: &NetDevice, stats: &mut LinkStats);

    /// Fills in the statistics of receive queue `index`. Netdev lock held.
    fn queue_stats_rx(this: &Self, dev: &Locked<'_>, index: u32, stats: &mut QueueStatsRx);

    /// Fills in the statistics of transmit queue `index`. Netdev lock held.
    fn queue_stats_tx(this: &Self, dev: &Locked<'_>, index: u32, stats: &mut QueueStatsTx);

    /// Fills in what no live queue accounts for. Netdev lock held.
    fn base_stats(this: &Self, dev: &Locked<'_>, rx: &mut QueueStatsRx, tx: &mut QueueStatsTx);
}

/// A table of pointers to functions, which may be shared.
#[repr(transparent)]
pub(super) struct Table<T>(T);

// SAFETY: The tables only hold function pointers and null pointers, and are never written.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    pub(super) const fn as_ptr(&'static self) -> *const T {
        &self.0
    }
}

/// The tables of a device with operations `T`.
pub(super) struct Adapter<T>(PhantomData<T>);

impl<T: Operations> Adapter<T> {
    const NETDEV_OPS: Table<bindings::net_device_ops> = Table(bindings::net_device_ops {
        ndo_open: Some(Self::open_callback),
        ndo_stop: Some(Self::stop_callback),
        ndo_start_xmit: Some(Self::start_xmit_callback),
        ndo_features_check: if T::HAS_FEATURES_CHECK {
            Some(Self::features_check_callback)
        } else {
            None
        },
        ndo_set_rx_mode_async: Some(Self::set_rx_mode_callback),
        ndo_set_mac_address: Some(Self::set_mac_address_callback),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_change_mtu: Some(Self::change_mtu_callback),
        ndo_get_stats64: Some(Self::get_stats64_callback),
        ndo_bpf: if T::HAS_SET_XDP_PROGRAM {
            Some(Self::bpf_callback)
        } else {
            None
        },
        // SAFETY: In a table of optional functions all zeroes mean that none is there.
        ..unsafe { zeroed() }
    });

    const STAT_OPS: Table<bindings::netdev_stat_ops> = Table(bindings::netdev_stat_ops {
        get_queue_stats_rx: Some(Self::queue_stats_rx_callback),
        get_queue_stats_tx: Some(Self::queue_stats_tx_callback),
        get_base_stats: Some(Self::base_stats_callback),
    });

    /// Returns the table for `net_device.netdev_ops`.
    pub(super) fn netdev_ops() -> *const bindings::net_device_ops {
        const { &Self::NETDEV_OPS }.as_ptr()
    }

    /// Returns the table for `net_device.stat_ops`.
    pub(super) fn stat_ops() -> *const bindings::netdev_stat_ops {
        const { &Self::STAT_OPS }.as_ptr()
    }

    /// # Safety
    ///
    /// `dev` must be a device whose operations are this table, with its private data alive.
    #[inline]
    unsafe fn private<'a>(dev: *mut bindings::net_device) -> (&'a T, &'a NetDevice) {
        // SAFETY: By the requirements of this function.
        unsafe { (Private::<T>::of(dev), NetDevice::from_ptr(dev)) }
    }

    /// # Safety
    ///
    /// As for [`Self::private`], and the current thread must hold the netdev lock.
    unsafe fn locked<'a>(dev: *mut bindings::net_device) -> (&'a T, Locked<'a>) {
        // SAFETY: By the requirements of this function.
        unsafe {
            let (this, dev) = Self::private(dev);
            (this, Locked::assume(dev))
        }
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn open_callback(dev: *mut bindings::net_device) -> i32 {
        // SAFETY: By the requirements of this function.
        let (this, dev) = unsafe { Self::locked(dev) };
        from_result(|| T::open(this, &dev).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn stop_callback(dev: *mut bindings::net_device) -> i32 {
        // SAFETY: By the requirements of this function.
        let (this, dev) = unsafe { Self::locked(dev) };
        T::stop(this, &dev);
        0
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the transmit lock of the queue that the
    /// packet names held.
    unsafe extern "C" fn start_xmit_callback(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: The core gives the packet away, and never a null pointer.
        let skb = unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) };
        let index = skb.queue_mapping().into();
        // SAFETY: `dev` is valid.
        let dev = unsafe { NetDevice::from_ptr(dev) };
        let Some(queue) = dev.tx_queue(index) else {
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // SAFETY: `index` is below the number of queues, the private data is that of `T`, and the
        // transmit lock which protects the slot is held.
        let slot = unsafe { &mut *Private::<T>::tx_slot(dev.as_ptr(), index as usize) };
        // Without a ring the packet is dropped as it goes out of scope.
        let Some(ring) = slot else {
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // INVARIANT: By the requirements of this function.
        let context = XmitContext { queue };
        match T::start_xmit(ring, skb, &context) {
            Xmit::Ok => bindings::netdev_tx_NETDEV_TX_OK,
            Xmit::Busy(skb) => {
                let _ = skb.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// Only called by the core through the table.
    unsafe extern "C" fn features_check_callback(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: The core lends a valid packet and device for the duration of the call.
        let (skb, dev) = unsafe {
            (
                SkBuff::borrow_raw(NonNull::new_unchecked(skb)),
                NetDevice::from_ptr(dev),
            )
        };
        T::features_check(&skb, dev, features)
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn set_rx_mode_callback(
        dev: *mut bindings::net_device,
        uc: *mut bindings::netdev_hw_addr_list,
        mc: *mut bindings::netdev_hw_addr_list,
    ) -> i32 {
        // SAFETY: By the requirements of this function. The lists are the core's private copies.
        let ((this, dev), uc, mc) = unsafe {
            (
                Self::locked(dev),
                AddressList::from_ptr(uc),
                AddressList::from_ptr(mc),
            )
        };
        from_result(|| T::set_rx_mode(this, &dev, uc, mc).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held and `addr` pointing to
    /// a socket address.
    unsafe extern "C" fn set_mac_address_callback(
        dev: *mut bindings::net_device,
        addr: *mut c_void,
    ) -> i32 {
        // SAFETY: By the requirements of this function. A socket address has 14 bytes behind its
        // family, with no particular alignment.
        let (mac, (this, dev)) = unsafe {
            let sa_data = addr.byte_add(offset_of!(bindings::sockaddr, sa_data));
            (
                sa_data.cast::<MacAddress>().read_unaligned(),
                Self::locked(dev),
            )
        };
        if !super::is_valid_ether_addr(&mac) {
            return EADDRNOTAVAIL.to_errno();
        }
        dev.set_dev_addr(&mac);
        T::set_mac_address(this, &dev);
        0
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn change_mtu_callback(dev: *mut bindings::net_device, mtu: i32) -> i32 {
        // SAFETY: By the requirements of this function.
        let (this, dev) = unsafe { Self::locked(dev) };
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            T::change_mtu(this, &dev, mtu)?;
            dev.set_mtu(mtu);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held and `bpf` valid.
    unsafe extern "C" fn bpf_callback(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> i32 {
        // SAFETY: By the requirements of this function.
        let (this, dev) = unsafe { Self::locked(dev) };
        // SAFETY: As above. This command comes with these members of the union.
        let (prog, mut extack) = unsafe {
            if (*bpf).command != bindings::bpf_netdev_command_XDP_SETUP_PROG {
                return EINVAL.to_errno();
            }
            let setup = (*bpf).__bindgen_anon_1.__bindgen_anon_1;
            (NonNull::new(setup.prog), ExtAck::from_ptr(setup.extack))
        };
        // SAFETY: The core has a reference to the program, where there is one.
        let program = prog.map(|prog| unsafe { Program::get(prog) });
        from_result(|| {
            T::set_xdp_program(this, &dev, program, &mut extack)?;
            if let Some(prog) = prog {
                // SAFETY: On success the core gives a reference away, and the driver has its own.
                unsafe { bindings::bpf_prog_put(prog.as_ptr()) };
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with `stats` valid but maybe not aligned.
    unsafe extern "C" fn get_stats64_callback(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: By the requirements of this function. The place may be a netlink attribute, which
        // is only aligned to four bytes.
        unsafe {
            let (this, dev) = Self::private(dev);
            let mut copy = stats.read_unaligned();
            T::get_stats64(this, dev, &mut copy);
            stats.write_unaligned(copy);
        }
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn queue_stats_rx_callback(
        dev: *mut bindings::net_device,
        index: i32,
        stats: *mut QueueStatsRx,
    ) {
        // SAFETY: By the requirements of this function. The core filled the structure with ones.
        let ((this, dev), stats) = unsafe { (Self::locked(dev), &mut *stats) };
        if let Ok(index) = u32::try_from(index) {
            T::queue_stats_rx(this, &dev, index, stats);
        }
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn queue_stats_tx_callback(
        dev: *mut bindings::net_device,
        index: i32,
        stats: *mut QueueStatsTx,
    ) {
        // SAFETY: By the requirements of this function. The core filled the structure with ones.
        let ((this, dev), stats) = unsafe { (Self::locked(dev), &mut *stats) };
        if let Ok(index) = u32::try_from(index) {
            T::queue_stats_tx(this, &dev, index, stats);
        }
    }

    /// # Safety
    ///
    /// Only called by the core through the table, with the netdev lock held.
    unsafe extern "C" fn base_stats_callback(
        dev: *mut bindings::net_device,
        rx: *mut QueueStatsRx,
        tx: *mut QueueStatsTx,
    ) {
        // SAFETY: By the requirements of this function. The core filled the structures with ones.
        let ((this, dev), rx, tx) = unsafe { (Self::locked(dev), &mut *rx, &mut *tx) };
        T::base_stats(this, &dev, rx, tx);
    }
}
