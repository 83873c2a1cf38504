// SPDX-License-Identifier: GPL-2.0

//! The lock of the networking configuration.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use crate::bindings;

use core::marker::PhantomData;

/// Proof that the RTNL is held by this thread.
pub struct Guard(PhantomData<*mut ()>);

/// Takes the RTNL. Sleeps; no network device's own lock may be held.
pub fn lock() -> Guard {
    // SAFETY: The function has no requirements but a context that may sleep.
    unsafe { bindings::rtnl_lock() };

    Guard(PhantomData)
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: The guard exists and is not `Send`, so this thread has taken the lock.
        unsafe { bindings::rtnl_unlock() };
    }
}
