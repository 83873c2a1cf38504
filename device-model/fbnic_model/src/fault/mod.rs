// SPDX-License-Identifier: GPL-2.0
//! Faults on purpose: a device that lies, stalls, or goes away.
//!
//! A fault is armed ([`Faults::arm`]) and then strikes at the occasions it names, which are what
//! its hook sees: a register read, a completion, a firmware message. While none is armed a hook
//! costs one test of a word; the data path looks at it once per round.
//!
//! Each armed fault has random numbers of its own, derived from the seed and its own number, so
//! that the order in which threads run does not change what a fault does. What was armed is
//! logged as the line that arms it again.
//!
//! | hook | in |
//! |---|---|
//! | registers, windows, configuration space | [`crate::device`], [`crate::bus`] |
//! | MSI-X | [`crate::device`] |
//! | completions, stalls | [`crate::queue`] |
//! | transfers | [`crate::dma`] |
//! | mailbox and messages | [`crate::fw`] |

mod completion;
pub(crate) mod firmware;
mod plan;
pub mod spec;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub(crate) use completion::Distortion;
pub use plan::Armed;
use plan::Plan;
use spec::{Arm, Direction, Fault};

/// Where faults take hold. Each is a bit of [`Active`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hook {
    Unplugged = 1 << 0,
    CsrRead = 1 << 1,
    CsrWrite = 1 << 2,
    FwWindow = 1 << 3,
    Config = 1 << 4,
    Msix = 1 << 5,
    Timer = 1 << 6,
    Link = 1 << 7,
    Dma = 1 << 8,
    Completion = 1 << 9,
    Stall = 1 << 10,
    Firmware = 1 << 11,
    Panic = 1 << 12,
}

/// The hooks that had something to do when it was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Active(u32);

impl Active {
    /// Whether `hook` has something to do.
    #[inline]
    pub fn has(self, hook: Hook) -> bool {
        self.0 & hook as u32 != 0
    }
}

/// How long the worker sleeps at most while time decides about a fault.
const TICK: Duration = Duration::from_millis(1);
/// Pieces of frames that may be on their way late; more arrive in time.
const MAX_LATE: usize = 256;

/// A piece of a frame that is written late.
struct Late {
    due: Instant,
    addr: u64,
    bytes: Vec<u8>,
}

/// What [`Faults::frame_write`] makes of a piece of a frame.
pub(crate) enum FrameWrite {
    /// It is written to this address.
    To(u64),
    /// It is kept and written later.
    Later,
}

/// All faults of a device.
pub struct Faults {
    active: AtomicU32,
    plan: Mutex<Plan>,
    late: Mutex<Vec<Late>>,
}

impl Faults {
    /// No faults; chance follows `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            active: AtomicU32::new(0),
            plan: Mutex::new(Plan::new(seed)),
            late: Mutex::new(Vec::new()),
        }
    }

    /// Chance follows `seed` for what is armed from now on, and numbering starts anew.
    pub fn seed(&self, seed: u64) {
        let mut plan = self.plan.lock();
        *plan = Plan::new(seed);
        self.refresh(&plan);
    }

    /// Arms a fault; returns its number.
    pub fn arm(&self, arm: Arm) -> u64 {
        let mut plan = self.plan.lock();
        let id = plan.arm(arm);
        self.refresh(&plan);
        id
    }

    /// Disarms fault `id`, or all; returns how many that were.
    pub fn disarm(&self, id: Option<u64>) -> usize {
        let mut plan = self.plan.lock();
        let count = plan.disarm(id);
        self.refresh(&plan);
        count
    }

    /// The seed, and what is armed.
    pub fn list(&self) -> (u64, Vec<Armed>) {
        self.plan.lock().list()
    }

    fn refresh(&self, plan: &Plan) {
        self.active.store(plan.hooks(), Ordering::Relaxed);
    }

    /// The hooks with something to do.
    #[inline]
    pub(crate) fn active(&self) -> Active {
        Active(self.active.load(Ordering::Relaxed))
    }

    /// Asks the armed faults about one occasion. `pick` says what a fault would do, if the
    /// occasion concerns it; the first one that also strikes now is the answer.
    pub(crate) fn strike<T>(
        &self,
        hook: Hook,
        pick: impl FnMut(&Fault, &mut ChaCha8Rng) -> Option<T>,
    ) -> Option<T> {
        if !self.active().has(hook) {
            return None;
        }
        let mut plan = self.plan.lock();
        let (struck, spent) = plan.strike(hook, Instant::now(), pick);
        if spent {
            self.refresh(&plan);
        }
        struck
    }

    /// Whether the device is gone; with `for_config`, for configuration space as well.
    pub(crate) fn unplugged(&self, for_config: bool) -> bool {
        self.absence(for_config).is_some()
    }

    /// How the device is gone, if it is: with or without its configuration space.
    pub(crate) fn absence(&self, for_config: bool) -> Option<bool> {
        self.strike(Hook::Unplugged, |fault, _| match fault {
            Fault::Unplugged { config } if *config || !for_config => Some(*config),
            _ => None,
        })
    }

    /// What register `index` reads instead of `value`.
    pub(crate) fn csr_read(&self, index: u32, value: u32, idle: bool) -> u32 {
        self.strike(Hook::CsrRead, |fault, rng| match fault {
            Fault::NeverIdle {} => idle.then_some(0),
            Fault::CsrRead {
                first,
                last,
                value: wrong,
                mask,
            } => covers(*first, *last, index).then(|| merge(value, *wrong, *mask, rng)),
            _ => None,
        })
        .unwrap_or(value)
    }

    /// Whether a write of register `index` is lost.
    pub(crate) fn csr_write_lost(&self, index: u32) -> bool {
        let lost = |fault: &Fault, _: &mut ChaCha8Rng| match fault {
            Fault::CsrWriteLost { first, last } => covers(*first, *last, index).then_some(()),
            _ => None,
        };
        self.strike(Hook::CsrWrite, lost).is_some()
    }

    /// What dword `dword` of the firmware window reads instead of `value`.
    pub(crate) fn fw_window_read(&self, dword: u32, value: u32) -> u32 {
        self.strike(Hook::FwWindow, |fault, rng| match fault {
            Fault::FwWindowRead {
                first,
                last,
                value: wrong,
                mask,
            } => covers(*first, *last, dword).then(|| merge(value, *wrong, *mask, rng)),
            _ => None,
        })
        .unwrap_or(value)
    }

    /// Spoils what configuration space has read into `buf` from `offset` on.
    pub(crate) fn config_read(&self, offset: u64, buf: &mut [u8]) {
        let struck = self.strike(Hook::Config, |fault, rng| match fault {
            Fault::ConfigRead {
                offset: at,
                value,
                mask,
            } => {
                let at = u64::from(*at);
                let overlaps = at < offset + buf.len() as u64 && offset < at + 4;
                let bits = value.unwrap_or_else(|| rng.random()).to_le_bytes();
                overlaps.then(|| (at, bits, mask.unwrap_or(u32::MAX).to_le_bytes()))
            }
            _ => None,
        });
        let Some((at, bits, mask)) = struck else {
            return;
        };
        for (i, byte) in (offset..).zip(buf.iter_mut()) {
            let n = i.checked_sub(at).and_then(|n| usize::try_from(n).ok());
            let wrong = n.and_then(|n| Some((*bits.get(n)?, *mask.get(n)?)));
            if let Some((bits, mask)) = wrong {
                *byte = *byte & !mask | bits & mask;
            }
        }
    }

    /// Whether the message of `vector` is lost.
    pub(crate) fn msix_lost(&self, vector: u8) -> bool {
        let lost = |fault: &Fault, _: &mut ChaCha8Rng| match fault {
            Fault::MsixLost { vector: only } => {
                only.is_none_or(|only| only == vector).then_some(())
            }
            _ => None,
        };
        self.unplugged(false) || self.strike(Hook::Msix, lost).is_some()
    }

    /// The vector that is due to fire without a cause.
    pub(crate) fn stray_msix(&self, now: Instant) -> Option<u8> {
        if !self.active().has(Hook::Timer) {
            return None;
        }
        let mut plan = self.plan.lock();
        let stray = plan.stray_msix(now);
        self.refresh(&plan);
        stray
    }

    /// Whether the link is down at the moment.
    pub(crate) fn link_down(&self, now: Instant) -> bool {
        self.active().has(Hook::Link) && self.plan.lock().link_down(now)
    }

    /// When the worker has to look again because time changes something.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let active = self.active();
        let late = active.has(Hook::Dma) && !self.late.lock().is_empty();
        if !late && !active.has(Hook::Timer) {
            return None;
        }
        Some(self.plan.lock().period().map_or(now + TICK, |p| now + p))
    }

    /// Whether a transfer is refused.
    pub(crate) fn dma_refused(&self, direction: Direction) -> bool {
        let refused = |fault: &Fault, _: &mut ChaCha8Rng| match fault {
            Fault::DmaRefused { dir } => dir.is_none_or(|dir| dir == direction).then_some(()),
            _ => None,
        };
        self.strike(Hook::Dma, refused).is_some()
    }

    /// Where a piece of a frame for `addr` goes.
    pub(crate) fn frame_write(&self, addr: u64, bytes: &[u8]) -> FrameWrite {
        let mut plan = self.plan.lock();
        let before = plan.last_frame.replace(addr).unwrap_or(addr);
        drop(plan);
        let wrong = self.strike(Hook::Dma, |fault, _| match fault {
            Fault::DmaMisplaced {} => Some(None),
            Fault::DmaLate { ms } => Some(Some(*ms)),
            _ => None,
        });
        match wrong {
            None => FrameWrite::To(addr),
            Some(None) => FrameWrite::To(before),
            Some(Some(ms)) => self.postpone(addr, bytes, ms),
        }
    }

    fn postpone(&self, addr: u64, bytes: &[u8], ms: u64) -> FrameWrite {
        let mut late = self.late.lock();
        if late.len() >= MAX_LATE {
            return FrameWrite::To(addr);
        }
        late.push(Late {
            due: Instant::now() + Duration::from_millis(ms.min(60_000)),
            addr,
            bytes: bytes.to_vec(),
        });
        FrameWrite::Later
    }

    /// The late pieces of frames that are due: where they go and what they are.
    pub(crate) fn take_late(&self, now: Instant) -> Vec<(u64, Vec<u8>)> {
        let mut late = self.late.lock();
        let (due, keep) = std::mem::take(&mut *late)
            .into_iter()
            .partition(|piece: &Late| piece.due <= now);
        *late = keep;
        let due: Vec<Late> = due;
        due.into_iter()
            .map(|piece| (piece.addr, piece.bytes))
            .collect()
    }

    /// Forgets what is on its way: the device is being reset.
    pub(crate) fn reset(&self) {
        self.late.lock().clear();
    }

    /// Whether queue `queue` of one direction stands still.
    pub(crate) fn stalled(&self, queue: u32, transmit: bool) -> bool {
        let stalled = |fault: &Fault, _: &mut ChaCha8Rng| {
            match fault {
                Fault::TxStall { queue: only } if transmit => Some(only),
                Fault::RxStall { queue: only } if !transmit => Some(only),
                _ => None,
            }
            .filter(|only| only.is_none_or(|only| only == queue))
            .map(|_| ())
        };
        self.strike(Hook::Stall, stalled).is_some()
    }

    /// The worker shall panic in its next round.
    pub fn panic_worker(&self) {
        self.plan.lock().panic = true;
        self.active.fetch_or(Hook::Panic as u32, Ordering::Relaxed);
    }

    /// Whether the worker shall panic now; once.
    pub(crate) fn take_panic(&self) -> bool {
        if !self.active().has(Hook::Panic) {
            return false;
        }
        let mut plan = self.plan.lock();
        let panic = std::mem::take(&mut plan.panic);
        self.refresh(&plan);
        panic
    }
}

/// Whether `index` lies in `first..=last`.
fn covers(first: u32, last: Option<u32>, index: u32) -> bool {
    (first..=last.unwrap_or(first)).contains(&index)
}

/// `value` with the bits of `mask` taken from `wrong`, or from chance.
fn merge(value: u32, wrong: Option<u32>, mask: Option<u32>, rng: &mut ChaCha8Rng) -> u32 {
    let mask = mask.unwrap_or(u32::MAX);
    value & !mask | wrong.unwrap_or_else(|| rng.random()) & mask
}

#[cfg(test)]
mod tests;
