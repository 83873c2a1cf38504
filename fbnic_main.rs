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

use kernel::{
    driver,
    prelude::*,
    InPlaceModule,
    ModuleMetadata, //
};

#[allow(unsafe_code)]
#[path = "rust/kernel/completion.rs"]
mod completion;
#[allow(unsafe_code)]
#[path = "rust/kernel/debugfs.rs"]
mod debugfs;
#[allow(unsafe_code)]
#[path = "rust/kernel/desc_ring.rs"]
mod desc_ring;
#[allow(unsafe_code)]
#[path = "rust/kernel/hwmon.rs"]
mod hwmon;
#[allow(unsafe_code)]
#[path = "rust/kernel/io/mod.rs"]
mod io;
#[allow(unsafe_code)]
#[path = "rust/kernel/irq.rs"]
mod irq;
#[allow(unsafe_code)]
#[path = "rust/kernel/net/mod.rs"]
mod net;
#[allow(unsafe_code)]
#[path = "rust/kernel/pci.rs"]
mod pci;
#[allow(unsafe_code)]
#[path = "rust/kernel/random.rs"]
mod random;
#[allow(unsafe_code)]
#[path = "rust/kernel/workqueue.rs"]
mod workqueue;

mod fbnic_bad_values;
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

/// The module. The order of the fields is that of teardown.
#[pin_data]
struct DriverModule {
    #[pin]
    _driver: driver::Registration<pci::Adapter<fbnic_pci::FbnicDriver>>,
    /// Adapters put their directories in here.
    _debugfs: debugfs::Root,
}

impl InPlaceModule for DriverModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _debugfs: debugfs::Root::new(c"fbnic")?,
            _driver <- driver::Registration::new(<Self as ModuleMetadata>::NAME, module),
        })
    }
}

module! {
    type: DriverModule,
    name: "fbnic",
    authors: ["fbnic-rs authors"],
    description: "Meta(R) Host Network Interface Driver",
    license: "GPL",
}
