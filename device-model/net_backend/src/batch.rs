// SPDX-License-Identifier: GPL-2.0
//! Frames in the stream's wire format: a 32-bit big-endian length, then the frame.

/// Longest frame any cable carries: 64 KiB and room for headers. QEMU closes the
/// stream on anything longer.
pub const MAX_FRAME: usize = 65536 + 4096;
/// Capacity that the NIC and the cables use for their batches, in bytes.
pub const BATCH_CAPACITY: usize = 512 << 10;
/// Shortest frame that is passed on: an Ethernet header.
pub(crate) const MIN_FRAME: usize = 14;
/// Length of the length.
pub(crate) const PREFIX: usize = 4;

/// A fixed amount of memory filled with frames, without allocation per frame.
#[derive(Debug)]
pub struct FrameBatch {
    bytes: Box<[u8]>,
    used: usize,
    count: usize,
}

impl FrameBatch {
    /// Allocates room for `capacity` bytes of frames with their prefixes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            used: 0,
            count: 0,
        }
    }

    /// Adds a frame of `len` bytes and returns its place, which the caller fills.
    ///
    /// The place holds left-overs of earlier frames. `None` means that there is no
    /// room, or that `len` exceeds [`MAX_FRAME`].
    pub fn begin(&mut self, len: usize) -> Option<&mut [u8]> {
        let prefix = u32::try_from(len).ok()?.to_be_bytes();
        let start = self.used.checked_add(PREFIX)?;
        let end = start.checked_add(len)?;
        if len > MAX_FRAME || end > self.bytes.len() {
            return None;
        }
        self.bytes
            .get_mut(self.used..start)?
            .copy_from_slice(&prefix);
        self.used = end;
        self.count += 1;
        self.bytes.get_mut(start..end)
    }

    /// Adds a copy of `frame`; false when there is no room.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        self.begin(frame.len())
            .map(|place| place.copy_from_slice(frame))
            .is_some()
    }

    /// Returns true when a frame of `len` bytes has room.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        len <= MAX_FRAME && self.bytes.len() - self.used >= PREFIX + len
    }

    /// Returns the number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns true when there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the bytes there is room for, prefixes included.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes in front of each frame.
    pub const PREFIX_LEN: usize = PREFIX;

    /// Returns the frame whose prefix is at byte `at`, if a whole one is there.
    #[must_use]
    pub fn frame_at(&self, at: usize) -> Option<&[u8]> {
        Frames(self.wire().get(at..)?).next()
    }

    /// Returns the bytes in use, prefixes included.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.used
    }

    /// Returns the bytes of all frames, without prefixes.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.used - self.count * PREFIX
    }

    /// Removes the frames in the first `bytes` bytes, where a frame must end.
    pub fn discard_front(&mut self, bytes: usize) {
        let gone = Frames(self.wire().get(..bytes).unwrap_or_default()).count();
        let bytes = bytes.min(self.used);
        self.bytes.copy_within(bytes..self.used, 0);
        self.used -= bytes;
        self.count -= gone;
    }

    /// Removes all frames.
    pub fn clear(&mut self) {
        self.used = 0;
        self.count = 0;
    }

    /// Marks the batch's state, for [`FrameBatch::truncate`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            used: self.used,
            count: self.count,
        }
    }

    /// Removes the frames added since `mark` was taken from this batch.
    pub fn truncate(&mut self, mark: Mark) {
        self.used = self.used.min(mark.used);
        self.count = self.count.min(mark.count);
    }

    /// Returns the frames in order.
    pub fn frames(&self) -> Frames<'_> {
        Frames(self.wire())
    }

    /// Returns all frames as they go over a stream.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// A state of a [`FrameBatch`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    used: usize,
    count: usize,
}

/// Iterator over frames in wire format; see [`FrameBatch::frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let Ok(Split::Frame { frame, rest }) = split(self.0) else {
            return None;
        };
        self.0 = rest;
        Some(frame)
    }
}

/// What the start of a stream's bytes is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split<'a> {
    /// A whole frame, and the bytes behind it.
    Frame { frame: &'a [u8], rest: &'a [u8] },
    /// The beginning of a frame, or nothing.
    Partial,
}

/// The length in front of a frame cannot be right, so the stream is out of step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfStep(pub u32);

/// Splits the first frame off `bytes`.
pub(crate) fn split(bytes: &[u8]) -> Result<Split<'_>, OutOfStep> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(Split::Partial);
    };
    let announced = u32::from_be_bytes(*prefix);
    let len = usize::try_from(announced).map_err(|_| OutOfStep(announced))?;
    if len > MAX_FRAME {
        return Err(OutOfStep(announced));
    }
    Ok(match rest.split_at_checked(len) {
        Some((frame, rest)) => Split::Frame { frame, rest },
        None => Split::Partial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order() {
        let mut batch = FrameBatch::with_capacity(64);
        assert!(batch.push(&[1; 20]) && batch.push(&[2; 14]) && batch.push(&[]));
        let frames: Vec<_> = batch.frames().map(<[u8]>::to_vec).collect();
        assert_eq!(frames, [vec![1; 20], vec![2; 14], vec![]]);
        assert_eq!((batch.len(), batch.byte_len()), (3, 46));
        assert_eq!(batch.frame_bytes(), 34);
        assert_eq!(batch.wire()[..5], [0, 0, 0, 20, 1]);
    }

    #[test]
    fn a_full_batch_refuses() {
        let mut batch = FrameBatch::with_capacity(30);
        assert!(batch.fits(26) && !batch.fits(27));
        assert!(batch.begin(27).is_none() && batch.is_empty());
        assert!(batch.begin(26).is_some() && batch.begin(0).is_none());
        assert!(FrameBatch::with_capacity(1 << 20)
            .begin(MAX_FRAME + 1)
            .is_none());
    }

    #[test]
    fn truncate_forgets_what_came_after_the_mark() {
        let mut batch = FrameBatch::with_capacity(100);
        batch.push(&[1; 10]);
        let mark = batch.mark();
        batch.push(&[2; 10]);
        batch.truncate(mark);
        assert_eq!(batch.frames().collect::<Vec<_>>(), [&[1; 10]]);
        batch.clear();
        batch.truncate(mark);
        assert!(batch.is_empty());
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(split(&[0, 0, 0]), Ok(Split::Partial));
        assert_eq!(split(&[0, 0, 0, 2, 1]), Ok(Split::Partial));
        assert_eq!(split(&[0xff; 9]), Err(OutOfStep(u32::MAX)));
        let limit = u32::try_from(MAX_FRAME).unwrap();
        assert_eq!(split(&limit.to_be_bytes()), Ok(Split::Partial));
        assert_eq!(split(&(limit + 1).to_be_bytes()), Err(OutOfStep(limit + 1)));
    }
}
