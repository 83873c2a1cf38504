// SPDX-License-Identifier: GPL-2.0
//! The device's bus master: guest memory behind the gates of the PCIe block.
//!
//! No transfer reaches the host while bus mastering is off in the PCI command register, or
//! while BME of the direction's TLP header register is 0 (guide, section 5). Transfers are
//! counted in the PCIe counters of section 12.

use fbnic_defs::csr as r;
use guest_mem::GuestMem;

use crate::fault::spec::Direction;
use crate::fault::{Active, Faults, FrameWrite, Hook};
use crate::hw::Hw;

/// Why a transfer did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DmaError {
    /// Bus mastering is off for this direction.
    #[error("bus mastering is off")]
    Gated,
    /// A fault refuses it.
    #[error("the transfer was refused on purpose")]
    Refused,
    /// The guest named memory that is not there.
    #[error(transparent)]
    Memory(#[from] guest_mem::Error),
}

/// Access to guest memory for one round of the data path or one mailbox message.
#[derive(Clone, Copy)]
pub struct Dma<'a> {
    hw: &'a Hw,
    mem: &'a GuestMem,
    active: Active,
}

impl<'a> Dma<'a> {
    /// The bus master of `hw` over `mem`.
    pub fn new(hw: &'a Hw, mem: &'a GuestMem) -> Self {
        let active = hw.faults.active();
        Self { hw, mem, active }
    }

    /// The faults that concern the data path, as they were when the round started.
    pub(crate) fn faults(&self, hook: Hook) -> Option<&'a Faults> {
        self.active.has(hook).then_some(&*self.hw.faults)
    }

    /// Whether the device has been pulled out.
    fn unplugged(&self) -> bool {
        self.faults(Hook::Unplugged)
            .is_some_and(|faults| faults.unplugged(false))
    }

    /// Whether transfers from the host to the device may happen.
    pub fn can_read(&self) -> bool {
        self.hw.can_dma(r::PUL_OB_TLP_HDR_AR_CFG) && !self.unplugged()
    }

    /// Whether transfers from the device to the host may happen.
    pub fn can_write(&self) -> bool {
        self.hw.can_dma(r::PUL_OB_TLP_HDR_AW_CFG) && !self.unplugged()
    }

    /// Whether `addr..addr + len` is memory the device can read and write.
    pub fn check(&self, addr: u64, len: usize) -> bool {
        self.mem.check(addr, len)
    }

    /// Whether the device can read `addr..addr + len`. An IOMMU gives it no more for what is sent.
    pub fn is_readable(&self, addr: u64, len: usize) -> bool {
        self.mem.is_readable(addr, len)
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

    /// Copies a piece of a frame to guest memory from `addr` on.
    pub fn write_frame(&self, addr: u64, buf: &[u8]) -> Result<(), DmaError> {
        let wrong = self.faults(Hook::Dma).map(|f| f.frame_write(addr, buf));
        match wrong {
            None => self.write(addr, buf),
            Some(FrameWrite::To(addr)) => self.write(addr, buf),
            Some(FrameWrite::Later) => Ok(()),
        }
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

    fn refuse(&self, direction: Direction) -> Result<(), DmaError> {
        match self.faults(Hook::Dma) {
            Some(faults) if faults.dma_refused(direction) => Err(DmaError::Refused),
            _ => Ok(()),
        }
    }

    fn gate_read(&self, len: usize) -> Result<(), DmaError> {
        if !self.can_read() {
            return Err(DmaError::Gated);
        }
        self.refuse(Direction::Read)?;
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
        self.refuse(Direction::Write)?;
        self.hw.csr.add64(r::PUL_USER_OB_WR_TLP_CNT, 1);
        self.hw
            .csr
            .add64(r::PUL_USER_OB_WR_DWORD_CNT, len.div_ceil(4) as u64);
        Ok(())
    }
}
