// SPDX-License-Identifier: GPL-2.0

//! Clause 45 MDIO accesses, mapped to registers.
//!
//! ```text
//!        +-------------------+
//!        |        MAC        |
//!        +-------------------+
//!        |  PCS      (MMD 3) |  two instances, address 0 and 1
//!        +-------------------+
//!        |  FEC, PMA (MMD 8) |  two instances
//!        +-------------------+
//!        |  PMD      (MMD 1) |  one instance, synthesised
//!        +-------------------+
//! ```

use crate::{
    fbnic_csr::mac::*,
    fbnic_dev::Fbnic, //
};

const MMD_PMAPMD: u32 = 1;
const MMD_PCS: u32 = 3;
const MMD_SEP_PMA1: u32 = 8;

const REG_DEVID1: u32 = 2;
const REG_DEVID2: u32 = 3;
const REG_DEVS1: u32 = 5;
const REG_STAT2: u32 = 8;
const REG_PMA_RXDET: u32 = 10;
const REG_PMA_RSFEC_CTRL: u32 = 200;
const REG_PMA_RSFEC_LANE_MAP: u32 = 206;

/// What the kernel's XPCS driver knows this PCS and its PMA by.
const PCS_ID: u32 = 0x7996_ced0;
const PMA_ID: u32 = 0x4690_4000;

/// MMDs present.
const DEVS: u32 = 1 << MMD_PMAPMD | 1 << MMD_PCS | 1 << MMD_SEP_PMA1;

/// STAT2: the device answers.
const STAT2_PRESENT: u32 = 0x8000;

/// RXDET: signal on all lanes, on the first, on the second.
const RXDET_GLOBAL: u16 = 1 << 0;
const RXDET_LANE0: u16 = 1 << 1;
const RXDET_LANE1: u16 = 1 << 2;

/// Vendor registers of the PCS, as MDIO and as the register file count them.
const VENDOR_MDIO: u32 = 1 << 15;
const VENDOR_CSR: u32 = 1 << 9;

/// Instances of PCS and PMA.
const INSTANCES: u32 = 2;

/// Values of identification registers, the same in all MMDs but for the id.
fn identity(id: u32, reg: u32) -> u32 {
    match reg {
        REG_DEVID1 => id >> 16,
        REG_DEVID2 => id & 0xffff,
        REG_DEVS1 => DEVS,
        REG_STAT2 => STAT2_PRESENT,
        _ => 0,
    }
}

/// Byte offset of PCS register `reg` of instance `addr`, if it exists.
fn pcs_offset(addr: u32, reg: u32) -> Option<usize> {
    let index = if reg & VENDOR_MDIO != 0 {
        reg ^ (VENDOR_MDIO | VENDOR_CSR)
    } else {
        reg
    };
    let exists = addr < INSTANCES && reg & (VENDOR_MDIO - VENDOR_CSR) == 0;
    let (page, index) = (usize::try_from(addr).ok()?, usize::try_from(index).ok()?);
    (exists && index < PCS_PAGE_REGS).then(|| pcs_page(page, index))
}

/// Byte offset of RS-FEC register `reg` of instance `addr`, if it exists.
fn rsfec_offset(addr: u32, reg: u32) -> Option<usize> {
    if addr >= INSTANCES || !(REG_PMA_RSFEC_CTRL..=REG_PMA_RSFEC_LANE_MAP).contains(&reg) {
        return None;
    }
    let index = usize::try_from(reg - REG_PMA_RSFEC_CTRL).ok()?;
    Some(rsfec_control(usize::try_from(addr).ok()?) + 4 * index)
}

impl Fbnic {
    /// Reads register `reg` of MMD `devad` at `addr`. What does not exist reads as zero. Sleeps.
    ///
    /// So does a device that is gone. It has no link then, which all-ones would be, and a fault of it:
    /// phylink, which asks once a second, would have it come and go for ever, and log that. It would
    /// log an error, too.
    pub fn mdio_read_c45(&self, addr: u32, devad: u32, reg: u32) -> u16 {
        let value = match devad {
            MMD_PMAPMD if addr == 0 => u32::from(self.pmd_read(reg)),
            MMD_PCS => self.pcs_read(addr, reg),
            MMD_SEP_PMA1 if addr < INSTANCES => rsfec_offset(addr, reg)
                .map_or_else(|| identity(PMA_ID, reg), |offset| self.csr.read32(offset)),
            _ => 0,
        };
        if !self.csr.is_present() {
            return 0;
        }
        // CAST: MDIO registers are 16 bits wide.
        value as u16
    }

    /// Writes register `reg` of MMD `devad` at `addr`, if it exists.
    pub fn mdio_write_c45(&self, addr: u32, devad: u32, reg: u32, value: u16) {
        let offset = match devad {
            MMD_PCS => pcs_offset(addr, reg),
            MMD_SEP_PMA1 => rsfec_offset(addr, reg),
            _ => None,
        };
        if let Some(offset) = offset {
            self.csr.write32(offset, u32::from(value));
        }
    }

    fn pcs_read(&self, addr: u32, reg: u32) -> u32 {
        let Some(offset) = pcs_offset(addr, reg) else {
            return 0;
        };
        match reg {
            REG_DEVID1 | REG_DEVID2 => identity(PCS_ID, reg),
            // The hardware does not report the MMDs around it.
            REG_DEVS1 => self.csr.read32(offset) | identity(PCS_ID, reg),
            _ => self.csr.read32(offset),
        }
    }

    fn pmd_read(&self, reg: u32) -> u16 {
        if reg != REG_PMA_RXDET {
            // CAST: Identification registers are 16 bits wide.
            return identity(PMA_ID, reg) as u16;
        }
        if !self.pmd_is_up() {
            return 0;
        }
        let second = if self.link_settings().aui.two_lanes() {
            RXDET_LANE1
        } else {
            0
        };
        RXDET_GLOBAL | RXDET_LANE0 | second
    }
}
