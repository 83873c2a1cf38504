// SPDX-License-Identifier: GPL-2.0
//! PCI Express function of an emulated device: configuration space and MSI-X.
//!
//! The vfio-user client emulates BAR addresses, capability links and the MSI-X table itself but
//! forwards every configuration write, so the device keeps a whole configuration space
//! with write masks of its own.

mod config;
mod msix;

pub use config::{ConfigSpace, Effect, Identity};
pub use msix::{Msix, SetIrqs};
