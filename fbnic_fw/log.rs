// SPDX-License-Identifier: GPL-2.0

//! The most recent log entries: those of the firmware, and what the driver adds about it.

use core::fmt;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use super::messages::{
    LogEntry,
    LOG_TEXT, //
};

/// Bytes of entries kept, with a [`HEADER`] before each text.
const SIZE: usize = 512 << 10;

/// Bytes that go before a text: index, time, and length of the text.
const HEADER: usize = 8 + 4 + 2;

/// A ring of log entries: the oldest give way to the newest.
///
/// # Invariants
///
/// The `used` bytes from `start` on, which go on at the start of `bytes` after their end, are whole
/// entries. `bytes` has a length of 0 or [`SIZE`], and then `start` is less.
pub(super) struct Log {
    bytes: KVVec<u8>,
    start: usize,
    used: usize,
    heard: bool,
}

/// What is before a text.
struct Header {
    index: u64,
    msec: u32,
    len: u16,
}

impl Log {
    pub(super) const fn new() -> Self {
        // INVARIANT: Nothing is used.
        Self {
            bytes: KVVec::new(),
            start: 0,
            used: 0,
            heard: false,
        }
    }

    /// Whether the firmware has logged something, so that asking for earlier entries repeats some.
    pub(super) fn has_heard(&self) -> bool {
        self.heard
    }

    /// Keeps an entry of the firmware. Without memory it is lost. Sleeps.
    pub(super) fn push(&mut self, entry: LogEntry<'_>) {
        self.heard = true;
        self.keep(entry);
    }

    /// Keeps what the driver has to say, `msec` milliseconds after the firmware started. As
    /// [`Log::push`] otherwise.
    pub(super) fn push_event(&mut self, msec: u32, text: &[u8]) {
        self.keep(LogEntry {
            index: 0,
            msec,
            text,
        });
    }

    fn keep(&mut self, entry: LogEntry<'_>) {
        if self.bytes.is_empty() {
            match KVVec::from_elem(0, SIZE, GFP_KERNEL) {
                Ok(bytes) => self.bytes = bytes,
                // A lost log entry does no harm.
                Err(_) => return,
            }
        }
        let text = entry.text.get(..LOG_TEXT).unwrap_or(entry.text);
        // INVARIANT: Whole entries go and come.
        while SIZE - self.used < HEADER + text.len() {
            let oldest = HEADER + usize::from(self.header(self.start).len);
            self.start = (self.start + oldest) % SIZE;
            self.used = self.used.saturating_sub(oldest);
        }
        self.put(&entry.index.to_ne_bytes());
        self.put(&entry.msec.to_ne_bytes());
        // CAST: At most `LOG_TEXT`.
        self.put(&(text.len() as u16).to_ne_bytes());
        self.put(text);
    }

    /// Appends `data`, for which there is room.
    fn put(&mut self, data: &[u8]) {
        let end = (self.start + self.used) % SIZE;
        let (first, rest) = data.split_at(data.len().min(SIZE - end));
        for (at, part) in [(end, first), (0, rest)] {
            if let Some(room) = self.bytes.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
            }
        }
        self.used += data.len();
    }

    /// Fills `out` with the bytes from `at` on.
    fn get(&self, at: usize, out: &mut [u8]) {
        let at = at % SIZE;
        let (first, rest) = out.split_at_mut(out.len().min(SIZE - at));
        for (at, part) in [(at, first), (0, rest)] {
            if let Some(kept) = self.bytes.get(at..at + part.len()) {
                part.copy_from_slice(kept);
            }
        }
    }

    fn header(&self, at: usize) -> Header {
        let (mut index, mut msec, mut len) = ([0; 8], [0; 4], [0; 2]);
        self.get(at, &mut index);
        self.get(at + 8, &mut msec);
        self.get(at + 12, &mut len);
        Header {
            index: u64::from_ne_bytes(index),
            msec: u32::from_ne_bytes(msec),
            len: u16::from_ne_bytes(len),
        }
    }

    /// Calls `sink` for every entry, the oldest first.
    pub(super) fn for_each(&self, mut sink: impl FnMut(LogEntry<'_>)) {
        let mut buf = [0; LOG_TEXT];
        let mut done = 0;
        while done < self.used {
            let at = self.start + done;
            let Header { index, msec, len } = self.header(at);
            let len = usize::from(len);
            let text = buf.get_mut(..len).unwrap_or_default();
            self.get(at + HEADER, text);
            sink(LogEntry { index, msec, text });
            done += HEADER + len;
        }
    }
}

/// Text of the firmware as it is shown: what a terminal might take for a command, or cannot show, as
/// hexadecimal digits.
pub(crate) struct Printable<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~');
        for run in self.0.chunk_by(|a, b| plain(a) == plain(b)) {
            match core::str::from_utf8(run) {
                Ok(text) if run.iter().all(plain) => f.write_str(text)?,
                _ => run.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?,
            }
        }
        Ok(())
    }
}
