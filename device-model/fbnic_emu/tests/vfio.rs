// SPDX-License-Identifier: GPL-2.0
//! `fbnic-emu` as a whole, driven over its socket as a hypervisor would.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vfio_user::Client;

const BAR0: u32 = 0;
const BAR4: u32 = 4;
const CONFIG: u32 = 7;
const RAM: u64 = 1 << 20;
/// Where the guest's memory starts on the bus.
const BASE: u64 = 0x4000_0000;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running emulator with a directory of its own; both go when dropped.
struct Emulator {
    child: Child,
    dir: PathBuf,
}

impl Emulator {
    fn start(args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("fbnic-emu-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fbnic-emu"))
            .current_dir(&dir)
            .args(["--quiet", "--socket", "nic"])
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let emulator = Self { child, dir };
        wait_for("the socket", || emulator.socket().exists());
        emulator
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("nic")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "timed out waiting for {what}");
        sleep(Duration::from_millis(2));
    }
}

/// A hypervisor with a megabyte of guest memory.
struct Host {
    client: Client,
    ram: File,
}

impl Host {
    fn connect(socket: &Path) -> Self {
        let mut client = Client::new(socket).unwrap();
        let ram =
            File::from(rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        ram.set_len(RAM).unwrap();
        client.dma_map(0, BASE, RAM, ram.as_raw_fd()).unwrap();
        let mut host = Self { client, ram };
        // Memory decoding and bus mastering.
        host.write(CONFIG, 0x04, &[0x06, 0x00]);
        host
    }

    fn read(&mut self, region: u32, offset: u64) -> u32 {
        let mut buf = [0; 4];
        self.client.region_read(region, offset, &mut buf).unwrap();
        u32::from_le_bytes(buf)
    }

    fn write(&mut self, region: u32, offset: u64, bytes: &[u8]) {
        self.client.region_write(region, offset, bytes).unwrap();
    }

    fn csr_read(&mut self, csr: u32) -> u32 {
        self.read(BAR0, u64::from(csr) * 4)
    }

    fn csr_write(&mut self, csr: u32, value: u32) {
        self.write(BAR0, u64::from(csr) * 4, &value.to_le_bytes());
    }

    /// Writes a mailbox descriptor, the high half first as a driver must.
    fn post(&mut self, ring: u64, slot: u64, desc: u64) {
        let at = 0x1_8000 + 8 * (16 * ring + slot);
        self.write(BAR4, at + 4, &((desc >> 32) as u32).to_le_bytes());
        self.write(BAR4, at, &(desc as u32).to_le_bytes());
    }

    fn desc_low(&mut self, ring: u64, slot: u64) -> u32 {
        self.read(BAR4, 0x1_8000 + 8 * (16 * ring + slot))
    }

    /// Opens the gates and exchanges capabilities; returns what the firmware sent.
    fn capabilities(&mut self) -> Vec<u8> {
        self.csr_write(0x3103d, 1 << 18);
        self.csr_write(0x3103e, 1 << 18);
        self.post(0, 0, 4096 << 48 | (BASE + 0x1000) | 1);
        // HOST_CAP_REQ: a message of one dword without attributes.
        self.ram.write_all_at(&[0x10, 0x80, 0x01, 0x00], 0).unwrap();
        self.post(1, 0, 4 << 48 | 1 << 46 | BASE | 1);
        wait_for("the answer", || self.desc_low(0, 0) & 2 != 0);
        let mut message = vec![0; 256];
        self.ram.read_exact_at(&mut message, 0x1000).unwrap();
        message
    }
}

#[test]
fn identity_and_serial_number_are_those_of_the_guide() {
    let emulator = Emulator::start(&["--mac", "02:11:22:33:44:55"]);
    let mut host = Host::connect(&emulator.socket());
    assert_eq!(host.read(CONFIG, 0), 0x0013_1d9b);
    assert_eq!(host.read(CONFIG, 0x104), 0xfe33_4455);
    assert_eq!(host.read(CONFIG, 0x108), 0x0211_22ff);
    let sizes: Vec<u64> = [0, 2, 4, 7]
        .into_iter()
        .map(|index| host.client.region(index).map_or(0, |region| region.size))
        .collect();
    assert_eq!(sizes, [0x20_0000, 0x4000, 0x2_0000, 4096]);
}

#[test]
fn the_firmware_answers_and_interrupts() {
    let emulator = Emulator::start(&[]);
    let mut host = Host::connect(&emulator.socket());
    let event =
        File::from(rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap());
    let fds = [event.as_raw_fd()];
    host.client.set_irqs(2, 0x24, 0, 1, &fds).unwrap();
    assert_eq!(host.csr_read(0) & 1, 1, "the firmware announces itself");
    host.csr_write(0x18, 1);
    host.csr_write(0x38, 1);
    let message = host.capabilities();
    assert_eq!(message[..2], [0x11, 0x80]);
    wait_for("the interrupt", || {
        let mut count = [0; 8];
        (&event).read(&mut count).is_ok()
    });
}

#[test]
fn nothing_reaches_memory_while_the_gates_are_shut() {
    let emulator = Emulator::start(&[]);
    let mut host = Host::connect(&emulator.socket());
    host.csr_write(0x3103e, 1 << 18);
    host.post(0, 0, 4096 << 48 | (BASE + 0x1000) | 1);
    host.ram.write_all_at(&[0x10, 0x80, 0x01, 0x00], 0).unwrap();
    host.post(1, 0, 4 << 48 | 1 << 46 | BASE | 1);
    wait_for("the request to be taken", || host.desc_low(1, 0) & 2 != 0);
    sleep(Duration::from_millis(50));
    assert_eq!(host.desc_low(0, 0) & 2, 0);
    host.csr_write(0x3103d, 1 << 18);
    wait_for("the answer", || host.desc_low(0, 0) & 2 != 0);
}

#[test]
fn a_function_level_reset_clears_registers_and_keeps_the_link() {
    let emulator = Emulator::start(&["--cable", "loopback"]);
    let mut host = Host::connect(&emulator.socket());
    host.capabilities();
    wait_for("the link", || host.csr_read(0x11808) == 1 << 27 | 0xf << 1);
    host.csr_write(0x40020, 0x1234_5680);
    host.write(CONFIG, 0x58, &[0x10, 0xa8]);
    assert_eq!(host.csr_read(0x40020), 0);
    assert_eq!(host.csr_read(0x3103d), 0);
    assert_eq!(host.desc_low(0, 0), 0);
    assert_eq!(host.csr_read(0x11808), 1 << 27 | 0xf << 1);
    assert_eq!(host.read(CONFIG, 4) & 0x6, 0);
    host.write(CONFIG, 0x04, &[0x06, 0x00]);
    host.capabilities();
}

#[test]
fn the_next_hypervisor_finds_a_fresh_device() {
    let emulator = Emulator::start(&[]);
    for _ in 0..3 {
        let mut host = Host::connect(&emulator.socket());
        assert_eq!(host.csr_read(0x40020), 0);
        host.capabilities();
        host.csr_write(0x40020, 0x1234_5680);
    }
}

#[test]
fn malformed_messages_cost_one_connection() {
    let emulator = Emulator::start(&[]);
    let header = |command: u16, size: u32| {
        let mut bytes = vec![1, 0];
        bytes.extend(command.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 8]);
        bytes
    };
    let mut hostile: Vec<Vec<u8>> = (0..20).map(|command| header(command, 16)).collect();
    // A version whose size underflows, one without its terminator, one that is not JSON.
    hostile.push([header(1, 3), vec![0; 64]].concat());
    hostile.push([header(1, 24), vec![0, 0, 0, 0], b"{}{}".to_vec()].concat());
    hostile.push([header(1, 24), vec![0, 0, 0, 0], b"???\0".to_vec()].concat());
    // Reads and writes far outside of everything, and of no region.
    let access = |command, region: u32, offset: u64, count: u32| {
        let mut bytes = header(command, 32 + count.min(64));
        bytes.extend(offset.to_le_bytes());
        bytes.extend(region.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(vec![0xa5; count.min(64) as usize]);
        bytes
    };
    for region in [0, 2, 4, 7, 99] {
        for offset in [1, 0x1f_fffd, u64::MAX - 1] {
            hostile.push(access(9, region, offset, 8));
            hostile.push(access(10, region, offset, 8));
        }
    }
    for bytes in hostile {
        let mut stream = UnixStream::connect(emulator.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        // The emulator may hang up in the middle; that is its right.
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 64]);
    }
    Host::connect(&emulator.socket()).capabilities();
}

#[test]
fn a_want_of_descriptors_ends_nothing() {
    use rustix::process::{getrlimit, prlimit, Pid, Resource, Rlimit};
    let emulator = Emulator::start(&[]);
    // After an answer all threads have what they need.
    Host::connect(&emulator.socket()).capabilities();
    let set = |limit| {
        prlimit(
            Some(Pid::from_child(&emulator.child)),
            Resource::Nofile,
            limit,
        )
    };
    let none_left = Rlimit {
        current: Some(3),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = set(none_left).unwrap();
    assert_eq!(before.current, before.maximum, "as many as the system has");
    // An accept() that waits has its descriptor already: the one after this client gets none.
    drop(UnixStream::connect(emulator.socket()).unwrap());
    sleep(Duration::from_millis(100));
    set(before).unwrap();
    Host::connect(&emulator.socket()).capabilities();
}

#[test]
fn random_register_writes_do_no_harm() {
    let emulator = Emulator::start(&["--cable", "loopback"]);
    let mut host = Host::connect(&emulator.socket());
    host.csr_write(0x3103d, 1 << 18);
    host.csr_write(0x3103e, 1 << 18);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let (value, pick) = (random() as u32, random());
        match pick % 4 {
            // The queue sets, with ring addresses inside memory half of the time.
            0 | 1 => {
                let csr = 0x40000 + 0x400 * (pick >> 8 & 3) as u32 + (pick >> 16 & 0x2ff) as u32;
                let value = if value & 1 == 0 {
                    value
                } else {
                    BASE as u32 + (value & 0xfff80)
                };
                host.csr_write(csr, value);
            }
            2 => host.csr_write((pick >> 8) as u32 % 0x9000, value),
            _ => host.write(BAR4, 0x1_8000 + (pick >> 8 & 0xfc), &value.to_le_bytes()),
        }
    }
    drop(host);
    Host::connect(&emulator.socket()).capabilities();
}

#[test]
fn a_signal_removes_the_sockets_and_a_kill_leaves_one_that_is_replaced() {
    let mut emulator = Emulator::start(&["--cable", "unix-listen:wire", "--control", "ctl"]);
    wait_for("the control socket", || emulator.dir.join("ctl").exists());
    emulator.signal(rustix::process::Signal::TERM);
    assert!(emulator.child.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(&emulator.dir).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    let mut killed = Emulator::start(&[]);
    killed.signal(rustix::process::Signal::KILL);
    killed.child.wait().unwrap();
    assert!(killed.socket().exists());
    killed.child = Command::new(env!("CARGO_BIN_EXE_fbnic-emu"))
        .current_dir(&killed.dir)
        .args(["--quiet", "--socket", "nic"])
        .spawn()
        .unwrap();
    wait_for("the new socket", || {
        UnixStream::connect(killed.socket()).is_ok()
    });
}

#[test]
fn counters_come_as_json() {
    let emulator = Emulator::start(&["--control", "ctl"]);
    let mut host = Host::connect(&emulator.socket());
    host.csr_write(0x40002, 1);
    host.csr_read(0x0c41b);
    let stream = UnixStream::connect(emulator.dir.join("ctl")).unwrap();
    let mut lines = BufReader::new(&stream);
    (&stream).write_all(b"stats\nnonsense\n").unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let stats: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(stats["mmio_writes_by"]["twq_tail"], 1);
    assert_eq!(stats["mmio_reads"], 1);
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("unknown request"));
}

#[test]
fn help_lists_requests_that_exist() {
    let emulator = Emulator::start(&["--control", "ctl"]);
    wait_for("the control socket", || emulator.dir.join("ctl").exists());
    let stream = UnixStream::connect(emulator.dir.join("ctl")).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let mut ask = |request: &str| -> serde_json::Value {
        writeln!(&stream, "{request}").unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    let help = ask("help");
    let requests = help["help"].as_array().unwrap();
    assert!(!requests.is_empty());
    for request in requests {
        let word = request.as_str().unwrap().split([' ', ':']).next().unwrap();
        // Without what belongs to it a request may make no sense, but it is known.
        let answer = ask(word).to_string();
        assert!(!answer.contains("unknown request"), "{word}: {answer}");
    }
    for (request, existing) in [
        ("arm {\"fault\": {\"x\": {}}}", "unplugged"),
        ("do {\"x\": {}}", "fw_restart"),
        ("x", "help"),
    ] {
        let answer = ask(request)["error"].to_string();
        assert!(answer.contains(existing), "{answer}");
    }
}

#[test]
fn two_nics_are_joined_by_a_cable() {
    let emulator = Emulator::start(&["--socket", "second"]);
    for socket in ["nic", "second"] {
        let mut host = Host::connect(&emulator.dir.join(socket));
        wait_for("the link", || host.csr_read(0x11808) >> 27 & 1 == 1);
    }
}
