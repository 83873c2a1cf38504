// SPDX-License-Identifier: GPL-2.0

//! PCIe interface registers: CSR section PUL_USER.

use kernel::io::register;

/// Attribute of PCIe requests: relaxed ordering.
pub const TLP_ATTR_RO: u8 = 2;

register! {
    /// Requests that write host memory.
    pub PUL_OB_TLP_HDR_AW_CFG(u32) @ 0xc40f4 {
        /// Parked writes are dropped; needs `flush` as well.
        20:20 flush_mode;
        19:19 flush;
        /// Without it nothing leaves the device.
        18:18 bme;
        /// Attributes of Rx data writes.
        17:15 rde_attr;
        /// Attributes of Rx completion writes.
        14:12 rqm_attr;
        /// Attributes of Tx completion writes.
        11:9 tqm_attr;
    }

    /// Requests that read host memory.
    pub PUL_OB_TLP_HDR_AR_CFG(u32) @ 0xc40f8 {
        /// Parked reads are dropped.
        19:19 flush;
        /// Without it nothing leaves the device.
        18:18 bme;
        /// Attributes of Tx data reads.
        17:15 tde_attr;
        /// Attributes of Rx descriptor reads.
        14:12 rqm_attr;
        /// Attributes of Tx descriptor reads.
        11:9 tqm_attr;
    }
}
