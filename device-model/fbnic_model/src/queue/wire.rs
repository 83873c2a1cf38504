// SPDX-License-Identifier: GPL-2.0
//! The MAC's side of the cable: frames gathered into batches, back-pressure, loopback.

use std::time::{Duration, Instant};

use fbnic_defs::csr as r;
use net_backend::{Endpoint, FrameBatch, Mark, BATCH_CAPACITY};

use super::counters::Counters;
use crate::hw::Hw;

/// A far end that takes nothing for so long gets its frames discarded, as a real
/// cable would lose them; until then they wait in the transmit rings.
const BLOCKED_LIMIT: Duration = Duration::from_secs(1);

/// The cable with the batch that is being filled for it.
pub(super) struct Wire {
    pub cable: Box<dyn Endpoint>,
    batch: FrameBatch,
    /// Frames the MAC sends back to its own receiver (LOOPBACK_EN).
    returned: FrameBatch,
    blocked_since: Option<Instant>,
    discarding: bool,
    loopback: bool,
    loopback_full: u64,
}

impl Wire {
    pub fn new(cable: Box<dyn Endpoint>) -> Self {
        Self {
            cable,
            batch: FrameBatch::with_capacity(BATCH_CAPACITY),
            returned: FrameBatch::with_capacity(BATCH_CAPACITY),
            blocked_since: None,
            discarding: false,
            loopback: false,
            loopback_full: 0,
        }
    }

    /// Looks at the state of MAC and cable at the start of a round.
    pub fn start_round(&mut self, hw: &Hw, now: Instant) {
        self.cable.service(now);
        self.loopback = hw.mac.loopback(&hw.csr);
        if self.cable.can_send() {
            self.blocked_since = None;
        } else {
            self.blocked_since.get_or_insert(now);
        }
        let blocked_too_long = self
            .blocked_since
            .is_some_and(|since| now.duration_since(since) >= BLOCKED_LIMIT);
        let dropping = hw.csr.load(r::TMI_DROP_CTRL) & r::TMI_DROP_CTRL_EN != 0;
        self.discarding = dropping || blocked_too_long || !hw.mac.tx_enabled(&hw.csr);
    }

    /// Returns whether frames are to be discarded rather than sent.
    pub fn discarding(&self) -> bool {
        self.discarding
    }

    /// Returns whether a packet may be taken from a ring now.
    pub fn ready(&self) -> bool {
        self.discarding || self.loopback || self.cable.can_send()
    }

    /// Returns when a blocked cable will have been blocked for too long.
    pub fn deadline(&self) -> Option<Instant> {
        let since = self.blocked_since.filter(|_| !self.discarding);
        since.map(|since| since + BLOCKED_LIMIT)
    }

    /// Returns a place for a frame of `len` bytes at the end of the batch, sending
    /// the batch first if it is full; `None` for a frame that no cable carries.
    pub fn begin(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.batch.fits(len) {
            self.flush();
        }
        self.batch.begin(len)
    }

    /// Marks the end of the batch.
    pub fn mark(&mut self, len: usize) -> Mark {
        if !self.batch.fits(len) {
            self.flush();
        }
        self.batch.mark()
    }

    /// Takes back the frames added since `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.batch.truncate(mark);
    }

    /// Ends a round: hands the batch over, and notes when the cable began to block.
    pub fn end_round(&mut self, now: Instant) {
        self.flush();
        if !self.cable.can_send() {
            self.blocked_since.get_or_insert(now);
        }
    }

    /// Hands the batch to the cable.
    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if !self.loopback {
            return self.cable.send(&mut self.batch);
        }
        if self.returned.is_empty() {
            std::mem::swap(&mut self.returned, &mut self.batch);
        } else {
            // What does not fit is lost, as in any queue that is full.
            for frame in self.batch.frames() {
                if !self.returned.push(frame) {
                    self.loopback_full += 1;
                }
            }
        }
        self.batch.clear();
    }

    /// Returns how many frames the loopback has lost.
    pub fn loopback_full(&self) -> u64 {
        self.loopback_full
    }

    /// Hands every frame that the MAC sent back to `sink`.
    pub fn take_returned(&mut self, sink: &mut dyn FnMut(&[u8])) {
        self.returned.frames().for_each(sink);
        self.returned.clear();
    }

    /// Counts a frame that was not sent.
    pub fn discard(hw: &Hw, counters: &mut Counters, bytes: usize) {
        counters.add(r::TMI_DROP_PKTS, 1);
        hw.csr.add64(r::TMI_DROP_BYTE_L, bytes as u64);
    }
}
