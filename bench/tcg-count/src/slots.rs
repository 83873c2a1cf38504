// SPDX-License-Identifier: GPL-2.0
//! Which counter belongs to which instruction, and what each stood at when it was last read.

use std::collections::HashMap;
use std::io::{self, Write};

/// Number of counters. A boot of the distribution kernel with all workloads executes some
/// 300,000 distinct instructions; QEMU allocates the counters for 16 vCPUs, 128 MiB.
pub const MAX_SLOTS: usize = 1 << 20;

/// One instruction of the guest kernel.
struct Slot {
    address: u64,
    /// What `decode::branch_target` said of the instruction.
    target: Option<u64>,
    /// The counter's value at the last report.
    seen: u64,
    /// Reads of devices at the last report.
    seen_reads: u64,
}

/// All instructions translated so far. The position of one is the number of its counter.
#[derive(Default)]
pub struct Slots {
    slots: Vec<Slot>,
    by_address: HashMap<u64, usize>,
    /// Translated instructions that found no counter free.
    refused: u64,
}

impl Slots {
    /// Returns the counter for the instruction at `address`, or nothing when all are taken.
    ///
    /// The same address keeps its counter when the code there changes (a patched branch, another
    /// module); the target is that of the newest code.
    pub fn slot(&mut self, address: u64, target: Option<u64>) -> Option<usize> {
        if let Some(&index) = self.by_address.get(&address) {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.target = target;
            }
            return Some(index);
        }
        let index = self.slots.len();
        if index >= MAX_SLOTS {
            self.refused += 1;
            return None;
        }
        self.slots.push(Slot {
            address,
            target,
            seen: 0,
            seen_reads: 0,
        });
        self.by_address.insert(address, index);
        Some(index)
    }

    /// Writes a report of all counters that moved since the last one, and remembers them.
    ///
    /// One line per instruction, in hexadecimal: address, count and, for what may be a call, the
    /// target, 0 when it is not known; then `r` and how often it has read a device, if at all.
    /// `mark TAG REFUSED` begins a report and `end` closes it. `count` and `reads` tell what the two
    /// counters of a slot stand at.
    pub fn report(
        &mut self,
        tag: u8,
        count: impl Fn(usize) -> u64,
        reads: impl Fn(usize) -> u64,
        out: &mut impl Write,
    ) -> io::Result<()> {
        writeln!(out, "mark {tag} {}", self.refused)?;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let now = count(index);
            let moved = now.wrapping_sub(slot.seen);
            slot.seen = now;
            let now = reads(index);
            let reads = now.wrapping_sub(slot.seen_reads);
            slot.seen_reads = now;
            if moved == 0 {
                continue;
            }
            write!(out, "{:x} {moved:x}", slot.address)?;
            if let Some(target) = slot.target {
                write!(out, " {target:x}")?;
            }
            if reads != 0 {
                write!(out, " r{reads:x}")?;
            }
            writeln!(out)?;
        }
        writeln!(out, "end")?;
        out.flush()
    }

    /// Remembers all counters without a report.
    pub fn restart(&mut self, count: impl Fn(usize) -> u64, reads: impl Fn(usize) -> u64) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.seen = count(index);
            slot.seen_reads = reads(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(slots: &mut Slots, counts: &[u64]) -> String {
        let mut out = Vec::new();
        slots
            .report(2, |i| counts[i], |i| counts[i] / 10, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reports_what_moved_since_the_last_time() {
        let mut slots = Slots::default();
        assert_eq!(slots.slot(0x10, None), Some(0));
        assert_eq!(slots.slot(0x20, Some(0x30)), Some(1));
        slots.restart(|_| 5, |_| 0);
        assert_eq!(text(&mut slots, &[5, 26]), "mark 2 0\n20 15 30 r2\nend\n");
        assert_eq!(text(&mut slots, &[6, 26]), "mark 2 0\n10 1\nend\n");
    }

    #[test]
    fn an_address_keeps_its_counter_and_takes_the_new_target() {
        let mut slots = Slots::default();
        assert_eq!(slots.slot(0x10, Some(0x20)), Some(0));
        assert_eq!(slots.slot(0x10, Some(0x40)), Some(0));
        assert_eq!(text(&mut slots, &[1]), "mark 2 0\n10 1 40\nend\n");
    }

    #[test]
    fn full_table_is_told() {
        let mut slots = Slots::default();
        for address in 0..MAX_SLOTS as u64 {
            slots.slot(address, None);
        }
        assert_eq!(slots.slot(u64::MAX, None), None);
        let mut out = Vec::new();
        slots.report(0, |_| 0, |_| 0, &mut out).unwrap();
        assert_eq!(out, b"mark 0 1\nend\n");
    }
}
