// SPDX-License-Identifier: GPL-2.0
//! The control socket: a line protocol for benchmarks and tests.
//!
//! A request is one line of text, the answer one line of JSON. The only request is `stats`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fbnic_model::stats::{BusStats, Counter};
use fbnic_model::Device;
use serde_json::{json, Value};

use crate::socket::{self, SocketPath};

/// Bytes of the longest request.
const LONGEST_REQUEST: u64 = 4096;

/// Serves requests about `devices` at `path` as long as the process lives.
pub fn start(path: &Path, devices: Vec<Arc<Device>>) -> io::Result<SocketPath> {
    let (listener, guard) = socket::listen(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path:?}: {error}")))?;
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            // One client at a time: a second one waits.
            for stream in listener.incoming() {
                if let Err(error) = stream.and_then(|stream| serve(&stream, &devices)) {
                    log::debug!("control connection: {error}");
                }
            }
        })?;
    Ok(guard)
}

fn serve(stream: &UnixStream, devices: &[Arc<Device>]) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LONGEST_REQUEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match line.trim() {
            "stats" => stats(devices),
            other => json!({ "error": format!("unknown request {other:?}") }),
        };
        writeln!(writer, "{answer}")?;
    }
}

/// The counters of all devices together.
fn stats(devices: &[Arc<Device>]) -> Value {
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
