// SPDX-License-Identifier: GPL-2.0

//! Periodic work that can be cancelled.
//!
//! [`kernel::workqueue`] keeps an item alive until it has run, but cannot cancel one, so code of a
//! module may still be pending when the module is unloaded. [`Periodic`] waits for its item when it
//! is dropped.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use kernel::{
    bindings,
    container_of,
    prelude::*,
    static_lock_class,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

/// Work that runs again and again.
pub trait PeriodicWork: Send + Sync + 'static {
    /// Does the work, in process context; may sleep.
    ///
    /// Returns after how many milliseconds it is to run again, or [`None`] to stop.
    fn run(&self) -> Option<Msecs>;
}

/// Runs a [`PeriodicWork`] on the system work queue.
///
/// Dropping it cancels the work and waits for a run under way.
#[pin_data(PinnedDrop)]
pub struct Periodic<T: PeriodicWork> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    inner: T,
}

// SAFETY: Work items may be queued and cancelled from any thread, and `T` is `Send`.
unsafe impl<T: PeriodicWork> Send for Periodic<T> {}

// SAFETY: As above; `T` is `Sync`.
unsafe impl<T: PeriodicWork> Sync for Periodic<T> {}

impl<T: PeriodicWork> Periodic<T> {
    /// Prepares `inner` to be run by [`Periodic::start`].
    pub fn new(inner: T) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                // SAFETY: `slot` points to memory for a `struct delayed_work` that stays in place
                // (`work` is pinned) until `drop` has cancelled it; this is what
                // `INIT_DELAYED_WORK()` does.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(Self::callback),
                        false,
                        c"fbnic_periodic".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    );
                    bindings::timer_init_key(
                        &raw mut (*slot).timer,
                        Some(bindings::delayed_work_timer_fn),
                        bindings::TIMER_IRQSAFE,
                        c"fbnic_periodic_timer".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    );
                }
            }),
            inner,
        })
    }

    /// Lets the work run in `delay` milliseconds, unless it is already going to run.
    pub fn start(&self, delay: Msecs) {
        // SAFETY: `work` was initialized by `new` and is cancelled before its memory is freed;
        // `system_percpu_wq` always exists.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_percpu_wq,
                self.work.get(),
                msecs_to_jiffies(delay),
            )
        };
    }

    /// Keeps the work from running and waits for a run under way. Sleeps.
    ///
    /// Must not be called from within the work.
    pub fn cancel_sync(&self) {
        // SAFETY: `work` was initialized by `new`.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// `work` must be the work item inside a `Periodic<T>` that outlives this call.
    unsafe extern "C" fn callback(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirement `work` is the field `work` of a `delayed_work`.
        let delayed = unsafe { container_of!(work, bindings::delayed_work, work) };
        let opaque = Opaque::cast_from(delayed);
        // SAFETY: That one is the field `work` of a live `Periodic<T>`, which is only ever shared.
        let this = unsafe { &*container_of!(opaque, Self, work) };
        if let Some(delay) = this.inner.run() {
            this.start(delay);
        }
    }
}

#[pinned_drop]
impl<T: PeriodicWork> PinnedDrop for Periodic<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel_sync();
    }
}
