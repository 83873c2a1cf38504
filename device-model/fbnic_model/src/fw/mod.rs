// SPDX-License-Identifier: GPL-2.0
//! The control firmware: what answers in the mailbox (guide, sections 14 to 17).
//!
//! The bus thread calls [`Firmware::read`] and [`Firmware::write`] for BAR4, the worker
//! [`Firmware::service`] when one of them says there is work. One short lock orders them.
//!
//! Not implemented: messages the Linux driver does not know (EEPROM access, SerDes modes,
//! unsolicited alarms).

mod command;
mod mailbox;
mod qsfp;
pub mod tlv;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fbnic_defs::fw::msg;
use parking_lot::Mutex;

use crate::dma::Dma;
use crate::fault::{firmware as fault, Faults, Hook};
use crate::intr::Intr;
pub use command::HostState;
use command::{known_attribute, Commands};
use mailbox::{Mailbox, Ring};
use tlv::Message;

/// First dword of the mailbox in BAR4.
const IPC_FIRST: u32 = 0x6000;
/// Messages kept while the host has posted no buffer; more are dropped and logged.
const MAX_WAITING: usize = 64;
/// Longest time a fault can hold back an answer.
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// Vector of the mailbox.
const VECTOR: u8 = 0;

/// What the firmware says of itself and of the board.
#[derive(Clone, Debug)]
pub struct FwConfig {
    /// Running version: major, minor, patch, build from the highest byte down.
    pub version: u32,
    /// LINK_SPEED: 1 = 25G, 2 = 50G on two lanes, 3 = 50G on one, 4 = 100G.
    pub link_speed: u32,
    /// Commit of the running version.
    pub commit: String,
    /// LINK_FEC: 1 = none, 2 = RS, 3 = BASE-R.
    pub link_fec: u32,
    /// Addresses of the board's management controller; empty: there is none.
    pub bmc_macs: Vec<[u8; 6]>,
}

impl Default for FwConfig {
    fn default() -> Self {
        Self {
            version: 0x1907_1902,
            commit: "emulated".into(),
            link_speed: 4,
            link_fec: 2,
            bmc_macs: Vec::new(),
        }
    }
}

/// The firmware and its side of the mailbox.
pub struct Firmware {
    state: Mutex<State>,
    /// Some answers are held back until their time.
    delayed: AtomicBool,
}

struct State {
    mailbox: Mailbox,
    commands: Commands,
    waiting: VecDeque<Vec<u8>>,
    /// Answers a fault holds back, with the time they go.
    delayed: Vec<(Instant, Vec<u8>)>,
    dropped: u64,
    booted: Instant,
}

impl Firmware {
    /// The firmware just started. Call [`Self::reset`] once interrupts can be raised.
    pub fn new(config: FwConfig) -> Self {
        Self {
            state: Mutex::new(State {
                mailbox: Mailbox::new(),
                commands: Commands::new(config),
                waiting: VecDeque::new(),
                delayed: Vec::new(),
                dropped: 0,
                booted: Instant::now(),
            }),
            delayed: AtomicBool::new(false),
        }
    }

    /// A function-level or slot reset: empty rings, heads at 0, nothing in flight. The firmware
    /// itself goes on running and announces itself to the host.
    pub fn reset(&self, intr: &Intr) {
        let mut state = self.state.lock();
        state.mailbox = Mailbox::new();
        state.forget();
        intr.raise(VECTOR);
    }

    /// A restart of the firmware: its uptime begins anew and it forgets what the host asked.
    ///
    /// The descriptors are shared memory and survive, unless `mailbox` says otherwise.
    pub fn restart(&self, mailbox: bool, intr: &Intr) {
        let mut state = self.state.lock();
        log::info!("firmware restarts");
        state.booted = Instant::now();
        state.forget();
        match mailbox {
            true => state.mailbox = Mailbox::new(),
            false => state.mailbox.find_place(),
        }
        intr.raise(VECTOR);
    }

    /// Changes what the firmware announces from now on.
    pub fn configure(&self, change: impl FnOnce(&mut FwConfig)) {
        change(self.state.lock().commands.config());
    }

    /// What the host has told the firmware.
    pub fn host(&self) -> HostState {
        self.state.lock().commands.host().clone()
    }

    /// Sends `message` to the host as if the firmware had thought of it by itself. The caller
    /// sees to it that [`Self::service`] is called.
    pub fn send(&self, message: Vec<u8>) {
        self.state.lock().enqueue(message);
    }

    /// When [`Self::service`] is to be called although nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_waiting() {
            return None;
        }
        self.state.lock().delayed.iter().map(|(at, _)| *at).min()
    }

    /// Whether [`Self::service`] has something to do that no host's access announced.
    pub fn is_waiting(&self) -> bool {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Reads dword `dword` of BAR4. The CRM region reads 0: OTP is healthy.
    pub fn read(&self, dword: u32) -> u32 {
        dword
            .checked_sub(IPC_FIRST)
            .and_then(|at| self.state.lock().mailbox.read(at as usize))
            .unwrap_or(0)
    }

    /// Writes dword `dword` of BAR4; true if the worker has to call [`Self::service`].
    pub fn write(&self, dword: u32, value: u32, intr: &Intr, faults: &Faults) -> bool {
        let Some(at) = dword.checked_sub(IPC_FIRST) else {
            return false;
        };
        let ring = self.state.lock().mailbox.write(at as usize, value);
        if ring == Some(Ring::Tx) && !faults.firmware_dead() {
            // The bring-up handshake waits for this answer to any write of the ring.
            intr.raise(VECTOR);
        }
        ring.is_some()
    }

    /// Takes the host's messages and hands over the answers, as far as the host let DMA in.
    pub fn service(&self, dma: &Dma<'_>, intr: &Intr) {
        let mut state = self.state.lock();
        let faults = dma.faults(Hook::Firmware);
        if faults.is_some_and(Faults::firmware_dead) {
            return;
        }
        let refuse = |bytes: &[u8]| {
            faults.is_some_and(|faults| {
                Message::peek_id(bytes).is_some_and(|id| faults.request_refused(id))
            })
        };
        let mut progress = false;
        while let Some(message) = state.mailbox.receive(dma, refuse) {
            progress = true;
            match message {
                Ok(bytes) => state.handle(&bytes, faults),
                Err(error) => log::warn!("firmware: cannot read a message: {error}"),
            }
        }
        state.release(Instant::now());
        self.delayed
            .store(!state.delayed.is_empty(), Ordering::Relaxed);
        while let Some(message) = state.next() {
            if !state.mailbox.send(dma, &message) {
                state.waiting.push_front(message);
                break;
            }
            progress = true;
        }
        if progress {
            intr.raise(VECTOR);
        }
    }
}

impl State {
    /// Forgets the host: what it asked, and what was on its way to it.
    fn forget(&mut self) {
        self.waiting.clear();
        self.delayed.clear();
        self.commands.host_reset();
    }

    /// Puts delayed answers whose time has come among those that wait for a buffer.
    fn release(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.delayed = later;
        let due: Vec<(Instant, Vec<u8>)> = due;
        due.into_iter().for_each(|(_, answer)| self.enqueue(answer));
    }

    /// Takes the next message for the host out of those that wait. Lines of the log that found no
    /// room among them come last.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            match self.commands.new_log_lines(self.room()) {
                Ok(lines) => self.waiting.extend(lines),
                Err(error) => log::warn!("firmware: log: {error}"),
            }
        }
        self.waiting.pop_front()
    }

    /// How many more messages may wait.
    fn room(&self) -> usize {
        MAX_WAITING.saturating_sub(self.waiting.len())
    }

    /// Acts on one message of the host.
    fn handle(&mut self, bytes: &[u8], faults: Option<&Faults>) {
        let message = match Message::parse(bytes, known_attribute) {
            Ok(message) => message,
            Err(error) => {
                log::warn!("firmware: bad message: {error}: {:02x?}", excerpt(bytes));
                return;
            }
        };
        log::debug!("firmware: message {:#x}", message.id());
        let uptime = u64::try_from(self.booted.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answers = match message.id() {
            msg::TEST => Ok(vec![bytes.to_vec()]),
            _ => self.commands.answer(&message, uptime, self.room()),
        };
        match answers {
            Ok(answers) => self.deliver(message.id(), answers, faults),
            Err(error) => log::warn!("firmware: message {:#x}: {error}", message.id()),
        }
    }

    /// Sends the answers to request `id`, or what a fault makes of them.
    fn deliver(&mut self, id: u16, answers: Vec<Vec<u8>>, faults: Option<&Faults>) {
        match faults.and_then(|faults| faults.answers(id)) {
            None => answers.into_iter().for_each(|answer| self.enqueue(answer)),
            Some(fault::Answers::Silence) => {}
            Some(fault::Answers::Late(delay)) => {
                let due = Instant::now() + delay.min(LONGEST_DELAY);
                let room = MAX_WAITING.saturating_sub(self.delayed.len());
                let late = answers.into_iter().take(room).map(|answer| (due, answer));
                self.delayed.extend(late);
            }
            Some(fault::Answers::Error(error)) => {
                let id = |answer: &Vec<u8>| Message::peek_id(answer);
                for id in answers.iter().filter_map(id) {
                    if let Some(Ok(answer)) = fault::error_answer(id, error) {
                        self.enqueue(answer);
                    }
                }
            }
            Some(fault::Answers::Replaced(bytes)) => self.enqueue(bytes),
            Some(fault::Answers::Mangled(how, chance)) => {
                for answer in answers {
                    self.enqueue(fault::mangle(answer, how, chance));
                }
            }
        }
    }

    fn enqueue(&mut self, message: Vec<u8>) {
        if self.room() > 0 {
            self.waiting.push_back(message);
            return;
        }
        self.dropped += 1;
        if self.dropped.is_power_of_two() {
            log::warn!(
                "firmware: the host takes no messages, {} dropped",
                self.dropped
            );
        }
    }
}

/// As much of a message as a log line bears.
fn excerpt(bytes: &[u8]) -> &[u8] {
    bytes.get(..64).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::tlv::Builder;
    use super::*;

    fn request(state: &mut State, request: Builder) {
        state.handle(&request.finish().unwrap(), None);
    }

    #[test]
    fn a_long_log_arrives_whole_and_in_order() {
        let firmware = Firmware::new(FwConfig::default());
        let mut state = firmware.state.lock();
        // The first line is that of the start; all but the last 256 are forgotten.
        for n in 1..=300 {
            let owner = Builder::new(msg::OWNERSHIP_REQ).flag(0, n % 2 != 0);
            request(&mut state, owner);
            state.waiting.clear();
        }
        let on = Builder::new(msg::LOG_SEND_LOGS_REQ).flag(0, true);
        request(&mut state, on.u32(1, 1).flag(2, true));
        let mut indices = Vec::new();
        while let Some(line) = state.next() {
            assert!(state.waiting.len() < MAX_WAITING);
            let line = Message::parse(&line, |_, _| true).unwrap();
            assert_eq!(line.id(), msg::LOG_MSG_REQ);
            let index = line.bytes(1).unwrap().try_into().unwrap();
            indices.push(u64::from_le_bytes(index));
        }
        assert_eq!(indices, (45..=300).collect::<Vec<_>>());
        assert_eq!(state.dropped, 0);
    }
}
