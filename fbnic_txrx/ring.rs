// SPDX-License-Identifier: GPL-2.0

//! Arithmetic on ring indices.
//!
//! Rings hold a power of two of entries, between [`RingSize::MIN`] and [`RingSize::MAX`]. One entry
//! stays free, so that a full ring can be told from an empty one.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

use super::desc::DONE;

/// The number of entries of a ring.
///
/// # Invariants
///
/// `mask + 1` is a power of two of at most 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    mask: u32,
}

impl RingSize {
    /// Fewest descriptors a ring of the device may have.
    pub const MIN: u32 = 64;
    /// Most descriptors a ring of the device may have.
    pub const MAX: u32 = 1 << 16;

    /// Returns the size with this many entries, if it is a power of two up to [`Self::MAX`].
    pub const fn new(entries: u32) -> Option<Self> {
        if entries.is_power_of_two() && entries <= Self::MAX {
            // INVARIANT: Checked just above.
            Some(Self { mask: entries - 1 })
        } else {
            None
        }
    }

    /// Returns the number of entries.
    #[inline(always)]
    pub const fn entries(self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Returns the bits of an index that count.
    #[inline(always)]
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// Returns the value of the device's size registers: log2, with 0 for 65536.
    pub const fn log2(self) -> u32 {
        self.entries().trailing_zeros() & 0xf
    }
}

/// The next entry of a completion ring, and the phase in which it is valid.
///
/// Counts on beyond the ring's size: the bit above the mask tells odd passes from even ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionHead {
    count: u32,
    size: RingSize,
}

impl CompletionHead {
    /// Returns the head of a ring that was just reset.
    pub const fn new(size: RingSize) -> Self {
        Self { count: 0, size }
    }

    /// Returns the size of the ring.
    #[inline(always)]
    pub const fn size(self) -> RingSize {
        self.size
    }

    /// Returns the position in the ring.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.count & self.size.mask
    }

    /// Returns how many entries there were, which is the position in the ring modulo its size.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns the entries from here on up to the ring's end, or up to where the count is `limit`.
    #[inline(always)]
    pub const fn pass(self, limit: u32) -> Pass {
        let start = self.index();
        let room = self.size.entries().wrapping_sub(start);
        let wanted = limit.wrapping_sub(self.count);
        let len = if wanted < room { wanted } else { room };
        Pass {
            start,
            end: start.wrapping_add(len),
            phase: if self.count & self.size.entries() == 0 {
                DONE
            } else {
                0
            },
        }
    }

    /// Goes on by `count` entries.
    #[inline(always)]
    pub fn advance(&mut self, count: u32) {
        self.count = self.count.wrapping_add(count);
    }
}

/// Entries of a completion ring next to each other, which the device writes with the same phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Position of the first.
    pub start: u32,
    /// Position after the last.
    pub end: u32,
    phase: u64,
}

impl Pass {
    /// Returns an entry without its phase bit, if the device has written it in this pass.
    #[inline(always)]
    pub const fn completed(self, raw: u64) -> Option<u64> {
        let raw = raw ^ self.phase;
        if raw & DONE == 0 {
            Some(raw)
        } else {
            None
        }
    }
}

/// Bytes the device leaves around each header in its buffer, at least: it aligns headers to 128
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Before the header.
    pub head: u32,
    /// After it: what the kernel needs for `struct skb_shared_info`.
    pub tail: u32,
}

/// What the device aligns headers and payloads to.
const ALIGNMENT: u32 = 128;

/// Length of a buffer, bytes.
const BUFFER: u32 = 4096;

const fn align_up(value: u32) -> u32 {
    value.wrapping_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

impl Room {
    /// Returns the room for a shared info of `shared_info` bytes.
    ///
    /// Head and tail room of neighbours together are a multiple of the alignment, with at least 128
    /// bytes in front.
    pub const fn new(shared_info: u32) -> Self {
        Self {
            head: align_up(shared_info + 128) - shared_info,
            tail: shared_info,
        }
    }

    /// Returns the longest header that has its room in any buffer, bytes.
    pub const fn longest_header(self) -> u32 {
        BUFFER - align_up(self.head) - self.tail
    }

    /// Returns where the room that belongs to a header of `len` bytes at `off` ends, as an offset in
    /// the buffer. It starts where that of the header before it ends.
    ///
    /// `last` says that nothing follows in the buffer, so that all of the rest belongs to it.
    ///
    /// What does not fit the buffer is not refused here, because those who use the room have to
    /// check it anyway: it then does not hold the tail.
    #[inline]
    pub const fn header_end(self, off: u32, len: u32, last: bool) -> u32 {
        // `off` and `len` have 12 and 13 bits, so the sum cannot overflow.
        let room = off
            .wrapping_add(len)
            .wrapping_add(self.tail)
            .wrapping_add(self.head);
        let next = align_up(room).wrapping_sub(self.head);
        // The device does not put another header where it would not fit.
        if last || next > BUFFER {
            BUFFER
        } else {
            next
        }
    }
}

/// Returns where the space of a payload of `len` bytes at `off` ends, or `None` if it does not fit.
#[inline]
pub const fn payload_end(off: u32, len: u32, last: bool) -> Option<u32> {
    let end = off + len;
    if len == 0 || end > BUFFER {
        return None;
    }
    let aligned = off + align_up(len);
    Some(if last || aligned > BUFFER {
        BUFFER
    } else {
        aligned
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(RingSize::new(0), None);
        assert_eq!(RingSize::new(96), None);
        assert_eq!(RingSize::new(1 << 17), None);
        assert_eq!(RingSize::new(64).map(RingSize::log2), Some(6));
        // The device's size field has four bits, and 0 stands for the largest ring.
        assert_eq!(RingSize::new(1 << 16).map(RingSize::log2), Some(0));
        assert_eq!(RingSize::new(1 << 15).map(RingSize::log2), Some(15));
    }

    #[test]
    fn phase_turns_with_each_pass() {
        let mut head = CompletionHead::new(RingSize::new(64).unwrap());
        for turn in 0..5 {
            for index in 0..64 {
                assert_eq!(head.index(), index);
                let pass = head.pass(head.count() + 1);
                assert_eq!((pass.start, pass.end), (index, index + 1));
                let new = if turn % 2 == 0 { DONE } else { 0 };
                assert_eq!(pass.completed(new | 5), Some(5));
                assert_eq!(pass.completed(new ^ DONE | 5), None);
                head.advance(1);
            }
        }
    }

    #[test]
    fn a_turn_has_two_passes() {
        let mut head = CompletionHead::new(RingSize::new(64).unwrap());
        head.advance(60);
        let limit = head.count() + 64;
        let first = head.pass(limit);
        assert_eq!((first.start, first.end), (60, 64));
        assert_eq!(first.completed(DONE), Some(0));
        head.advance(4);
        let second = head.pass(limit);
        assert_eq!((second.start, second.end), (0, 60));
        assert_eq!(second.completed(DONE), None);
        head.advance(60);
        assert_eq!(head.count(), limit);
    }

    #[test]
    fn phase_survives_the_counter_wrapping() {
        let size = RingSize::new(1 << 16).unwrap();
        let mut head = CompletionHead {
            count: u32::MAX,
            size,
        };
        let limit = head.count().wrapping_add(size.entries());
        let pass = head.pass(limit);
        assert_eq!((pass.start, pass.end), (0xffff, 0x1_0000));
        assert_eq!(pass.completed(0), Some(0));
        head.advance(1);
        assert_eq!(head.index(), 0);
        let pass = head.pass(limit);
        assert_eq!((pass.start, pass.end), (0, 0xffff));
        assert_eq!(pass.completed(0), None);
        assert_eq!(pass.completed(DONE), Some(0));
    }

    #[test]
    fn room_of_the_usual_kernel() {
        assert_eq!(
            Room::new(320),
            Room {
                head: 192,
                tail: 320
            }
        );
    }

    #[test]
    fn the_longest_header_fits() {
        let longest = Room::new(320).longest_header();
        assert_eq!(longest, 3520);
        // The device puts it at 256.
        assert_eq!(accepted(0, 256, longest, true), Some(4096));
        assert_eq!(accepted(0, 256, longest + 1, true), None);
    }

    /// Returns the end of the header's room if whoever takes it would accept it.
    fn accepted(used: u32, off: u32, len: u32, last: bool) -> Option<u32> {
        let room = Room::new(320);
        let end = room.header_end(off, len, last);
        let fits = used + room.head <= off && off + len + room.tail <= end && end <= 4096;
        fits.then_some(end)
    }

    #[test]
    fn neighbours_share_nothing_and_leave_no_gap() {
        let room = Room::new(320);
        let mut off = 256;
        let mut used = 0;
        loop {
            let len = 66;
            let Some(end) = accepted(used, off, len, false) else {
                break;
            };
            used = end;
            off = align_up(off + len + room.tail + room.head);
            // Just the headroom lies between them, if there is another.
            assert!(used + room.head == off || off + len + room.tail > 4096);
        }
        // No other header fits.
        assert!(off + 66 + room.tail > 4096);
        assert!(used > 3584 && used <= 4096);
    }

    #[test]
    fn headers_outside_of_the_buffer_are_refused() {
        // Too close to the start for the headroom.
        assert_eq!(accepted(0, 0, 60, true), None);
        assert_eq!(accepted(0, 191, 60, true), None);
        assert!(accepted(0, 192, 60, true).is_some());
        // Too close to the one before.
        assert_eq!(accepted(512, 703, 60, true), None);
        assert!(accepted(512, 704, 60, true).is_some());
        // No room for the tail.
        assert_eq!(accepted(0, 256, 4096 - 256 - 319, true), None);
        assert!(accepted(0, 256, 4096 - 256 - 320, true).is_some());
        assert_eq!(accepted(0, 4095, 8191, true), None);
        assert_eq!(accepted(0, 4095, 8191, false), None);
        for off in 0..4096 {
            for len in (0..8192).step_by(13) {
                for last in [false, true] {
                    if let Some(end) = accepted(0, off, len, last) {
                        assert!(off + len + 320 <= end && end <= 4096);
                    }
                }
            }
        }
    }

    #[test]
    fn payloads() {
        assert_eq!(payload_end(0, 0, false), None);
        assert_eq!(payload_end(0, 4097, true), None);
        assert_eq!(payload_end(4095, 2, false), None);
        assert_eq!(payload_end(0, 4096, false), Some(4096));
        assert_eq!(payload_end(0, 100, false), Some(128));
        assert_eq!(payload_end(0, 100, true), Some(4096));
        assert_eq!(payload_end(4000, 96, false), Some(4096));
    }
}
