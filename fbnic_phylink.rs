// SPDX-License-Identifier: GPL-2.0

//! The link: an MDIO bus that is really registers, the PCS on it, phylink, and the PCS interrupt.
//!
//! Speed, lanes and FEC are the firmware's choice; phylink is told one interface mode and tracks
//! whether the link is up. The device raises the PCS interrupt on changes only. After it, phylink
//! asks the PCS, and [`Mac`] starts or stops the MAC.

use kernel::{
    device::{
        self,
        Bound, //
    },
    irq::Flags,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    ModuleMetadata, //
};

use crate::{
    bindings,
    fbnic_dev::Fbnic,
    fbnic_irq::LostInterrupt,
    fbnic_mac::{
        Aui,
        LinkEvent,
        LinkSettings, //
    },
    irq::{
        self,
        IrqReturn, //
    },
    net::{
        mdio,
        netdevice::NetDevice,
        phylink::{
            self,
            Interface,
            LinkUp,
            MacOperations,
            Phylink, //
        },
        xpcs::Pcs, //
    },
    pci::IrqVectors, //
};

/// MSI-X table entry of the PCS interrupt.
const PCS_MSIX_ENTRY: u32 = 1;

/// Port address of the PCS on the MDIO bus.
const PCS_ADDR: u8 = 0;

/// The registers behind the MDIO bus.
pub(crate) struct MdioSpace(Arc<Fbnic>);

impl mdio::Operations for MdioSpace {
    fn read_c45(&self, addr: u32, devad: u32, regnum: u32) -> Result<u16> {
        Ok(self.0.mdio_read_c45(addr, devad, regnum))
    }

    fn write_c45(&self, addr: u32, devad: u32, regnum: u32, value: u16) -> Result {
        self.0.mdio_write_c45(addr, devad, regnum, value);
        Ok(())
    }
}

/// The MDIO bus of one adapter.
pub(crate) type MdioBus = mdio::Bus<MdioSpace>;

/// Registers the MDIO bus of `fbnic`. Process context.
pub(crate) fn mdio_bus(parent: &device::Device<Bound>, fbnic: Arc<Fbnic>) -> Result<Arc<MdioBus>> {
    MdioBus::new(
        parent,
        c"fbnic_mii_bus",
        MdioSpace(fbnic),
        const { &<crate::DriverModule as ModuleMetadata>::THIS_MODULE },
    )
}

/// The MAC as phylink drives it.
pub(crate) struct Mac {
    fbnic: Arc<Fbnic>,
    settings: LinkSettings,
    tx_pause: Atomic<bool>,
    down_events: Atomic<u64>,
    lost: LostInterrupt,
}

impl MacOperations for Mac {
    fn prepare(&self) -> Result {
        self.fbnic.mac_prepare(self.settings);
        Ok(())
    }

    fn finish(&self) -> Result {
        // Looks at the link once and, whatever comes out, lets its interrupt through again.
        self.fbnic.mac_get_link(self.settings);
        Ok(())
    }

    fn link_down(&self) {
        self.fbnic.mac_link_down(self.settings.fec);
        self.down_events.fetch_add(1, Relaxed);
    }

    fn link_up(&self, dev: &NetDevice, link: LinkUp) {
        self.tx_pause.store(link.tx_pause, Relaxed);
        // With pause frames the sender is slowed down, so queues must wait rather than drop.
        crate::fbnic_netdev::config_drop_mode(dev, link.tx_pause);
        self.fbnic
            .mac_link_up(self.settings.fec, link.tx_pause, link.rx_pause);
    }
}

/// The link of one network device.
///
/// Part of the network device's private data, to be dropped without the RTNL held.
#[pin_data]
pub(crate) struct Link {
    #[pin]
    phylink: Phylink<Mac, MdioSpace>,
}

impl Link {
    /// Creates the link of `netdev`, stopped. Process context, no locks, before `netdev` is
    /// registered.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no PCS, `EINVAL` if it cannot do what the firmware has set up,
    /// `ENOMEM`.
    pub(crate) fn new(
        fbnic: Arc<Fbnic>,
        mdio: Arc<MdioBus>,
        netdev: &NetDevice,
    ) -> Result<Arc<Self>> {
        let settings = fbnic.link_settings();
        let pcs = Pcs::new(mdio, PCS_ADDR)
            .inspect_err(|err| dev_err!(fbnic.dev(), "Failed to create PCS device: {:?}\n", err))?;
        let config = phylink::Config {
            interface: interface(settings.aui),
            supported: &[
                Interface::Base100GP,
                Interface::Base50GR,
                Interface::Laui,
                Interface::Base25GR,
            ],
            mac_capabilities: phylink::MAC_SYM_PAUSE
                | phylink::MAC_ASYM_PAUSE
                | phylink::MAC_25000FD
                | phylink::MAC_50000FD
                | phylink::MAC_100000FD,
        };
        let mac = Mac {
            fbnic,
            settings,
            tx_pause: Atomic::new(false),
            lost: LostInterrupt::new(),
            down_events: Atomic::new(0),
        };

        Arc::pin_init(
            try_pin_init!(Self {
                phylink <- Phylink::new(netdev, pcs, config, mac),
            }),
            GFP_KERNEL,
        )
        .inspect_err(|err| dev_err!(netdev.dma_device(), "Failed to create phylink: {:?}\n", err))
    }

    /// Starts link management; the carrier comes when the link is up. RTNL held.
    pub(crate) fn resume(&self) {
        self.phylink.resume();
    }

    /// Stops link management. With `mac_wol` the link stays up for the BMC. RTNL held.
    pub(crate) fn suspend(&self, mac_wol: bool) {
        self.phylink.suspend(mac_wol);
    }

    /// Requests the PCS interrupt and routes the PCS to it. Process context.
    ///
    /// `name` is shown in `/proc/interrupts`.
    pub(crate) fn request_irq(
        self: &Arc<Self>,
        vectors: &Arc<IrqVectors>,
        name: &CStr,
    ) -> Result<LinkIrq> {
        let registration = irq::Registration::new(
            vectors,
            PCS_MSIX_ENTRY,
            Flags::TRIGGER_NONE,
            name,
            PcsInterrupt(self.clone()),
        )?;

        // The vector stays masked until phylink asks for the link's state for the first time.
        self.mac().fbnic.pcs_irq_map();

        Ok(LinkIrq { registration })
    }

    /// To be called once a second while the interface is up: reports the link when its training
    /// is over. Process context.
    pub(crate) fn training_complete_notify(&self) {
        if self.mac().fbnic.pmd_training_complete() {
            self.phylink.pcs_changed();
        }
    }

    /// To be called once a second while the interface is up: does what the PCS interrupt would have
    /// done, had that not been lost. RTNL held, so that the interrupt stays requested.
    pub(crate) fn recover_lost_interrupt(&self) {
        let mac = self.mac();
        if mac.lost.look(mac.fbnic.pcs_irq_is_masked()) {
            self.pcs_event();
        }
    }

    /// Reports a change of the link to phylink and lets the next one raise the PCS vector.
    fn pcs_event(&self) {
        let mac = self.mac();

        match mac.fbnic.pcs_link_event() {
            LinkEvent::None => mac.fbnic.pcs_irq_unmask_vector(),
            // Asking for the link unmasks the interrupt. A link that is up needs no report here:
            // it either was up before, or is reported when its training is over.
            _ if mac.fbnic.mac_get_link(mac.settings) => {}
            _ => self.phylink.pcs_changed(),
        }
    }

    /// Returns whether pause frames are sent on the present link.
    pub(crate) fn tx_pause(&self) -> bool {
        self.mac().tx_pause.load(Relaxed)
    }

    /// Returns how often the link went down.
    pub(crate) fn down_events(&self) -> u64 {
        self.mac().down_events.load(Relaxed)
    }

    /// Returns lanes, modulation and FEC.
    pub(crate) fn settings(&self) -> LinkSettings {
        self.mac().settings
    }

    /// Fills in `settings` for ethtool. RTNL held.
    pub(crate) fn ksettings_get(&self, settings: &mut bindings::ethtool_link_ksettings) -> Result {
        self.phylink.ksettings_get(settings)
    }

    /// Fills in `pause` for ethtool. RTNL held.
    pub(crate) fn pauseparam_get(&self, pause: &mut bindings::ethtool_pauseparam) {
        self.phylink.pauseparam_get(pause);
    }

    /// Applies `pause`. RTNL held.
    pub(crate) fn pauseparam_set(&self, pause: &mut bindings::ethtool_pauseparam) -> Result {
        self.phylink.pauseparam_set(pause)
    }

    fn mac(&self) -> &Mac {
        self.phylink.mac()
    }
}

/// The interface mode between MAC and PCS.
fn interface(aui: Aui) -> Interface {
    match aui {
        Aui::Gaui25 => Interface::Base25GR,
        Aui::Laui2 => Interface::Laui,
        Aui::Gaui50x1 => Interface::Base50GR,
        Aui::Gaui100x2 => Interface::Base100GP,
        Aui::Unknown => Interface::Na,
    }
}

/// Handler of the PCS interrupt.
struct PcsInterrupt(Arc<Link>);

impl irq::Handler for PcsInterrupt {
    fn handle(&self) -> IrqReturn {
        self.0.pcs_event();
        IrqReturn::Handled
    }
}

/// The PCS interrupt while the interface is up.
///
/// Dropping it takes the PCS off its vector before the handler goes.
pub(crate) struct LinkIrq {
    registration: Pin<KBox<irq::Registration<PcsInterrupt>>>,
}

impl Drop for LinkIrq {
    fn drop(&mut self) {
        let fbnic = &self.registration.handler().0.mac().fbnic;

        // A handler still running would unmask the vector again, so it has to end first.
        fbnic.pcs_irq_unmap();
        self.registration.synchronize();
        fbnic.pcs_irq_mask_vector();
    }
}
