// SPDX-License-Identifier: GPL-2.0
//! What is armed, and the decision whether it strikes.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::spec::{Arm, Fault, When};
use super::Hook;

/// Faults armed at a time; a script that arms more has gone wrong.
const MAX_ARMED: usize = 256;

/// An armed fault, for the outside.
#[derive(Clone, Debug, Serialize)]
pub struct Armed {
    /// Its number.
    pub id: u64,
    /// What was armed.
    #[serde(flatten)]
    pub arm: Arm,
    /// Occasions it has seen.
    pub seen: u64,
    /// Times it has struck.
    pub struck: u64,
}

struct Entry {
    id: u64,
    arm: Arm,
    rng: ChaCha8Rng,
    armed_at: Instant,
    seen: u64,
    struck: u64,
    /// When the next storm message or link change is due.
    next: Instant,
    /// The half of its period that a flapping link is in.
    down: bool,
}

/// All armed faults.
pub(super) struct Plan {
    seed: u64,
    next_id: u64,
    entries: Vec<Entry>,
    /// Where the last piece of a frame went.
    pub last_frame: Option<u64>,
    /// The worker shall panic.
    pub panic: bool,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            next_id: 1,
            entries: Vec::new(),
            last_frame: None,
            panic: false,
        }
    }

    /// Arms a fault, in place of the oldest if there are too many; returns its number.
    pub fn arm(&mut self, arm: Arm) -> u64 {
        if self.entries.len() >= MAX_ARMED {
            let oldest = self.entries.remove(0);
            log::warn!("fault {} gives way to another", oldest.id);
        }
        let id = self.next_id;
        self.next_id += 1;
        let line = serde_json::to_string(&arm).unwrap_or_default();
        log::info!("fault {id} armed, seed {}: arm {line}", self.seed);
        let now = Instant::now();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(id);
        self.entries.push(Entry {
            id,
            arm,
            rng,
            armed_at: now,
            seen: 0,
            struck: 0,
            next: now,
            down: false,
        });
        id
    }

    pub fn disarm(&mut self, id: Option<u64>) -> usize {
        let before = self.entries.len();
        self.entries
            .retain(|entry| id.is_some_and(|id| id != entry.id));
        before - self.entries.len()
    }

    pub fn list(&self) -> (u64, Vec<Armed>) {
        let armed = |entry: &Entry| Armed {
            id: entry.id,
            arm: entry.arm.clone(),
            seen: entry.seen,
            struck: entry.struck,
        };
        (self.seed, self.entries.iter().map(armed).collect())
    }

    /// The hooks of all faults that may strike again.
    pub fn hooks(&self) -> u32 {
        let live = self.entries.iter().filter(|entry| !entry.spent());
        let panic = if self.panic { Hook::Panic as u32 } else { 0 };
        live.fold(panic, |hooks, entry| hooks | entry.hooks())
    }

    /// See [`super::Faults::strike`]. Also says whether the fault that struck is now spent.
    pub fn strike<T>(
        &mut self,
        hook: Hook,
        now: Instant,
        mut pick: impl FnMut(&Fault, &mut ChaCha8Rng) -> Option<T>,
    ) -> (Option<T>, bool) {
        for entry in &mut self.entries {
            if entry.hooks() & hook as u32 == 0 {
                continue;
            }
            let Some(what) = pick(&entry.arm.fault, &mut entry.rng) else {
                continue;
            };
            if entry.strikes(now) {
                return (Some(what), entry.spent());
            }
        }
        (None, false)
    }

    /// The vector of a storm that is due.
    pub fn stray_msix(&mut self, now: Instant) -> Option<u8> {
        self.entries.iter_mut().find_map(|entry| {
            let Fault::MsixStorm { vector, period_us } = entry.arm.fault else {
                return None;
            };
            if now < entry.next {
                return None;
            }
            entry.next = now + storm_period(period_us);
            let vector = vector.unwrap_or_else(|| entry.rng.random());
            entry.strikes(now).then_some(vector)
        })
    }

    /// Whether some fault holds the link down.
    pub fn link_down(&mut self, now: Instant) -> bool {
        self.entries
            .iter_mut()
            .fold(false, |down, entry| entry.link_down(now) || down)
    }

    /// The shortest time after which a storm sends again.
    pub fn period(&self) -> Option<Duration> {
        let periods = self
            .entries
            .iter()
            .filter_map(|entry| match entry.arm.fault {
                Fault::MsixStorm { period_us, .. } => Some(storm_period(period_us)),
                _ => None,
            });
        periods.min()
    }
}

/// A storm leaves the worker time for its work.
fn storm_period(us: u64) -> Duration {
    Duration::from_micros(us.clamp(20, 60_000_000))
}

impl Entry {
    fn hooks(&self) -> u32 {
        let timer = match self.arm.when.is_timed() {
            true => Hook::Timer as u32,
            false => 0,
        };
        hooks(&self.arm.fault) | timer
    }

    /// Whether it will never strike again.
    fn spent(&self) -> bool {
        let When { times, for_ms, .. } = self.arm.when;
        times.is_some_and(|times| self.struck >= times)
            || for_ms.is_some() && self.armed_at.elapsed() > self.end().unwrap_or(Duration::MAX)
    }

    /// How long after arming its time is over.
    fn end(&self) -> Option<Duration> {
        let When {
            delay_ms, for_ms, ..
        } = self.arm.when;
        Some(Duration::from_millis(delay_ms.saturating_add(for_ms?)))
    }

    fn in_time(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.armed_at);
        age >= Duration::from_millis(self.arm.when.delay_ms)
            && self.end().is_none_or(|end| age <= end)
    }

    /// Counts an occasion and decides about it.
    fn strikes(&mut self, now: Instant) -> bool {
        if !self.in_time(now) || self.spent() {
            return false;
        }
        self.seen += 1;
        let When {
            after,
            every,
            one_in,
            ..
        } = self.arm.when;
        let Some(n) = self.seen.checked_sub(after.saturating_add(1)) else {
            return false;
        };
        if n % every.max(1) != 0 || one_in > 1 && self.rng.random_range(0..one_in) != 0 {
            return false;
        }
        self.struck += 1;
        if self.struck.is_power_of_two() {
            log::info!("fault {} strikes ({})", self.id, self.struck);
        }
        true
    }

    fn link_down(&mut self, now: Instant) -> bool {
        match self.arm.fault {
            Fault::LinkDown {} => self.strikes(now),
            Fault::LinkFlap { period_ms } => {
                if now >= self.next {
                    self.next = now + Duration::from_millis(period_ms.clamp(1, 60_000));
                    self.down = !self.down && self.strikes(now);
                }
                self.down && self.in_time(now)
            }
            _ => false,
        }
    }
}

/// Where a fault takes hold.
fn hooks(fault: &Fault) -> u32 {
    let hook = match fault {
        Fault::Unplugged { .. } => return Hook::Unplugged as u32 | Hook::Msix as u32,
        Fault::CsrRead { .. } | Fault::NeverIdle {} => Hook::CsrRead,
        Fault::CsrWriteLost { .. } => Hook::CsrWrite,
        Fault::FwWindowRead { .. } => Hook::FwWindow,
        Fault::ConfigRead { .. } => Hook::Config,
        Fault::MsixLost { .. } => Hook::Msix,
        Fault::MsixStorm { .. } => Hook::Timer,
        Fault::LinkDown {} => Hook::Link,
        Fault::LinkFlap { .. } => return Hook::Link as u32 | Hook::Timer as u32,
        Fault::DmaRefused { .. } | Fault::DmaMisplaced {} | Fault::DmaLate { .. } => Hook::Dma,
        Fault::RxStall { .. } | Fault::TxStall { .. } => Hook::Stall,
        Fault::Rcd { .. }
        | Fault::RcdOmitted { .. }
        | Fault::RcdDuplicated { .. }
        | Fault::RcdSwapped { .. }
        | Fault::RcdPhase { .. }
        | Fault::RcdAfterDisable {}
        | Fault::Tcd { .. }
        | Fault::TcdOmitted { .. }
        | Fault::TcdDuplicated { .. }
        | Fault::TcdPhase { .. } => Hook::Completion,
        Fault::FwDead {}
        | Fault::FwSilent { .. }
        | Fault::FwDelay { .. }
        | Fault::FwRefused { .. }
        | Fault::FwError { .. }
        | Fault::FwReplaced { .. }
        | Fault::FwMangled { .. }
        | Fault::FwDescriptor { .. } => Hook::Firmware,
    };
    hook as u32
}
