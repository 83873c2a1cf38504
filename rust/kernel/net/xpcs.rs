// SPDX-License-Identifier: GPL-2.0

//! Synopsys DesignWare XPCS, reached through an MDIO bus.
//!
//! C header: [`include/linux/pcs/pcs-xpcs.h`](srctree/include/linux/pcs/pcs-xpcs.h)

use super::mdio;
use crate::bindings;

use core::ptr::NonNull;

use kernel::{
    error::from_err_ptr,
    ffi::c_int,
    prelude::*,
    sync::Arc, //
};

/// A physical coding sublayer.
///
/// # Invariants
///
/// `pcs` was created by `xpcs_create_pcs_mdiodev()` on `bus`.
pub struct Pcs<T: mdio::Operations> {
    pcs: NonNull<bindings::phylink_pcs>,
    _bus: Arc<mdio::Bus<T>>,
}

// SAFETY: The PCS may be used and destroyed by any thread.
unsafe impl<T: mdio::Operations> Send for Pcs<T> {}
// SAFETY: All access to the PCS is serialised by phylink, except `change()` which is thread safe.
unsafe impl<T: mdio::Operations> Sync for Pcs<T> {}

impl<T: mdio::Operations> Pcs<T> {
    /// Looks for the PCS at port address `addr` of `bus`. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the identifier registers name no PCS the library knows.
    pub fn new(bus: Arc<mdio::Bus<T>>, addr: u8) -> Result<Self> {
        // SAFETY: The bus is registered by its type invariant.
        let pcs = from_err_ptr(unsafe {
            bindings::xpcs_create_pcs_mdiodev(bus.as_raw(), c_int::from(addr))
        })?;

        // INVARIANT: Created on `bus` just now.
        Ok(Self {
            pcs: NonNull::new(pcs).ok_or(ENODEV)?,
            _bus: bus,
        })
    }

    pub(super) fn as_raw(&self) -> *mut bindings::phylink_pcs {
        self.pcs.as_ptr()
    }

    /// Tells phylink to look at the link again. `up` is false if the link has been down in
    /// between, whatever it is now. Any context.
    pub(super) fn change(&self, up: bool) {
        // SAFETY: The PCS is valid by the type invariant. `Phylink`, which owns the PCS, is the
        // only caller, so the phylink instance it may be attached to is alive.
        unsafe { bindings::phylink_pcs_change(self.pcs.as_ptr(), up) };
    }
}

impl<T: mdio::Operations> Drop for Pcs<T> {
    fn drop(&mut self) {
        // SAFETY: The PCS is ours by the type invariant, and its user, a `Phylink`, destroys its
        // phylink instance before it drops this.
        unsafe { bindings::xpcs_destroy_pcs(self.pcs.as_ptr()) };
    }
}
