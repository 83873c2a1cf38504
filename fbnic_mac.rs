// SPDX-License-Identifier: GPL-2.0

//! The Ethernet MAC and the signals of the PCS: link state, pause, pause storm protection.
//!
//! [`init`] sets up the data path at probe, [`mdio`] maps MDIO accesses to registers.

use kernel::{
    io::Io,
    prelude::*,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    fbnic_csr::{
        intr::*,
        mac::*,
        rxb::*, //
    },
    fbnic_dev::Fbnic,
    fbnic_fw::Caps, //
};

mod init;
mod mdio;

pub use init::MAX_FRAME;

/// How long link training may make the link flutter, milliseconds.
const TRAINING_MS: i64 = 4000;

/// FIFOs whose filling up makes the MAC send pause frames.
const PAUSE_FIFOS: u8 = 0x14;

/// Clock cycles in a unit of the pause storm time: 10 µs.
const PAUSE_STORM_UNIT: u32 = 0x1770;

/// Units of the pause storm time in a millisecond.
const PAUSE_STORM_PER_MS: u32 = 100;

/// The network's bit among the inputs of the packet buffer.
const PAUSE_STORM_NET: u8 = 1;

/// How long the network may be blocked with pause frames, milliseconds.
const PAUSE_STORM_MS: u16 = 500;

/// The longest such time, milliseconds: the width of the field.
const PAUSE_STORM_MAX_MS: u16 = 10485;

/// Interface between MAC and module: speed and lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aui {
    /// 25G on one lane.
    Gaui25,
    /// 50G on two lanes.
    Laui2,
    /// 50G on one lane.
    Gaui50x1,
    /// 100G on two lanes.
    Gaui100x2,
    /// The firmware did not say.
    Unknown,
}

impl Aui {
    /// Whether the interface has two lanes.
    pub fn two_lanes(self) -> bool {
        matches!(self, Self::Laui2 | Self::Gaui100x2)
    }
}

/// Forward error correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fec {
    /// None.
    Off,
    /// Reed-Solomon (clause 91/134).
    Rs,
    /// Fire code (clause 74).
    Baser,
}

/// How the link runs. The firmware decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// Speed and lanes.
    pub aui: Aui,
    /// Error correction.
    pub fec: Fec,
}

impl LinkSettings {
    /// Reads the settings from the firmware's capabilities.
    fn from_caps(caps: &Caps) -> Self {
        let aui = match caps.link_speed {
            1 => Aui::Gaui25,
            2 => Aui::Laui2,
            3 => Aui::Gaui50x1,
            4 => Aui::Gaui100x2,
            _ => Aui::Unknown,
        };
        let fec = match (aui, caps.link_fec) {
            (Aui::Gaui25 | Aui::Laui2, 1) => Fec::Off,
            (Aui::Gaui25 | Aui::Laui2, 3) => Fec::Baser,
            // Nothing is known to correct errors of.
            (Aui::Unknown, _) => Fec::Off,
            // The modes that carry two bits per symbol do not work without RS.
            _ => Fec::Rs,
        };
        Self { aui, fec }
    }

    /// The exact value of the lock field that means "all lanes are locked", if there is one.
    fn lock_pattern(self) -> Option<u32> {
        match (self.aui, self.fec) {
            (Aui::Gaui25, _) => Some(0x1),
            (Aui::Laui2, Fec::Off) => Some(0x63),
            (Aui::Laui2, Fec::Rs) => Some(0x5),
            (Aui::Laui2, Fec::Baser) => Some(0xf),
            (Aui::Gaui50x1, _) => Some(0x3),
            (Aui::Gaui100x2, _) => Some(0xf),
            (Aui::Unknown, _) => None,
        }
    }
}

/// What the PCS reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Nothing.
    None,
    /// The link came up.
    Up,
    /// The link went down, and may have come up again since.
    Down,
}

/// State of the module's transceiver, as far as the driver follows it.
#[derive(Clone, Copy)]
enum Pmd {
    /// No signal.
    Initialize,
    /// There is a signal since this time, but it may still flutter.
    Training(Instant<Monotonic>),
    /// The signal is stable.
    SendData,
}

/// State of the MAC, under an interrupt-safe lock.
pub(crate) struct Mac {
    pmd: Pmd,
    /// How long the link partner may be paused at a time, milliseconds; 0 for ever.
    pause_storm_ms: u16,
}

impl Mac {
    pub(crate) fn new() -> Self {
        Self {
            // A link that is up when the driver arrives has been trained long ago.
            pmd: Pmd::SendData,
            pause_storm_ms: PAUSE_STORM_MS,
        }
    }

    /// Takes in whether there is a signal; returns whether the link can be used.
    fn update_signal(&mut self, signal: bool) -> bool {
        match self.pmd {
            _ if !signal => {
                self.pmd = Pmd::Initialize;
                false
            }
            Pmd::Initialize => {
                self.pmd = Pmd::Training(Instant::now());
                false
            }
            Pmd::Training(since) => trained(since),
            Pmd::SendData => true,
        }
    }
}

fn trained(since: Instant<Monotonic>) -> bool {
    since.elapsed() > Delta::from_millis(TRAINING_MS)
}

/// Link state. May be used from any context.
impl Fbnic {
    /// How the firmware has set up the link. Sleeps.
    pub fn link_settings(&self) -> LinkSettings {
        LinkSettings::from_caps(&self.fw_caps())
    }

    /// Quiets link events before the link is set up again.
    pub fn mac_prepare(&self, settings: LinkSettings) {
        self.pcs_irq_mask();
        self.csr.write_reg(
            SIG_PCS_INTR_STS::zeroed()
                .with_link_up(true)
                .with_link_down(true),
        );
        if !self.lanes_locked(settings) {
            self.mac.lock().pmd = Pmd::Initialize;
        }
    }

    /// Masks link events until the next [`Fbnic::mac_get_link`].
    pub fn pcs_irq_mask(&self) {
        self.csr.write_reg(SIG_PCS_INTR_MASK::from(!0));
    }

    /// Reads whether the link can be used, and lets the next change raise the PCS vector.
    pub fn mac_get_link(&self, settings: LinkSettings) -> bool {
        // The status is latched: ones written to it are read back only if they are still true.
        let out0 =
            SIG_PCS_OUT0::LINK_MASK | SIG_PCS_OUT0::BLOCK_LOCK_MASK | SIG_PCS_OUT0::AMPS_LOCK_MASK;
        self.csr.write_reg(SIG_PCS_OUT0::from(out0));
        self.csr
            .write_reg(SIG_PCS_OUT1::from(SIG_PCS_OUT1::FCFEC_LOCK_MASK));
        self.csr.flush();

        // The writes above may have caused events of their own.
        self.csr.write_reg(
            SIG_PCS_INTR_STS::zeroed()
                .with_link_up(true)
                .with_link_down(true),
        );
        let locked = self.lanes_locked(settings);
        let link = self.mac.lock().update_signal(locked);

        self.csr.write_reg(
            SIG_PCS_INTR_MASK::from(!0)
                .with_link_up(false)
                .with_link_down(false),
        );
        self.csr.write32(intr_mask_clear(0), 1 << PCS_VECTOR);
        link
    }

    fn lanes_locked(&self, settings: LinkSettings) -> bool {
        let status = self.csr.read(SIG_PCS_OUT0);
        if !bool::from(status.link()) {
            return false;
        }
        let lock = match settings.fec {
            Fec::Off => status.block_lock().get(),
            Fec::Rs => status.amps_lock().get(),
            Fec::Baser => self.csr.read(SIG_PCS_OUT1).fcfec_lock().get(),
        };
        settings.lock_pattern() == Some(lock)
    }

    /// Why the PCS vector was raised.
    pub fn pcs_link_event(&self) -> LinkEvent {
        let status = self.csr.read(SIG_PCS_INTR_STS);
        if bool::from(status.link_down()) {
            LinkEvent::Down
        } else if bool::from(status.link_up()) {
            LinkEvent::Up
        } else {
            LinkEvent::None
        }
    }

    /// Whether the PCS vector is masked, as it is from when it was raised until somebody has asked
    /// for the link. A device that is gone, whose mask would read as all-ones, raises nothing.
    pub fn pcs_irq_is_masked(&self) -> bool {
        let is_masked = self.csr.read32(intr_mask(0)) & 1 << PCS_VECTOR != 0;
        is_masked && self.csr.is_present()
    }

    /// Unmasks the PCS vector, after an interrupt that had no reason.
    pub fn pcs_irq_unmask_vector(&self) {
        self.csr.write32(intr_mask_clear(0), 1 << PCS_VECTOR);
    }

    /// Lets PCS events raise the PCS vector, whose interrupt must have been requested. The vector
    /// itself is unmasked by [`Fbnic::mac_get_link`].
    pub fn pcs_irq_map(&self) {
        // CAST: The vector is 1.
        let vector = PCS_VECTOR as u32;
        self.csr.write32(
            intr_msix_ctrl(INTR_CAUSE_PCS),
            INTR_MSIX_CTRL_ENABLE | vector,
        );
        // Errors of the packet buffer are polled for.
        self.csr.write32(intr_msix_ctrl(INTR_CAUSE_RXB), 0);
    }

    /// Undoes [`Fbnic::pcs_irq_map`]. The handler may still be running.
    pub fn pcs_irq_unmap(&self) {
        // CAST: The vector is 1.
        self.csr
            .write32(intr_msix_ctrl(INTR_CAUSE_PCS), PCS_VECTOR as u32);
        self.csr.flush();
    }

    /// Masks the PCS vector, once its handler cannot run any more.
    pub fn pcs_irq_mask_vector(&self) {
        self.csr.write32(intr_mask_set(0), 1 << PCS_VECTOR);
    }

    /// Returns true once when link training is over, so that the link state is looked at again.
    pub fn pmd_training_complete(&self) -> bool {
        let mut mac = self.mac.lock();
        match mac.pmd {
            Pmd::Training(since) if trained(since) => {
                mac.pmd = Pmd::SendData;
                true
            }
            _ => false,
        }
    }

    /// Whether the transceiver has a stable signal.
    pub(crate) fn pmd_is_up(&self) -> bool {
        matches!(self.mac.lock().pmd, Pmd::SendData)
    }
}

/// The MAC itself. Callers make sure that only one of these runs at a time.
impl Fbnic {
    fn command_config(&self, fec: Fec, tx_pause: bool, rx_pause: bool) -> MAC_COMMAND_CONFIG {
        MAC_COMMAND_CONFIG::zeroed()
            .with_promisc_en(true)
            .with_tx_pad_en(true)
            .with_tx_pause_dis(!tx_pause)
            .with_rx_pause_dis(!rx_pause)
            .with_flt_hdl_dis(fec == Fec::Off)
    }

    fn mac_reset(&self, reset: bool) {
        self.csr.update(SIG_MAC_IN0, |signals| {
            signals
                .with_reset_ff_tx_clk(reset)
                .with_reset_tx_clk(reset)
                .with_reset_ff_rx_clk(reset)
                .with_reset_rx_clk(reset)
        });
    }

    /// Holds the MAC in reset.
    pub fn mac_link_down(&self, fec: Fec) {
        self.mac_reset(true);
        self.csr.write_reg(self.command_config(fec, false, false));
    }

    /// Lets frames pass.
    pub fn mac_link_up(&self, fec: Fec, tx_pause: bool, rx_pause: bool) {
        let fifos = if tx_pause { PAUSE_FIFOS } else { 0 };
        self.csr.update(RXB_PAUSE_DROP_CTRL, |control| {
            control.with_pause_enable(fifos)
        });
        self.set_pause_storm_guard(tx_pause && self.pause_storm_timeout() != 0);

        self.mac_reset(false);
        self.csr.write_reg(
            self.command_config(fec, tx_pause, rx_pause)
                .with_rx_ena(true)
                .with_tx_ena(true),
        );
    }

    /// Whether pause frames are being sent when the packet buffer fills.
    pub fn mac_tx_pause(&self) -> bool {
        !bool::from(self.csr.read(MAC_COMMAND_CONFIG).tx_pause_dis())
    }

    /// Returns how long the link partner may be paused at a time, milliseconds; 0 for ever.
    pub fn pause_storm_timeout(&self) -> u16 {
        self.mac.lock().pause_storm_ms
    }

    /// Sets how long the link partner may be paused at a time, in milliseconds; 0 for ever,
    /// [`None`] for the default. RTNL or netdev lock held.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a time that the device cannot measure.
    pub fn set_pause_storm_timeout(&self, timeout: Option<u16>) -> Result {
        let timeout = timeout.unwrap_or(PAUSE_STORM_MS);
        if timeout > PAUSE_STORM_MAX_MS {
            return Err(EINVAL);
        }
        let old = core::mem::replace(&mut self.mac.lock().pause_storm_ms, timeout);
        if old != timeout && self.mac_tx_pause() {
            self.set_pause_storm_guard(timeout != 0);
        }
        Ok(())
    }

    /// (Re-)arms pause storm detection.
    fn rearm_pause_storm(&self) {
        let time = u32::from(self.pause_storm_timeout()) * PAUSE_STORM_PER_MS;
        let storm = RXB_PAUSE_STORM_NET::zeroed()
            .with_thld_time(kernel::num::Bounded::<u32, 20>::from_expr(time & 0xf_ffff));
        self.csr
            .write_reg(RXB_PAUSE_STORM_UNIT_WR::from(PAUSE_STORM_UNIT));
        self.csr.write_reg(storm.with_force_normal(true));
        self.csr.flush();
        self.csr.write_reg(storm);
    }

    /// Switches the guard against blocking the network with pause frames for too long.
    fn set_pause_storm_guard(&self, guard: bool) {
        self.rearm_pause_storm();
        let input = if guard { PAUSE_STORM_NET } else { 0 };
        self.csr.update(RXB_PAUSE_DROP_CTRL, |control| {
            control.with_ps_enable(kernel::num::Bounded::<u32, 4>::from_expr(
                u32::from(input) & 0xf,
            ))
        });
        self.csr
            .write_reg(RXB_ERR_INTR_STS::zeroed().with_const_ps::<1>());
        self.csr.update(RXB_ERR_INTR_MASK, |mask| {
            if guard {
                mask.with_const_ps::<0>()
            } else {
                mask.with_const_ps::<0xf>()
            }
        });
    }

    /// Once a second: ends a pause storm that the hardware has stopped.
    pub(crate) fn check_pause_storm(&self) {
        if !self.mac_tx_pause() || self.pause_storm_timeout() == 0 {
            return;
        }
        let status = self.csr.read(RXB_ERR_INTR_STS);
        if status.ps().get() & u32::from(PAUSE_STORM_NET) != 0 {
            self.csr
                .write_reg(RXB_ERR_INTR_STS::zeroed().with_const_ps::<1>());
            self.rearm_pause_storm();
        }
    }
}
