// SPDX-License-Identifier: GPL-2.0

//! The directory in debugfs that all devices of a module share.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use kernel::{
    debugfs::Dir,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock, //
    }, //
};

global_lock! {
    // SAFETY: `Root::new()` initialises the lock. Whoever takes it has a `Root` or has seen `READY`,
    // which is set afterwards.
    unsafe(uninit) static ROOT: Mutex<Option<Dir>> = None;
}

/// Somebody has called [`Root::new`].
static CLAIMED: Atomic<bool> = Atomic::new(false);

/// The lock is initialised.
static READY: Atomic<bool> = Atomic::new(false);

/// The module's directory. It is removed when this has been dropped and all in it is gone.
///
/// Belongs into the module's own structure, below what creates devices.
pub struct Root(());

impl Root {
    /// Creates the directory `name`. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` for the second and every later call.
    pub fn new(name: &CStr) -> Result<Self> {
        if CLAIMED.xchg(true, Relaxed) {
            return Err(EBUSY);
        }
        // SAFETY: Only the first call gets here.
        unsafe { ROOT.init() };
        READY.store(true, Release);

        *ROOT.lock() = Some(Dir::new(name));
        Ok(Self(()))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        *ROOT.lock() = None;
    }
}

/// Creates the directory `name` in that of the module. [`None`] while there is none.
pub fn subdir(name: &CStr) -> Option<Dir> {
    if !READY.load(Acquire) {
        return None;
    }
    ROOT.lock().as_ref().map(|root| root.subdir(name))
}
