// SPDX-License-Identifier: GPL-2.0

//! What a PCI network driver needs beyond [`kernel::pci`].
//!
//! [`kernel::pci::Driver`] knows probe and unbind. This module adds, on top of its types, system
//! sleep, shutdown, PCI error recovery, MSI-X vectors which several owners share, and the few
//! configuration space values a high-speed device is tuned by.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::{
    marker::PhantomData,
    mem::offset_of, //
};

use kernel::{
    bindings,
    device::{
        self,
        Bound,
        Core,
        CoreInternal, //
    },
    dma::{
        Device as _,
        DmaMask, //
    },
    driver,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    pci::{
        self,
        Device, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::Opaque,
    ThisModule, //
};

/// State of the link between the host and the device, as error recovery reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// Register access works.
    Normal,
    /// Register access is blocked until the slot has been reset.
    Frozen,
    /// The device is gone for good.
    PermanentFailure,
}

impl ChannelState {
    fn from_raw(state: bindings::pci_channel_state_t) -> Self {
        match state {
            bindings::pci_channel_io_normal => Self::Normal,
            bindings::pci_channel_io_frozen => Self::Frozen,
            // An unknown state is treated as the worst one: nothing is touched any more.
            _ => Self::PermanentFailure,
        }
    }
}

/// A driver's vote on how error recovery shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorResult {
    /// The slot has to be reset.
    NeedReset,
    /// The device cannot be recovered.
    Disconnect,
    /// The device works again.
    Recovered,
}

impl ErrorResult {
    fn into_raw(self) -> bindings::pci_ers_result_t {
        match self {
            Self::NeedReset => bindings::pci_ers_result_PCI_ERS_RESULT_NEED_RESET,
            Self::Disconnect => bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT,
            Self::Recovered => bindings::pci_ers_result_PCI_ERS_RESULT_RECOVERED,
        }
    }
}

/// The part of a PCI driver's life [`kernel::pci::Driver`] does not cover.
///
/// All callbacks run in process context with the device lock held, on a device whose probe has
/// succeeded, and never concurrently with each other or with unbind.
pub trait PowerDriver: pci::Driver {
    /// System sleep, hibernation and power-off: quiesces the device.
    fn suspend(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>) -> Result;

    /// Counterpart of [`PowerDriver::suspend`]. The device lost all its state in between.
    fn resume(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>) -> Result;

    /// The system goes down or starts another kernel: the device must stop all DMA.
    fn shutdown(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>);

    /// A bus error was detected which involves this device.
    fn error_detected(
        dev: &Device<Core<'_>>,
        this: Pin<&Self::Data<'_>>,
        state: ChannelState,
    ) -> ErrorResult;

    /// The slot has been reset: brings the device back to where it was.
    fn slot_reset(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>) -> ErrorResult;

    /// All drivers agreed that the error is over: traffic may flow again.
    fn error_resume(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>);

    /// The function is about to be reset on somebody's request.
    fn reset_prepare(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>);

    /// The reset is over, and configuration space is as it was.
    fn reset_done(dev: &Device<Core<'_>>, this: Pin<&Self::Data<'_>>);
}

/// Registers a [`PowerDriver`]; used in place of [`kernel::pci::Adapter`].
pub struct Adapter<T: PowerDriver>(PhantomData<T>);

// SAFETY:
// - `bindings::pci_driver` is a C type declared as `repr(C)` and embeds a `struct device_driver`
//   at the offset given.
// - The driver's private data is stored by `kernel::pci::Adapter<T>`, to which `register()`
//   delegates, so its type is the one that adapter names.
unsafe impl<T: PowerDriver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = <pci::Adapter<T> as driver::DriverLayout>::DriverData<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: `unregister()` is that of `kernel::pci::Adapter<T>`, whose `register()` has succeeded
// whenever ours has.
unsafe impl<T: PowerDriver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        pdrv: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet, so nobody else looks at these fields. The
        // tables are static.
        unsafe {
            let drv = pdrv.get();
            (*drv).shutdown = Some(Self::shutdown_callback);
            (*drv).err_handler = Tables::<T>::ERROR_HANDLERS;
            (*drv).driver.pm = Tables::<T>::PM_OPS;
        }

        // SAFETY: Our caller keeps `pdrv` pinned until the matching `unregister()`. The kernel's
        // adapter fills in probe, remove and the device table and leaves other fields alone.
        unsafe { <pci::Adapter<T> as driver::RegistrationOps>::register(pdrv, name, module) }
    }

    unsafe fn unregister(pdrv: &Opaque<bindings::pci_driver>) {
        // SAFETY: Our caller had a successful `register()` for `pdrv` before.
        unsafe { <pci::Adapter<T> as driver::RegistrationOps>::unregister(pdrv) }
    }
}

struct Tables<T>(PhantomData<T>);

impl<T: PowerDriver> Tables<T> {
    const PM_OPS: &'static bindings::dev_pm_ops = &bindings::dev_pm_ops {
        suspend: Some(Adapter::<T>::suspend_callback),
        resume: Some(Adapter::<T>::resume_callback),
        freeze: Some(Adapter::<T>::suspend_callback),
        thaw: Some(Adapter::<T>::resume_callback),
        poweroff: Some(Adapter::<T>::suspend_callback),
        restore: Some(Adapter::<T>::resume_callback),
        // SAFETY: All remaining fields are optional function pointers, for which zero is `None`.
        ..unsafe { core::mem::zeroed() }
    };

    const ERROR_HANDLERS: &'static bindings::pci_error_handlers = &bindings::pci_error_handlers {
        error_detected: Some(Adapter::<T>::error_detected_callback),
        slot_reset: Some(Adapter::<T>::slot_reset_callback),
        resume: Some(Adapter::<T>::error_resume_callback),
        reset_prepare: Some(Adapter::<T>::reset_prepare_callback),
        reset_done: Some(Adapter::<T>::reset_done_callback),
        // SAFETY: All remaining fields are optional function pointers, for which zero is
        // `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

impl<T: PowerDriver> Adapter<T> {
    /// Calls `f` with the device behind `pdev` and its driver data.
    ///
    /// # Safety
    ///
    /// `pdev` must be a device bound to this driver, with the device lock held.
    unsafe fn with<R>(
        pdev: *mut bindings::pci_dev,
        f: impl FnOnce(&Device<Core<'_>>, Pin<&T::Data<'_>>) -> R,
    ) -> R {
        // SAFETY: By the caller's promise `pdev` is a valid device inside a bus callback.
        let dev = unsafe { &*pdev.cast::<Device<CoreInternal<'_>>>() };

        // SAFETY: The device is bound, so probe has stored data of this type and unbind, which is
        // serialised by the device lock, has not taken it back.
        let data = unsafe { dev.as_ref().drvdata_borrow::<T::Data<'_>>() };

        f(dev, data)
    }

    /// Same as [`Adapter::with`] for callbacks that get the embedded `struct device`.
    ///
    /// # Safety
    ///
    /// `dev` must be embedded in a PCI device bound to this driver, with the device lock held.
    unsafe fn with_dev<R>(
        dev: *mut bindings::device,
        f: impl FnOnce(&Device<Core<'_>>, Pin<&T::Data<'_>>) -> R,
    ) -> R {
        // SAFETY: By the caller's promise `dev` is the `dev` field of a `struct pci_dev`.
        let pdev = unsafe { kernel::container_of!(dev, bindings::pci_dev, dev) };

        // SAFETY: Passed on from the caller.
        unsafe { Self::with(pdev, f) }
    }

    /// # Safety
    ///
    /// `dev` must be a PCI device bound to this driver, with the device lock held, as the PM core has
    /// it.
    unsafe extern "C" fn suspend_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The PM core calls this for devices bound to this driver, under the device lock.
        from_result(|| unsafe { Self::with_dev(dev, T::suspend) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// `dev` must be a PCI device bound to this driver, with the device lock held, as the PM core has
    /// it.
    unsafe extern "C" fn resume_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The PM core calls this for devices bound to this driver, under the device lock.
        from_result(|| unsafe { Self::with_dev(dev, T::resume) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as the PCI core has it.
    unsafe extern "C" fn shutdown_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core calls this for devices bound to this driver, under the device lock.
        unsafe { Self::with(pdev, T::shutdown) }
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as error recovery has it.
    unsafe extern "C" fn error_detected_callback(
        pdev: *mut bindings::pci_dev,
        state: bindings::pci_channel_state_t,
    ) -> bindings::pci_ers_result_t {
        let state = ChannelState::from_raw(state);

        // SAFETY: Error recovery calls this for devices bound to this driver, under the device
        // lock.
        unsafe { Self::with(pdev, |dev, data| T::error_detected(dev, data, state)) }.into_raw()
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as error recovery has it.
    unsafe extern "C" fn slot_reset_callback(
        pdev: *mut bindings::pci_dev,
    ) -> bindings::pci_ers_result_t {
        // SAFETY: Error recovery calls this for devices bound to this driver, under the device
        // lock.
        unsafe { Self::with(pdev, T::slot_reset) }.into_raw()
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as error recovery has it.
    unsafe extern "C" fn error_resume_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: Error recovery calls this for devices bound to this driver, under the device
        // lock.
        unsafe { Self::with(pdev, T::error_resume) }
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as the PCI core has it.
    unsafe extern "C" fn reset_prepare_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core calls this for devices bound to this driver, under the device lock.
        unsafe { Self::with(pdev, T::reset_prepare) }
    }

    /// # Safety
    ///
    /// `pdev` must be bound to this driver, with the device lock held, as the PCI core has it.
    unsafe extern "C" fn reset_done_callback(pdev: *mut bindings::pci_dev) {
        // SAFETY: The PCI core calls this for devices bound to this driver, under the device lock.
        unsafe { Self::with(pdev, T::reset_done) }
    }
}

/// A `struct pci_dev`, whatever the context of the reference.
fn as_raw<Ctx: device::DeviceContext>(dev: &Device<Ctx>) -> *mut bindings::pci_dev {
    // CAST: `Device` is a transparent wrapper of `struct pci_dev`, mutable through the wrapper.
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// Configuration space values of a device, and its error state.
pub trait DeviceExt {
    /// Returns the 64-bit Device Serial Number, or 0 if the device has none.
    fn serial_number(&self) -> u64;

    /// Returns the PCIe maximum payload size in bytes.
    fn max_payload_size(&self) -> Result<u32>;

    /// Returns the PCIe maximum read request size in bytes.
    fn max_read_request_size(&self) -> Result<u32>;

    /// Returns whether the device may set the relaxed ordering attribute.
    fn relaxed_ordering_enabled(&self) -> bool;

    /// Returns the current state of the channel to the device.
    fn channel_state(&self) -> ChannelState;

    /// Saves the configuration space for [`DeviceExt::restore_state`].
    fn save_state(&self) -> Result;
}

impl DeviceExt for Device<Core<'_>> {
    fn serial_number(&self) -> u64 {
        // SAFETY: The reference proves that the device is valid.
        unsafe { bindings::pci_get_dsn(as_raw(self)) }
    }

    fn max_payload_size(&self) -> Result<u32> {
        // SAFETY: The reference proves that the device is valid.
        let mps = unsafe { bindings::pcie_get_mps(as_raw(self)) };

        u32::try_from(mps).map_err(|_| Error::from_errno(mps))
    }

    fn max_read_request_size(&self) -> Result<u32> {
        // SAFETY: The reference proves that the device is valid.
        let readrq = unsafe { bindings::pcie_get_readrq(as_raw(self)) };

        u32::try_from(readrq).map_err(|_| Error::from_errno(readrq))
    }

    fn relaxed_ordering_enabled(&self) -> bool {
        // SAFETY: The reference proves that the device is valid.
        unsafe { bindings::pcie_relaxed_ordering_enabled(as_raw(self)) }
    }

    fn channel_state(&self) -> ChannelState {
        // SAFETY: The reference proves that the device is valid. Error recovery may write the
        // field at any time, hence the volatile read.
        ChannelState::from_raw(unsafe { (&raw const (*as_raw(self)).error_state).read_volatile() })
    }

    fn save_state(&self) -> Result {
        // SAFETY: The reference proves that the device is valid; `Core` proves that no other bus
        // callback works on its configuration space.
        to_result(unsafe { bindings::pci_save_state(as_raw(self)) })
    }
}

/// Wakes a device whose slot has been reset: power state D0, saved configuration space, decoding
/// enabled.
///
/// The state is saved again at once, because restoring it uses it up and the slot may be reset
/// more than once.
pub fn restore_after_reset(dev: &Device<Core<'_>>) -> Result {
    let pdev = as_raw(dev);

    // SAFETY: The reference proves that the device is valid; `Core` proves that no other bus
    // callback works on its configuration space.
    unsafe {
        // Error recovery has left the device in D0 on paper; this makes it true.
        to_result(bindings::pci_set_power_state(
            pdev,
            crate::bindings::PCI_D0 as c_int,
        ))?;
        bindings::pci_restore_state(pdev);
        to_result(bindings::pci_save_state(pdev))?;
        to_result(bindings::pci_reenable_device(pdev))
    }
}

/// Keeps a device enabled and bus mastering on.
///
/// Must be the last field of the driver data: everything else there expects the device to decode
/// its BARs.
pub struct Enabled(ARef<Device>);

impl Enabled {
    /// Enables the memory BARs of `dev` and chooses the width of its DMA addresses: `dma_bits`, or
    /// 32 if the platform refuses that. Bus mastering stays as it is.
    ///
    /// The first thing a driver does to its device.
    ///
    /// # Errors
    ///
    /// `EIO` if neither width is possible, `EINVAL` for more than 64 bits, or what enabling returns.
    pub fn new(dev: &Device<Core<'_>>, dma_bits: u32) -> Result<Self> {
        let wide = DmaMask::try_new(dma_bits)?;

        dev.enable_device_mem()?;
        let normal: &Device = dev;
        let this = Self(normal.into());

        // SAFETY: The device was not enabled by this driver until now, so the driver cannot have
        // allocated or mapped DMA memory for it, and `Core` keeps other bus callbacks out.
        unsafe {
            dev.dma_set_mask_and_coherent(wide)
                .or_else(|_| dev.dma_set_mask_and_coherent(DmaMask::new::<32>()))?;
        }
        Ok(this)
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        // SAFETY: `Enabled::new()` has enabled the device once, and this undoes it once. The
        // device is valid as we hold a reference to it.
        unsafe {
            bindings::pci_clear_master(as_raw(&*self.0));
            bindings::pci_disable_device(as_raw(&*self.0));
        }
    }
}

/// How often a device is told to keep off memory that does not obey.
const STOP_DMA_TRIES: u32 = 8;

/// Switches bus mastering off: whatever `dev` was told before, it neither reads nor writes memory, and
/// sends no interrupts, until [`resume_dma`] or [`Device::set_master`].
///
/// Returns whether the device says so, in an answer that its earlier writes cannot be behind of. One that
/// does not answer is gone. Any context.
pub fn stop_dma(dev: &Device) -> bool {
    let pdev = as_raw(dev);
    // CAST: Defined as an `int` that fits.
    let (offset, master) = (
        crate::bindings::PCI_COMMAND as c_int,
        crate::bindings::PCI_COMMAND_MASTER as u16,
    );
    (0..STOP_DMA_TRIES).any(|_| {
        let mut command = !0;
        // SAFETY: The device is valid by its type; both only access configuration space.
        unsafe {
            bindings::pci_clear_master(pdev);
            bindings::pci_read_config_word(pdev, offset, &mut command);
        }
        command & master == 0
    })
}

/// Undoes [`stop_dma`]. Any context.
pub fn resume_dma(dev: &Device) {
    // SAFETY: The device is valid by its type. What it was told to do is the business of who told it, as
    // with `Device::set_master()`.
    unsafe { bindings::pci_set_master(as_raw(dev)) };
}

/// Number of CPUs which are online at the moment.
pub fn num_online_cpus() -> u32 {
    // SAFETY: The counter is a static that lives for ever. CPUs may come and go at any time, hence
    // the volatile read.
    let online = unsafe { (&raw const bindings::__num_online_cpus.counter).read_volatile() };

    u32::try_from(online).unwrap_or(1)
}

/// An allocation of MSI-X vectors.
///
/// Always shared: whoever has requested an interrupt keeps one [`Arc`], so that the vectors are
/// freed after the last handler.
///
/// # Invariants
///
/// `dev` has `len` MSI-X vectors allocated, and they belong to this object.
pub struct IrqVectors {
    dev: ARef<Device>,
    len: u32,
}

impl IrqVectors {
    /// Allocates between `min` and `max` MSI-X vectors.
    ///
    /// Sleeps. All owners must be gone before the device is unbound; driver data upholds this by
    /// its field order.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if fewer than `min` vectors are to be had.
    pub fn alloc_msix(dev: &Device<Bound>, min: u32, max: u32) -> Result<Arc<Self>> {
        // SAFETY: The reference proves that the device is valid and bound.
        let len = unsafe {
            bindings::pci_alloc_irq_vectors(as_raw(dev), min, max, bindings::PCI_IRQ_MSIX)
        };
        let len = u32::try_from(len).map_err(|_| Error::from_errno(len))?;
        let dev: &Device = dev;

        // INVARIANT: `pci_alloc_irq_vectors()` has just allocated `len` vectors. If the `Arc`
        // cannot be allocated, dropping the value frees them.
        let vectors = Self {
            dev: dev.into(),
            len,
        };
        Ok(Arc::new(vectors, GFP_KERNEL)?)
    }

    /// Returns the number of vectors.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns the Linux interrupt number of MSI-X table entry `index`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `index` is not below [`IrqVectors::len`].
    pub fn irq(&self, index: u32) -> Result<u32> {
        if index >= self.len {
            return Err(EINVAL);
        }

        // SAFETY: By the type invariant the device has vectors, `index` among them.
        let irq = unsafe { bindings::pci_irq_vector(as_raw(&*self.dev), index) };

        u32::try_from(irq).map_err(|_| Error::from_errno(irq))
    }
}

impl Drop for IrqVectors {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the vectors are ours. Each requested interrupt held a
        // reference to `self`, so all of them have been freed.
        unsafe { bindings::pci_free_irq_vectors(as_raw(&*self.dev)) };
    }
}
