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
use std::time::Instant;

use fbnic_defs::fw::msg;
use parking_lot::Mutex;

use crate::dma::Dma;
use crate::intr::Intr;
use command::{known_attribute, Commands};
use mailbox::{Mailbox, Ring};
use tlv::Message;

/// First dword of the mailbox in BAR4.
const IPC_FIRST: u32 = 0x6000;
/// Messages kept while the host has posted no buffer; more are dropped and logged.
const MAX_WAITING: usize = 64;
/// Vector of the mailbox.
const VECTOR: u8 = 0;

/// What the firmware says of itself and of the board.
#[derive(Clone, Debug)]
pub struct FwConfig {
    /// Running version: major, minor, patch, build from the highest byte down.
    pub version: u32,
    /// LINK_SPEED: 1 = 25G, 2 = 50G on two lanes, 3 = 50G on one, 4 = 100G.
    pub link_speed: u32,
    /// LINK_FEC: 1 = none, 2 = RS, 3 = BASE-R.
    pub link_fec: u32,
    /// Addresses of the board's management controller; empty: there is none.
    pub bmc_macs: Vec<[u8; 6]>,
}

impl Default for FwConfig {
    fn default() -> Self {
        Self {
            version: 0x1907_1902,
            link_speed: 4,
            link_fec: 2,
            bmc_macs: Vec::new(),
        }
    }
}

/// The firmware and its side of the mailbox.
pub struct Firmware {
    state: Mutex<State>,
}

struct State {
    mailbox: Mailbox,
    commands: Commands,
    waiting: VecDeque<Vec<u8>>,
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
                dropped: 0,
                booted: Instant::now(),
            }),
        }
    }

    /// A function-level or slot reset: empty rings, heads at 0, nothing in flight. The firmware
    /// itself goes on running and announces itself to the host.
    pub fn reset(&self, intr: &Intr) {
        let mut state = self.state.lock();
        state.mailbox = Mailbox::new();
        state.waiting.clear();
        state.commands.host_reset();
        intr.raise(VECTOR);
    }

    /// A restart of the firmware: its uptime begins anew and it forgets what the host asked.
    pub fn restart(&self, intr: &Intr) {
        self.state.lock().booted = Instant::now();
        self.reset(intr);
    }

    /// Reads dword `dword` of BAR4. The CRM region reads 0: OTP is healthy.
    pub fn read(&self, dword: u32) -> u32 {
        dword
            .checked_sub(IPC_FIRST)
            .and_then(|at| self.state.lock().mailbox.read(at as usize))
            .unwrap_or(0)
    }

    /// Writes dword `dword` of BAR4; true if the worker has to call [`Self::service`].
    pub fn write(&self, dword: u32, value: u32, intr: &Intr) -> bool {
        let Some(at) = dword.checked_sub(IPC_FIRST) else {
            return false;
        };
        let ring = self.state.lock().mailbox.write(at as usize, value);
        if ring == Some(Ring::Tx) {
            // The bring-up handshake waits for this answer to any write of the ring.
            intr.raise(VECTOR);
        }
        ring.is_some()
    }

    /// Takes the host's messages and hands over the answers, as far as the host let DMA in.
    pub fn service(&self, dma: &Dma<'_>, intr: &Intr) {
        let mut state = self.state.lock();
        let mut progress = false;
        while let Some(message) = state.mailbox.receive(dma) {
            progress = true;
            match message {
                Ok(bytes) => state.handle(&bytes),
                Err(error) => log::warn!("firmware: cannot read a message: {error}"),
            }
        }
        while let Some(message) = state.waiting.pop_front() {
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
    /// Acts on one message of the host.
    fn handle(&mut self, bytes: &[u8]) {
        let message = match Message::parse(bytes, known_attribute) {
            Ok(message) => message,
            Err(error) => {
                log::warn!("firmware: bad message: {error}: {:02x?}", excerpt(bytes));
                return;
            }
        };
        log::debug!("firmware: message {:#x}", message.id());
        if message.id() == msg::TEST {
            self.enqueue(bytes.to_vec());
            return;
        }
        let uptime = u64::try_from(self.booted.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.commands.answer(&message, uptime) {
            Ok(answers) => answers.into_iter().for_each(|answer| self.enqueue(answer)),
            Err(error) => log::warn!("firmware: message {:#x}: {error}", message.id()),
        }
    }

    fn enqueue(&mut self, message: Vec<u8>) {
        if self.waiting.len() < MAX_WAITING {
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
