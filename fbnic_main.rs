// SPDX-License-Identifier: GPL-2.0

//! Driver for Meta's fbnic network adapter (PCI 1d9b:0013).

#[allow(unused_extern_crates)]
extern crate net_bindings as bindings;

use kernel::prelude::*;

module! {
    type: FbnicModule,
    name: "fbnic",
    authors: ["fbnic-rs authors"],
    description: "Meta Platforms host network interface driver",
    license: "GPL",
}

struct FbnicModule;

impl kernel::Module for FbnicModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
