// SPDX-License-Identifier: GPL-2.0

//! Networking abstractions for Ethernet drivers.
//!
//! Named and shaped as they would be in the kernel crate: `crate::net::napi` here is
//! `kernel::net::napi` there. All `unsafe` of the driver's network side lives below this module.

pub mod devlink;
pub mod ethtool;
pub mod mdio;
pub mod napi;
pub mod netdevice;
pub mod page;
pub mod page_pool;
pub mod page_ring;
pub mod phylink;
pub mod rtnl;
pub mod skbuff;
pub mod tx_ring;
pub mod xdp;
pub mod xpcs;

/// Whether one more line of those about packets and peers may be logged: all network drivers and
/// protocols together have a few in 5 s. Any context.
pub fn ratelimit() -> bool {
    // SAFETY: No preconditions.
    unsafe { crate::bindings::net_ratelimit() != 0 }
}
