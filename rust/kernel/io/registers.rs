// SPDX-License-Identifier: GPL-2.0

//! An [`IoBackend`] over any accessor of 32-bit registers.
//!
//! [`register!`](kernel::io::register!) types are read and written through [`kernel::io::Io`],
//! which the `kernel` crate implements for plain mappings only. A driver with a register access
//! rule of its own (here: check whether the device is still there after an all-ones read)
//! implements [`Registers32`] for its accessor and [`IoBase`] for references to it by returning
//! [`View::whole`], and gets the typed interface without writing any `unsafe` code.

use core::marker::PhantomData;

use kernel::{
    io::{
        IoBackend,
        IoBase,
        IoCapable,
        Region, //
    },
    ptr::KnownSize, //
};

/// An accessor of little-endian 32-bit registers.
pub trait Registers32: Sync + 'static {
    /// Reads the register at byte `offset`. Must tolerate any offset.
    fn read32(&self, offset: usize) -> u32;

    /// Writes the register at byte `offset`. Must tolerate any offset.
    fn write32(&self, offset: usize, value: u32);
}

/// The I/O backend of an accessor `R`.
pub struct Backend<R>(PhantomData<R>);

/// A part of the register space of an `R`.
///
/// `ptr` is never dereferenced: its address is the byte offset of the part.
pub struct View<'a, R, T: ?Sized> {
    registers: &'a R,
    ptr: *mut T,
}

impl<R, T: ?Sized> Copy for View<'_, R, T> {}
impl<R, T: ?Sized> Clone for View<'_, R, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, R, const SIZE: usize> View<'a, R, Region<SIZE>> {
    /// The first `SIZE` bytes of the register space of `registers`.
    #[inline(always)]
    pub fn whole(registers: &'a R) -> Self {
        View {
            registers,
            ptr: Region::ptr_from_raw_parts_mut(core::ptr::null_mut(), SIZE),
        }
    }
}

impl<R: Registers32> IoBackend for Backend<R> {
    type View<'a, T: ?Sized + KnownSize> = View<'a, R, T>;

    #[inline(always)]
    fn as_ptr<'a, T: ?Sized + KnownSize>(view: Self::View<'a, T>) -> *mut T {
        view.ptr
    }

    #[inline(always)]
    unsafe fn project_view<'a, T: ?Sized + KnownSize, U: ?Sized + KnownSize>(
        view: Self::View<'a, T>,
        ptr: *mut U,
    ) -> Self::View<'a, U> {
        View {
            registers: view.registers,
            ptr,
        }
    }
}

impl<R: Registers32> IoCapable<u32> for Backend<R> {
    #[inline(always)]
    fn io_read<'a>(view: Self::View<'a, u32>) -> u32 {
        view.registers.read32(view.ptr.addr())
    }

    #[inline(always)]
    fn io_write<'a>(view: Self::View<'a, u32>, value: u32) {
        view.registers.write32(view.ptr.addr(), value)
    }
}

impl<'a, R: Registers32, T: ?Sized + KnownSize> IoBase<'a> for View<'a, R, T> {
    type Backend = Backend<R>;
    type Target = T;

    #[inline(always)]
    fn as_view(self) -> View<'a, R, T> {
        self
    }
}
