// SPDX-License-Identifier: GPL-2.0

//! Interrupt registers: CSR sections INTR and INTR_CQ.
//!
//! A word holds one bit for each of 32 MSI-X vectors; vector `v` is bit `v % 32` of word `v / 32`.
//! Status latches while a vector is masked, sending the message masks the vector, and unmasking it
//! with the status still set sends the message, so no event between the last look at a ring and the
//! unmasking is lost.

/// MSI-X vectors the device can tell apart.
pub const MSIX_VECTORS: usize = 256;

/// Words in each of the bit arrays.
pub const INTR_WORDS: usize = MSIX_VECTORS / 32;

/// Vector of the firmware mailbox.
pub const FW_VECTOR: usize = 0;
/// Vector of PCS link changes.
pub const PCS_VECTOR: usize = 1;
/// First vector used by NAPI contexts.
pub const NAPI_VECTOR_FIRST: usize = 2;

/// Pending causes, word `n`.
#[inline(always)]
pub const fn intr_status(n: usize) -> usize {
    4 * n
}

/// 1 = vector masked, word `n`.
#[inline(always)]
pub const fn intr_mask(n: usize) -> usize {
    0x20 + 4 * n
}

/// Write 1: set status, word `n`.
#[inline(always)]
pub const fn intr_set(n: usize) -> usize {
    0x40 + 4 * n
}

/// Write 1: clear status, word `n`.
#[inline(always)]
pub const fn intr_clear(n: usize) -> usize {
    0x60 + 4 * n
}

/// 1: status is cleared when the message is sent, word `n`.
#[inline(always)]
pub const fn intr_sw_ac_mode(n: usize) -> usize {
    0xa0 + 4 * n
}

/// Write 1: mask a vector, word `n`.
#[inline(always)]
pub const fn intr_mask_set(n: usize) -> usize {
    0xc0 + 4 * n
}

/// Write 1: unmask a vector, word `n`.
#[inline(always)]
pub const fn intr_mask_clear(n: usize) -> usize {
    0xe0 + 4 * n
}

/// Vector that cause `n` raises, [7:0], with [`INTR_MSIX_CTRL_ENABLE`].
#[inline(always)]
pub const fn intr_msix_ctrl(n: usize) -> usize {
    0x100 + 4 * n
}

/// INTR_MSIX_CTRL: the cause raises its vector.
pub const INTR_MSIX_CTRL_ENABLE: u32 = 1 << 31;
/// Cause: error in the Rx packet buffer.
pub const INTR_CAUSE_RXB: usize = 7;
/// Cause: PCS link change.
pub const INTR_CAUSE_PCS: usize = 34;

/// Moderation time-outs and re-arming of vector `v`.
#[inline(always)]
pub const fn intr_cq_rearm(v: usize) -> usize {
    0x1000 + 16 * v
}

/// INTR_CQ_REARM: Rx time-out in ticks, [13:0].
pub const INTR_CQ_REARM_RCQ_TIMEOUT_SHIFT: u32 = 0;
/// INTR_CQ_REARM: take over the Rx time-out.
pub const INTR_CQ_REARM_RCQ_TIMEOUT_UPD_EN: u32 = 1 << 14;
/// INTR_CQ_REARM: Tx time-out in ticks, [28:15].
pub const INTR_CQ_REARM_TCQ_TIMEOUT_SHIFT: u32 = 15;
/// INTR_CQ_REARM: take over the Tx time-out.
pub const INTR_CQ_REARM_TCQ_TIMEOUT_UPD_EN: u32 = 1 << 29;
/// INTR_CQ_REARM: largest time-out in ticks.
pub const INTR_CQ_REARM_TIMEOUT_MAX: u32 = 0x3fff;
/// INTR_CQ_REARM: unmask the vector.
pub const INTR_CQ_REARM_INTR_UNMASK: u32 = 1 << 31;
