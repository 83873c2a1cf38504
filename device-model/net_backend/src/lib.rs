// SPDX-License-Identifier: GPL-2.0
//! The cable of the emulated NIC.
//!
//! An [`Endpoint`] is the NIC's end of one cable: frames go in and come out, and
//! its connection state is the link. All kinds are non-blocking and owned by one
//! thread, which asks [`Endpoint::wait`] what to sleep on.
//!
//! | module | cable |
//! |---|---|
//! | [`stream`] | QEMU's `-netdev stream` framing over a Unix or TCP socket, which passt speaks too |
//! | [`tap`] | a Linux tap interface |
//! | [`local`] | loopback, nothing at all, or another NIC in this process |
//! | [`pcap`] | a capture file beside any of them |
//!
//! Frames carry no FCS and are not padded to 60 bytes. Frames in transit lie in a
//! [`FrameBatch`] in the stream's own format, so that a batch leaves with one
//! `write` and arrives with one `read`, and no frame is copied on the way.
#![deny(unsafe_code)]

mod batch;
pub mod local;
pub mod pcap;
mod spec;
pub mod stream;
pub mod tap;

pub use batch::{FrameBatch, Frames, Mark, BATCH_CAPACITY, MAX_FRAME};
pub use local::pair;
pub use spec::{open, CableSpec, CABLE_HELP};

use std::os::fd::BorrowedFd;
use std::time::Instant;

/// What to sleep on for an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait<'a> {
    /// Descriptor to poll, if there is one.
    pub fd: Option<BorrowedFd<'a>>,
    /// Changes whenever `fd` was replaced, even by one of the same number. The one before may still be
    /// open.
    pub epoch: u32,
    /// Wait for `fd` to become readable.
    pub read: bool,
    /// Wait for `fd` to become writable.
    pub write: bool,
    /// Call [`Endpoint::service`] at this time at the latest.
    pub deadline: Option<Instant>,
}

/// What an endpoint has moved and lost. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CableStats {
    /// Frames handed to the far end.
    pub sent: u64,
    /// Bytes of those frames, without FCS.
    pub sent_bytes: u64,
    /// Frames received from the far end.
    pub received: u64,
    /// Bytes of those frames, without FCS.
    pub received_bytes: u64,
    /// Frames that could not be handed on: no connection, or its queue was full.
    pub send_drops: u64,
    /// Received frames without a whole Ethernet header.
    pub runts: u64,
    /// Connections closed because the far end broke the framing.
    pub framing_errors: u64,
    /// Times a connection came up.
    pub connections: u64,
}

impl CableStats {
    /// Counts frames handed to the far end, with their bytes together.
    fn count_sent(&mut self, frames: u64, bytes: usize) {
        self.sent += frames;
        self.sent_bytes += bytes as u64;
    }

    /// Counts a frame from the far end; returns whether it has a whole Ethernet header.
    fn count_received(&mut self, frame: &[u8]) -> bool {
        if frame.len() < batch::MIN_FRAME {
            self.runts += 1;
            return false;
        }
        self.received += 1;
        self.received_bytes += frame.len() as u64;
        true
    }
}

/// The NIC's end of a cable.
pub trait Endpoint: Send {
    /// Connects, accepts, and writes what is pending.
    fn service(&mut self, now: Instant);

    /// Returns what to sleep on; ask again after every other call.
    fn wait(&self) -> Wait<'_>;

    /// Returns whether there is a far end.
    fn link_up(&self) -> bool;

    /// Returns false while the far end is slower than the NIC. Frames sent all the
    /// same are queued as far as there is room, then dropped and counted.
    fn can_send(&self) -> bool;

    /// Takes the frames out of `batch`, which is empty afterwards.
    fn send(&mut self, batch: &mut FrameBatch);

    /// Hands up to `budget` received frames to `sink` and returns how many.
    ///
    /// A result under `budget` means that nothing more is there now.
    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize;

    /// Returns the counters.
    fn stats(&self) -> CableStats;
}
