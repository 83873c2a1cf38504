// SPDX-License-Identifier: GPL-2.0

//! Rx packet buffer registers: CSR section RXB.
//!
//! Thresholds count units of 64 bytes.

use kernel::io::register;

/// FIFOs of the buffer.
pub const RXB_FIFOS: usize = 8;

/// Words of the dequeue calendar.
pub const RXB_CALENDAR_WORDS: usize = 16;

register! {
    /// Cut-through sizes of each FIFO.
    pub RXB_CT_SIZE(u32)[8] @ 0x20000 {
        11:6 payload;
        5:0 header;
    }

    /// What is done when a FIFO fills, one bit per FIFO.
    pub RXB_PAUSE_DROP_CTRL(u32) @ 0x20020 {
        /// Pause storm protection, one bit per input.
        27:24 ps_enable;
        /// Congestion marking.
        23:16 ecn_enable;
        /// Pause frames are sent.
        15:8 pause_enable;
        /// Frames are dropped.
        7:0 drop_enable;
    }

    /// Fill at which pause starts and ends.
    pub RXB_PAUSE_THLD(u32)[8] @ 0x20024 {
        25:13 off;
        12:0 on;
    }

    /// Fill at which dropping starts and ends.
    pub RXB_DROP_THLD(u32)[8] @ 0x20044 {
        25:13 off;
        12:0 on;
    }

    /// Pause storm detection of the network input.
    pub RXB_PAUSE_STORM_NET(u32) @ 0x20064 {
        /// Pulsed to leave the storm state.
        20:20 force_normal;
        /// How long pause may last, in units of [`RXB_PAUSE_STORM_UNIT_WR`].
        19:0 thld_time;
    }

    /// Unit of the pause storm time, in clock cycles.
    pub RXB_PAUSE_STORM_UNIT_WR(u32) @ 0x20074 {}

    /// Fill at which congestion marking starts and ends.
    pub RXB_ECN_THLD(u32)[8] @ 0x20078 {
        25:13 off;
        12:0 on;
    }

    /// Place of each FIFO in the buffer.
    pub RXB_PBUF_CFG(u32)[8] @ 0x2009c {
        /// Units of 2 KiB.
        21:13 size;
        /// Units of 64 bytes.
        12:0 base_addr;
    }

    /// Weights of the first four inputs of the host output.
    pub RXB_DWRR_RDE_WEIGHT0(u32) @ 0x200bc {
        31:24 quantum3;
        23:16 quantum2;
        15:8 quantum1;
        7:0 quantum0;
    }

    /// Weight of the fifth input of the host output.
    pub RXB_DWRR_RDE_WEIGHT1(u32) @ 0x200c0 {
        7:0 quantum4;
    }

    /// Dequeue calendar, four slots to a word.
    pub RXB_CLDR_PRIO_CFG(u32)[16] @ 0x200d0 {}

    /// Byte order of the frame check sequence, per interface.
    pub RXB_ENDIAN_FCS(u32) @ 0x20110 {}

    /// Credits of each FIFO.
    pub RXB_PBUF_CREDIT(u32)[8] @ 0x2011c {
        13:0 credit;
    }

    /// Credits of each interface.
    pub RXB_INTF_CREDIT(u32) @ 0x2013c {
        15:12 mask3;
        11:8 mask2;
        7:4 mask1;
        3:0 mask0;
    }

    /// Error events, write 1 to clear.
    pub RXB_ERR_INTR_STS(u32) @ 0x20140 {
        /// Pause storm, one bit per input.
        15:12 ps;
    }

    /// 1 = the error event is masked.
    pub RXB_ERR_INTR_MASK(u32) @ 0x20148 {
        /// Pause storm, one bit per input.
        15:12 ps;
    }

    /// High bits of the weights in [`RXB_DWRR_RDE_WEIGHT0`].
    pub RXB_DWRR_RDE_WEIGHT0_EXT(u32) @ 0x2050c {
        7:0 quantum0;
    }

    /// High bits of the weight in [`RXB_DWRR_RDE_WEIGHT1`].
    pub RXB_DWRR_RDE_WEIGHT1_EXT(u32) @ 0x20510 {
        7:0 quantum4;
    }
}
