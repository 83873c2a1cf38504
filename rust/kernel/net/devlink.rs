// SPDX-License-Identifier: GPL-2.0

//! Device-wide management interface of a network adapter.
//!
//! C header: [`include/net/devlink.h`](srctree/include/net/devlink.h)

use crate::{
    bindings,
    net::ethtool::ExtAck, //
};

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    device::{
        self,
        Bound, //
    },
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::NotThreadSafe, //
};

/// What a driver answers to devlink requests.
pub trait Operations: Send + Sync + 'static {
    /// `devlink dev info`: puts the serial number and the versions into `info`.
    ///
    /// Process context, devlink instance lock held.
    fn info_get(&self, info: &mut InfoRequest<'_>) -> Result;
}

/// The answer to `devlink dev info` under construction.
pub struct InfoRequest<'a> {
    req: NonNull<bindings::devlink_info_req>,
    _request: PhantomData<&'a mut bindings::devlink_info_req>,
}

impl InfoRequest<'_> {
    /// Puts the serial number.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the message is full.
    pub fn put_serial_number(&mut self, serial: &CStr) -> Result {
        // SAFETY: `req` is valid for the duration of the callback, which `'a` stands for. The
        // string is copied.
        to_result(unsafe {
            bindings::devlink_info_serial_number_put(self.req.as_ptr(), serial.as_char_ptr())
        })
    }

    /// Puts the version of component `name` which is in use.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the message is full.
    pub fn put_running_version(&mut self, name: &CStr, value: &CStr) -> Result {
        // SAFETY: As in `put_serial_number()`.
        to_result(unsafe {
            bindings::devlink_info_version_running_put(
                self.req.as_ptr(),
                name.as_char_ptr(),
                value.as_char_ptr(),
            )
        })
    }

    /// Puts the version of component `name` which is in flash memory.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the message is full.
    pub fn put_stored_version(&mut self, name: &CStr, value: &CStr) -> Result {
        // SAFETY: As in `put_serial_number()`.
        to_result(unsafe {
            bindings::devlink_info_version_stored_put(
                self.req.as_ptr(),
                name.as_char_ptr(),
                value.as_char_ptr(),
            )
        })
    }
}

/// A devlink instance and the driver's data for it.
///
/// Always shared: registrations and health reporters keep an [`Arc`], so they are gone before the
/// instance is.
///
/// # Invariants
///
/// `devlink` is an allocated instance whose private area holds an initialised `T`.
pub struct Devlink<T: Operations> {
    devlink: NonNull<bindings::devlink>,
    _data: PhantomData<T>,
}

// SAFETY: All devlink functions used here may be called from any thread, and `T` is `Send`.
unsafe impl<T: Operations> Send for Devlink<T> {}
// SAFETY: devlink does its own locking, and `T` is `Sync`.
unsafe impl<T: Operations> Sync for Devlink<T> {}

/// Alignment devlink gives the private area (`NETDEV_ALIGN`).
const PRIV_ALIGN: usize = 32;

impl<T: Operations> Devlink<T> {
    const OPS: &'static bindings::devlink_ops = &bindings::devlink_ops {
        info_get: Some(Self::info_get_callback),
        // SAFETY: Numbers and optional function pointers, for which zero means "not there".
        ..unsafe { core::mem::zeroed() }
    };

    /// Allocates an instance for `parent`. Nobody sees it until it is registered.
    ///
    /// Process context. The instance must be gone before `parent` is unbound.
    pub fn new(parent: &device::Device<Bound>, data: T) -> Result<Arc<Self>> {
        const { assert!(align_of::<T>() <= PRIV_ALIGN) };

        // CAST: `Device` is a transparent wrapper of `struct device`.
        let parent = core::ptr::from_ref(parent).cast_mut().cast();

        // SAFETY: The table is static, `parent` is valid, and devlink takes its own reference to
        // it. `init_net` lives for ever.
        let devlink = unsafe {
            bindings::devlink_alloc_ns(
                Self::OPS,
                size_of::<T>(),
                (&raw mut bindings::init_net).cast(),
                parent,
            )
        };
        let devlink = NonNull::new(devlink).ok_or(ENOMEM)?;

        // SAFETY: The private area is fresh, large enough and, as asserted above, aligned.
        unsafe {
            bindings::devlink_priv(devlink.as_ptr())
                .cast::<T>()
                .write(data)
        };

        // INVARIANT: The instance was allocated and its private area initialised just now. If the
        // `Arc` cannot be allocated, dropping the value frees both.
        let this = Self {
            devlink,
            _data: PhantomData,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Takes the instance lock. Sleeps.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: The instance is valid by the type invariant.
        unsafe { bindings::devl_lock(self.devlink.as_ptr()) };

        Guard(self, NotThreadSafe)
    }

    /// # Safety
    ///
    /// The arguments must be those devlink passes for an instance made by [`Devlink::new`].
    unsafe extern "C" fn info_get_callback(
        devlink: *mut bindings::devlink,
        req: *mut bindings::devlink_info_req,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        from_result(|| {
            // SAFETY: devlink calls this between registration and the end of unregistration, when
            // the private area holds a `T`.
            let data = unsafe { &*bindings::devlink_priv(devlink).cast::<T>() };

            let mut info = InfoRequest {
                req: NonNull::new(req).ok_or(EINVAL)?,
                _request: PhantomData,
            };
            data.info_get(&mut info)?;
            Ok(0)
        })
    }
}

impl<T: Operations> Drop for Devlink<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the instance and its data are ours. Every registration and
        // reporter held a reference to `self`, so no callback can run any more.
        unsafe {
            core::ptr::drop_in_place(bindings::devlink_priv(self.devlink.as_ptr()).cast::<T>());
            bindings::devlink_free(self.devlink.as_ptr());
        }
    }
}

/// Proof that this thread holds the devlink instance lock.
pub struct Guard<'a, T: Operations>(&'a Devlink<T>, NotThreadSafe);

impl<T: Operations> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard exists and is not `Send`, so this thread took the lock in `Devlink::lock()`.
        unsafe { bindings::devl_unlock(self.0.devlink.as_ptr()) };
    }
}

/// A devlink instance which user space can see.
pub struct Registration<T: Operations>(Arc<Devlink<T>>);

impl<T: Operations> Registration<T> {
    /// Makes `devlink` visible until the registration is dropped. Sleeps.
    pub fn new(devlink: Arc<Devlink<T>>) -> Self {
        // SAFETY: The instance is valid, and not registered yet: callers register once, in probe.
        unsafe { bindings::devlink_register(devlink.devlink.as_ptr()) };

        Self(devlink)
    }
}

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: `Registration::new()` has registered the instance. This waits for callbacks.
        unsafe { bindings::devlink_unregister(self.0.devlink.as_ptr()) };
    }
}

/// A part of the device whose health is reported.
pub trait Reporter: Send + Sync + 'static {
    /// Name of the reporter in `devlink health`.
    const NAME: &'static CStr;

    /// Whether [`Reporter::dump`] has something to say.
    const HAS_DUMP: bool = false;

    /// Whether [`Reporter::diagnose`] has something to say.
    const HAS_DIAGNOSE: bool = false;

    /// Writes the state at the time of a fault, or explains in `extack` why not.
    ///
    /// Process context, devlink instance lock held.
    fn dump(&self, fmsg: &mut Fmsg<'_>, extack: &mut ExtAck<'_>) -> Result {
        let _ = (fmsg, extack);
        Ok(())
    }

    /// Writes the present state.
    ///
    /// Process context, devlink instance lock held.
    fn diagnose(&self, fmsg: &mut Fmsg<'_>) -> Result {
        let _ = fmsg;
        Ok(())
    }
}

/// A formatted message under construction. Errors stick to the message itself.
pub struct Fmsg<'a> {
    fmsg: NonNull<bindings::devlink_fmsg>,
    _message: PhantomData<&'a mut bindings::devlink_fmsg>,
}

impl Fmsg<'_> {
    /// Puts the object `name` with what `f` puts in it.
    pub fn object(&mut self, name: &CStr, f: impl FnOnce(&mut Self)) {
        // SAFETY: The message is valid for the duration of the callback, which `'a` stands for.
        unsafe {
            bindings::devlink_fmsg_pair_nest_start(self.fmsg.as_ptr(), name.as_char_ptr());
            bindings::devlink_fmsg_obj_nest_start(self.fmsg.as_ptr());
        }
        f(self);
        // SAFETY: As above. The nests were opened there.
        unsafe {
            bindings::devlink_fmsg_obj_nest_end(self.fmsg.as_ptr());
            bindings::devlink_fmsg_pair_nest_end(self.fmsg.as_ptr());
        }
    }

    /// Puts the bytes that `f` puts in parts with [`Fmsg::put_bytes`] as one value `name`.
    pub fn binary(&mut self, name: &CStr, f: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: As in `object()`.
        unsafe {
            bindings::devlink_fmsg_binary_pair_nest_start(self.fmsg.as_ptr(), name.as_char_ptr())
        };
        f(self)?;
        // SAFETY: As in `object()`. The nest was opened above.
        unsafe { bindings::devlink_fmsg_binary_pair_nest_end(self.fmsg.as_ptr()) };
        Ok(())
    }

    /// Puts a part of a binary value; only inside of [`Fmsg::binary`].
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are more bytes than the message can count.
    pub fn put_bytes(&mut self, bytes: &[u8]) -> Result {
        // SAFETY: As in `object()`. The bytes are copied.
        unsafe {
            bindings::devlink_fmsg_binary_put(
                self.fmsg.as_ptr(),
                bytes.as_ptr().cast(),
                u16::try_from(bytes.len())?,
            )
        };
        Ok(())
    }

    /// Puts a number.
    pub fn put_u32(&mut self, name: &CStr, value: u32) {
        // SAFETY: As in `object()`.
        unsafe {
            bindings::devlink_fmsg_u32_pair_put(self.fmsg.as_ptr(), name.as_char_ptr(), value)
        };
    }
}

/// A health reporter of a devlink instance.
///
/// # Invariants
///
/// `reporter` was created with a pointer to `data`, which does not move.
pub struct HealthReporter<T: Operations, R: Reporter> {
    reporter: NonNull<bindings::devlink_health_reporter>,
    _data: KBox<R>,
    _devlink: Arc<Devlink<T>>,
}

// SAFETY: devlink does its own locking; `R` is `Send`.
unsafe impl<T: Operations, R: Reporter> Send for HealthReporter<T, R> {}
// SAFETY: devlink does its own locking; `R` is `Sync`.
unsafe impl<T: Operations, R: Reporter> Sync for HealthReporter<T, R> {}

impl<T: Operations, R: Reporter> HealthReporter<T, R> {
    const OPS: &'static bindings::devlink_health_reporter_ops =
        &bindings::devlink_health_reporter_ops {
            // The kernel's own accessor is not `const`.
            name: R::NAME.to_bytes_with_nul().as_ptr().cast_mut().cast(),
            dump: if R::HAS_DUMP {
                Some(Self::dump_callback)
            } else {
                None
            },
            diagnose: if R::HAS_DIAGNOSE {
                Some(Self::diagnose_callback)
            } else {
                None
            },
            // SAFETY: Numbers and optional function pointers, for which zero means "not there".
            ..unsafe { core::mem::zeroed() }
        };

    /// Creates a reporter. Process context, instance lock not held.
    pub fn new(devlink: Arc<Devlink<T>>, data: R) -> Result<Self> {
        let data = KBox::new(data, GFP_KERNEL)?;
        let data_ptr = (&raw const *data).cast_mut().cast::<c_void>();

        // SAFETY: The instance is valid, the table is static, and the data outlives the reporter
        // because both are fields of `Self` and `drop()` destroys the reporter first.
        let reporter = kernel::error::from_err_ptr(unsafe {
            bindings::devlink_health_reporter_create(devlink.devlink.as_ptr(), Self::OPS, data_ptr)
        })?;

        // INVARIANT: The reporter was created with a pointer to the boxed data.
        Ok(Self {
            reporter: NonNull::new(reporter).ok_or(ENOMEM)?,
            _data: data,
            _devlink: devlink,
        })
    }

    /// Tells user space that something is wrong, and dumps the state. Sleeps; instance lock not
    /// held.
    pub fn report(&self, msg: &CStr) {
        // SAFETY: The reporter is valid by the type invariant. The return value says whether the
        // reporter could recover by itself, which ours do not try.
        let _ = unsafe {
            bindings::devlink_health_report(
                self.reporter.as_ptr(),
                msg.as_char_ptr(),
                core::ptr::null_mut(),
            )
        };
    }

    /// # Safety
    ///
    /// To be called by devlink with arguments of a reporter which `new()` has created.
    unsafe fn with(
        reporter: *mut bindings::devlink_health_reporter,
        fmsg: *mut bindings::devlink_fmsg,
        f: impl FnOnce(&R, &mut Fmsg<'_>) -> Result,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the type invariant the reporter's data is an `R`.
            let data = unsafe { &*bindings::devlink_health_reporter_priv(reporter).cast::<R>() };
            let mut fmsg = Fmsg {
                fmsg: NonNull::new(fmsg).ok_or(EINVAL)?,
                _message: PhantomData,
            };

            f(data, &mut fmsg)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be those devlink passes for a reporter made by [`HealthReporter::new`].
    unsafe extern "C" fn dump_callback(
        reporter: *mut bindings::devlink_health_reporter,
        fmsg: *mut bindings::devlink_fmsg,
        _priv_ctx: *mut c_void,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: devlink passes an explanation that outlives the call, or null.
        let mut extack = unsafe { ExtAck::from_ptr(extack) };

        // SAFETY: Called by devlink for a reporter with this table, which only `new()` creates.
        unsafe { Self::with(reporter, fmsg, |data, fmsg| data.dump(fmsg, &mut extack)) }
    }

    /// # Safety
    ///
    /// The arguments must be those devlink passes for a reporter made by [`HealthReporter::new`].
    unsafe extern "C" fn diagnose_callback(
        reporter: *mut bindings::devlink_health_reporter,
        fmsg: *mut bindings::devlink_fmsg,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: Called by devlink for a reporter with this table, which only `new()` creates.
        unsafe { Self::with(reporter, fmsg, R::diagnose) }
    }
}

impl<T: Operations, R: Reporter> Drop for HealthReporter<T, R> {
    fn drop(&mut self) {
        // SAFETY: The reporter is ours by the type invariant. This waits for its callbacks.
        unsafe { bindings::devlink_health_reporter_destroy(self.reporter.as_ptr()) };
    }
}
