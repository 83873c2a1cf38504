// SPDX-License-Identifier: GPL-2.0

//! The most recent log entries of the firmware.

use kernel::{
    alloc::KVec,
    prelude::*, //
};

use super::messages::{
    LogEntry,
    LOG_TEXT, //
};

/// Entries kept.
const ENTRIES: usize = 128;

/// A kept entry.
struct Kept {
    index: u64,
    msec: u32,
    len: usize,
    text: [u8; LOG_TEXT],
}

/// A ring of log entries: the oldest gives way to the newest.
pub(super) struct Log {
    entries: KVec<Kept>,
    oldest: usize,
}

impl Log {
    pub(super) const fn new() -> Self {
        Self {
            entries: KVec::new(),
            oldest: 0,
        }
    }

    /// Whether nothing has been logged, so that asking for earlier entries repeats none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps an entry. Without memory it is lost.
    pub(super) fn push(&mut self, entry: LogEntry<'_>) {
        let mut kept = Kept {
            index: entry.index,
            msec: entry.msec,
            len: entry.text.len().min(LOG_TEXT),
            text: [0; LOG_TEXT],
        };
        for (to, from) in kept.text.iter_mut().zip(entry.text) {
            *to = *from;
        }
        if self.entries.len() < ENTRIES {
            // A lost log entry does no harm.
            let _ = self.entries.push(kept, GFP_KERNEL);
        } else if let Some(slot) = self.entries.get_mut(self.oldest) {
            *slot = kept;
            self.oldest = (self.oldest + 1) % ENTRIES;
        }
    }

    /// Calls `sink` for every entry, the oldest first.
    pub(super) fn for_each(&self, mut sink: impl FnMut(LogEntry<'_>)) {
        let (newer, older) = self.entries.split_at(self.oldest.min(self.entries.len()));
        for kept in [older, newer].into_iter().flatten() {
            sink(LogEntry {
                index: kept.index,
                msec: kept.msec,
                text: kept.text.get(..kept.len).unwrap_or_default(),
            });
        }
    }
}
