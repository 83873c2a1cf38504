// SPDX-License-Identifier: GPL-2.0
//! A capture file beside a cable: both directions, nanosecond time stamps.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{CableStats, Endpoint, FrameBatch, Wait, MAX_FRAME};

/// Magic number of a file with nanosecond time stamps, in the writer's byte order.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Link type of Ethernet.
const LINKTYPE_ETHERNET: u32 = 1;

/// Writes the classic pcap format, little-endian.
struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC_NANOSECONDS.to_le_bytes())?;
        out.write_all(&2u16.to_le_bytes())?;
        out.write_all(&4u16.to_le_bytes())?;
        out.write_all(&[0; 8])?;
        // CAST: the constant is far under 4 GiB.
        out.write_all(&(MAX_FRAME as u32).to_le_bytes())?;
        out.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        out.flush()?;
        Ok(Self { out })
    }

    fn frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // CAST: the format's seconds wrap in 2106; a frame is under 4 GiB.
        let (seconds, len) = (now.as_secs() as u32, frame.len() as u32);
        for word in [seconds, now.subsec_nanos(), len, len] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(frame)
    }
}

/// A cable with a capture file. A file that can no longer be written ends the
/// capture with one message, and the cable goes on.
pub struct Captured {
    inner: Box<dyn Endpoint>,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Captured {
    /// Captures what passes `inner` to a new file at `path`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be created or its header not be written. The error names the file.
    pub fn new(inner: Box<dyn Endpoint>, path: &Path) -> io::Result<Self> {
        let writer = File::create(path)
            .and_then(|file| Writer::new(BufWriter::new(file)))
            .map_err(|error| {
                io::Error::new(error.kind(), format!("--pcap {}: {error}", path.display()))
            })?;
        Ok(Self {
            inner,
            writer: Some(writer),
        })
    }
}

/// Runs `step` on the writer, and gives the writer up when it fails.
fn capture<W: Write>(
    writer: &mut Option<Writer<W>>,
    step: impl FnOnce(&mut Writer<W>) -> io::Result<()>,
) {
    if let Some(Err(error)) = writer.as_mut().map(step) {
        log::warn!("capture stopped: {error}");
        *writer = None;
    }
}

impl Endpoint for Captured {
    fn service(&mut self, now: Instant) {
        self.inner.service(now);
    }

    fn wait(&self) -> Wait<'_> {
        self.inner.wait()
    }

    fn link_up(&self) -> bool {
        self.inner.link_up()
    }

    fn can_send(&self) -> bool {
        self.inner.can_send()
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        capture(&mut self.writer, |writer| {
            batch.frames().try_for_each(|frame| writer.frame(frame))?;
            writer.out.flush()
        });
        self.inner.send(batch);
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let writer = &mut self.writer;
        let received = self.inner.receive(budget, &mut |frame| {
            capture(writer, |writer| writer.frame(frame));
            sink(frame);
        });
        if received > 0 {
            capture(writer, |writer| writer.out.flush());
        }
        received
    }

    fn stats(&self) -> CableStats {
        self.inner.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::loopback;

    #[test]
    fn both_directions_are_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pcap");
        let mut cable = Captured::new(Box::new(loopback().unwrap()), &path).unwrap();
        let mut batch = FrameBatch::with_capacity(1000);
        batch.push(&[5; 60]);
        cable.send(&mut batch);
        assert_eq!(cable.receive(4, &mut |_| ()), 1);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(file[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(file.len(), 24 + 2 * (16 + 60));
        assert_eq!(file[24 + 8..24 + 16], [60, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!(file[40..100], file[116..]);
    }

    #[test]
    fn a_full_disk_ends_the_capture_only() {
        let mut cable =
            Captured::new(Box::new(loopback().unwrap()), Path::new("/dev/null")).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        cable.writer = Some(Writer {
            out: BufWriter::new(full),
        });
        let mut batch = FrameBatch::with_capacity(1000);
        batch.push(&[5; 60]);
        cable.send(&mut batch);
        assert!(cable.writer.is_none());
        assert_eq!(cable.receive(4, &mut |_| ()), 1);
    }
}
