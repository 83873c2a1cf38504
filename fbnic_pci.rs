// SPDX-License-Identifier: GPL-2.0

//! Life of an adapter: probe, removal, sleep, shutdown and recovery from bus errors.
//!
//! The stages of an adapter's life are types, and undoing a stage is dropping its value:
//!
//! | value            | stands for                                                  |
//! |------------------|-------------------------------------------------------------|
//! | [`pci::Enabled`] | memory decoding and bus mastering                           |
//! | [`Fbnic`]        | mapped registers                                            |
//! | [`FbnicDevlink`] | devlink instance and health reporters                       |
//! | [`Online`]       | MSI-X vectors, initialised hardware, firmware mailbox       |
//! | [`Interface`]    | network device, or its absence in init-failure mode         |
//!
//! [`Online`] goes away during sleep and bus errors and comes back afterwards, the others stay.
//! All callbacks run under the device lock, so none of them runs twice at a time.

use kernel::{
    device::{
        Bound,
        Core, //
    },
    irq::Flags,
    new_mutex,
    pci::{
        Device,
        DeviceId,
        IdTable,
        Vendor, //
    },
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Msecs, //
};

use crate::{
    fbnic_csr::DetachHook,
    fbnic_debugfs::Debugfs,
    fbnic_dev::{
        Fbnic,
        PciParams, //
    },
    fbnic_devlink::{
        FbnicDevlink,
        Info, //
    },
    fbnic_hwmon::{
        self,
        Hwmon, //
    },
    fbnic_netdev::Netdev,
    fbnic_phylink,
    fbnic_txrx,
    irq::{
        IrqReturn,
        Registration,
        ThreadedHandler, //
    },
    net::{
        devlink,
        rtnl, //
    },
    pci::{
        self,
        ChannelState,
        DeviceExt,
        ErrorResult,
        IrqVectors,
        PowerDriver, //
    },
    workqueue::{
        Periodic,
        PeriodicWork, //
    }, //
};

/// Width of the device's DMA addresses in bits.
const DMA_BITS: u32 = 46;

/// MSI-X table entry of the firmware mailbox.
const FW_MSIX_ENTRY: u32 = 0;

/// Number of MSI-X table entries before the first one of a NAPI context: mailbox and PCS.
pub(crate) const NON_NAPI_VECTORS: u32 = 2;

/// Largest number of NAPI contexts.
const MAX_NAPI_VECTORS: u32 = 128;

/// Period of the service task in milliseconds.
const SERVICE_PERIOD: Msecs = 1000;

/// The PCI driver.
pub(crate) struct FbnicDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <FbnicDriver as kernel::pci::Driver>::IdInfo,
    [(DeviceId::from_id(Vendor::META, 0x0013), ())]
);

/// The driver's data for one adapter.
///
/// The order of the fields is that of teardown: each is gone before those below it.
#[pin_data]
pub(crate) struct Adapter {
    _debugfs: Option<Pin<KBox<Debugfs>>>,
    _hwmon: Option<Hwmon>,
    interface: Interface,
    _mdio: Option<Arc<fbnic_phylink::MdioBus>>,
    _devlink_registration: devlink::Registration<Info>,
    /// [`None`] while the device sleeps or is in an error state.
    #[pin]
    online: Mutex<Option<Online>>,
    devlink: Arc<FbnicDevlink>,
    fbnic: Arc<Fbnic>,
    _enabled: pci::Enabled,
}

/// The network side of an adapter.
enum Interface {
    /// A registered network device. The order of the fields is that of teardown.
    Ready {
        _hook: Hook,
        service: Pin<KBox<Periodic<Service>>>,
        netdev: Arc<Netdev>,
    },
    /// The firmware works, but there is no network device. The adapter stays visible in devlink,
    /// so that its firmware can be looked at and replaced.
    InitFailure,
}

impl kernel::pci::Driver for FbnicDriver {
    type IdInfo = ();
    type Data<'bound> = Adapter;
    const ID_TABLE: IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        dev: &'bound Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Adapter, Error> + 'bound {
        pin_init::pin_init_scope(move || Adapter::new(dev))
    }

    fn unbind<'bound>(_dev: &'bound Device<Core<'_>>, this: Pin<&Adapter>) {
        // Teardown waits for those who talk to the firmware.
        this.fbnic.fw_end_requests();
    }
}

impl PowerDriver for FbnicDriver {
    fn suspend(_dev: &Device<Core<'_>>, this: Pin<&Adapter>) -> Result {
        this.quiesce();
        Ok(())
    }

    fn resume(dev: &Device<Core<'_>>, this: Pin<&Adapter>) -> Result {
        this.restart(dev)?;
        this.attach();
        Ok(())
    }

    fn shutdown(_dev: &Device<Core<'_>>, this: Pin<&Adapter>) {
        this.quiesce();
    }

    fn error_detected(
        _dev: &Device<Core<'_>>,
        this: Pin<&Adapter>,
        state: ChannelState,
    ) -> ErrorResult {
        if state == ChannelState::PermanentFailure {
            return ErrorResult::Disconnect;
        }

        this.quiesce();
        ErrorResult::NeedReset
    }

    fn slot_reset(dev: &Device<Core<'_>>, this: Pin<&Adapter>) -> ErrorResult {
        if let Err(err) = pci::restore_after_reset(dev) {
            dev_err!(dev, "Cannot enable PCI device after reset: {:?}\n", err);
            return ErrorResult::Disconnect;
        }

        match this.restart(dev) {
            Ok(()) => ErrorResult::Recovered,
            Err(_) => ErrorResult::Disconnect,
        }
    }

    fn error_resume(_dev: &Device<Core<'_>>, this: Pin<&Adapter>) {
        this.attach();
    }

    fn reset_prepare(_dev: &Device<Core<'_>>, this: Pin<&Adapter>) {
        this.quiesce();
    }

    fn reset_done(dev: &Device<Core<'_>>, this: Pin<&Adapter>) {
        // A failure has been logged, and leaves the adapter quiet until it is unbound.
        if this.restart(dev).is_ok() {
            this.attach();
        }
    }
}

impl Adapter {
    /// Brings up an adapter, in the order of the hardware guide. On failure everything done so
    /// far is undone by dropping it, latest first.
    fn new<'a>(dev: &'a Device<Core<'_>>) -> Result<impl PinInit<Self, Error> + 'a> {
        if dev.channel_state() != ChannelState::Normal {
            dev_err!(dev, "PCI device is in an error state\n");
            return Err(EIO);
        }

        let enabled = pci::Enabled::new(dev, DMA_BITS)
            .inspect_err(|err| dev_err!(dev, "Failed to enable device and DMA: {:?}\n", err))?;
        let fbnic = Fbnic::new(dev, pci_params(dev))
            .inspect_err(|err| dev_err!(dev, "Failed to map registers: {:?}\n", err))?;
        let devlink = FbnicDevlink::new(dev.as_ref(), fbnic.clone())
            .inspect_err(|err| dev_err!(dev, "Failed to create devlink: {:?}\n", err))?;

        dev.save_state()?;
        let online = Online::new(dev, &fbnic)?;
        let devlink_registration = devlink.register();
        devlink.otp_check(c"error detected during probe");
        fbnic.stats_reset();

        let mut mdio = None;
        let interface = Interface::new(dev, &fbnic, &devlink, &online.vectors, &mut mdio);

        // An adapter works without files to look at.
        let debugfs = Debugfs::new(&fbnic).ok();
        let hwmon = fbnic_hwmon::register(dev.as_ref(), fbnic.clone());

        Ok(try_pin_init!(Self {
            _debugfs: debugfs,
            _hwmon: hwmon,
            interface,
            _mdio: mdio,
            _devlink_registration: devlink_registration,
            online <- new_mutex!(Some(online)),
            devlink,
            fbnic,
            _enabled: enabled,
        }))
    }

    /// Stops all traffic, DMA, interrupts and register access. Does nothing the second time.
    fn quiesce(&self) {
        let Some(online) = self.online.lock().take() else {
            return;
        };

        // The service task may be at a dump of the firmware's memory, as may be who has devlink's lock.
        self.fbnic.fw_end_requests();
        if let Interface::Ready {
            service, netdev, ..
        } = &self.interface
        {
            service.cancel_sync();
            netdev.suspend();
        }
        {
            // devlink requests that talk to the firmware hold this lock.
            let _lock = self.devlink.lock();
            drop(online);
        }
        self.fbnic.csr.detach();
    }

    /// Undoes [`Adapter::quiesce`], except that no traffic flows before [`Adapter::attach`].
    fn restart(&self, dev: &Device<Core<'_>>) -> Result {
        // Those who read statistics do not ask whether the interface is there.
        self.fbnic.stats_hold();
        self.fbnic.csr.reattach();

        self.try_restart(dev).inspect_err(|err| {
            dev_err!(dev, "Failed to restart the device: {:?}\n", err);
            self.fbnic.csr.detach();
        })
    }

    fn try_restart(&self, dev: &Device<Core<'_>>) -> Result {
        let online = {
            let _lock = self.devlink.lock();
            Online::new(dev, &self.fbnic)?
        };
        self.devlink.otp_check(c"error detected after PM resume");

        if let Interface::Ready { netdev, .. } = &self.interface {
            netdev.resume(online.vectors.clone())?;
        }
        *self.online.lock() = Some(online);
        Ok(())
    }

    /// Lets traffic flow again.
    fn attach(&self) {
        if self.online.lock().is_none() {
            return;
        }

        self.fbnic.stats_reset();
        if let Interface::Ready {
            service, netdev, ..
        } = &self.interface
        {
            netdev.attach();
            service.start(SERVICE_PERIOD);
        }
    }
}

/// Reads what configuration space says about the adapter.
fn pci_params(dev: &Device<Core<'_>>) -> PciParams {
    PciParams {
        dsn: dev.serial_number(),
        // Without a PCIe capability the smallest values are the safe ones.
        mps: dev.max_payload_size().unwrap_or(128),
        readrq: dev.max_read_request_size().unwrap_or(128),
        relaxed_ordering: dev.relaxed_ordering_enabled(),
    }
}

/// An adapter whose hardware is initialised and whose firmware answers.
///
/// The order of the fields is that of teardown.
struct Online {
    _mailbox: Mailbox,
    vectors: Arc<IrqVectors>,
}

impl Online {
    /// Takes up to 10 s, in which the firmware has to answer.
    fn new(dev: &Device<Core<'_>>, fbnic: &Arc<Fbnic>) -> Result<Self> {
        let wanted = NON_NAPI_VECTORS + pci::num_online_cpus().min(MAX_NAPI_VECTORS);
        let vectors = IrqVectors::alloc_msix(dev, NON_NAPI_VECTORS + 1, wanted)
            .inspect_err(|err| dev_err!(dev, "Failed to allocate MSI-X vectors: {:?}\n", err))?;
        let got = vectors.len();
        if got < wanted {
            dev_warn!(dev, "Allocated {} IRQs, expected {}\n", got, wanted);
        }

        fbnic
            .init_hw()
            .inspect_err(|err| dev_err!(dev, "Failed to initialize MAC: {:?}\n", err))?;
        // What the device was told before, perhaps by another kernel, is of memory that is not there for
        // it any more.
        fbnic.fw_forget();
        fbnic_txrx::stop_leftovers(fbnic)?;
        dev.set_master();
        let mailbox = Mailbox::new(dev, fbnic, &vectors)
            .inspect_err(|err| dev_err!(dev, "Failed to bring up firmware mailbox: {:?}\n", err))?;

        Ok(Self {
            _mailbox: mailbox,
            vectors,
        })
    }
}

/// Thread of the mailbox interrupt.
struct MailboxInterrupt(Arc<Fbnic>);

impl ThreadedHandler for MailboxInterrupt {
    fn handle_threaded(&self) -> IrqReturn {
        self.0.fw_irq();
        IrqReturn::Handled
    }
}

/// The firmware mailbox in operation.
struct Mailbox {
    irq: Pin<KBox<Registration<MailboxInterrupt>>>,
}

impl Mailbox {
    fn new(dev: &Device<Bound>, fbnic: &Arc<Fbnic>, vectors: &Arc<IrqVectors>) -> Result<Self> {
        // The handshake polls for the interrupt's status, which the handler would clear. Hence it
        // is requested first, so that nothing can fail later, but enabled last.
        let irq = Registration::new_threaded(
            vectors,
            FW_MSIX_ENTRY,
            Flags::NO_AUTOEN,
            dev.as_ref().name(),
            MailboxInterrupt(fbnic.clone()),
        )?;

        fbnic.fw_bring_up(dev.as_ref())?;
        irq.enable();
        fbnic.fw_irq_enable();
        fbnic.fw_logs(true);

        Ok(Self { irq })
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let fbnic = &self.irq.handler().0;

        fbnic.fw_logs(false);
        // From here on the mailbox is polled, so that the message above still gets out.
        self.irq.disable();
        fbnic.fw_irq_disable();
        fbnic.fw_shutdown();
    }
}

impl Interface {
    /// Creates the network device, and its MDIO bus in `mdio`.
    fn new(
        dev: &Device<Bound>,
        fbnic: &Arc<Fbnic>,
        devlink: &Arc<FbnicDevlink>,
        vectors: &Arc<IrqVectors>,
        mdio: &mut Option<Arc<fbnic_phylink::MdioBus>>,
    ) -> Self {
        Self::try_new(dev, fbnic, devlink, vectors, mdio).unwrap_or_else(|err| {
            dev_warn!(
                dev,
                "No network device ({:?}): entering init failure mode, devlink only\n",
                err
            );
            Self::InitFailure
        })
    }

    fn try_new(
        dev: &Device<Bound>,
        fbnic: &Arc<Fbnic>,
        devlink: &Arc<FbnicDevlink>,
        vectors: &Arc<IrqVectors>,
        mdio: &mut Option<Arc<fbnic_phylink::MdioBus>>,
    ) -> Result<Self> {
        if fbnic.params.dsn == 0 {
            dev_warn!(dev, "Reading serial number failed\n");
            return Err(ENODEV);
        }

        let bus = fbnic_phylink::mdio_bus(dev.as_ref(), fbnic.clone())?;
        let bus = mdio.insert(bus).clone();
        let netdev = Netdev::new(dev, fbnic.clone(), vectors.clone(), bus)?;
        let service = KBox::pin_init(
            Periodic::new(Service {
                fbnic: fbnic.clone(),
                devlink: devlink.clone(),
                netdev: netdev.clone(),
            }),
            GFP_KERNEL,
        )?;
        let hook = Hook::new(fbnic.clone(), netdev.clone())?;

        service.start(SERVICE_PERIOD);
        Ok(Self::Ready {
            _hook: hook,
            service,
            netdev,
        })
    }
}

/// Tells the network stack when the device has vanished from the bus.
struct Hook {
    fbnic: Arc<Fbnic>,
}

/// What the registers call when access to them ends.
struct Detach {
    netdev: Arc<Netdev>,
}

impl DetachHook for Detach {
    fn detached(&self) {
        self.netdev.detach();
    }
}

impl Hook {
    fn new(fbnic: Arc<Fbnic>, netdev: Arc<Netdev>) -> Result<Self> {
        let detach = Arc::new(
            Detach {
                netdev: netdev.clone(),
            },
            GFP_KERNEL,
        )?;

        fbnic.csr.set_detach_hook(Some(detach));
        if !fbnic.csr.is_present() {
            // It has vanished since the network device is known, when nobody was told.
            netdev.detach();
        }
        Ok(Self { fbnic })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.fbnic.csr.set_detach_hook(None);
    }
}

/// What has to be done once a second as long as there is a network device.
struct Service {
    fbnic: Arc<Fbnic>,
    devlink: Arc<FbnicDevlink>,
    netdev: Arc<Netdev>,
}

impl PeriodicWork for Service {
    fn run(&self) -> Option<Msecs> {
        if self.netdev.is_running() {
            self.netdev.link().training_complete_notify();
        }
        // Who holds RTNL may be waiting for the firmware.
        self.fbnic.fw_recover_lost_interrupt();

        let firmware_crashed = {
            let _rtnl = rtnl::lock();
            if self.netdev.is_running() {
                self.netdev.link().recover_lost_interrupt();
            }
            let report = self.fbnic.service_tick();
            if report.rx_mode_stale || report.firmware_crashed {
                self.netdev.refresh_rx_mode();
            }
            if self.netdev.carrier_ok() {
                self.netdev.rescue_queues();
            }
            report.firmware_crashed
        };
        if firmware_crashed {
            self.devlink.firmware_crashed();

            let _rtnl = rtnl::lock();
            self.fbnic.fw_recover();
            // The tables are as good as new only once the firmware is ready.
            self.fbnic.rpc_rewrite();
            self.netdev.refresh_rx_mode();
        }
        Some(SERVICE_PERIOD)
    }
}
