// SPDX-License-Identifier: GPL-2.0
//! The device's bus master: guest memory behind the gates of the PCIe block.
//!
//! No transfer reaches the host while bus mastering is off in the PCI command register, or
//! while BME of the direction's TLP header register is 0 (guide, section 5). Transfers are
//! counted in the PCIe counters of section 12.

use fbnic_defs::csr as r;
use guest_mem::GuestMem;

use crate::hw::Hw;

/// Why a transfer did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DmaError {
    /// Bus mastering is off for this direction.
    #[error("bus mastering is off")]
    Gated,
    /// The guest named memory that is not there.
    #[error(transparent)]
    Memory(#[from] guest_mem::Error),
}

/// Access to guest memory for one round of the data path or one mailbox message.
#[derive(Clone, Copy)]
pub struct Dma<'a> {
    hw: &'a Hw,
    mem: &'a GuestMem,
}

impl<'a> Dma<'a> {
    /// The bus master of `hw` over `mem`.
    pub fn new(hw: &'a Hw, mem: &'a GuestMem) -> Self {
        Self { hw, mem }
    }

    /// Whether transfers from the host to the device may happen.
    pub fn can_read(&self) -> bool {
        self.hw.can_dma(r::PUL_OB_TLP_HDR_AR_CFG)
    }

    /// Whether transfers from the device to the host may happen.
    pub fn can_write(&self) -> bool {
        self.hw.can_dma(r::PUL_OB_TLP_HDR_AW_CFG)
    }

    /// Whether `addr..addr + len` is memory the device can read and write.
    pub fn check(&self, addr: u64, len: usize) -> bool {
        self.mem.check(addr, len)
    }

    /// Copies guest memory from `addr` on into `buf`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.gate_read(buf.len())?;
        Ok(self.mem.read(addr, buf)?)
    }

    /// Copies `buf` to guest memory from `addr` on.
    pub fn write(&self, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.gate_write(buf.len())?;
        Ok(self.mem.write(addr, buf)?)
    }

    /// Reads the little-endian word at `addr`, which is a multiple of 8, in one access.
    pub fn load_u64(&self, addr: u64) -> Result<u64, DmaError> {
        self.gate_read(8)?;
        Ok(self.mem.load_u64(addr)?)
    }

    /// Writes the little-endian word at `addr`, which is a multiple of 8, in one access that
    /// no earlier write of this thread can follow.
    pub fn store_u64_release(&self, addr: u64, word: u64) -> Result<(), DmaError> {
        self.gate_write(8)?;
        Ok(self.mem.store_u64_release(addr, word)?)
    }

    fn gate_read(&self, len: usize) -> Result<(), DmaError> {
        if !self.can_read() {
            return Err(DmaError::Gated);
        }
        self.hw.csr.add64(r::PUL_USER_OB_RD_TLP_CNT, 1);
        self.hw
            .csr
            .add64(r::PUL_USER_OB_RD_DWORD_CNT, len.div_ceil(4) as u64);
        Ok(())
    }

    fn gate_write(&self, len: usize) -> Result<(), DmaError> {
        if !self.can_write() {
            return Err(DmaError::Gated);
        }
        self.hw.csr.add64(r::PUL_USER_OB_WR_TLP_CNT, 1);
        self.hw
            .csr
            .add64(r::PUL_USER_OB_WR_DWORD_CNT, len.div_ceil(4) as u64);
        Ok(())
    }
}
