// SPDX-License-Identifier: GPL-2.0
//! usage: frames NEAR NEAR_MAC FAR FAR_MAC out|in LENGTHS [SEED]
//!        frames wire SOCKET NEAR_MAC FAR_MAC LENGTHS [SEED]
//!        frames mirror INTERFACE
//!        frames send INTERFACE <PACKETS
//!        frames xdp INTERFACE TURNS PROGRAM...
//!        frames napi INTERFACE QUEUES
//!        frames watch INTERFACE
//!        frames devmem INTERFACE FAR_ADDRESS PORT [SEED]
//!
//! LENGTHS is the longest frame, or FIRST-LAST. Without FIRST it is 60 bytes.
//!
//! The first form sends frames of every length of these through the cable, from the
//! interface NEAR of this namespace to FAR of the namespace `far` or back, and compares what arrives
//! byte for byte. Each kind of frame also comes with the lengths around every boundary of a NIC.
//!
//! A few frames are on their way at a time, so that no queue of an honest NIC overflows: a single
//! lost, changed or doubled frame makes the exit status 1.
//!
//! `wire` does the same from outside of the guest, through a Unix socket onto the cable: the frames
//! go to NEAR_MAC and are expected back, from a `mirror` that runs on that interface in the guest
//! and ends after a minute without frames.
//!
//! `send` hands packets to a driver as the stack would: each line of its input is a `virtio_net_hdr`
//! and the packet behind it, in hexadecimal digits. The header can ask for checksums and segmentation.
//! A number after a space is that of bytes which the packet has behind the digits. They are random,
//! and the same whenever the same line is sent.
//!
//! `xdp` attaches XDP programs to the driver of an interface. A program is "one:", or "frags:" if it
//! takes frames in several pieces, and its instructions in hexadecimal digits. With 0 turns the first
//! one stays until the process is ended. Otherwise each turn attaches the first, puts the others in its
//! place one after the other, and detaches the last.
//!
//! `napi` binds a socket of AF_XDP to each of the first queues in turn and prints the numbers of the NAPI
//! contexts that serve them.
//!
//! `watch` reads every frame of an interface, in both directions, until a minute has passed without one.
//! While it has not read a frame that is being sent, the driver has to share the frame's data with it.
//!
//! `devmem` sends from memory that a device has exported, through a connection of INTERFACE to the
//! namespace `far`, and compares what arrives there.

mod device_memory;
mod kinds;
mod netlink;
mod packet_socket;
mod port;
mod program;
mod xdp_socket;

use device_memory::Binding;
use fastrand::Rng;
use packet_socket::{enter_namespace, PacketSocket};
use port::{Port, Wire};
use program::Program;
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

const SHORTEST: usize = 60;
const IN_FLIGHT: usize = 24;
/// Every frame ends in this and its number, by which it is known again.
const MARK: [u8; 4] = *b"\x9dFRM";
const TRAILER: usize = MARK.len() + 4;
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a mirror waits for frames.
const MIRROR_PATIENCE: Duration = Duration::from_secs(60);
/// Length of a `virtio_net_hdr`.
const OFFLOAD_HEADER: usize = 10;
/// How long a program stays attached when they take turns.
const TURN: Duration = Duration::from_millis(5);
/// How much memory is exported, in bytes, and how many parts of it are sent.
const DEVICE_MEMORY: usize = 64 << 10;
const DEVICE_PARTS: usize = 60;
/// Reports of single frames before the rest is only counted.
const REPORTS: usize = 10;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(tally) => {
            println!("{tally:?}");
            ExitCode::from(u8::from(!tally.is_perfect()))
        }
        Err(error) => {
            eprintln!("frames: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Tally, Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["mirror", interface] => mirror(interface),
        ["watch", interface] => watch(interface),
        ["devmem", interface, far, port, seed @ ..] => {
            devmem(interface, (*far, port.parse()?), seed)
        }
        ["send", interface] => send(interface),
        ["xdp", interface, turns, programs @ ..] => attach(interface, turns.parse()?, programs),
        ["napi", interface, queues] => napi(interface, queues.parse()?),
        ["wire", socket, near_mac, far_mac, lengths, seed @ ..] => {
            let receiver = Wire::open(socket.as_ref(), PATIENCE)?;
            let sender = Box::new(receiver.try_clone()?);
            let macs = [address(near_mac)?, address(far_mac)?];
            exchange(sender, Box::new(receiver), macs, lengths, seed)
        }
        [near, near_mac, far, far_mac, direction, lengths, seed @ ..] => {
            let near_socket = Box::new(PacketSocket::open(near, PATIENCE)?);
            enter_namespace("far")?;
            let far_socket = Box::new(PacketSocket::open(far, PATIENCE)?);
            let (near_mac, far_mac) = (address(near_mac)?, address(far_mac)?);
            match *direction {
                "out" => exchange(near_socket, far_socket, [far_mac, near_mac], lengths, seed),
                "in" => exchange(far_socket, near_socket, [near_mac, far_mac], lengths, seed),
                _ => Err("direction: out or in".into()),
            }
        }
        _ => Err("usage: see the head of main.rs".into()),
    }
}

/// Sends every frame of the plan and judges what comes back. `macs` are destination and source.
fn exchange(
    sender: Box<dyn Port>,
    receiver: Box<dyn Port>,
    macs: [[u8; 6]; 2],
    lengths: &str,
    seed: &[&str],
) -> Result<Tally, Error> {
    let seed = seed.first().map_or(Ok(1), |word| word.parse())?;
    let mut check = Check {
        sender,
        receiver,
        missing: HashMap::new(),
        tally: Tally::default(),
    };
    let mut rng = Rng::with_seed(seed);
    let (first, last) = lengths.split_once('-').unwrap_or(("", lengths));
    let first = if first.is_empty() {
        Ok(SHORTEST)
    } else {
        first.parse()
    };
    let plan = plan(&mut rng, first?.max(SHORTEST)..=last.parse()?);
    for (batch, work) in plan.chunks(IN_FLIGHT).enumerate() {
        for (index, &(kind, length)) in work.iter().enumerate() {
            let number = u32::try_from(batch * IN_FLIGHT + index)?;
            check.send(
                number,
                kind,
                frame(&mut rng, &macs.concat(), kind, length, number),
            )?;
        }
        check.receive()?;
        if check.tally.same == 0 {
            println!("nothing arrives, the rest is not sent");
            break;
        }
    }
    Ok(check.tally)
}

/// Sends every frame that bears the mark back as it came.
fn mirror(interface: &str) -> Result<Tally, Error> {
    let mut socket = PacketSocket::open(interface, MIRROR_PATIENCE)?;
    println!("ready");
    let mut tally = Tally::default();
    while let Some(frame) = socket.receive()? {
        if number_of(&frame).is_some() {
            socket.send(&frame)?;
            tally.sent += 1;
            tally.same += 1;
        }
    }
    Ok(tally)
}

/// Reads and counts frames in both directions.
fn watch(interface: &str) -> Result<Tally, Error> {
    let mut socket = PacketSocket::open(interface, MIRROR_PATIENCE)?;
    socket.see_outgoing()?;
    println!("ready");
    let mut tally = Tally::default();
    while socket.receive()?.is_some() {
        tally.sent += 1;
        tally.same += 1;
    }
    Ok(tally)
}

/// Sends parts of exported memory and compares what arrives; counts parts.
fn devmem(interface: &str, far: (&str, u16), seed: &[&str]) -> Result<Tally, Error> {
    let mut rng = Rng::with_seed(seed.first().map_or(Ok(1), |word| word.parse())?);
    let memory: Vec<u8> = std::iter::repeat_with(|| rng.u8(..))
        .take(DEVICE_MEMORY)
        .collect();
    let parts: Vec<(usize, usize)> = std::iter::repeat_with(|| {
        let offset = rng.usize(..DEVICE_MEMORY);
        (offset, rng.usize(1..=DEVICE_MEMORY - offset))
    })
    .take(DEVICE_PARTS)
    .collect();

    let binding = Binding::new(interface, &memory)?;
    // A thread is in a namespace of its own. The other end has to listen before anybody connects.
    let (listening, is_listening) = std::sync::mpsc::channel();
    let address = (far.0.to_string(), far.1);
    let listener = std::thread::spawn(move || -> Result<Vec<u8>, String> {
        let mut received = Vec::new();
        let mut receive = || -> Result<(), Error> {
            enter_namespace("far")?;
            let listener = TcpListener::bind((address.0.as_str(), address.1))?;
            listening.send(())?;
            listener.accept()?.0.read_to_end(&mut received)?;
            Ok(())
        };
        receive().map_err(|error| format!("the far end: {error}"))?;
        Ok(received)
    });
    if is_listening.recv().is_ok() {
        // The connection ends with the statement, and what is received with it.
        binding.send(&TcpStream::connect(far)?, &parts)?;
    }
    let received = listener.join().map_err(|_| "the far end panicked")??;

    let mut tally = Tally {
        sent: parts.len(),
        ..Tally::default()
    };
    let mut rest = received.as_slice();
    for (offset, length) in parts {
        let Some((part, others)) = rest.split_at_checked(length) else {
            break;
        };
        tally.same += usize::from(memory.get(offset..offset + length) == Some(part));
        rest = others;
    }
    Ok(tally)
}

/// Sends the packets of the standard input, each with the header that asks for offloads.
fn send(interface: &str) -> Result<Tally, Error> {
    let socket = PacketSocket::open(interface, PATIENCE)?;
    socket.take_offload_headers()?;
    let link = std::fs::read_to_string(format!("/sys/class/net/{interface}/type"))?;
    let ethernet = link.trim().parse() == Ok(libc::ARPHRD_ETHER);
    let mut tally = Tally::default();
    for line in std::io::stdin().lock().lines() {
        let packet = packet(line?.trim())?;
        if ethernet {
            socket.send(&packet)?;
        } else {
            socket.send_as(protocol(&packet)?, &packet)?;
        }
        tally.sent += 1;
        tally.same += 1;
    }
    Ok(tally)
}

/// The ethertype of an IP packet behind its `virtio_net_hdr`, for interfaces without Ethernet.
fn protocol(packet: &[u8]) -> Result<u16, Error> {
    match packet.get(OFFLOAD_HEADER).map(|byte| byte >> 4) {
        Some(4) => Ok(kinds::IPV4),
        Some(6) => Ok(kinds::IPV6),
        _ => Err("a packet that is not IP for an interface that is not Ethernet".into()),
    }
}

/// What a line of the input of `send` stands for.
fn packet(line: &str) -> Result<Vec<u8>, Error> {
    let (digits, more) = line.split_once(' ').unwrap_or((line, "0"));
    let mut packet = bytes(digits)?;
    let seed = packet.iter().fold(1, |seed: u64, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    let mut rng = Rng::with_seed(seed);
    packet.extend(std::iter::repeat_with(|| rng.u8(..)).take(more.parse()?));
    Ok(packet)
}

/// Attaches XDP programs and detaches them again, `turns` times; with 0 the first one stays.
fn attach(interface: &str, turns: usize, programs: &[&str]) -> Result<Tally, Error> {
    let load = |text: &&str| -> Result<Program, Error> {
        let (kind, code) = text.split_once(':').ok_or("a program is KIND:CODE")?;
        Ok(Program::load(&bytes(code)?, kind == "frags")?)
    };
    let programs = programs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let (first, others) = programs.split_first().ok_or("no program")?;
    let mut tally = Tally::default();
    while turns == 0 || tally.sent < turns {
        let attached = first.attach(interface)?;
        if turns == 0 {
            println!("attached");
            loop {
                std::thread::park();
            }
        }
        for program in others {
            std::thread::sleep(TURN);
            attached.replace(program)?;
        }
        std::thread::sleep(TURN);
        tally.sent += 1;
        tally.same += 1;
    }
    Ok(tally)
}

/// Prints the NAPI context of each of the first `queues` receive queues, 0 for none.
fn napi(interface: &str, queues: u32) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for queue in 0..queues {
        println!("{:#x}", xdp_socket::napi_of(interface, queue)?);
        tally.sent += 1;
        tally.same += 1;
    }
    Ok(tally)
}

fn bytes(digits: &str) -> Result<Vec<u8>, Error> {
    let pairs = digits.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs
        .map(|pair| Ok(u8::from_str_radix(pair?, 16)?))
        .collect()
}

/// Which frames to send: kind and length in bytes without the FCS.
fn plan(rng: &mut Rng, lengths: RangeInclusive<usize>) -> Vec<(&'static kinds::Kind, usize)> {
    let mut plan = Vec::new();
    for length in lengths.clone() {
        plan.push((fitting(rng, length), length));
    }
    let edges = [
        60usize,
        64,
        128,
        256,
        512,
        1024,
        1514,
        2048,
        4096,
        8192,
        *lengths.end(),
    ];
    for kind in kinds::ALL {
        for length in edges
            .iter()
            .flat_map(|edge| edge.saturating_sub(1)..=edge + 1)
        {
            if least(kind) <= length && lengths.contains(&length) {
                plan.push((kind, length));
            }
        }
    }
    plan
}

fn least(kind: &kinds::Kind) -> usize {
    SHORTEST.max(12 + kind.length + TRAILER)
}

/// Any kind whose headers and the trailer fit into `length` bytes.
fn fitting(rng: &mut Rng, length: usize) -> &'static kinds::Kind {
    loop {
        let kind = &kinds::ALL[rng.usize(..kinds::ALL.len())];
        if least(kind) <= length {
            return kind;
        }
    }
}

fn frame(rng: &mut Rng, macs: &[u8], kind: &kinds::Kind, length: usize, number: u32) -> Vec<u8> {
    let rest = length.saturating_sub(macs.len() + kind.length);
    let mut frame = [macs, &(kind.build)(rng, rest)].concat();
    frame.resize_with(length - TRAILER, || rng.u8(..));
    frame.extend(MARK);
    frame.extend(number.to_be_bytes());
    frame
}

fn number_of(frame: &[u8]) -> Option<u32> {
    let (mark, number) = frame.last_chunk::<TRAILER>()?.split_at(MARK.len());
    (mark == MARK).then(|| number.try_into().ok().map(u32::from_be_bytes))?
}

fn address(text: &str) -> Result<[u8; 6], Error> {
    let bytes: Result<Vec<u8>, _> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    bytes?
        .try_into()
        .map_err(|_| format!("{text} is no Ethernet address").into())
}

/// What has become of the frames.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    same: usize,
    lost: usize,
    changed: usize,
    /// With the number of a frame that was not awaited, or no longer.
    unexpected: usize,
}

impl Tally {
    fn is_perfect(&self) -> bool {
        self.sent > 0 && self.same == self.sent && self.changed + self.unexpected == 0
    }

    fn report(&self, text: &str) {
        if self.lost + self.changed + self.unexpected <= REPORTS {
            println!("{text}");
        }
    }
}

/// Both ends of the cable, and the frames between them.
struct Check {
    sender: Box<dyn Port>,
    receiver: Box<dyn Port>,
    missing: HashMap<u32, (&'static str, Vec<u8>)>,
    tally: Tally,
}

impl Check {
    fn send(&mut self, number: u32, kind: &kinds::Kind, frame: Vec<u8>) -> Result<(), Error> {
        self.sender
            .send(&frame)
            .map_err(|error| format!("sending {}, {} bytes: {error}", kind.name, frame.len()))?;
        self.tally.sent += 1;
        self.missing.insert(number, (kind.name, frame));
        Ok(())
    }

    /// Waits for everything on its way. Frames without our mark belong to somebody else.
    fn receive(&mut self) -> Result<(), Error> {
        while !self.missing.is_empty() {
            match self.receiver.receive()? {
                Some(frame) => {
                    if let Some(number) = number_of(&frame) {
                        self.judge(number, &frame);
                    }
                }
                None => self.give_up(),
            }
        }
        Ok(())
    }

    fn judge(&mut self, number: u32, got: &[u8]) {
        match self.missing.remove(&number) {
            Some((_, want)) if want == got => self.tally.same += 1,
            Some((kind, want)) => {
                self.tally.changed += 1;
                let at = want.iter().zip(got).take_while(|(a, b)| a == b).count();
                let (sent, came) = (want.len(), got.len());
                self.tally.report(&format!(
                    "{kind}: {sent} bytes sent, {came} came, differ at {at}"
                ));
            }
            None => {
                self.tally.unexpected += 1;
                self.tally
                    .report(&format!("frame {number} was not awaited"));
            }
        }
    }

    fn give_up(&mut self) {
        for (_, (kind, frame)) in std::mem::take(&mut self.missing) {
            self.tally.lost += 1;
            self.tally
                .report(&format!("{kind}, {} bytes: lost", frame.len()));
        }
    }
}
