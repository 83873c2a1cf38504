// SPDX-License-Identifier: GPL-2.0

//! Rings as text, for debugfs.
//!
//! Whoever reads is one more who looks at memory that the device and the NAPI context go on changing: each
//! descriptor is read once, as a whole, and what is in it only ever printed. Nothing waits for a reader,
//! and no counter is kept for one. What the NAPI context alone knows is therefore shown as what it has told
//! the device.

use core::{
    fmt,
    sync::atomic::Ordering, //
};
use kernel::sync::Arc;

use super::{
    rx::BD_FRAG_COUNT,
    stats::RxStats,
    text,
    QueueRegs, //
};
use crate::{
    desc_ring::Observer,
    fbnic_csr::queue as regs,
    fbnic_debugfs::heading,
    net::tx_ring::Watch, //
};

/// Bytes of a descriptor, and what the memory of rings is rounded up to.
const DESC_SIZE: u32 = 8;
const SIZE_STEP: u32 = 4096;

/// The upstream driver's flags of rings.
const DISABLED: u8 = 1 << 0;
const CONTEXT: u8 = 1 << 1;
const STATISTICS: u8 = 1 << 2;

/// Which ring of a queue set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Twq0,
    Twq1,
    Tcq,
    Hpq,
    Ppq,
    Rcq,
}

/// What is the same for all rings of a kind.
struct Facts {
    name: &'static str,
    doorbell: usize,
    pointers: usize,
    flags: u8,
    /// A line above the names of the columns.
    above: Option<&'static str>,
    columns: &'static str,
    line: fn(&mut fmt::Formatter<'_>, usize, u64) -> fmt::Result,
}

impl Kind {
    const fn facts(self) -> Facts {
        let (name, doorbell, pointers) = match self {
            Self::Twq0 => ("twq0", regs::TWQ0_TAIL, regs::TWQ0_PTRS),
            Self::Twq1 => ("twq1", regs::TWQ1_TAIL, regs::TWQ1_PTRS),
            Self::Tcq => ("tcq", regs::TCQ_HEAD, regs::TCQ_PTRS),
            Self::Hpq => ("hpq", regs::BDQ_HPQ_TAIL, regs::BDQ_HPQ_PTRS),
            Self::Ppq => ("ppq", regs::BDQ_PPQ_TAIL, regs::BDQ_PPQ_PTRS),
            Self::Rcq => ("rcq", regs::RCQ_HEAD, regs::RCQ_PTRS),
        };
        let (flags, above, columns): (u8, _, _) = match self {
            Self::Twq0 | Self::Twq1 => (CONTEXT | STATISTICS, None, text::TWD_COLUMNS),
            Self::Tcq => (0, None, text::TCD_COLUMNS),
            Self::Hpq | Self::Ppq => (CONTEXT | STATISTICS, None, text::BD_COLUMNS),
            Self::Rcq => (STATISTICS, Some(text::RCD_ABOVE), text::RCD_COLUMNS),
        };
        Facts {
            name,
            doorbell,
            pointers,
            flags,
            above,
            columns,
            line: match self {
                Self::Twq0 | Self::Twq1 => text::twd,
                Self::Tcq => text::tcd,
                Self::Hpq | Self::Ppq => text::bd,
                Self::Rcq => text::rcd,
            },
        }
    }

    /// Whether the device fills the ring, so that its index is the tail.
    const fn is_completion(self) -> bool {
        matches!(self, Self::Tcq | Self::Rcq)
    }
}

/// How to find out where the driver is in a ring.
pub(super) enum Indices {
    /// It keeps that to itself: what it has told the device, and what the device says.
    Device,
    /// Its indices are there to be looked at.
    Sent(Watch),
    /// It counts the pages that the device has.
    Posted(Arc<RxStats>),
}

/// The first descriptor in use, and the first that is not.
#[derive(Clone, Copy)]
struct Place {
    head: u32,
    tail: u32,
}

/// What it takes to show a ring.
pub struct RingDump {
    kind: Kind,
    queue: QueueRegs,
    /// The descriptors, and the number of the queue to the stack.
    ring: Option<(Observer, u16)>,
    indices: Indices,
}

impl RingDump {
    /// Shows the ring of this `kind` in `queue`, if there is one.
    pub(super) fn new(
        kind: Kind,
        queue: QueueRegs,
        ring: Option<(Observer, u16)>,
        indices: Indices,
    ) -> Self {
        Self {
            kind,
            queue,
            ring,
            indices,
        }
    }

    /// Returns the name of the ring and the number of its queue set.
    pub fn name(&self) -> (&'static str, u16) {
        (self.kind.facts().name, self.queue.index())
    }

    /// Writes where driver and device are in the ring, and all of its descriptors. Process context; takes
    /// no lock, as those who wait for it may hold any.
    pub fn show(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.kind.facts();
        self.show_state(out, &facts)?;
        if let Some(above) = facts.above {
            writeln!(out, "{above}")?;
        }
        heading(out, facts.columns)?;
        let Some((desc, _)) = &self.ring else {
            return writeln!(out, "Descriptor ring not allocated.");
        };
        for (index, raw) in desc.read().enumerate() {
            (facts.line)(out, index, raw)?;
        }
        Ok(())
    }

    fn show_state(&self, out: &mut fmt::Formatter<'_>, facts: &Facts) -> fmt::Result {
        let (entries, number, flags) = match &self.ring {
            Some((desc, number)) => (desc.entries(), *number, facts.flags),
            None => (0, 0, DISABLED),
        };
        let size = entries
            .saturating_mul(DESC_SIZE)
            .next_multiple_of(SIZE_STEP);
        // Upstream counts registers in words.
        let doorbell = facts.doorbell / 4;
        let mask = entries.saturating_sub(1);
        let hardware = self.hardware(facts.pointers);
        let software = self.software(hardware, mask);
        writeln!(out, "doorbell CSR: {doorbell:#05x} q_idx: {number}")?;
        writeln!(
            out,
            "size_mask: {mask:#06x} size: {size} flags: {flags:#04x}"
        )?;
        for (who, place) in [("SW", software), ("HW", hardware)] {
            let Place { head, tail } = place;
            writeln!(out, "{who}: head: {head:#06x} tail: {tail:#06x}")?;
        }
        writeln!(out)
    }

    /// Where the device is, and what it was told; anything, if it is gone or lies.
    fn hardware(&self, pointers: usize) -> Place {
        let value = self.queue.read(pointers);
        let (high, low) = (value >> 16, value & 0xffff);
        if self.kind.is_completion() {
            Place {
                head: low,
                tail: high,
            }
        } else {
            Place {
                head: high,
                tail: low,
            }
        }
    }

    /// Where the driver is.
    fn software(&self, hardware: Place, mask: u32) -> Place {
        match &self.indices {
            // Upstream has no tail of rings that the device fills.
            Indices::Device if self.kind.is_completion() => Place {
                tail: 0,
                ..hardware
            },
            Indices::Device => hardware,
            Indices::Sent(watch) => Place {
                head: watch.head(),
                tail: watch.tail(),
            },
            Indices::Posted(stats) => {
                let pages = match self.kind {
                    Kind::Hpq => &stats.hpq_posted,
                    _ => &stats.ppq_posted,
                };
                let posted = pages.load(Ordering::Relaxed).wrapping_mul(BD_FRAG_COUNT);
                Place {
                    head: hardware.tail.wrapping_sub(posted) & mask,
                    tail: hardware.tail,
                }
            }
        }
    }
}
