// SPDX-License-Identifier: GPL-2.0

//! How the queues are set up.

use super::{
    layout::{
        self,
        VectorLayout, //
    },
    ring::RingSize,
    rx::ROOM, //
};
use crate::fbnic_csr::{
    intr,
    queue as regs, //
};

/// Most transmit queues for the stack.
pub const MAX_TXQS: u16 = 128;

/// Most receive queues.
pub const MAX_RXQS: u16 = 128;

/// Smallest receive completion ring: two packets of the most descriptors, a header, four payloads
/// and two metadata.
pub const RX_DESC_MIN: u32 = 14u32.next_power_of_two();

/// Completions that the smallest packet has.
const MIN_RXD_PER_FRAME: u32 = 2;

/// Largest header user space may ask for, bytes: what the room around it leaves of a buffer.
pub const HDS_THRESH_MAX: u32 = 4096 - ROOM.head - ROOM.tail;

/// Headers up to this length are not split by default, bytes.
pub const HDS_THRESH_DEFAULT: u32 = 1536;

/// With a smaller threshold all packets are split after their headers, bytes.
const HDR_BYTES_MIN: u32 = 256;

/// What user space can choose about the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Descriptors of each transmit ring; a power of two like all sizes.
    pub txq_size: u32,
    /// Descriptors of each header ring, 4 KiB each.
    pub hpq_size: u32,
    /// Descriptors of each payload ring, 4 KiB each.
    pub ppq_size: u32,
    /// Descriptors of each receive completion ring.
    pub rcq_size: u32,
    /// Transmit queues.
    pub num_tx: u16,
    /// Receive queues.
    pub num_rx: u16,
    /// NAPI contexts.
    pub num_napi: u16,
    /// Longest frame that stays in one piece, bytes.
    pub hds_thresh: u32,
    /// Longest time a received frame waits for an interrupt, microseconds.
    pub rx_usecs: u16,
    /// Longest time a sent frame waits for an interrupt, microseconds.
    pub tx_usecs: u16,
    /// Received frames that raise an interrupt at once; 0 for half a ring.
    pub rx_max_frames: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            txq_size: 1024,
            hpq_size: 256,
            ppq_size: 256,
            rcq_size: 1024,
            num_tx: 1,
            num_rx: 1,
            num_napi: 1,
            hds_thresh: HDS_THRESH_DEFAULT,
            rx_usecs: 30,
            tx_usecs: 35,
            rx_max_frames: 0,
        }
    }
}

impl Config {
    /// Fewest descriptors of any ring.
    pub const QUEUE_SIZE_MIN: u32 = RingSize::MIN;
    /// Most descriptors of any ring.
    pub const QUEUE_SIZE_MAX: u32 = RingSize::MAX;

    fn header_split(&self) -> bool {
        self.hds_thresh < HDR_BYTES_MIN
    }

    /// Returns RDE_CTL0: where headers go, and what happens without buffers.
    pub(super) fn rde_ctl0(&self, tx_pause: bool) -> u32 {
        // One queue without buffers would block all others, so it drops, unless it is the only one
        // or the link partner can be paused.
        let drop_mode = if !tx_pause && self.num_rx > 1 {
            regs::RDE_DROP_IMMEDIATE
        } else {
            regs::RDE_DROP_NEVER
        };
        let split = if self.header_split() {
            regs::RDE_CTL0_EN_HDR_SPLIT
        } else {
            0
        };
        split
            | drop_mode << regs::RDE_CTL0_DROP_MODE_SHIFT
            | (ROOM.head & regs::RDE_CTL0_ROOM_MASK) << regs::RDE_CTL0_MIN_HROOM_SHIFT
            | (ROOM.tail & regs::RDE_CTL0_ROOM_MASK) << regs::RDE_CTL0_MIN_TROOM_SHIFT
    }

    /// Returns the length up to which frames are received in one piece, bytes.
    ///
    /// That is what user space asked for, but no more than has its room wherever the device begins a
    /// header.
    pub fn one_piece_max(&self) -> u32 {
        self.hds_thresh.min(ROOM.longest_header())
    }

    /// Returns RDE_CTL1: how long headers may be. Payload is neither padded nor packed.
    pub(super) fn rde_ctl1(&self) -> u32 {
        let max_hdr = self.one_piece_max().max(HDR_BYTES_MIN);
        (max_hdr & regs::RDE_CTL1_MAX_HDR_MASK) << regs::RDE_CTL1_MAX_HDR_SHIFT
    }

    /// Returns the number of completions that raise an interrupt; `half` a ring by default.
    pub(super) fn rim_threshold(&self, half: u32) -> u32 {
        match self.rx_max_frames.saturating_mul(MIN_RXD_PER_FRAME) {
            0 => half,
            descriptors => descriptors.min(0x7fff),
        }
    }
}

/// Spreads the queues over the NAPI contexts.
pub fn vector_layout(cfg: &Config) -> impl Iterator<Item = VectorLayout> {
    layout::spread(cfg.num_tx, cfg.num_rx, cfg.num_napi)
}

impl VectorLayout {
    /// Returns the MSI-X vector of the context.
    pub fn vector(&self) -> u32 {
        // CAST: 2.
        intr::NAPI_VECTOR_FIRST as u32 + u32::from(self.napi)
    }
}
