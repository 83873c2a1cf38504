// SPDX-License-Identifier: GPL-2.0

//! MDIO buses.
//!
//! C header: [`include/linux/mdio.h`](srctree/include/linux/mdio.h)

use crate::bindings;

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
    str::CString,
    sync::Arc,
    ThisModule, //
};

/// How registers behind an MDIO bus are accessed (clause 45 addressing).
///
/// Both functions run in process context with the bus lock held.
pub trait Operations: Send + Sync + 'static {
    /// Reads register `regnum` of MDIO manageable device `devad` at port address `addr`.
    fn read_c45(&self, addr: u32, devad: u32, regnum: u32) -> Result<u16>;

    /// Writes register `regnum` of MDIO manageable device `devad` at port address `addr`.
    fn write_c45(&self, addr: u32, devad: u32, regnum: u32, value: u16) -> Result;
}

/// A registered MDIO bus. Devices are not probed for; who knows of one creates it.
///
/// # Invariants
///
/// `bus` is registered, and its private pointer is a `KBox<T>` that belongs to `self`.
pub struct Bus<T: Operations> {
    bus: NonNull<bindings::mii_bus>,
    _data: PhantomData<T>,
}

// SAFETY: The MDIO core does its own locking, and `T` is `Send`.
unsafe impl<T: Operations> Send for Bus<T> {}
// SAFETY: The MDIO core does its own locking, and `T` is `Sync`.
unsafe impl<T: Operations> Sync for Bus<T> {}

impl<T: Operations> Bus<T> {
    /// Registers a bus below `parent`, called `<device name>-mii`.
    ///
    /// Process context. The bus must be gone before `parent` is unbound.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the device core says to a second bus of that name.
    pub fn new(
        parent: &device::Device<Bound>,
        name: &'static CStr,
        data: T,
        module: &'static ThisModule,
    ) -> Result<Arc<Self>> {
        let id = CString::try_from_fmt(fmt!("{}-mii", parent.name()))?;
        let data = KBox::new(data, GFP_KERNEL)?;

        // SAFETY: The function has no requirements.
        let bus = NonNull::new(unsafe { bindings::mdiobus_alloc_size(0) }).ok_or(ENOMEM)?;

        // SAFETY: The bus is ours alone until it is registered.
        unsafe { Self::fill(bus, parent, name, &id, KBox::into_raw(data)) };

        // SAFETY: All mandatory fields are set. The module outlives the bus.
        let ret = unsafe { bindings::__mdiobus_register(bus.as_ptr(), module.as_ptr()) };
        if let Err(err) = to_result(ret) {
            // SAFETY: The bus is not registered, so nobody uses it or its private data.
            unsafe { Self::free(bus) };
            return Err(err);
        }

        // INVARIANT: The bus is registered and owns the boxed data. If the `Arc` cannot be
        // allocated, dropping the value unregisters it.
        let this = Self {
            bus,
            _data: PhantomData,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// Sets the fields of a fresh bus.
    ///
    /// # Safety
    ///
    /// `bus` must be allocated and unknown to anybody else.
    unsafe fn fill(
        bus: NonNull<bindings::mii_bus>,
        parent: &device::Device<Bound>,
        name: &'static CStr,
        id: &CStr,
        data: *mut T,
    ) {
        // SAFETY: By the caller's promise nobody else refers to the bus.
        let bus = unsafe { &mut *bus.as_ptr() };

        bus.name = name.as_char_ptr();
        bus.read_c45 = Some(Self::read_c45_callback);
        bus.write_c45 = Some(Self::write_c45_callback);
        bus.phy_mask = !0;
        // CAST: `Device` is a transparent wrapper of `struct device`.
        bus.parent = core::ptr::from_ref(parent).cast_mut().cast();
        bus.priv_ = data.cast();

        // The array is zeroed by the allocation, so stopping before its last byte terminates it.
        let room = bus.id.len() - 1;
        for (to, from) in bus.id[..room].iter_mut().zip(id.to_bytes()) {
            *to = *from;
        }
    }

    /// Frees a bus which is not registered, and the data.
    ///
    /// # Safety
    ///
    /// `bus` must have gone through `fill()` and must not be registered (any more).
    unsafe fn free(bus: NonNull<bindings::mii_bus>) {
        // SAFETY: `fill()` has stored a box of this type; no callback runs on an unregistered bus.
        unsafe {
            drop(KBox::<T>::from_raw((*bus.as_ptr()).priv_.cast()));
            bindings::mdiobus_free(bus.as_ptr());
        }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::mii_bus {
        self.bus.as_ptr()
    }

    /// # Safety
    ///
    /// `bus` must be a bus `new()` has made.
    unsafe fn data<'a>(bus: *mut bindings::mii_bus) -> &'a T {
        // SAFETY: By the type invariant; the MDIO core stops calling before `drop()` frees.
        unsafe { &*(*bus).priv_.cast::<c_void>().cast::<T>() }
    }

    /// # Safety
    ///
    /// `bus` must be a bus made by [`Bus::new`].
    unsafe extern "C" fn read_c45_callback(
        bus: *mut bindings::mii_bus,
        addr: c_int,
        devad: c_int,
        regnum: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: Only buses made by `new()` have this callback.
            let data = unsafe { Self::data(bus) };

            data.read_c45(addr.try_into()?, devad.try_into()?, regnum.try_into()?)
                .map(c_int::from)
        })
    }

    /// # Safety
    ///
    /// `bus` must be a bus made by [`Bus::new`].
    unsafe extern "C" fn write_c45_callback(
        bus: *mut bindings::mii_bus,
        addr: c_int,
        devad: c_int,
        regnum: c_int,
        value: u16,
    ) -> c_int {
        from_result(|| {
            // SAFETY: Only buses made by `new()` have this callback.
            let data = unsafe { Self::data(bus) };

            data.write_c45(
                addr.try_into()?,
                devad.try_into()?,
                regnum.try_into()?,
                value,
            )?;
            Ok(0)
        })
    }
}

impl<T: Operations> Drop for Bus<T> {
    fn drop(&mut self) {
        // SAFETY: The bus is registered and ours by the type invariant. Whoever has created a
        // device on it keeps a reference to `self`, so there is none left.
        unsafe {
            bindings::mdiobus_unregister(self.bus.as_ptr());
            Self::free(self.bus);
        }
    }
}
