// SPDX-License-Identifier: GPL-2.0
//! Register numbers (dword indices into BAR0) and field positions.
//!
//! A register that exists several times is a `const fn` of its index; callers keep the index
//! inside the range the documentation gives.

#![allow(
    missing_docs,
    reason = "the names are the hardware's; sections say what they are for"
)]

/// Bytes of BAR0 and the number of registers in it.
pub const BAR0_SIZE: u64 = 0x20_0000;
pub const CSR_COUNT: u32 = 0x8_0000;

// Interrupts (section 4). Words 0 to 7; bit N of word N/32 is vector N.
pub const INTR_STATUS: u32 = 0x00000;
pub const INTR_MASK: u32 = 0x00008;
pub const INTR_SET: u32 = 0x00010;
pub const INTR_CLEAR: u32 = 0x00018;
pub const INTR_SW_STATUS: u32 = 0x00020;
pub const INTR_SW_AC_MODE: u32 = 0x00028;
pub const INTR_MASK_SET: u32 = 0x00030;
pub const INTR_MASK_CLEAR: u32 = 0x00038;
/// Causes 0 to 34.
pub const INTR_MSIX_CTRL: u32 = 0x00040;
pub const INTR_MSIX_CTRL_ENABLE: u32 = 1 << 31;
pub const INTR_MSIX_CTRL_VECTOR_MASK: u32 = 0xff;
pub const INTR_CAUSE_RXB: u32 = 7;
pub const INTR_CAUSE_PCS: u32 = 34;
pub const INTR_CAUSES: u32 = 35;
pub const INTR_MSIX_CTRL_LAST: u32 = INTR_MSIX_CTRL + INTR_CAUSES - 1;

/// Vectors 0 to 255, four registers apart.
pub const fn intr_cq_rearm(v: u32) -> u32 {
    0x400 + 4 * v
}
pub const INTR_CQ_FIRST: u32 = 0x400;
pub const INTR_CQ_LAST: u32 = 0x7ff;
pub const CQ_REARM_RCQ_TIMEOUT_MASK: u32 = 0x3fff;
pub const CQ_REARM_RCQ_TIMEOUT_UPD_EN: u32 = 1 << 14;
pub const CQ_REARM_TCQ_TIMEOUT_SHIFT: u32 = 15;
pub const CQ_REARM_TCQ_TIMEOUT_UPD_EN: u32 = 1 << 29;
pub const CQ_REARM_INTR_UNMASK: u32 = 1 << 31;

// Transmit queue manager (sections 5 and 6).
pub const QM_TWQ_IDLE: u32 = 0x0800;
pub const QM_TWQ_DEFAULT_META_L: u32 = 0x0818;
pub const QM_TWQ_DEFAULT_META_H: u32 = 0x0819;
pub const QM_TQS_CTL0: u32 = 0x081b;
pub const QM_TQS_CTL0_LSO_TS: u32 = 1;
pub const QM_TQS_MTU_CTL0: u32 = 0x081d;
pub const QM_TQS_MTU_CTL1: u32 = 0x081e;
pub const QM_TCQ_IDLE: u32 = 0x0821;
pub const QM_TCQ_CTL0: u32 = 0x082d;
pub const QM_TQS_IDLE: u32 = 0x0830;
pub const QM_TQS_EDT_TS_RANGE: u32 = 0x0849;
pub const QM_TDE_IDLE: u32 = 0x0853;

// Receive queue manager.
pub const QM_RCQ_IDLE: u32 = 0x0c00;
pub const QM_RCQ_CTL0: u32 = 0x0c0c;
pub const QM_HPQ_IDLE: u32 = 0x0c0f;
pub const QM_PPQ_IDLE: u32 = 0x0c13;
/// Last register of the two queue managers.
pub const QM_RCQ_LAST: u32 = 0x0c34;
/// TICK_CYCLES of QM_TCQ_CTL0 and QM_RCQ_CTL0: clock cycles of one moderation tick.
pub const QM_CTL0_TICK_CYCLES_SHIFT: u32 = 16;
pub const QM_CTL0_TICK_CYCLES_MASK: u32 = 0x7ff;
/// Frequency of the core clock in MHz.
pub const CLOCK_MHZ: u64 = 600;

// Transmit classification, checksum and segmentation (sections 7 and 10).
pub const TCE_FIRST: u32 = 0x4000;
pub const TCE_RAM_FIRST: u32 = 0x4200;
pub const TCE_RAM_LAST: u32 = 0x421f;
pub const TCE_LSO_CTRL: u32 = 0x4000;
pub const TCE_LSO_CTRL_IPID_MODE_INC: u32 = 1 << 27;
pub const TCE_CSO_CTRL: u32 = 0x4001;
pub const TCE_CSO_CTRL_TCP_ZERO_CSUM: u32 = 1;
pub const TCE_TXB_CTRL: u32 = 0x4002;
pub const TCE_TXB_CTRL_LOAD: u32 = 1;
pub const TCE_TXB_CTRL_TCAM_ENABLE: u32 = 1 << 1;
pub const TCE_TXB_CTRL_DISABLE: u32 = 1 << 2;
pub const TCE_BMC_MAX_PKTSZ: u32 = 0x403a;
pub const TCE_MC_MAX_PKTSZ: u32 = 0x403b;
pub const TCE_TTI_CM_DROP_PKTS: u32 = 0x403e;
pub const TCE_TTI_CM_DROP_BYTE_L: u32 = 0x403f;
pub const TCE_TTI_FRAME_DROP_PKTS: u32 = 0x4041;
pub const TCE_TTI_FRAME_DROP_BYTE_L: u32 = 0x4042;
pub const TCE_TBI_DROP_PKTS: u32 = 0x4044;
pub const TCE_TBI_DROP_BYTE_L: u32 = 0x4045;
pub const TCE_TCAM_IDX2DEST_MAP: u32 = 0x404a;
pub const TCE_RAM_ENTRIES: u32 = 8;
/// Words 0 to 2 of entries 0 to 7: MASK \[15:0\], VALUE \[31:16\].
pub const fn tce_ram_tcam(word: u32, entry: u32) -> u32 {
    0x4200 + 8 * word + entry
}
/// DEST_MASK \[5:3\], MCQ_MASK 7, VALIDATE 31.
pub const fn tce_ram_tcam3(entry: u32) -> u32 {
    0x4218 + entry
}

// Transmit MAC interface.
pub const TMI_SOP_PROT_CTRL: u32 = 0x4400;
pub const TMI_DROP_CTRL: u32 = 0x4401;
pub const TMI_DROP_CTRL_EN: u32 = 1;
pub const TMI_DROP_PKTS: u32 = 0x4402;
pub const TMI_DROP_BYTE_L: u32 = 0x4403;
pub const TMI_ILLEGAL_PTP_REQS: u32 = 0x4409;
pub const TMI_GOOD_PTP_TS: u32 = 0x440a;
pub const TMI_BAD_PTP_TS: u32 = 0x440b;
/// Frames of 1519, 2048, 4096, 8192 and 9217 bytes and more: bins 0 to 4, 64 bits.
pub const fn tmi_stat_tx_bin(bin: u32) -> u32 {
    0x4433 + 2 * bin
}

// Clock (section 13).
pub const PTP_CTRL: u32 = 0x4800;
pub const PTP_CTRL_EN: u32 = 1;
pub const PTP_ADJUST: u32 = 0x4801;
pub const PTP_ADJUST_INIT: u32 = 1;
pub const PTP_ADJUST_SUB_NUDGE: u32 = 1 << 8;
pub const PTP_ADJUST_ADD_NUDGE: u32 = 1 << 16;
pub const PTP_ADJUST_ADDEND_SET: u32 = 1 << 24;
pub const PTP_INIT_HI: u32 = 0x4802;
pub const PTP_INIT_LO: u32 = 0x4803;
pub const PTP_NUDGE_NS: u32 = 0x4804;
pub const PTP_NUDGE_SUBNS: u32 = 0x4805;
pub const PTP_ADD_VAL_NS: u32 = 0x4806;
pub const PTP_ADD_VAL_SUBNS: u32 = 0x4807;
pub const PTP_CTR_VAL_HI: u32 = 0x4808;
pub const PTP_CTR_VAL_LO: u32 = 0x4809;
pub const PTP_MONO_PTP_CTR_HI: u32 = 0x480a;
pub const PTP_MONO_PTP_CTR_LO: u32 = 0x480b;
pub const PTP_CDC_FIFO_STATUS: u32 = 0x480c;
pub const PTP_SPARE: u32 = 0x480d;

// Receive packet buffer (sections 5 and 12). FIFOs 0 to 7.
pub const RXB_FIFOS: u32 = 8;
/// FIFO that carries frames from the wire to the host.
pub const RXB_FIFO_NET_TO_HOST: u32 = 4;
pub const fn rxb_ct_size(fifo: u32) -> u32 {
    0x8000 + fifo
}
pub const RXB_PAUSE_DROP_CTRL: u32 = 0x8008;
pub const RXB_PAUSE_STORM_0: u32 = 0x8019;
pub const RXB_PAUSE_STORM_UNIT_WR: u32 = 0x801d;
pub const fn rxb_pbuf_cfg(fifo: u32) -> u32 {
    0x8027 + fifo
}
pub const RXB_ERR_INTR_STS: u32 = 0x8050;
pub const RXB_ERR_INTR_STS_PS: u32 = 0xf000;
pub const RXB_ERR_INTR_MASK: u32 = 0x8052;
pub const fn rxb_drop_frms_sts(fifo: u32) -> u32 {
    0x8057 + fifo
}
pub const fn rxb_drop_bytes_sts_l(fifo: u32) -> u32 {
    0x8080 + 2 * fifo
}
pub const fn rxb_trun_frms_sts(fifo: u32) -> u32 {
    0x8091 + fifo
}
pub const fn rxb_trun_bytes_sts_l(fifo: u32) -> u32 {
    0x80c0 + 2 * fifo
}
pub const fn rxb_trans_drop_sts(fifo: u32) -> u32 {
    0x80d9 + fifo
}
pub const fn rxb_trans_ecn_sts(fifo: u32) -> u32 {
    0x80e1 + fifo
}
pub const RXB_INTR_PS_COUNT_0: u32 = 0x80e9;
/// Inputs 0 (wire) to 3.
pub const fn rxb_drbo_frm_cnt_src(input: u32) -> u32 {
    0x80f9 + input
}
pub const fn rxb_drbo_byte_cnt_src_l(input: u32) -> u32 {
    0x80fd + input
}
pub const fn rxb_drbo_byte_cnt_src_h(input: u32) -> u32 {
    0x8101 + input
}
/// Outputs 0 to 3; 2 is the management controller, 3 the host.
pub const fn rxb_intf_frm_cnt_dst(output: u32) -> u32 {
    0x8105 + output
}
pub const fn rxb_intf_byte_cnt_dst_l(output: u32) -> u32 {
    0x8109 + output
}
pub const fn rxb_intf_byte_cnt_dst_h(output: u32) -> u32 {
    0x810d + output
}
pub const fn rxb_pbuf_frm_cnt_dst(output: u32) -> u32 {
    0x8111 + output
}
pub const fn rxb_pbuf_byte_cnt_dst_l(output: u32) -> u32 {
    0x8115 + output
}
pub const fn rxb_pbuf_byte_cnt_dst_h(output: u32) -> u32 {
    0x8119 + output
}
pub const fn rxb_pbuf_fifo_level(fifo: u32) -> u32 {
    0x811d + fifo
}
pub const fn rxb_integrity_err(input: u32) -> u32 {
    0x812f + input
}
pub const fn rxb_mac_err(input: u32) -> u32 {
    0x8133 + input
}
pub const fn rxb_parser_err(input: u32) -> u32 {
    0x8137 + input
}
pub const fn rxb_frm_err(input: u32) -> u32 {
    0x813b + input
}

// Receive parser and classifier (section 9).
/// First and last register of the action tables, their TCAM and that of the addresses.
pub const RPC_ACTIONS_FIRST: u32 = 0x8800;
pub const RPC_ACTIONS_LAST: u32 = 0x8bff;
pub const RPC_RAM_LAST: u32 = 0x8f1f;
pub const RPC_RMI_CONFIG: u32 = 0x8400;
pub const RMI_CONFIG_OH_BYTES_MASK: u32 = 0x1f;
pub const RMI_CONFIG_FCS_PRESENT: u32 = 1 << 8;
pub const RMI_CONFIG_ENABLE: u32 = 1 << 12;
pub const RMI_CONFIG_MTU_SHIFT: u32 = 16;
pub const RPC_ACT_TBL0_DEFAULT: u32 = 0x840a;
pub const RPC_ACT_TBL1_DEFAULT: u32 = 0x840b;
pub const RPC_RSS_KEY_WORDS: u32 = 14;
pub const fn rpc_rss_key(i: u32) -> u32 {
    0x840c + i
}
pub const RPC_TCP_OPT_ERR: u32 = 0x849e;
pub const RPC_UNKN_ETYPE: u32 = 0x849f;
pub const RPC_IPV4_FRAG: u32 = 0x84a0;
pub const RPC_IPV6_FRAG: u32 = 0x84a1;
pub const RPC_IPV4_ESP: u32 = 0x84a2;
pub const RPC_IPV6_ESP: u32 = 0x84a3;
pub const RPC_UNKN_EXT_HDR: u32 = 0x84a4;
pub const RPC_OUT_OF_HDR_ERR: u32 = 0x84a5;
pub const RPC_OVR_SIZE_ERR: u32 = 0x84a6;
/// Frames of 1519, 2048, 4096, 8192 and 9217 bytes and more: bins 0 to 4, 64 bits.
pub const fn rpc_stat_rx_bin(bin: u32) -> u32 {
    0x855f + 2 * bin
}

/// Action table 0: DROP 0, DEST \[3:1\], Q_SEL 4, Q_ID \[15:8\], DMA_HINT \[24:16\], TS_ENA 28,
/// ACT_TBL_IDX 29, RSS_CTXT_ID 30.
pub const fn rpc_act_tbl0(entry: u32) -> u32 {
    0x8800 + entry
}
pub const fn rpc_act_tbl1(entry: u32) -> u32 {
    0x8840 + entry
}
pub const ACT_TBL0_DROP: u32 = 1;
pub const ACT_TBL0_DEST_HOST: u32 = 1 << 1;
pub const ACT_TBL0_DEST_BMC: u32 = 1 << 2;
pub const ACT_TBL0_DEST_EI: u32 = 1 << 3;
pub const ACT_TBL0_Q_SEL: u32 = 1 << 4;
pub const ACT_TBL0_Q_ID_SHIFT: u32 = 8;
pub const ACT_TBL0_DMA_HINT_SHIFT: u32 = 16;
pub const ACT_TBL0_DMA_HINT_MASK: u32 = 0x1ff;
pub const ACT_TBL0_TS_ENA: u32 = 1 << 28;
pub const ACT_TBL0_ACT_TBL_IDX: u32 = 1 << 29;
pub const ACT_TBL0_RSS_CTXT_ID: u32 = 1 << 30;
pub const RPC_TCAM_VALIDATE: u32 = 1 << 31;
pub const RPC_TCAM_ACT_ENTRIES: u32 = 64;
pub const RPC_TCAM_ACT_WORDS: u32 = 11;
pub const fn rpc_tcam_act(entry: u32, word: u32) -> u32 {
    0x8880 + 0x40 * word + entry
}
pub const RPC_TCAM_MACDA_ENTRIES: u32 = 32;
pub const fn rpc_tcam_macda(entry: u32, word: u32) -> u32 {
    0x8b80 + 0x20 * word + entry
}
/// The four IP tables have 8 entries of 8 data words and a validate word.
pub const RPC_TCAM_IP_ENTRIES: u32 = 8;
pub const RPC_TCAM_OUTER_IPSRC: u32 = 0x8c00;
pub const RPC_TCAM_OUTER_IPDST: u32 = 0x8c48;
pub const RPC_TCAM_IPSRC: u32 = 0x8c90;
pub const RPC_TCAM_IPDST: u32 = 0x8cd8;
pub const RPC_TCAM_IP_IS_V6: u32 = 1;
pub const fn rpc_rss_tbl(table: u32, i: u32) -> u32 {
    0x8d20 + 0x100 * table + i
}

// Liveness.
pub const MASTER_SPARE_0: u32 = 0x0c41b;

// Link (section 11).
pub const PCS_PAGE_0: u32 = 0x10000;
pub const PCS_PAGE_1: u32 = 0x10400;
pub const PCS_LAST: u32 = 0x10668;
pub const PCS_CTRL1: u32 = 0x000;
pub const PCS_CTRL1_RESET: u32 = 1 << 15;
pub const PCS_STAT1: u32 = 0x001;
pub const PCS_STAT1_LSTATUS: u32 = 1 << 2;
pub const PCS_STAT2: u32 = 0x008;
pub const PCS_BASER_STAT1: u32 = 0x020;
pub const PCS_BASER_STAT2: u32 = 0x021;
pub const RSFEC_CONTROL: u32 = 0x10800;
pub const RSFEC_CCW_LO: u32 = 0x10802;
pub const RSFEC_NCCW_LO: u32 = 0x10804;
pub const PCS_SYMBLERR_LO: u32 = 0x10880;
pub const RSFEC_LAST: u32 = 0x108c8;
pub const MAC_COMMAND_CONFIG: u32 = 0x11002;
pub const MAC_COMMAND_CONFIG_TX_ENA: u32 = 1;
pub const MAC_COMMAND_CONFIG_RX_ENA: u32 = 1 << 1;
pub const MAC_COMMAND_CONFIG_LOOPBACK_EN: u32 = 1 << 10;
pub const MAC_COMMAND_CONFIG_TX_PAD_EN: u32 = 1 << 11;
pub const SIG_MAC_IN0: u32 = 0x11800;
pub const SIG_MAC_IN0_RESET_RX_CLK: u32 = 1 << 11;
pub const SIG_MAC_IN0_RESET_TX_CLK: u32 = 1 << 12;
pub const SIG_MAC_IN0_RESET_FF_RX_CLK: u32 = 1 << 13;
pub const SIG_MAC_IN0_RESET_FF_TX_CLK: u32 = 1 << 14;
pub const SIG_PCS_IN0: u32 = 0x11807;
pub const SIG_PCS_OUT0: u32 = 0x11808;
pub const SIG_PCS_OUT0_LINK: u32 = 1 << 27;
pub const SIG_PCS_OUT0_BLOCK_LOCK_SHIFT: u32 = 5;
pub const SIG_PCS_OUT0_AMPS_LOCK_SHIFT: u32 = 1;
pub const SIG_PCS_OUT1: u32 = 0x11809;
pub const SIG_PCS_OUT1_FCFEC_LOCK_SHIFT: u32 = 8;
pub const SIG_PCS_INTR_STS: u32 = 0x11814;
pub const SIG_PCS_INTR_LINK_UP: u32 = 1;
pub const SIG_PCS_INTR_LINK_DOWN: u32 = 2;
pub const SIG_PCS_INTR_MASK: u32 = 0x11816;
pub const SIG_PCS_IN1: u32 = 0x11825;

// MAC counters (section 12): low halves, the high half follows.
pub const MAC_STAT_FIRST: u32 = 0x11a00;
pub const MAC_STAT_LAST: u32 = 0x11a5f;
pub const MAC_STAT_RX_XOFF: u32 = 0x11a00;
pub const MAC_STAT_TX_XOFF: u32 = 0x11a04;
pub const MAC_STAT_RX_BYTE_COUNT: u32 = 0x11a08;
pub const MAC_STAT_RX_ALIGN_ERROR: u32 = 0x11a0a;
pub const MAC_STAT_RX_TOOLONG: u32 = 0x11a0e;
pub const MAC_STAT_RX_RECEIVED_OK: u32 = 0x11a12;
pub const MAC_STAT_RX_PACKET_BAD_FCS: u32 = 0x11a14;
pub const MAC_STAT_RX_IFINERRORS: u32 = 0x11a18;
pub const MAC_STAT_RX_MULTICAST: u32 = 0x11a1c;
pub const MAC_STAT_RX_BROADCAST: u32 = 0x11a1e;
pub const MAC_STAT_RX_UNDERSIZE: u32 = 0x11a24;
/// Bins 0 to 6: 64, 65, 128, 256, 512, 1024, 1519 bytes and more.
pub const fn mac_stat_rx_bin(bin: u32) -> u32 {
    0x11a26 + 2 * bin
}
pub const MAC_STAT_RX_OVERSIZE: u32 = 0x11a34;
pub const MAC_STAT_RX_JABBER: u32 = 0x11a36;
pub const MAC_STAT_RX_FRAGMENT: u32 = 0x11a38;
pub const MAC_STAT_RX_CONTROL: u32 = 0x11a3c;
pub const MAC_STAT_TX_BYTE_COUNT: u32 = 0x11a3e;
pub const MAC_STAT_TX_TRANSMITTED_OK: u32 = 0x11a42;
pub const MAC_STAT_TX_IFOUTERRORS: u32 = 0x11a46;
pub const MAC_STAT_TX_MULTICAST: u32 = 0x11a4a;
pub const MAC_STAT_TX_BROADCAST: u32 = 0x11a4c;
/// Bins 0 to 6, as [`mac_stat_rx_bin`].
pub const fn mac_stat_tx_bin(bin: u32) -> u32 {
    0x11a4e + 2 * bin
}
pub const MAC_STAT_TX_CONTROL: u32 = 0x11a5e;

// PCIe master (sections 5 and 12).
pub const PUL_OB_TLP_HDR_AW_CFG: u32 = 0x3103d;
pub const PUL_OB_TLP_HDR_AR_CFG: u32 = 0x3103e;
pub const PUL_OB_TLP_HDR_BME: u32 = 1 << 18;
pub const PUL_OB_TLP_HDR_FLUSH: u32 = 1 << 19;
pub const PUL_USER_OB_RD_TLP_CNT: u32 = 0x3106e;
pub const PUL_USER_OB_RD_DWORD_CNT: u32 = 0x31070;
pub const PUL_USER_OB_WR_TLP_CNT: u32 = 0x31072;
pub const PUL_USER_OB_WR_DWORD_CNT: u32 = 0x31074;
pub const PUL_USER_OB_CPL_TLP_CNT: u32 = 0x31076;
pub const PUL_USER_OB_CPL_DWORD_CNT: u32 = 0x31078;

// Queue sets (section 6).
pub const QUEUES: u32 = 128;
pub const QUEUE_FIRST: u32 = 0x40000;
pub const QUEUE_LAST: u32 = 0x5ffff;
pub const QUEUE_STRIDE: u32 = 0x400;
/// Register `off` (one of the `Q_` constants) of queue set `n`, 0 to 127.
pub const fn queue(n: u32, off: u32) -> u32 {
    QUEUE_FIRST + QUEUE_STRIDE * n + off
}
/// In every control register.
pub const Q_CTL_RESET: u32 = 1;
pub const Q_CTL_ENABLE: u32 = 1 << 1;
pub const Q_SIZE_MASK: u32 = 0xf;
pub const Q_BAL_MASK: u32 = 0xffff_ff80;
pub const Q_TWQ0_CTL: u32 = 0x000;
pub const Q_TWQ1_CTL: u32 = 0x001;
pub const Q_TWQ0_TAIL: u32 = 0x002;
pub const Q_TWQ1_TAIL: u32 = 0x003;
/// HEAD \[31:16\], TAIL \[15:0\].
pub const Q_TWQ0_PTRS: u32 = 0x004;
pub const Q_TWQ1_PTRS: u32 = 0x005;
pub const Q_TWQ0_SIZE: u32 = 0x00a;
pub const Q_TWQ1_SIZE: u32 = 0x00b;
pub const Q_TWQ0_BAL: u32 = 0x020;
pub const Q_TWQ0_BAH: u32 = 0x021;
pub const Q_TWQ1_BAL: u32 = 0x022;
pub const Q_TWQ1_BAH: u32 = 0x023;
pub const Q_TWQ0_PKT_CNT: u32 = 0x062;
pub const Q_TWQ0_ERR_CNT: u32 = 0x063;
pub const Q_TWQ1_PKT_CNT: u32 = 0x072;
pub const Q_TWQ1_ERR_CNT: u32 = 0x073;
pub const Q_TCQ_CTL: u32 = 0x080;
pub const Q_TCQ_HEAD: u32 = 0x081;
/// TAIL \[31:16\], HEAD \[15:0\].
pub const Q_TCQ_PTRS: u32 = 0x082;
pub const Q_TCQ_SIZE: u32 = 0x084;
pub const Q_TCQ_BAL: u32 = 0x0a0;
pub const Q_TCQ_BAH: u32 = 0x0a1;
pub const Q_TIM_CTL: u32 = 0x0c0;
pub const Q_TIM_THRESHOLD: u32 = 0x0c1;
pub const Q_TIM_CLEAR: u32 = 0x0c2;
pub const Q_TIM_SET: u32 = 0x0c3;
pub const Q_TIM_MASK: u32 = 0x0c4;
pub const Q_TIM_TIMER: u32 = 0x0c5;
pub const Q_TIM_COUNTS: u32 = 0x0c6;
pub const Q_RCQ_CTL: u32 = 0x200;
pub const Q_RCQ_HEAD: u32 = 0x201;
/// TAIL \[31:16\], HEAD \[15:0\].
pub const Q_RCQ_PTRS: u32 = 0x202;
pub const Q_RCQ_SIZE: u32 = 0x204;
pub const Q_RCQ_BAL: u32 = 0x220;
pub const Q_RCQ_BAH: u32 = 0x221;
pub const Q_BDQ_CTL: u32 = 0x240;
pub const Q_BDQ_CTL_PPQ_ENABLE: u32 = 1 << 30;
pub const Q_BDQ_HPQ_TAIL: u32 = 0x241;
pub const Q_BDQ_PPQ_TAIL: u32 = 0x242;
/// HEAD \[31:16\], TAIL \[15:0\].
pub const Q_BDQ_HPQ_PTRS: u32 = 0x243;
pub const Q_BDQ_PPQ_PTRS: u32 = 0x244;
pub const Q_BDQ_HPQ_SIZE: u32 = 0x247;
pub const Q_BDQ_PPQ_SIZE: u32 = 0x248;
pub const Q_BDQ_HPQ_BAL: u32 = 0x260;
pub const Q_BDQ_HPQ_BAH: u32 = 0x261;
pub const Q_BDQ_PPQ_BAL: u32 = 0x262;
pub const Q_BDQ_PPQ_BAH: u32 = 0x263;
/// EN_HDR_SPLIT 31, DROP_MODE \[30:29\], MIN_HROOM \[28:20\], MIN_TROOM \[19:11\].
pub const Q_RDE_CTL0: u32 = 0x2a0;
pub const RDE_CTL0_EN_HDR_SPLIT: u32 = 1 << 31;
pub const RDE_CTL0_DROP_MODE_SHIFT: u32 = 29;
pub const RDE_CTL0_DROP_MODE_MASK: u32 = 3;
pub const RDE_CTL0_MIN_HROOM_SHIFT: u32 = 20;
pub const RDE_CTL0_MIN_TROOM_SHIFT: u32 = 11;
pub const RDE_CTL0_ROOM_MASK: u32 = 0x1ff;
/// MAX_HDR \[24:12\], PAYLD_OFF \[11:9\], PAYLD_PG_CL \[8:6\], PADLEN \[5:2\], PAYLD_PACK \[1:0\].
pub const Q_RDE_CTL1: u32 = 0x2a1;
pub const RDE_CTL1_MAX_HDR_SHIFT: u32 = 12;
pub const RDE_CTL1_MAX_HDR_MASK: u32 = 0x1fff;
pub const Q_RDE_PKT_CNT: u32 = 0x2a2;
pub const Q_RDE_PKT_ERR_CNT: u32 = 0x2a3;
pub const Q_RDE_CQ_DROP_CNT: u32 = 0x2a4;
pub const Q_RDE_BDQ_DROP_CNT: u32 = 0x2a5;
pub const Q_RIM_CTL: u32 = 0x2c0;
pub const Q_RIM_THRESHOLD: u32 = 0x2c1;
pub const Q_RIM_CLEAR: u32 = 0x2c2;
pub const Q_RIM_SET: u32 = 0x2c3;
pub const Q_RIM_MASK: u32 = 0x2c4;
pub const Q_RIM_COAL_STATUS: u32 = 0x2c5;
/// MSIX of Q_TIM_CTL and Q_RIM_CTL.
pub const Q_IM_CTL_MSIX_MASK: u32 = 0xff;
pub const Q_IM_THRESHOLD_MASK: u32 = 0x7fff;
