// SPDX-License-Identifier: GPL-2.0

//! Completions that are waited for with a time-out, and used again.
//!
//! What [`kernel::sync::Completion`] lacks. A [`kernel::sync::CondVar`] has a wait with a time-out,
//! but one that a signal ends.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use kernel::{
    bindings,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// Something that one task waits for and another one brings about.
#[pin_data]
pub struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A `struct completion` does not belong to a thread.
unsafe impl Send for Completion {}

// SAFETY: Each of the methods may be called from several threads at a time.
unsafe impl Sync for Completion {}

impl Completion {
    /// Prepares a completion that has not come about.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` points to memory for a `struct completion`.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Lets all who wait go on, and those to come, until [`Self::reinit`]. Any context.
    pub fn complete_all(&self) {
        // SAFETY: By the initializer this is a `struct completion`.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Takes back that it has come about, so that the next one is waited for. Who waits already may
    /// miss the last one.
    pub fn reinit(&self) {
        // SAFETY: By the initializer this is a `struct completion`. C writes its number without the
        // lock, as it does for all users, none of whom keeps others from completing meanwhile.
        unsafe { crate::bindings::reinit_completion(self.inner.get()) };
    }

    /// Waits until it has come about, for `timeout` at most; a signal does not end that. Returns what
    /// is left of the time, or zero if it has not come about. Sleeps.
    pub fn wait_timeout(&self, timeout: Jiffies) -> Jiffies {
        // SAFETY: By the initializer this is a `struct completion`.
        unsafe { bindings::wait_for_completion_timeout(self.inner.get(), timeout) }
    }

    /// Like [`Self::wait_timeout`], but a signal that ends the process ends the wait, too.
    ///
    /// # Errors
    ///
    /// `EINTR` if the process is to end.
    pub fn wait_killable_timeout(&self, timeout: Jiffies) -> Result<Jiffies> {
        let timeout = timeout.min(Jiffies::MAX >> 1);
        // SAFETY: By the initializer this is a `struct completion`.
        let left =
            unsafe { bindings::wait_for_completion_killable_timeout(self.inner.get(), timeout) };
        // The only error is that of a signal.
        Jiffies::try_from(left).map_err(|_| EINTR)
    }
}
