// SPDX-License-Identifier: GPL-2.0

//! Ethernet MAC, PCS and side-band signal registers: CSR sections PCS, RSFEC, MAC and SIG.

use kernel::io::register;

/// Register `reg` of PCS page `page` (0 or 1).
pub const fn pcs_page(page: usize, reg: usize) -> usize {
    0x4_0000 + 4 * (0x400 * page + reg)
}

/// Registers in a PCS page.
pub const PCS_PAGE_REGS: usize = 0x400;

/// Control register of RS-FEC engine `n` (0 or 1); its others follow.
pub const fn rsfec_control(n: usize) -> usize {
    0x4_2000 + 4 * 8 * n
}

register! {
    /// What the MAC does.
    pub MAC_COMMAND_CONFIG(u32) @ 0x44008 {
        /// Ignore received pause frames.
        29:29 rx_pause_dis;
        /// Do not send pause frames.
        28:28 tx_pause_dis;
        /// Do not handle link faults.
        27:27 flt_hdl_dis;
        /// Pad short frames.
        11:11 tx_pad_en;
        10:10 loopback_en;
        /// Do not filter by address; the classifier does.
        4:4 promisc_en;
        1:1 rx_ena;
        0:0 tx_ena;
    }

    /// Inputs of the MAC.
    pub SIG_MAC_IN0(u32) @ 0x46000 {
        14:14 reset_ff_tx_clk;
        13:13 reset_ff_rx_clk;
        12:12 reset_tx_clk;
        11:11 reset_rx_clk;
    }

    /// Outputs of the PCS. Latched; writing ones brings them up to date.
    pub SIG_PCS_OUT0(u32) @ 0x46020 {
        27:27 link;
        /// One bit per virtual lane, without FEC.
        24:5 block_lock;
        /// One bit per lane, with RS-FEC.
        4:1 amps_lock;
    }

    /// More outputs of the PCS, latched as well.
    pub SIG_PCS_OUT1(u32) @ 0x46024 {
        /// One bit per lane, with BASE-R FEC.
        11:8 fcfec_lock;
    }

    /// Link events, write 1 to clear.
    pub SIG_PCS_INTR_STS(u32) @ 0x46050 {
        1:1 link_down;
        0:0 link_up;
    }

    /// 1 = the link event raises no interrupt.
    pub SIG_PCS_INTR_MASK(u32) @ 0x46058 {
        1:1 link_down;
        0:0 link_up;
    }
}
