// SPDX-License-Identifier: GPL-2.0
//! Cables that do not leave the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{eventfd, EventfdFlags};

use crate::batch::PREFIX;
use crate::{CableStats, Endpoint, FrameBatch, Wait, BATCH_CAPACITY};

/// Bytes a cable holds in one direction. As the size of the batches that come in is
/// the same, a batch is usually exchanged rather than copied.
const CAPACITY: usize = BATCH_CAPACITY;
/// Above this many bytes the sender is asked to wait.
const HIGH_WATER: usize = CAPACITY / 2;

/// A plug that is always up and swallows all.
#[derive(Debug, Default)]
pub struct Null {
    stats: CableStats,
}

impl Endpoint for Null {
    fn service(&mut self, _now: Instant) {}

    fn wait(&self) -> Wait<'_> {
        Wait::default()
    }

    fn link_up(&self) -> bool {
        true
    }

    fn can_send(&self) -> bool {
        true
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        self.stats
            .count_sent(batch.len() as u64, batch.frame_bytes());
        batch.clear();
    }

    fn receive(&mut self, _budget: usize, _sink: &mut dyn FnMut(&[u8])) -> usize {
        0
    }

    fn stats(&self) -> CableStats {
        self.stats
    }
}

/// One direction of a memory cable: frames not yet fetched.
type Lane = Arc<Mutex<FrameBatch>>;

/// One end of a memory cable between two NICs, or, with both lanes the same, a
/// plug that sends every frame back.
pub struct Memory {
    out: Lane,
    incoming: Lane,
    /// Frames taken from `incoming` and not yet delivered.
    taken: FrameBatch,
    /// Bytes of `taken` already delivered.
    delivered: usize,
    /// Wakes this end: frames have arrived, or there is room again.
    wake: Arc<OwnedFd>,
    /// Wakes the other end.
    peer_wake: Arc<OwnedFd>,
    stats: CableStats,
}

/// Returns the two ends of a memory cable.
///
/// # Errors
///
/// Fails when the process is out of file descriptors.
pub fn pair() -> io::Result<(Box<dyn Endpoint>, Box<dyn Endpoint>)> {
    let (a, b) = (lane(), lane());
    let (wake_a, wake_b) = (wake()?, wake()?);
    let left = Memory::new(a.clone(), b.clone(), wake_a.clone(), wake_b.clone());
    let right = Memory::new(b, a, wake_b, wake_a);
    Ok((Box::new(left), Box::new(right)))
}

/// Returns a plug that sends every frame back.
///
/// # Errors
///
/// Fails when the process is out of file descriptors.
pub fn loopback() -> io::Result<Memory> {
    let (lane, wake) = (lane(), wake()?);
    Ok(Memory::new(lane.clone(), lane, wake.clone(), wake))
}

fn lane() -> Lane {
    Arc::new(Mutex::new(FrameBatch::with_capacity(CAPACITY)))
}

fn wake() -> io::Result<Arc<OwnedFd>> {
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    Ok(Arc::new(eventfd(0, flags)?))
}

/// A batch is consistent between any two calls, so a panic elsewhere does not spoil it.
fn lock(lane: &Lane) -> MutexGuard<'_, FrameBatch> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signal(fd: &OwnedFd) {
    // A full counter is a wake-up as well, so the one possible error is none.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

impl Memory {
    fn new(out: Lane, incoming: Lane, wake: Arc<OwnedFd>, peer_wake: Arc<OwnedFd>) -> Self {
        Self {
            out,
            incoming,
            taken: FrameBatch::with_capacity(CAPACITY),
            delivered: 0,
            wake,
            peer_wake,
            stats: CableStats {
                connections: 1,
                ..CableStats::default()
            },
        }
    }

    /// Exchanges the drained batch for what has arrived; false when nothing has.
    fn refill(&mut self) -> bool {
        self.taken.clear();
        self.delivered = 0;
        let mut incoming = lock(&self.incoming);
        if incoming.is_empty() {
            return false;
        }
        let was_high = incoming.byte_len() > HIGH_WATER;
        std::mem::swap(&mut *incoming, &mut self.taken);
        drop(incoming);
        if was_high {
            signal(&self.peer_wake);
        }
        true
    }

    /// Returns true while the other end exists.
    fn connected(&self) -> bool {
        Arc::strong_count(&self.out) > 1
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The other end finds itself alone when it looks.
        signal(&self.peer_wake);
    }
}

impl Endpoint for Memory {
    fn service(&mut self, _now: Instant) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
    }

    fn wait(&self) -> Wait<'_> {
        Wait {
            fd: Some(self.wake.as_fd()),
            read: true,
            ..Wait::default()
        }
    }

    fn link_up(&self) -> bool {
        self.connected()
    }

    fn can_send(&self) -> bool {
        lock(&self.out).byte_len() <= HIGH_WATER
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        let frames = batch.len() as u64;
        if !self.connected() {
            self.stats.send_drops += frames;
            batch.clear();
            return;
        }
        let mut out = lock(&self.out);
        let was_empty = out.is_empty();
        let (fitted, bytes) = if was_empty && batch.capacity() == out.capacity() {
            std::mem::swap(&mut *out, batch);
            (frames, out.frame_bytes())
        } else {
            let before = (out.len(), out.frame_bytes());
            for frame in batch.frames() {
                // What does not fit is counted below.
                let _ = out.push(frame);
            }
            ((out.len() - before.0) as u64, out.frame_bytes() - before.1)
        };
        drop(out);
        self.stats.count_sent(fitted, bytes);
        self.stats.send_drops += frames - fitted;
        batch.clear();
        if was_empty && fitted > 0 {
            signal(&self.peer_wake);
        }
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(frame) = self.taken.frame_at(self.delivered) else {
                if self.refill() {
                    continue;
                }
                break;
            };
            self.delivered += PREFIX + frame.len();
            done += 1;
            if self.stats.count_received(frame) {
                sink(frame);
            }
        }
        done
    }

    fn stats(&self) -> CableStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_of(frames: &[&[u8]]) -> FrameBatch {
        let mut batch = FrameBatch::with_capacity(BATCH_CAPACITY);
        for frame in frames {
            assert!(batch.push(frame));
        }
        batch
    }

    fn drain(end: &mut dyn Endpoint, budget: usize) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        end.receive(budget, &mut |frame| got.push(frame.to_vec()));
        got
    }

    #[test]
    fn pair_carries_both_ways_and_counts_runts() {
        let (mut left, mut right) = pair().unwrap();
        left.send(&mut batch_of(&[&[1; 60], &[2; 5]]));
        left.send(&mut batch_of(&[&[3; 61]]));
        assert_eq!(drain(&mut *right, 2), [vec![1; 60]]);
        assert_eq!(drain(&mut *right, 9), [vec![3; 61]]);
        assert_eq!(right.stats().runts, 1);
        right.send(&mut batch_of(&[&[4; 62]]));
        assert_eq!(drain(&mut *left, 9), [vec![4; 62]]);
        assert!(drain(&mut *left, 9).is_empty());
    }

    #[test]
    fn a_full_lane_pushes_back_then_drops() {
        let (mut left, right) = pair().unwrap();
        let mut sent = 0u64;
        while left.can_send() {
            let mut batch = FrameBatch::with_capacity(BATCH_CAPACITY);
            while batch.push(&[0; 9000]) && batch.len() < 20 {}
            sent += batch.len() as u64;
            left.send(&mut batch);
            assert!(batch.is_empty());
        }
        assert_eq!((left.stats().sent, left.stats().send_drops), (sent, 0));
        for _ in 0..100 {
            left.send(&mut batch_of(&[&[0; 60000]]));
        }
        assert!(left.stats().send_drops > 80);
        drop(right);
        assert!(!left.link_up());
    }

    #[test]
    fn loopback_returns_what_was_sent() {
        let mut plug = loopback().unwrap();
        assert!(plug.link_up());
        plug.send(&mut batch_of(&[&[7; 100]]));
        assert_eq!(drain(&mut plug, 5), [vec![7; 100]]);
        plug.service(Instant::now());
        assert!(plug.wait().read);
    }

    #[test]
    fn null_swallows() {
        let mut null = Null::default();
        null.send(&mut batch_of(&[&[7; 100]]));
        assert!(drain(&mut null, 5).is_empty() && null.link_up());
    }
}
