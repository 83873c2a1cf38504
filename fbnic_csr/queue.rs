// SPDX-License-Identifier: GPL-2.0

//! Per-queue registers: CSR section QUEUE.
//!
//! Each of the [`QUEUE_COUNT`] queue sets holds a Tx triad (TWQ0, TWQ1, TCQ) and an Rx triad (HPQ,
//! PPQ, RCQ). All offsets are bytes from [`queue_base`]. They are plain constants, not
//! [`register!`](kernel::io::register) types, because the queue number is only known at run time
//! and doorbells must cost no more than one multiplication done ahead of time.

#![allow(
    dead_code,
    reason = "the map of a queue set is complete, not all of it is in use"
)]

/// Queue sets the device has.
pub const QUEUE_COUNT: usize = 128;

/// Bytes from one queue set to the next.
pub const QUEUE_STRIDE: usize = 0x1000;

/// Byte offset of queue set `n` in BAR0.
#[inline(always)]
pub const fn queue_base(n: usize) -> usize {
    0x10_0000 + QUEUE_STRIDE * n
}

// Control bits that all rings share.

/// Any ring control: zeroes head, tail and phase. A stored bit, not self-clearing.
pub const QUEUE_CTL_RESET: u32 = 1 << 0;
/// Any ring control: the ring is processed.
pub const QUEUE_CTL_ENABLE: u32 = 1 << 1;
/// Any ring size: log2 of the entries, 0 means 65536.
pub const QUEUE_SIZE_MASK: u32 = 0xf;
/// Any ring base: rings are aligned to 128 bytes.
pub const QUEUE_BAL_MASK: u32 = 0xffff_ff80;

// Tx work queues.

/// Control of TWQ0.
pub const TWQ0_CTL: usize = 0x000;
/// Control of TWQ1.
pub const TWQ1_CTL: usize = 0x004;
/// Doorbell of TWQ0: ring index after the last valid descriptor.
pub const TWQ0_TAIL: usize = 0x008;
/// Doorbell of TWQ1.
pub const TWQ1_TAIL: usize = 0x00c;
/// TWQ0 head [31:16] and tail [15:0], read-only.
pub const TWQ0_PTRS: usize = 0x010;
/// TWQ1 head and tail, read-only.
pub const TWQ1_PTRS: usize = 0x014;
/// Size of TWQ0.
pub const TWQ0_SIZE: usize = 0x028;
/// Size of TWQ1.
pub const TWQ1_SIZE: usize = 0x02c;
/// Base of TWQ0, low half.
pub const TWQ0_BAL: usize = 0x080;
/// Base of TWQ0, high half.
pub const TWQ0_BAH: usize = 0x084;
/// Base of TWQ1, low half.
pub const TWQ1_BAL: usize = 0x088;
/// Base of TWQ1, high half.
pub const TWQ1_BAH: usize = 0x08c;
/// Packets sent from TWQ0.
pub const TWQ0_PKT_CNT: usize = 0x188;
/// Packets of TWQ0 dropped for errors.
pub const TWQ0_ERR_CNT: usize = 0x18c;
/// Packets sent from TWQ1.
pub const TWQ1_PKT_CNT: usize = 0x1c8;
/// Packets of TWQ1 dropped for errors.
pub const TWQ1_ERR_CNT: usize = 0x1cc;

// Tx completion queue and its interrupt manager (TIM).

/// Control of the TCQ.
pub const TCQ_CTL: usize = 0x200;
/// Doorbell of the TCQ: ring index the driver has consumed up to.
pub const TCQ_HEAD: usize = 0x204;
/// TCQ tail [31:16] and head [15:0], read-only.
pub const TCQ_PTRS: usize = 0x208;
/// Size of the TCQ.
pub const TCQ_SIZE: usize = 0x210;
/// Base of the TCQ, low half.
pub const TCQ_BAL: usize = 0x280;
/// Base of the TCQ, high half.
pub const TCQ_BAH: usize = 0x284;
/// MSI-X vector of Tx completions, [7:0].
pub const TIM_CTL: usize = 0x300;
/// Completed descriptors that raise the vector, [14:0].
pub const TIM_THRESHOLD: usize = 0x304;
/// Write 1: clear the pending Tx interrupt.
pub const TIM_CLEAR: usize = 0x308;
/// Write 1: raise the Tx interrupt.
pub const TIM_SET: usize = 0x30c;
/// 1: Tx completions raise no interrupt.
pub const TIM_MASK: usize = 0x310;
/// Current Tx moderation timer, ticks.
pub const TIM_TIMER: usize = 0x314;
/// Current Tx completion counts.
pub const TIM_COUNTS: usize = 0x318;

// Rx completion queue.

/// Control of the RCQ.
pub const RCQ_CTL: usize = 0x800;
/// Doorbell of the RCQ: ring index the driver has consumed up to.
pub const RCQ_HEAD: usize = 0x804;
/// RCQ tail [31:16] and head [15:0], read-only.
pub const RCQ_PTRS: usize = 0x808;
/// Size of the RCQ.
pub const RCQ_SIZE: usize = 0x810;
/// Base of the RCQ, low half.
pub const RCQ_BAL: usize = 0x880;
/// Base of the RCQ, high half.
pub const RCQ_BAH: usize = 0x884;

// Rx buffer descriptor queues.

/// Control of HPQ and PPQ together.
pub const BDQ_CTL: usize = 0x900;
/// BDQ_CTL: payload buffers are used.
pub const BDQ_CTL_PPQ_ENABLE: u32 = 1 << 30;
/// Doorbell of the HPQ: ring index after the last posted buffer.
pub const BDQ_HPQ_TAIL: usize = 0x904;
/// Doorbell of the PPQ.
pub const BDQ_PPQ_TAIL: usize = 0x908;
/// HPQ head [31:16] and tail [15:0], read-only.
pub const BDQ_HPQ_PTRS: usize = 0x90c;
/// PPQ head and tail, read-only.
pub const BDQ_PPQ_PTRS: usize = 0x910;
/// Size of the HPQ.
pub const BDQ_HPQ_SIZE: usize = 0x91c;
/// Size of the PPQ.
pub const BDQ_PPQ_SIZE: usize = 0x920;
/// Base of the HPQ, low half.
pub const BDQ_HPQ_BAL: usize = 0x980;
/// Base of the HPQ, high half.
pub const BDQ_HPQ_BAH: usize = 0x984;
/// Base of the PPQ, low half.
pub const BDQ_PPQ_BAL: usize = 0x988;
/// Base of the PPQ, high half.
pub const BDQ_PPQ_BAH: usize = 0x98c;

// Rx DMA engine.

/// Header split, drop mode and room around headers.
pub const RDE_CTL0: usize = 0xa80;
/// RDE_CTL0: split at the protocol boundary the action names.
pub const RDE_CTL0_EN_HDR_SPLIT: u32 = 1 << 31;
/// RDE_CTL0: what happens without buffers, [30:29].
pub const RDE_CTL0_DROP_MODE_SHIFT: u32 = 29;
/// Drop mode: drop at once.
pub const RDE_DROP_IMMEDIATE: u32 = 0;
/// Drop mode: wait a while.
pub const RDE_DROP_WAIT: u32 = 1;
/// Drop mode: hold the packet, back-pressure the port.
pub const RDE_DROP_NEVER: u32 = 2;
/// RDE_CTL0: bytes left free before each header, [28:20].
pub const RDE_CTL0_MIN_HROOM_SHIFT: u32 = 20;
/// RDE_CTL0: bytes left free after each header, [19:11].
pub const RDE_CTL0_MIN_TROOM_SHIFT: u32 = 11;
/// RDE_CTL0: largest head or tail room.
pub const RDE_CTL0_ROOM_MASK: u32 = 0x1ff;
/// Header size limit and payload packing.
pub const RDE_CTL1: usize = 0xa84;
/// RDE_CTL1: largest header in bytes, [24:12].
pub const RDE_CTL1_MAX_HDR_SHIFT: u32 = 12;
/// RDE_CTL1: largest value of MAX_HDR.
pub const RDE_CTL1_MAX_HDR_MASK: u32 = 0x1fff;
/// RDE_CTL1: payload offset, [11:9].
pub const RDE_CTL1_PAYLD_OFF_SHIFT: u32 = 9;
/// RDE_CTL1: payload page class, [8:6].
pub const RDE_CTL1_PAYLD_PG_CL_SHIFT: u32 = 6;
/// RDE_CTL1: padding, [5:2].
pub const RDE_CTL1_PADLEN_SHIFT: u32 = 2;
/// RDE_CTL1: payload packing, [1:0]; 0 none, 1 all, 2 per RSS hash.
pub const RDE_CTL1_PAYLD_PACK_SHIFT: u32 = 0;
/// Packets received by this queue.
pub const RDE_PKT_CNT: usize = 0xa88;
/// Frames dropped for MAC, parser or truncation errors.
pub const RDE_PKT_ERR_CNT: usize = 0xa8c;
/// Frames dropped because the RCQ was full.
pub const RDE_CQ_DROP_CNT: usize = 0xa90;
/// Frames dropped for want of host buffers.
pub const RDE_BDQ_DROP_CNT: usize = 0xa94;

// Rx interrupt manager (RIM).

/// MSI-X vector of Rx completions, [7:0].
pub const RIM_CTL: usize = 0xb00;
/// Completions that raise the vector, [14:0].
pub const RIM_THRESHOLD: usize = 0xb04;
/// Write 1: clear the pending Rx interrupt.
pub const RIM_CLEAR: usize = 0xb08;
/// Write 1: raise the Rx interrupt.
pub const RIM_SET: usize = 0xb0c;
/// 1: Rx completions raise no interrupt.
pub const RIM_MASK: usize = 0xb10;
/// Current Rx completion count [30:16] and timer [13:0].
pub const RIM_COAL_STATUS: usize = 0xb14;
