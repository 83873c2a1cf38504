// SPDX-License-Identifier: GPL-2.0
//! The receive packet buffer: frames that wait because their queue may not drop them.

use net_backend::FrameBatch;

/// Most bytes that wait at any time. More than the 511 units of 2 KiB that
/// RXB_PBUF_CFG can describe, for what a paused far end holds back.
pub(super) const LARGEST: usize = 8 << 20;
/// Memory behind it. Twice as much, so that moving the frames to its start is paid
/// for by at least as many bytes having passed.
const CAPACITY: usize = 2 * LARGEST;

/// Frames in order of arrival.
pub(super) struct Fifo {
    frames: FrameBatch,
    /// Where the first frame that is still there starts.
    front: usize,
}

impl Default for Fifo {
    fn default() -> Self {
        Self {
            frames: FrameBatch::with_capacity(0),
            front: 0,
        }
    }
}

impl Fifo {
    pub fn new() -> Self {
        Self {
            frames: FrameBatch::with_capacity(CAPACITY),
            front: 0,
        }
    }

    /// Returns the bytes in use.
    pub fn level(&self) -> usize {
        self.frames.byte_len() - self.front
    }

    pub fn is_empty(&self) -> bool {
        self.level() == 0
    }

    pub fn front(&self) -> Option<&[u8]> {
        self.frames.frame_at(self.front)
    }

    /// Adds a frame unless the buffer would grow beyond `limit` bytes.
    pub fn push(&mut self, frame: &[u8], limit: usize) -> bool {
        if self.level() + frame.len() > limit.min(LARGEST) {
            return false;
        }
        if !self.frames.fits(frame.len()) {
            self.frames.discard_front(self.front);
            self.front = 0;
        }
        self.frames.push(frame)
    }

    /// Removes the first frame.
    pub fn pop(&mut self) {
        let len = self.front().map_or(0, <[u8]>::len);
        self.front += FrameBatch::PREFIX_LEN + len;
        if self.front >= self.frames.byte_len() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.frames.clear();
        self.front = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_across_many_rounds() {
        let mut fifo = Fifo::new();
        let (mut pushed, mut popped) = (0u32, 0u32);
        for round in 0..20_000 {
            for _ in 0..=round % 3 {
                let mut frame = vec![0; 1000 + pushed as usize % 900];
                frame[..4].copy_from_slice(&pushed.to_be_bytes());
                if fifo.push(&frame, 100_000) {
                    pushed += 1;
                }
            }
            for _ in 0..round % 4 {
                if let Some(frame) = fifo.front() {
                    assert_eq!(frame[..4], popped.to_be_bytes());
                    fifo.pop();
                    popped += 1;
                }
            }
            assert!(fifo.level() <= 100_000 + 4 * 100);
        }
        assert!(popped > 10_000);
    }

    #[test]
    fn a_full_buffer_refuses() {
        let mut fifo = Fifo::new();
        assert!(!fifo.push(&[0; 60], 0));
        assert!(fifo.push(&[0; 60], 100) && !fifo.push(&[0; 60], 100));
        fifo.pop();
        assert!(fifo.is_empty() && fifo.front().is_none());
        fifo.pop();
        assert!(fifo.is_empty());
    }
}
