// SPDX-License-Identifier: GPL-2.0
//! The answer to `stats`.

use std::collections::BTreeMap;
use std::sync::Arc;

use fbnic_model::device::Totals;
use fbnic_model::queue::FrameStats;
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
    let (rx_drops, tx_drops) = (rx_drops(&totals), tx_drops(&totals));
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
        "tx_bytes": cable(|c| c.sent_bytes),
        "rx_frames": cable(|c| c.received),
        "rx_bytes": cable(|c| c.received_bytes),
        "rx_placed": totals.iter().map(|t| t.frames.rx_placed).sum::<u64>(),
        "rx_drops": sum_of(&rx_drops),
        "tx_drops": sum_of(&tx_drops),
        "drops": rx_drops.iter().chain(&tx_drops).copied().collect::<BTreeMap<_, _>>(),
    })
}

/// A reason why frames are lost, and how many were.
type Drops = (&'static str, u64);

fn sum_of(drops: &[Drops]) -> u64 {
    drops.iter().map(|(_, count)| count).sum()
}

/// Every reason why a received frame does not reach host memory.
fn rx_drops(totals: &[Totals]) -> [Drops; 9] {
    let frames = |pick: fn(&FrameStats) -> u64| totals.iter().map(|t| pick(&t.frames)).sum();
    let runts = totals.iter().map(|t| t.cable.runts).sum();
    [
        ("rx_runt", runts),
        ("rx_off", frames(|f| f.rx_off)),
        ("rx_too_long", frames(|f| f.rx_too_long)),
        ("rx_filtered", frames(|f| f.rx_filtered)),
        ("rx_queue_off", frames(|f| f.rx_queue_off)),
        ("rx_no_completions", frames(|f| f.rx_no_completions)),
        ("rx_no_buffers", frames(|f| f.rx_no_buffers)),
        ("rx_buffer_full", frames(|f| f.rx_buffer_full)),
        ("rx_bad", frames(|f| f.rx_bad)),
    ]
}

/// Every reason why a packet that was to be sent does not reach the far end.
fn tx_drops(totals: &[Totals]) -> [Drops; 5] {
    let frames = |pick: fn(&FrameStats) -> u64| totals.iter().map(|t| pick(&t.frames)).sum();
    let cable = totals.iter().map(|t| t.cable.send_drops).sum();
    [
        ("tx_cable", cable),
        ("tx_bad", frames(|f| f.tx_bad)),
        ("tx_discarded", frames(|f| f.tx_discarded)),
        ("tx_inside", frames(|f| f.tx_inside)),
        ("tx_loopback_full", frames(|f| f.loopback_full)),
    ]
}
