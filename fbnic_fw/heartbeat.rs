// SPDX-License-Identifier: GPL-2.0

//! Whether the firmware is alive, judged by its answers.
//!
//! While the port is ours, the firmware is asked for a sign of life every [`PERIOD_MS`]. It counts
//! as dead when it has not answered by the time of the next question, or when the uptime in its
//! answer has gone back, which means that it was restarted and has forgotten us.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

/// How often a sign of life is asked for, milliseconds.
pub const PERIOD_MS: i64 = 10_000;

/// What is known about the firmware's life.
#[derive(Debug, Default)]
pub struct Heartbeat {
    owned: bool,
    healthy: bool,
    answered: bool,
    /// Milliseconds since the firmware started: as of the last answer, and before the last question.
    uptime: u64,
    previous: u64,
}

impl Heartbeat {
    /// The port was asked for. The answer to that counts as the first sign of life, of firmware
    /// whose earlier uptime does not matter.
    pub fn claimed(&mut self) {
        *self = Self {
            owned: true,
            healthy: true,
            ..Self::default()
        };
    }

    /// The port is no longer ours.
    pub fn released(&mut self) {
        self.owned = false;
    }

    /// A sign of life was asked for.
    pub fn requested(&mut self) {
        self.answered = false;
        self.previous = self.uptime;
    }

    /// The firmware has answered, `uptime` milliseconds after it was started.
    pub fn beat(&mut self, uptime: u64) {
        self.answered = true;
        self.uptime = uptime;
    }

    /// Whether the last question was answered.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the port is ours but the firmware is not known to be well.
    pub fn is_lost(&self) -> bool {
        self.owned && !self.healthy
    }

    /// Whether it is time to [judge](Self::judge) and to ask again, `elapsed_ms` after the last
    /// question. Dead firmware is not asked.
    pub fn is_due(&self, elapsed_ms: i64) -> bool {
        self.owned && self.healthy && elapsed_ms >= PERIOD_MS
    }

    /// Judges the firmware by its answer to the last question. Returns whether it has just been
    /// found dead.
    pub fn judge(&mut self) -> bool {
        self.healthy = self.answered && self.uptime >= self.previous;
        !self.healthy
    }

    /// Uptime as of the last answer, milliseconds. [`None`] while no heartbeats are exchanged.
    pub fn uptime(&self) -> Option<u64> {
        (self.owned && self.previous != 0).then_some(self.uptime)
    }
}
