// SPDX-License-Identifier: GPL-2.0

//! Tx classification, segmentation and MAC interface registers: CSR sections TCE, TCE_RAM and TMI.

use kernel::io::register;

/// Entries of the Tx TCAM.
pub const TCE_TCAM_ENTRIES: usize = 8;

/// Words of the Tx calendar.
pub const TCE_CALENDAR_WORDS: usize = 16;

/// Word `word` (0–3, the last validates) of entry `entry` of the Tx TCAM.
pub const fn tce_ram_tcam(entry: usize, word: usize) -> usize {
    0x1_0800 + 4 * (8 * word + entry)
}

/// Last word of an entry: every destination may match.
pub const TCE_RAM_TCAM3_DEST_MASK: u32 = 0x7 << 3;
/// Last word of an entry: the multicast queue may match.
pub const TCE_RAM_TCAM3_MCQ_MASK: u32 = 1 << 7;
/// Last word of an entry: the entry is in use.
pub const TCE_RAM_TCAM3_VALIDATE: u32 = 1 << 31;

/// Destinations of the Tx TCAM entries, four bits each.
pub const TCE_TCAM_IDX2DEST_MAP: usize = 0x1_0128;
/// Destination: the network.
pub const TCE_TCAM_DEST_MAC: u32 = 1;
/// Destination: the baseboard management controller.
pub const TCE_TCAM_DEST_BMC: u32 = 2;

/// Discards everything on its way to the MAC while bit 0 is set, so that the queues drain.
pub const TMI_DROP_CTRL: usize = 0x1_1004;
/// TMI_DROP_CTRL: discard.
pub const TMI_DROP_CTRL_EN: u32 = 1;

register! {
    /// What segmentation does to each segment.
    pub TCE_LSO_CTRL(u32) @ 0x10000 {
        /// The IPv4 ID counts up.
        27:27 ipid_mode_inc;
        /// TCP flags cleared in the last segment.
        26:18 tcpf_clr_end;
        /// TCP flags cleared in those between.
        17:9 tcpf_clr_mid;
        /// TCP flags cleared in the first segment.
        8:0 tcpf_clr_1st;
    }

    /// Checksum offload.
    pub TCE_CSO_CTRL(u32) @ 0x10004 {
        /// A TCP checksum of zero is sent as zero.
        0:0 tcp_zero_csum;
    }

    /// Tx buffer.
    pub TCE_TXB_CTRL(u32) @ 0x10008 {
        2:2 disable;
        1:1 tcam_enable;
        /// Take over the queue configuration.
        0:0 load;
    }

    /// Weights of the Tx buffer's inputs.
    pub TCE_TXB_ENQ_WRR_CTRL(u32) @ 0x1000c {
        23:16 weight2;
        15:8 weight1;
        7:0 weight0;
    }

    /// Place of an internal queue in the Tx buffer.
    pub TCE_TXB_TEI_Q0_CTRL(u32) @ 0x10010 {
        22:11 size;
        10:0 start;
    }

    /// Place of an internal queue in the Tx buffer.
    pub TCE_TXB_TEI_Q1_CTRL(u32) @ 0x10014 {
        22:11 size;
        10:0 start;
    }

    /// Place of the multicast queue in the Tx buffer.
    pub TCE_TXB_MC_Q_CTRL(u32) @ 0x10018 {
        22:11 size;
        10:0 start;
    }

    /// Place of an internal queue in the Tx buffer.
    pub TCE_TXB_RX_TEI_Q_CTRL(u32) @ 0x1001c {
        22:11 size;
        10:0 start;
    }

    /// Place of the queue from the network to the BMC in the Tx buffer.
    pub TCE_TXB_RX_BMC_Q_CTRL(u32) @ 0x10020 {
        22:11 size;
        10:0 start;
    }

    /// Weights of the internal output.
    pub TCE_TXB_TEI_DWRR_CTRL(u32) @ 0x10024 {
        15:8 quantum1;
        7:0 quantum0;
    }

    /// Weights of the network output.
    pub TCE_TXB_NTWRK_DWRR_CTRL(u32) @ 0x10028 {
        23:16 quantum2;
        15:8 quantum1;
        7:0 quantum0;
    }

    /// Output calendar, four slots to a word.
    pub TCE_TXB_CLDR_SLOT_CFG(u32)[16] @ 0x10030 {}

    /// Largest frames to and from the BMC, bytes.
    pub TCE_BMC_MAX_PKTSZ(u32) @ 0x100e8 {
        27:14 rx;
        13:0 tx;
    }

    /// Largest multicast frame, bytes.
    pub TCE_MC_MAX_PKTSZ(u32) @ 0x100ec {
        13:0 tmi;
    }

    /// How much of a packet must be there before it is passed on.
    pub TCE_SOP_PROT_CTRL(u32) @ 0x100f0 {
        18:15 tti_cm;
        14:8 tti_frm;
        7:0 tbi;
    }

    /// Place of the queue from the host to the BMC in the Tx buffer.
    pub TCE_TXB_TX_BMC_Q_CTRL(u32) @ 0x1012c {
        22:11 size;
        10:0 start;
    }

    /// Weights of the BMC output.
    pub TCE_TXB_BMC_DWRR_CTRL(u32) @ 0x10130 {
        15:8 quantum1;
        7:0 quantum0;
    }

    /// High bits of the weights in [`TCE_TXB_TEI_DWRR_CTRL`].
    pub TCE_TXB_TEI_DWRR_CTRL_EXT(u32) @ 0x10134 {}

    /// High bits of the weights in [`TCE_TXB_NTWRK_DWRR_CTRL`].
    pub TCE_TXB_NTWRK_DWRR_CTRL_EXT(u32) @ 0x10138 {
        23:16 quantum2;
    }

    /// High bits of the weights in [`TCE_TXB_BMC_DWRR_CTRL`].
    pub TCE_TXB_BMC_DWRR_CTRL_EXT(u32) @ 0x1013c {}

    /// Units of 64 bytes that must be there before the MAC gets a packet.
    pub TMI_SOP_PROT_CTRL(u32) @ 0x11000 {}
}
