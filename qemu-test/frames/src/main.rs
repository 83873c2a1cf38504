// SPDX-License-Identifier: GPL-2.0
//! usage: frames NEAR NEAR_MAC FAR FAR_MAC out|in LONGEST [SEED]
//!
//! Sends frames of every length from 60 bytes to LONGEST through the cable, from the interface NEAR
//! of this namespace to FAR of the namespace `far` or back, and compares what arrives byte for byte.
//! Each kind of frame also comes with the lengths around every boundary of a NIC.
//!
//! A few frames are on their way at a time, so that no queue of an honest NIC overflows: a single
//! lost, changed, doubled or overtaken frame of a flow makes the exit status 1.

mod kinds;
mod packet_socket;

use fastrand::Rng;
use packet_socket::{enter_namespace, PacketSocket};
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

const SHORTEST: usize = 60;
const IN_FLIGHT: usize = 24;
/// Every frame ends in this and its number, by which it is known again.
const MARK: [u8; 4] = *b"\x9dFRM";
const TRAILER: usize = MARK.len() + 4;
const PATIENCE: Duration = Duration::from_secs(2);
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
    let [near, near_mac, far, far_mac, direction, longest, seed @ ..] = words.as_slice() else {
        return Err("usage: frames NEAR NEAR_MAC FAR FAR_MAC out|in LONGEST [SEED]".into());
    };
    let seed = seed.first().map_or(Ok(1), |word| word.parse())?;
    let near_socket = PacketSocket::open(near, PATIENCE)?;
    enter_namespace("far")?;
    let far_socket = PacketSocket::open(far, PATIENCE)?;
    let (near_mac, far_mac) = (address(near_mac)?, address(far_mac)?);
    let (sender, receiver, macs) = match direction.as_str() {
        "out" => (near_socket, far_socket, [far_mac, near_mac]),
        "in" => (far_socket, near_socket, [near_mac, far_mac]),
        _ => return Err("direction: out or in".into()),
    };
    let mut check = Check {
        sender,
        receiver,
        missing: HashMap::new(),
        tally: Tally::default(),
    };
    let mut rng = Rng::with_seed(seed);
    let plan = plan(&mut rng, longest.parse()?);
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

/// Which frames to send: kind and length in bytes without the FCS.
fn plan(rng: &mut Rng, longest: usize) -> Vec<(&'static kinds::Kind, usize)> {
    let mut plan = Vec::new();
    for length in SHORTEST..=longest {
        plan.push((fitting(rng, length), length));
    }
    let edges = [
        60usize, 64, 128, 256, 512, 1024, 1514, 2048, 4096, 8192, longest,
    ];
    for kind in kinds::ALL {
        for length in edges
            .iter()
            .flat_map(|edge| edge.saturating_sub(1)..=edge + 1)
        {
            if (least(kind)..=longest).contains(&length) {
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
    sender: PacketSocket,
    receiver: PacketSocket,
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
