// SPDX-License-Identifier: GPL-2.0

//! Interrupt handlers with a name chosen at run time.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)
//!
//! `kernel::irq::Registration` needs a `&'static` name and borrows the bound device. A network
//! driver names its interrupts after the interface and registers them at every open, so here the
//! registration owns its name and keeps the vector allocation alive.

use crate::{bindings, pci::IrqVectors};
use core::{ffi::c_void, marker::PhantomPinned};
use kernel::{
    error::to_result,
    irq::Flags,
    prelude::*,
    str::{CStr, CString},
    sync::Arc, //
};

/// What a handler did about the interrupt.
pub use kernel::irq::IrqReturn;

/// Handles an interrupt in hard interrupt context.
pub trait Handler: Send + Sync + 'static {
    /// Called with interrupts of this CPU disabled; must not sleep.
    fn handle(&self) -> IrqReturn;
}

/// Handles an interrupt in a kernel thread.
pub trait ThreadedHandler: Send + Sync + 'static {
    /// Called in process context while the interrupt line is masked; may sleep.
    fn handle_threaded(&self) -> IrqReturn;
}

/// A registered handler of one MSI-X vector. Dropping it waits for running handlers and removes it.
///
/// # Invariants
///
/// `irq` is a vector of `vectors`, and a handler is registered for it whose cookie points to this
/// value.
#[pin_data(PinnedDrop)]
pub struct Registration<H> {
    irq: u32,
    handler: H,
    // The kernel keeps a pointer to the name, and the vectors must not be freed under a handler:
    // both go after `free_irq` in `drop`.
    name: CString,
    vectors: Arc<IrqVectors>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Registering and removing may happen on different threads, and `H` is `Send`.
unsafe impl<H: Send> Send for Registration<H> {}
// SAFETY: All methods only call functions of the interrupt core that may race with each other.
unsafe impl<H: Sync> Sync for Registration<H> {}

impl<H: Handler> Registration<H> {
    /// Registers `handler` for entry `index` of `vectors`.
    ///
    /// Process context. The handler may run before this returns, unless `flags` has
    /// [`Flags::NO_AUTOEN`].
    ///
    /// # Errors
    ///
    /// `EINVAL` for a vector beyond the allocation, `ENOMEM`, or what `request_irq` returns.
    pub fn new(
        vectors: &Arc<IrqVectors>,
        index: u32,
        flags: Flags,
        name: &CStr,
        handler: H,
    ) -> Result<Pin<KBox<Self>>> {
        Self::request(
            vectors,
            index,
            raw_flags(flags),
            name,
            handler,
            Some(handle_callback::<H>),
            None,
        )
    }
}

impl<H: ThreadedHandler> Registration<H> {
    /// Registers `handler` to run in a thread, with the line masked until it returns.
    ///
    /// Otherwise like [`Registration::new`].
    ///
    /// # Errors
    ///
    /// As for [`Registration::new`].
    pub fn new_threaded(
        vectors: &Arc<IrqVectors>,
        index: u32,
        flags: Flags,
        name: &CStr,
        handler: H,
    ) -> Result<Pin<KBox<Self>>> {
        Self::request(
            vectors,
            index,
            raw_flags(flags) | bindings::IRQF_ONESHOT as usize,
            name,
            handler,
            None,
            Some(thread_callback::<H>),
        )
    }
}

/// The flags the registrations of this driver use, in the form C wants them.
fn raw_flags(flags: Flags) -> usize {
    // `Flags` keeps its value to itself, so compare with the only one that makes sense for MSI-X.
    if (flags & Flags::NO_AUTOEN) == Flags::NO_AUTOEN {
        bindings::IRQF_NO_AUTOEN as usize
    } else {
        0
    }
}

type Callback = unsafe extern "C" fn(i32, *mut c_void) -> bindings::irqreturn_t;

impl<H> Registration<H> {
    fn request(
        vectors: &Arc<IrqVectors>,
        index: u32,
        flags: usize,
        name: &CStr,
        handler: H,
        hard: Option<Callback>,
        thread: Option<Callback>,
    ) -> Result<Pin<KBox<Self>>> {
        let irq = vectors.irq(index)?;
        let name = CString::try_from(name)?;
        KBox::try_pin_init(
            // INVARIANT: The last step registers the handler with the address of this value.
            try_pin_init!(&this in Self {
                irq,
                handler,
                name,
                vectors: vectors.clone(),
                _pin: PhantomPinned,
                _: {
                    // SAFETY: All fields are initialized, and the value stays where it is until
                    // `drop`, which removes the handler first. The name is owned by the value.
                    to_result(unsafe {
                        bindings::request_threaded_irq(
                            *irq,
                            hard,
                            thread,
                            flags,
                            (*this.as_ptr()).name.as_char_ptr(),
                            this.as_ptr().cast(),
                        )
                    })?;
                },
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Returns the handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Lets the interrupt through, undoing [`Self::disable`] or [`Flags::NO_AUTOEN`].
    pub fn enable(&self) {
        // SAFETY: By the type invariant the interrupt is registered.
        unsafe { bindings::enable_irq(self.irq) };
    }

    /// Holds the interrupt back and waits for running handlers. Process context.
    pub fn disable(&self) {
        // SAFETY: By the type invariant the interrupt is registered.
        unsafe { bindings::disable_irq(self.irq) };
    }

    /// Waits for running handlers. Process context.
    pub fn synchronize(&self) {
        // SAFETY: By the type invariant the interrupt is registered.
        unsafe { bindings::synchronize_irq(self.irq) };
    }
}

#[pinned_drop]
impl<H> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        let this: *const Self = &*self;
        // SAFETY: By the type invariant the cookie is this value. When the function returns, no
        // handler runs or will run.
        unsafe { bindings::free_irq(self.irq, this.cast_mut().cast()) };
    }
}

/// # Safety
///
/// `cookie` must point to a registered `Registration<H>`.
unsafe extern "C" fn handle_callback<H: Handler>(
    _irq: i32,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the requirements of this function.
    let registration = unsafe { &*cookie.cast::<Registration<H>>() };
    bindings::irqreturn_t(registration.handler.handle() as u32)
}

/// # Safety
///
/// `cookie` must point to a registered `Registration<H>`.
unsafe extern "C" fn thread_callback<H: ThreadedHandler>(
    _irq: i32,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the requirements of this function.
    let registration = unsafe { &*cookie.cast::<Registration<H>>() };
    bindings::irqreturn_t(registration.handler.handle_threaded() as u32)
}
