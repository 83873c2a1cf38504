// SPDX-License-Identifier: GPL-2.0

//! Access to the control and status registers (CSRs) and their declarations.
//!
//! [`Csr`] owns both BARs. It applies the presence rule: a read of all-ones is believed only while
//! a register that is never all-ones says so too. Once that one reads all-ones as well, the device
//! is gone: both BARs are cut off until [`Csr::reattach`], and the network device is told.
//!
//! All offsets in this driver are **bytes**; the hardware documentation counts 32-bit words. The
//! submodules declare the registers of one block each, with the names of the C driver less
//! `FBNIC_`: as [`register!`](kernel::io::register) types where registers have fields, as constants
//! and `const fn` offsets where the index is only known at run time.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    io::{
        IoBase,
        Region, //
    },
    new_spinlock_irq,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::io::{
    detachable::{
        DetachableBar,
        Offset, //
    },
    registers::{
        Backend,
        Registers32,
        View, //
    }, //
};

pub mod intr;
pub mod mac;
pub mod pul;
pub mod qm;
pub mod queue;
pub mod rpc;
pub mod rxb;
pub mod tce;

/// Bytes of BAR0 in use: up to the last register of the last queue.
pub const CSR_SIZE: usize = 0x18_0000;

/// Bytes of BAR4 in use: up to the end of the region shared with the firmware.
pub const FW_WINDOW_SIZE: usize = 0x1_c000;

/// BAR with the CSRs.
const BAR_CSR: u32 = 0;

/// BAR with the window into the firmware's memory.
const BAR_FW: u32 = 4;

/// Never reads all-ones while the device lives; also read to flush posted writes.
pub const MASTER_SPARE_0: usize = 0x3_106c;

/// First word of the mailbox in BAR4. Never reads all-ones while the device lives.
pub const FW_ZERO_REG: usize = 0x1_8000;

/// The place of a register in BAR0 that is written for every few packets.
pub type Doorbell = Offset<CSR_SIZE>;

/// What to do when the device has disappeared.
pub trait DetachHook: Send + Sync {
    /// Called at most once until [`Csr::reattach`], with interrupts disabled, from any context.
    /// Must not sleep and must not call [`Csr::set_detach_hook`].
    fn detached(&self);
}

/// The registers of one device.
///
/// Can be used from any context and any number of CPUs at once.
#[pin_data]
pub struct Csr {
    bar0: DetachableBar<CSR_SIZE>,
    bar4: DetachableBar<FW_WINDOW_SIZE>,
    #[pin]
    hook: SpinLockIrq<Option<Arc<dyn DetachHook>>>,
    /// For messages.
    pdev: ARef<pci::Device>,
}

impl Csr {
    /// Requests and maps BAR0 and BAR4.
    ///
    /// # Errors
    ///
    /// See [`DetachableBar::map`].
    pub fn map<'a>(pdev: &'a pci::Device<Bound>) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(Self {
            bar0: DetachableBar::map(pdev, BAR_CSR, c"fbnic")?,
            bar4: DetachableBar::map(pdev, BAR_FW, c"fbnic")?,
            hook <- new_spinlock_irq!(None),
            pdev: pdev.into(),
        })
    }

    /// Reads the register at byte `offset` of BAR0. All-ones if the device is gone.
    #[inline(always)]
    pub fn read32(&self, offset: usize) -> u32 {
        let value = self.bar0.read32(offset);
        if value == !0 {
            self.check_csr_present();
        }
        value
    }

    /// Writes the register at byte `offset` of BAR0. Nothing happens if the device is gone.
    #[inline(always)]
    pub fn write32(&self, offset: usize, value: u32) {
        self.bar0.write32(offset, value);
    }

    /// Writes a register of BAR0 whose place was checked before, like [`Self::write32`].
    #[inline(always)]
    pub fn ring_doorbell(&self, doorbell: Doorbell, value: u32) {
        self.bar0.write32_at(doorbell, value);
    }

    /// Changes some bits of the register at byte `offset` of BAR0.
    pub fn update32(&self, offset: usize, clear: u32, set: u32) {
        let value = self.read32(offset);
        self.write32(offset, value & !clear | set);
    }

    /// Waits until all earlier writes to BAR0 have arrived.
    #[inline]
    pub fn flush(&self) {
        self.read32(MASTER_SPARE_0);
    }

    /// Reads a 64-bit counter whose halves are at `low` and `high`, without tearing.
    ///
    /// The low half may wrap between the reads, so the high half is read again until it is stable.
    /// The hardware cannot wrap twice in that time; if it seems to, the last value is taken.
    pub fn read64_split(&self, low: usize, high: usize) -> u64 {
        let mut upper = self.read32(high);
        let mut lower = 0;
        for _ in 0..3 {
            lower = self.read32(low);
            let again = self.read32(high);
            if again == upper {
                break;
            }
            upper = again;
        }
        u64::from(upper) << 32 | u64::from(lower)
    }

    /// Reads a 64-bit counter whose high half follows the low half at `low`.
    pub fn read64(&self, low: usize) -> u64 {
        self.read64_split(low, low + 4)
    }

    /// Reads the word at byte `offset` of the firmware window. All-ones if the device is gone.
    pub fn fw_read32(&self, offset: usize) -> u32 {
        let value = self.bar4.read32(offset);
        if value == !0 && self.bar4.is_attached() && self.bar4.read32(FW_ZERO_REG) == !0 {
            self.give_up();
        }
        value
    }

    /// Writes the word at byte `offset` of the firmware window.
    pub fn fw_write32(&self, offset: usize, value: u32) {
        self.bar4.write32(offset, value);
    }

    /// Waits until all earlier writes to the firmware window have arrived.
    pub fn fw_flush(&self) {
        self.fw_read32(FW_ZERO_REG);
    }

    /// Returns whether the device is believed to be there.
    pub fn is_present(&self) -> bool {
        self.bar0.is_attached()
    }

    /// Decides what an all-ones read means.
    #[cold]
    #[inline(never)]
    fn check_csr_present(&self) {
        if self.bar0.is_attached() && self.bar0.read32(MASTER_SPARE_0) == !0 {
            self.give_up();
        }
    }

    /// Does what [`Csr::detach`] does with a device that has vanished, or does not do what it is told.
    pub fn give_up(&self) {
        if self.detach() {
            let dev: &Device = self.pdev.as_ref();
            dev_err!(
                dev,
                "Device is gone: register access is disabled until it is reset\n"
            );
        }
    }

    /// Cuts off both BARs and calls the hook. Returns whether the device was attached.
    pub fn detach(&self) -> bool {
        // The lock makes one of several callers that notice at the same time the first.
        let hook = self.hook.lock();
        if !self.bar0.is_attached() {
            return false;
        }
        self.bar0.detach();
        self.bar4.detach();
        if let Some(hook) = &*hook {
            hook.detached();
        }
        true
    }

    /// Allows access again, after the device was reset or powered up.
    pub fn reattach(&self) {
        let _hook = self.hook.lock();
        self.bar4.attach();
        self.bar0.attach();
    }

    /// Sets what is to be called when the device disappears, and returns what was set before.
    ///
    /// The former hook is returned so that the caller drops it in a context where it may sleep.
    pub fn set_detach_hook(
        &self,
        hook: Option<Arc<dyn DetachHook>>,
    ) -> Option<Arc<dyn DetachHook>> {
        core::mem::replace(&mut *self.hook.lock(), hook)
    }
}

impl Registers32 for Csr {
    #[inline(always)]
    fn read32(&self, offset: usize) -> u32 {
        Csr::read32(self, offset)
    }

    #[inline(always)]
    fn write32(&self, offset: usize, value: u32) {
        Csr::write32(self, offset, value);
    }
}

impl<'a> IoBase<'a> for &'a Csr {
    type Backend = Backend<Csr>;
    type Target = Region<CSR_SIZE>;

    #[inline(always)]
    fn as_view(self) -> View<'a, Csr, Region<CSR_SIZE>> {
        View::whole(self)
    }
}
