// SPDX-License-Identifier: GPL-2.0

//! Rx parser and classifier registers: CSR sections RPC and RPC_RAM.

use kernel::io::register;

/// Last word of any TCAM entry: the entry is in use.
pub const RPC_TCAM_VALIDATE: u32 = 1 << 31;

/// ACT_TBL0 where no entry matches.
pub const RPC_ACT_TBL0_DEFAULT: usize = 0x2_1028;

/// ACT_TBL1 where no entry matches.
pub const RPC_ACT_TBL1_DEFAULT: usize = 0x2_102c;

/// Word `i` of the RSS key; the most significant byte of word 0 is the first byte of the key.
pub const fn rpc_rss_key(i: usize) -> usize {
    0x2_1030 + 4 * i
}

/// First action word of entry `i`.
pub const fn rpc_act_tbl0(i: usize) -> usize {
    0x2_2000 + 4 * i
}

/// Second action word of entry `i`.
pub const fn rpc_act_tbl1(i: usize) -> usize {
    0x2_2100 + 4 * i
}

/// Word `word` (0–11, the last validates) of entry `entry` of the action TCAM.
pub const fn rpc_tcam_act(entry: usize, word: usize) -> usize {
    0x2_2200 + 4 * (0x40 * word + entry)
}

/// Word `word` (0–3, the last validates) of entry `entry` of the destination address TCAM.
pub const fn rpc_tcam_macda(entry: usize, word: usize) -> usize {
    0x2_2e00 + 4 * (0x20 * word + entry)
}

/// Word `word` (0–8, the last validates) of entry `entry` of the TCAM of outer source addresses.
pub const fn rpc_tcam_outer_ipsrc(entry: usize, word: usize) -> usize {
    0x2_3000 + 4 * (8 * word + entry)
}

/// The same of outer destination addresses.
pub const fn rpc_tcam_outer_ipdst(entry: usize, word: usize) -> usize {
    0x2_3120 + 4 * (8 * word + entry)
}

/// The same of source addresses, the inner ones of tunnels.
pub const fn rpc_tcam_ipsrc(entry: usize, word: usize) -> usize {
    0x2_3240 + 4 * (8 * word + entry)
}

/// The same of destination addresses, the inner ones of tunnels.
pub const fn rpc_tcam_ipdst(entry: usize, word: usize) -> usize {
    0x2_3360 + 4 * (8 * word + entry)
}

/// Last word of an entry for inner addresses: they are of IPv6.
pub const RPC_TCAM_IP_IS_V6: u32 = 1 << 0;

/// Entry `i` of indirection table `table`: an Rx queue number.
pub const fn rpc_rss_tbl(table: usize, i: usize) -> usize {
    0x2_3480 + 4 * (0x100 * table + i)
}

register! {
    /// Entry of the classifier.
    pub RPC_RMI_CONFIG(u32) @ 0x21000 {
        /// Largest frame, bytes.
        31:16 mtu;
        /// Frames go on to the host.
        12:12 enable;
        /// Frames arrive with their check sequence.
        8:8 fcs_present;
        /// Overhead of each frame, bytes.
        4:0 oh_bytes;
    }
}
