// SPDX-License-Identifier: GPL-2.0

//! The adapter: what all parts of the driver share.

use kernel::{
    debugfs::Dir,
    device::{
        Bound,
        Device, //
    },
    new_spinlock,
    new_spinlock_irq,
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SpinLock,
        SpinLockIrq, //
    }, //
};

use crate::{
    debugfs,
    fbnic_bad_values::BadValues,
    fbnic_csr::Csr,
    fbnic_fw::{
        Fw,
        FwHealth, //
    },
    fbnic_hw_stats::HwCounters,
    fbnic_mac::Mac,
    fbnic_rpc::Rpc,
    pci::{
        resume_dma,
        stop_dma, //
    }, //
};

/// What PCI configuration space says about the adapter.
#[derive(Clone, Copy, Default)]
pub struct PciParams {
    /// Device serial number; zero if there is none.
    pub dsn: u64,
    /// Largest PCIe payload, bytes.
    pub mps: u32,
    /// Largest PCIe read request, bytes.
    pub readrq: u32,
    /// The device may mark requests as relaxed in order.
    pub relaxed_ordering: bool,
}

/// What [`Fbnic::service_tick`] found.
#[must_use]
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceReport {
    /// The firmware has crashed or was restarted, and takes messages again: the crash is to be reported,
    /// then [`Fbnic::fw_recover`] to be called.
    pub firmware_crashed: bool,
    /// The BMC's wishes have changed: [`Fbnic::set_rx_mode`] is to be called.
    pub rx_mode_stale: bool,
}

/// One adapter. Always shared through an [`Arc`].
///
/// Its parts live in the files named after them, as further `impl Fbnic` blocks. Field order is
/// teardown order: whatever uses the registers goes before them.
#[pin_data]
pub struct Fbnic {
    #[pin]
    pub(crate) fw: Fw,
    #[pin]
    pub(crate) mac: SpinLockIrq<Mac>,
    #[pin]
    pub(crate) rpc: SpinLock<Rpc>,
    #[pin]
    pub(crate) counters: SpinLock<HwCounters>,
    /// The directory in debugfs. [`None`] if the module has none.
    pub(crate) debugfs: Option<Dir>,
    /// What came from device and firmware and made no sense.
    pub(crate) bad_values: BadValues,
    /// Registers.
    #[pin]
    pub csr: Csr,
    /// What probe found in configuration space.
    pub params: PciParams,
    pdev: ARef<pci::Device>,
}

impl Fbnic {
    /// Maps the registers of `pdev`. Writes none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of [`Csr::map`].
    pub fn new(pdev: &pci::Device<Bound>, params: PciParams) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                fw <- Fw::new(),
                mac <- new_spinlock_irq!(Mac::new()),
                rpc <- new_spinlock!(Rpc::new()),
                counters <- new_spinlock!(HwCounters::new()),
                debugfs: debugfs::subdir(pdev.as_ref().name()),
                bad_values: BadValues::default(),
                csr <- Csr::map(pdev),
                params,
                pdev: pdev.into(),
            }),
            GFP_KERNEL,
        )
    }

    /// The generic device, for messages.
    pub fn dev(&self) -> &Device {
        self.pdev.as_ref()
    }

    /// Keeps the device off all memory, until bus mastering is switched on again. Any context.
    ///
    /// To be called before memory goes that the device was told of, where nothing else says that it is
    /// done with it.
    pub fn stop_dma(&self) {
        if !stop_dma(&self.pdev) && self.csr.is_present() {
            dev_err!(self.dev(), "Bus mastering cannot be switched off\n");
        }
    }

    /// Calls `f` while the device cannot touch memory, nor interrupt, which it can again if `f` says so.
    ///
    /// Returns what `f` does, or `false` if it was not called because the device could not be kept off.
    /// Any context.
    pub fn without_dma(&self, f: impl FnOnce() -> bool) -> bool {
        let done = stop_dma(&self.pdev) && f();
        if done {
            resume_dma(&self.pdev);
        }
        done
    }

    /// Gives up a device that has vanished, or does not do what it is told: nothing is asked of it, and
    /// it is kept off memory, until it is reset. Any context.
    pub fn give_up(&self) {
        self.csr.give_up();
        self.stop_dma();
    }

    /// The Ethernet address that follows from the serial number.
    ///
    /// [`None`] if there is no serial number or no station can have the address.
    pub fn mac_from_dsn(&self) -> Option<[u8; 6]> {
        let [a, b, c, _, _, d, e, f] = self.params.dsn.to_be_bytes();
        let mac = [a, b, c, d, e, f];
        (mac != [0; 6] && mac[0] & 1 == 0).then_some(mac)
    }

    /// The periodic work of the device core. Runs once a second in process context.
    ///
    /// The caller acts on what it reports.
    pub fn service_tick(&self) -> ServiceReport {
        // Nothing changes on a device that is gone, and all of it has been reported.
        if !self.csr.is_present() {
            return ServiceReport::default();
        }
        self.update_counters32();
        self.check_pause_storm();
        let firmware_crashed = self.fw_check_health() == FwHealth::Crashed;
        if firmware_crashed {
            // Packets need not wait until the crash has been looked into.
            self.rpc_rewrite();
        }
        ServiceReport {
            firmware_crashed,
            rx_mode_stale: self.rpc_service(),
        }
    }
}
