// SPDX-License-Identifier: GPL-2.0

//! Those files of the driver that need no kernel, compiled for the host so that they can be tested
//! in a second.
//!
//! The files are the driver's own, not copies. Tests are in `tests/`, by file, except those that
//! the files bring along.

// The driver's files name the kernel crate; the little they use of it is declared here.
extern crate self as kernel;

#[path = "../../../fbnic_tlv.rs"]
pub mod fbnic_tlv;

#[path = "../../../fbnic_fw/messages.rs"]
pub mod messages;

#[path = "../../../fbnic_fw/heartbeat.rs"]
pub mod heartbeat;

#[path = "../../../fbnic_fw/ring.rs"]
pub mod mailbox_ring;

#[path = "../../../fbnic_fw/waiters.rs"]
pub mod waiters;

#[path = "../../../fbnic_rpc/ntuple.rs"]
pub mod ntuple;

#[path = "../../../fbnic_rpc/rss.rs"]
pub mod rss;

#[path = "../../../fbnic_rpc/tcam.rs"]
pub mod tcam;

#[path = "../../../fbnic_txrx/desc.rs"]
pub mod desc;

#[path = "../../../fbnic_txrx/headers.rs"]
pub mod headers;

#[path = "../../../fbnic_txrx/layout.rs"]
pub mod layout;

#[path = "../../../fbnic_txrx/ring.rs"]
pub mod ring;

#[path = "../../../fbnic_txrx/text.rs"]
pub mod text;

/// Those types of the network layer that need no kernel.
pub mod net {
    /// Types of ethtool.
    pub mod ethtool {
        pub use crate::flow;
    }
}

#[path = "../../../rust/kernel/net/ethtool/flow.rs"]
pub mod flow;

/// Registers whose offset is computed.
pub mod fbnic_csr {
    pub use crate::csr_intr as intr;
    pub use crate::csr_mac as mac;
    pub use crate::csr_queue as queue;
    pub use crate::csr_rpc as rpc;
    pub use crate::csr_tce as tce;
}

#[path = "../../../fbnic_csr/intr.rs"]
pub mod csr_intr;

#[path = "../../../fbnic_csr/mac.rs"]
pub mod csr_mac;

#[path = "../../../fbnic_csr/queue.rs"]
pub mod csr_queue;

#[path = "../../../fbnic_csr/rpc.rs"]
pub mod csr_rpc;

#[path = "../../../fbnic_csr/tce.rs"]
pub mod csr_tce;

/// Stands in for `kernel::io`.
pub mod io {
    pub use crate::register;
}

/// Stands in for the kernel's macro. The declarations are checked as text, see
/// `tests/c_header.rs`.
#[macro_export]
macro_rules! register {
    ($($declaration:tt)*) => {};
}

/// The codec of the emulated firmware, which shares nothing with the driver's.
#[path = "../../../device-model/fbnic_model/src/fw/tlv.rs"]
pub mod model_tlv;
