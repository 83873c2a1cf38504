// SPDX-License-Identifier: GPL-2.0

//! PCI BAR mappings that can be cut off while they are in use.
//!
//! A device that fell off the bus answers every read with all-ones. A driver that noticed must stop
//! touching the device at once, from whatever context it is in, and may have to start again after a
//! slot reset. [`kernel::revocable`] would take an RCU read lock around each access; here a detach
//! only redirects later accesses, while the mapping itself stays in place until the value is
//! dropped, so an access costs one relaxed pointer load more than a plain `readl()`.
//!
//! C header: [`include/linux/io.h`](srctree/include/linux/io.h)

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use kernel::{
    bindings,
    device::Bound,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

/// The place of a register in a [`DetachableBar`] of `SIZE` bytes.
///
/// # Invariants
///
/// A multiple of four below `SIZE`.
#[derive(Clone, Copy)]
pub struct Offset<const SIZE: usize>(usize);

impl<const SIZE: usize> Offset<SIZE> {
    /// Offsets are checked against `SIZE` alone, which is enough if it is a multiple of four.
    const WHOLE_REGISTERS: () = assert!(SIZE % 4 == 0);

    /// Returns the place at byte `offset`, if that is an aligned offset below `SIZE`.
    #[inline(always)]
    pub const fn new(offset: usize) -> Option<Self> {
        let () = Self::WHOLE_REGISTERS;
        if offset % 4 != 0 || offset >= SIZE {
            return None;
        }
        // INVARIANT: Checked just above.
        Some(Self(offset))
    }
}

/// A mapped PCI BAR of at least `SIZE` bytes whose accesses can be switched off.
///
/// Reads of a detached BAR return all-ones and writes do nothing, which is also what the bus does
/// for a device that is gone. The region request and the mapping are released on drop.
///
/// # Invariants
///
/// - `base` is the start of a mapping of at least `SIZE` bytes of BAR `num` of `pdev`, valid until
///   `self` is dropped.
/// - `live` is either null or equal to `base`.
pub struct DetachableBar<const SIZE: usize> {
    live: UnsafeCell<*mut u8>,
    base: NonNull<u8>,
    num: c_int,
    pdev: ARef<pci::Device>,
}

// SAFETY: The mapping is not bound to a thread or CPU, and `ARef<pci::Device>` is `Send`.
unsafe impl<const SIZE: usize> Send for DetachableBar<SIZE> {}

// SAFETY: `live` is only accessed by single volatile loads and stores of one machine word (the
// kernel's `READ_ONCE()` and `WRITE_ONCE()`), and I/O memory may be accessed concurrently.
unsafe impl<const SIZE: usize> Sync for DetachableBar<SIZE> {}

impl<const SIZE: usize> DetachableBar<SIZE> {
    /// Requests and maps BAR `num` of `pdev`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there is no such BAR.
    /// - `ENODEV` if the BAR is smaller than `SIZE` bytes.
    /// - `EBUSY` if somebody else owns the region.
    /// - `ENOMEM` if the mapping fails.
    pub fn map(pdev: &pci::Device<Bound>, num: u32, name: &'static CStr) -> Result<Self> {
        if usize::try_from(pdev.resource_len(num)?)? < SIZE {
            return Err(ENODEV);
        }
        let num = c_int::try_from(num)?;
        let raw = Self::raw(pdev);

        // SAFETY: `raw` is a valid device, `num` one of its BARs as `resource_len` just checked,
        // and `name` lives forever.
        if unsafe { bindings::pci_request_region(raw, num, name.as_char_ptr()) } != 0 {
            return Err(EBUSY);
        }

        // SAFETY: As above; a `maxlen` of zero maps the whole BAR.
        let addr = unsafe { bindings::pci_iomap(raw, num, 0) };
        let Some(base) = NonNull::new(addr.cast::<u8>()) else {
            // SAFETY: The region was requested above and is not used any more.
            unsafe { bindings::pci_release_region(raw, num) };
            return Err(ENOMEM);
        };

        // INVARIANT: `base` maps the whole BAR, which holds at least `SIZE` bytes, and is unmapped
        // by `drop` only.
        Ok(Self {
            live: UnsafeCell::new(base.as_ptr()),
            base,
            num,
            pdev: pdev.into(),
        })
    }

    fn raw<Ctx: kernel::device::DeviceContext>(pdev: &pci::Device<Ctx>) -> *mut bindings::pci_dev {
        // CAST: `pci::Device` is a transparent wrapper of `struct pci_dev`.
        core::ptr::from_ref(pdev).cast_mut().cast()
    }

    #[inline(always)]
    fn address(&self, offset: Offset<SIZE>) -> Option<*mut u32> {
        // SAFETY: The cell is always valid for a load of one word; see `Sync` for concurrency.
        let live = unsafe { self.live.get().read_volatile() };
        // CAST: The offset is a multiple of four, and mappings are page aligned.
        (!live.is_null()).then(|| live.wrapping_add(offset.0).cast())
    }

    /// Reads the little-endian 32-bit register at byte `offset`.
    ///
    /// Returns all-ones if the BAR is detached or the offset is not an aligned offset below `SIZE`.
    /// May be called from any context.
    #[inline(always)]
    pub fn read32(&self, offset: usize) -> u32 {
        match Offset::new(offset).and_then(|offset| self.address(offset)) {
            // SAFETY: By the type invariants of bar and offset, `addr` points to four aligned bytes
            // of mapped I/O memory.
            Some(addr) => unsafe { raw_read32(addr) },
            None => !0,
        }
    }

    /// Writes the little-endian 32-bit register at byte `offset`.
    ///
    /// Does nothing if the BAR is detached or the offset is not an aligned offset below `SIZE`.
    /// Writes to coherent memory before this call are visible to the device before the register
    /// write is. May be called from any context.
    #[inline(always)]
    pub fn write32(&self, offset: usize, value: u32) {
        if let Some(offset) = Offset::new(offset) {
            self.write32_at(offset, value);
        }
    }

    /// Writes a register like [`Self::write32`], at a place that was checked before.
    #[inline(always)]
    pub fn write32_at(&self, offset: Offset<SIZE>, value: u32) {
        if let Some(addr) = self.address(offset) {
            // SAFETY: As in `read32`.
            unsafe { raw_write32(addr, value) };
        }
    }

    /// Returns whether accesses reach the device.
    #[inline]
    pub fn is_attached(&self) -> bool {
        // SAFETY: As in `address`.
        !unsafe { self.live.get().read_volatile() }.is_null()
    }

    /// Cuts off the device for all accesses that start after this call.
    ///
    /// Does not wait for accesses under way, which stay harmless because the mapping remains.
    pub fn detach(&self) {
        // INVARIANT: Null is one of the two values allowed.
        // SAFETY: The cell is valid for a store of one word; see `Sync` for concurrency.
        unsafe { self.live.get().write_volatile(core::ptr::null_mut()) };
    }

    /// Lets accesses reach the device again.
    pub fn attach(&self) {
        // INVARIANT: `base` is one of the two values allowed.
        // SAFETY: As in `detach`.
        unsafe { self.live.get().write_volatile(self.base.as_ptr()) };
    }
}

impl<const SIZE: usize> Drop for DetachableBar<SIZE> {
    fn drop(&mut self) {
        let raw = Self::raw(&self.pdev);
        // SAFETY: By the type invariants `base` is the mapping of BAR `num` of `pdev`, whose region
        // `map` requested; no access can follow because `self` is borrowed exclusively.
        unsafe {
            bindings::pci_iounmap(raw, self.base.as_ptr().cast());
            bindings::pci_release_region(raw, self.num);
        }
    }
}

/// Reads a register: `readl()`.
///
/// # Safety
///
/// `addr` must point to four aligned bytes of mapped I/O memory.
#[inline(always)]
unsafe fn raw_read32(addr: *mut u32) -> u32 {
    // On x86 `readl()` is a plain load and a compiler barrier; the function the kernel exports to
    // Rust would add a call to every register read.
    #[cfg(CONFIG_X86_64)]
    {
        // SAFETY: By the safety requirement the address is valid.
        let value = unsafe { addr.read_volatile() };
        compiler_barrier();
        u32::from_le(value)
    }
    #[cfg(not(CONFIG_X86_64))]
    {
        // SAFETY: By the safety requirement the address is valid.
        unsafe { bindings::readl(addr.cast()) }
    }
}

/// Writes a register: `writel()`.
///
/// # Safety
///
/// `addr` must point to four aligned bytes of mapped I/O memory.
#[inline(always)]
unsafe fn raw_write32(addr: *mut u32, value: u32) {
    #[cfg(CONFIG_X86_64)]
    {
        // The barrier keeps descriptor stores ahead of the doorbell store; the processor itself
        // does not reorder stores.
        compiler_barrier();
        // SAFETY: By the safety requirement the address is valid.
        unsafe { addr.write_volatile(value.to_le()) };
        compiler_barrier();
    }
    #[cfg(not(CONFIG_X86_64))]
    {
        // SAFETY: By the safety requirement the address is valid.
        unsafe { bindings::writel(value, addr.cast()) };
    }
}

/// Keeps the compiler from moving memory accesses across this point: `barrier()`.
#[cfg(CONFIG_X86_64)]
#[inline(always)]
fn compiler_barrier() {
    // SAFETY: The template is empty; all it does is to count as an access to all memory.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}
