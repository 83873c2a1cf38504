// SPDX-License-Identifier: GPL-2.0

//! What the device and its firmware said that made no sense, counted.
//!
//! Each such value costs a packet, a request, or nothing. The file `bad_values` in debugfs is where
//! an engineer sees that there are some, when the log has long been silent about them.

use core::{
    fmt,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::sync::Arc;

use crate::fbnic_dev::Fbnic;

/// Counters of an adapter since probe. Any context.
#[derive(Default)]
pub(crate) struct BadValues {
    rx_completions: AtomicU64,
    tx_completions: AtomicU64,
}

impl BadValues {
    /// Counts a receive completion.
    pub(crate) fn rx_completion(&self) {
        self.rx_completions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a transmit completion, or one of what XDP programs send.
    pub(crate) fn tx_completion(&self) {
        self.tx_completions.fetch_add(1, Ordering::Relaxed);
    }
}

/// Prints all counters, one `name: value` a line. Sleeps.
pub(crate) fn show(fbnic: &Arc<Fbnic>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let values = &fbnic.bad_values;
    for (name, value) in [
        ("fw_messages", fbnic.fw_malformed()),
        (
            "rx_completions",
            values.rx_completions.load(Ordering::Relaxed),
        ),
        (
            "tx_completions",
            values.tx_completions.load(Ordering::Relaxed),
        ),
    ] {
        writeln!(out, "{name}: {value}")?;
    }
    Ok(())
}
