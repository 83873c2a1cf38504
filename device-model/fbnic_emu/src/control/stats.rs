// SPDX-License-Identifier: GPL-2.0
//! The answer to `stats`.

use std::sync::Arc;

use fbnic_model::stats::{BusStats, Counter};
use fbnic_model::Device;
use serde_json::{json, Value};

/// The counters of all devices together.
pub fn stats(devices: &[Arc<Device>]) -> Value {
    let sum = |value: &dyn Fn(&BusStats) -> u64| -> u64 {
        devices
            .iter()
            .map(|device| value(&device.hw().bus_stats))
            .sum()
    };
    let count = |pick: fn(&BusStats) -> &Counter| sum(&|stats| pick(stats).get());
    let totals: Vec<_> = devices.iter().map(|device| device.totals()).collect();
    let vectors = totals
        .iter()
        .map(|t| t.msix_by_vector.len())
        .max()
        .unwrap_or(0);
    let by_vector: Vec<u64> = (0..vectors)
        .map(|v| totals.iter().filter_map(|t| t.msix_by_vector.get(v)).sum())
        .collect();
    let cable = |pick: fn(&net_backend::CableStats) -> u64| -> u64 {
        totals.iter().map(|t| pick(&t.cable)).sum()
    };
    json!({
        "mmio_reads": count(|s| &s.mmio_reads),
        "mmio_writes": sum(&BusStats::mmio_writes),
        "mmio_writes_by": {
            "twq_tail": count(|s| &s.twq_tail),
            "tcq_head": count(|s| &s.tcq_head),
            "rcq_head": count(|s| &s.rcq_head),
            "bdq_tail": count(|s| &s.bdq_tail),
            "cq_rearm": count(|s| &s.cq_rearm),
            "other": count(|s| &s.other_writes),
        },
        "fw_reads": count(|s| &s.fw_reads),
        "fw_writes": count(|s| &s.fw_writes),
        "config_reads": count(|s| &s.config_reads),
        "config_writes": count(|s| &s.config_writes),
        "msix_fired": by_vector.iter().sum::<u64>(),
        "msix_by_vector": by_vector,
        "tx_frames": cable(|c| c.sent),
        "rx_frames": cable(|c| c.received),
        "rx_drops": cable(|c| c.runts),
        "tx_drops": cable(|c| c.send_drops),
    })
}
