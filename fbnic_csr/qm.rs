// SPDX-License-Identifier: GPL-2.0

//! Queue manager and fabric registers: CSR sections QM_TX, QM_RX and FAB.
//!
//! MRRS, MPS and CLS fields hold log2 of a size in bytes, less 6.

use kernel::io::register;

/// Idle bits of one kind of ring: 1 = the ring of that queue is idle.
#[derive(Clone, Copy)]
pub struct IdleRegs {
    /// Name for messages.
    pub name: &'static str,
    /// Byte offset of the first word; bit `n % 32` of word `n / 32` is queue `n`.
    pub offset: usize,
    /// Number of words. Those past the fourth have no known queue.
    pub words: usize,
}

impl IdleRegs {
    const fn new(name: &'static str, offset: usize, words: usize) -> Self {
        Self {
            name,
            offset,
            words,
        }
    }
}

/// Idle bits of everything a Tx queue passes through.
pub const TX_IDLE: [IdleRegs; 4] = [
    IdleRegs::new("TWQ", 0x2000, 8),
    IdleRegs::new("TQS", 0x20c0, 8),
    IdleRegs::new("TDE", 0x214c, 8),
    IdleRegs::new("TCQ", 0x2084, 4),
];

/// Idle bits of everything an Rx queue passes through.
pub const RX_IDLE: [IdleRegs; 3] = [
    IdleRegs::new("HPQ", 0x303c, 4),
    IdleRegs::new("PPQ", 0x304c, 4),
    IdleRegs::new("RCQ", 0x3000, 4),
];

register! {
    /// Meta descriptor used for packets on TWQ1, low half.
    pub QM_TWQ_DEFAULT_META_L(u32) @ 0x2060 {}

    /// Meta descriptor used for packets on TWQ1, high half.
    pub QM_TWQ_DEFAULT_META_H(u32) @ 0x2064 {}

    /// Tx queue scheduler.
    pub QM_TQS_CTL0(u32) @ 0x206c {
        /// Descriptors that make a prefetch worthwhile.
        7:1 prefetch_thresh;
        /// Which segment of a large send is stamped: 0 first, 1 last.
        0:0 lso_ts;
    }

    /// Credits of the Tx queue scheduler.
    pub QM_TQS_CTL1(u32) @ 0x2070 {
        /// For bulk traffic.
        15:8 bulk_max_credits;
        /// For multicast.
        7:0 mc_max_credits;
    }

    /// Largest frame, bytes. Must not be within 16 of a multiple of 64.
    pub QM_TQS_MTU_CTL0(u32) @ 0x2074 {}

    /// Largest frame of the bulk class, bytes, with the same restriction.
    pub QM_TQS_MTU_CTL1(u32) @ 0x2078 {
        13:0 bulk;
    }

    /// Tx completion timing, in clock cycles.
    pub QM_TCQ_CTL0(u32) @ 0x20b4 {
        /// Length of a moderation tick.
        26:16 tick_cycles;
        /// How long descriptor writes are gathered.
        15:0 coal_wait;
    }

    /// How far ahead an earliest departure time may lie.
    pub QM_TQS_EDT_TS_RANGE(u32) @ 0x2124 {}

    /// Limits of Tx descriptor fetches.
    pub QM_TNI_TDF_CTL(u32) @ 0x21b0 {
        /// Outstanding beats.
        23:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest read request.
        1:0 mrrs;
    }

    /// Limits of Tx data fetches.
    pub QM_TNI_TDE_CTL(u32) @ 0x21b4 {
        /// Read requests of 1 KiB and more are allowed.
        25:25 mrrs_1k;
        /// Outstanding beats.
        24:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest read request.
        1:0 mrrs;
    }

    /// Limits of Tx completion writes.
    pub QM_TNI_TCM_CTL(u32) @ 0x21b8 {
        /// Outstanding beats.
        23:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest payload.
        1:0 mps;
    }

    /// Rx completion timing, in clock cycles.
    pub QM_RCQ_CTL0(u32) @ 0x3030 {
        /// Length of a moderation tick.
        26:16 tick_cycles;
        /// How long descriptor writes are gathered.
        15:0 coal_wait;
    }

    /// Limits of Rx buffer descriptor fetches.
    pub QM_RNI_RBP_CTL(u32) @ 0x30b4 {
        /// Outstanding beats.
        23:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest read request.
        1:0 mrrs;
    }

    /// Limits of Rx data writes.
    pub QM_RNI_RDE_CTL(u32) @ 0x30b8 {
        /// Outstanding beats.
        23:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest payload.
        1:0 mps;
    }

    /// Limits of Rx completion writes.
    pub QM_RNI_RCM_CTL(u32) @ 0x30bc {
        /// Outstanding beats.
        23:12 max_ob;
        /// Outstanding transactions.
        11:4 max_ot;
        /// Cache line size.
        3:2 cls;
        /// Largest payload.
        1:0 mps;
    }

    /// Spacing of read requests on the fabric.
    pub FAB_AXI4_AR_SPACER_2_CFG(u32) @ 0x30014 {
        /// The threshold is in force.
        16:16 mask;
        /// In beats of 32.
        15:0 threshold;
    }
}
