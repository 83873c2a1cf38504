// SPDX-License-Identifier: GPL-2.0

//! Driver for Meta's fbnic network adapter (PCI 1d9b:0013).
//!
//! The `fbnic_*` modules are the driver, free of `unsafe`. Everything below `rust/kernel` is what
//! the kernel crate lacks for a network driver; its modules have the names and shapes they would
//! have there.

#![deny(unsafe_code)]
// What is written as if for the kernel crate has `pub` items and uses a driver does not need all of.
#![allow(unreachable_pub)]

extern crate net_bindings as bindings;

#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/desc_ring.rs"]
mod desc_ring;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/hwmon.rs"]
mod hwmon;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/io/mod.rs"]
mod io;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/irq.rs"]
mod irq;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/net/mod.rs"]
mod net;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/pci.rs"]
mod pci;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/random.rs"]
mod random;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/spsc.rs"]
mod spsc;
#[allow(dead_code, unsafe_code)]
#[path = "rust/kernel/workqueue.rs"]
mod workqueue;

mod fbnic_csr;
mod fbnic_debugfs;
mod fbnic_dev;
mod fbnic_devlink;
mod fbnic_ethtool;
mod fbnic_fw;
mod fbnic_hw_stats;
mod fbnic_hwmon;
mod fbnic_irq;
mod fbnic_mac;
mod fbnic_netdev;
mod fbnic_pci;
mod fbnic_phylink;
mod fbnic_rpc;
mod fbnic_tlv;
mod fbnic_txrx;

kernel::module_driver!(<T>, pci::Adapter<T>, {
    type: fbnic_pci::FbnicDriver,
    name: "fbnic",
    authors: ["fbnic-rs authors"],
    description: "Meta(R) Host Network Interface Driver",
    license: "GPL",
});
