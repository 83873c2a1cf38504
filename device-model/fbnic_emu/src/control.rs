// SPDX-License-Identifier: GPL-2.0
//! The control socket: a line protocol for benchmarks and tests.
//!
//! A request is one line, a word and for some words a JSON object; the answer is one line of JSON,
//! `{"error": ...}` if the request made no sense. With several NICs a request is for the first
//! unless it begins with `nic N`. `help` lists the requests.

mod stats;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fbnic_model::fault::spec::Deed;
use fbnic_model::Device;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::{json, Value};

use crate::socket::{self, SocketPath};

/// Bytes of the longest request: an armed message of a whole page takes two digits per byte.
const LONGEST_REQUEST: u64 = 16_384;
/// Longest `sleep`.
const LONGEST_SLEEP_MS: u64 = 600_000;

/// The requests, with what each does or answers.
const REQUESTS: [(&str, &str); 11] = [
    (
        "help",
        "this list; a request for another than the first NIC begins with: nic N",
    ),
    ("stats", "the counters, of all NICs together"),
    (
        "arm {\"fault\": {..}, \"when\": {..}}",
        "arms a fault and answers its number; one that does not exist is answered with all that do",
    ),
    ("disarm [N]", "disarms fault N, or all"),
    ("faults", "the seed and what is armed"),
    ("seed N", "disarms all; chance follows N from now on"),
    (
        "do {\"deed\": {..}}",
        "does something at once; what does not exist is answered with all that does",
    ),
    (
        "csr {\"first\": N, \"last\": N}",
        "registers as they are, by dword, without the effects of a read",
    ),
    (
        "fw_window {\"first\": N, \"last\": N}",
        "the same of the firmware window",
    ),
    (
        "fw_host",
        "what the host has told the firmware: ownership, addresses",
    ),
    ("sleep MS", "waits; for scripts"),
];

/// Serves requests about `devices` at `path` as long as the process lives.
pub fn start(path: &Path, devices: Vec<Arc<Device>>) -> io::Result<SocketPath> {
    let (listener, guard) = socket::listen(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path:?}: {error}")))?;
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            // One client at a time: a second one waits.
            for stream in listener.incoming() {
                match stream.map(|stream| serve(&stream, &devices)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::debug!("control connection: {error}"),
                    Err(error) => socket::pause_after(&error),
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
        let answer = answer(&line, devices).unwrap_or_else(|error| json!({ "error": error }));
        writeln!(writer, "{answer}")?;
    }
}

/// Carries out a file of requests, one per line; empty lines and comments (`#`) are skipped.
///
/// It runs to its first `sleep` before this returns, the rest on a thread of its own, so that
/// what it arms first is armed before a hypervisor connects.
pub fn run_script(text: &str, devices: &[Arc<Device>]) -> io::Result<()> {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("sleep"))
        .unwrap_or(lines.len());
    let (now, later) = lines.split_at(first);
    for line in now {
        answer(line, devices).map_err(|error| io::Error::other(format!("{line}: {error}")))?;
    }
    let (later, devices) = (later.to_vec(), devices.to_vec());
    thread::Builder::new()
        .name("script".into())
        .spawn(move || {
            for line in later {
                if let Err(error) = answer(&line, &devices) {
                    log::error!("script: {line}: {error}");
                }
            }
        })?;
    Ok(())
}

/// A range of registers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    first: u32,
    last: u32,
}

/// Carries out one request.
fn answer(line: &str, devices: &[Arc<Device>]) -> Result<Value, String> {
    let (line, device) = addressee(line.trim(), devices)?;
    let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    Ok(match verb {
        "help" => help(),
        "stats" => stats::stats(devices),
        "arm" => json!({ "id": device.arm(object(rest)?) }),
        "disarm" => {
            let id = if rest.is_empty() {
                None
            } else {
                Some(number(rest)?)
            };
            json!({ "disarmed": device.disarm(id) })
        }
        "faults" => {
            let (seed, armed) = device.hw().faults.list();
            json!({ "seed": seed, "armed": armed })
        }
        "seed" => {
            device.hw().faults.seed(number(rest)?);
            json!({})
        }
        "do" => {
            device.inflict(object::<Deed>(rest)?);
            json!({})
        }
        "csr" => {
            let Range { first, last } = object(rest)?;
            json!({ "csr": device.peek_csrs(first, last) })
        }
        "fw_window" => {
            let Range { first, last } = object(rest)?;
            json!({ "fw_window": device.peek_window(first, last) })
        }
        "fw_host" => {
            let host = device.firmware_host();
            json!({
                "owned": host.owned,
                "unicast": addresses(&host.unicast),
                "multicast": addresses(&host.multicast),
                "rx_flags": host.rx_flags,
            })
        }
        "sleep" => {
            thread::sleep(Duration::from_millis(number(rest)?.min(LONGEST_SLEEP_MS)));
            json!({})
        }
        other => return Err(format!("unknown request {other:?}; help lists all")),
    })
}

fn help() -> Value {
    let line = |(request, what): (&str, &str)| format!("{request}: {what}");
    json!({ "help": REQUESTS.map(line) })
}

/// Splits off `nic N`; what is left of the line, and the device it is for.
fn addressee<'a, 'd>(
    line: &'a str,
    devices: &'d [Arc<Device>],
) -> Result<(&'a str, &'d Device), String> {
    let (index, line) = match line.strip_prefix("nic ") {
        None => (0, line),
        Some(rest) => {
            let (index, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            (number(index)?, rest)
        }
    };
    let device = usize::try_from(index).ok().and_then(|at| devices.get(at));
    device
        .map(|device| (line.trim_start(), device.as_ref()))
        .ok_or_else(|| format!("there is no NIC {index}"))
}

fn object<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Ethernet addresses as people write them.
fn addresses(list: &[[u8; 6]]) -> Vec<String> {
    let text = |mac: &[u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    list.iter().map(text).collect()
}

fn number(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is no number"))
}
