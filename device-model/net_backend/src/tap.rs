// SPDX-License-Identifier: GPL-2.0
//! A cable into a tap interface of the machine the model runs on.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

use crate::{CableStats, Endpoint, FrameBatch, Wait, MAX_FRAME};

/// A tap interface, opened without packet information in front of the frames.
///
/// The kernel takes one frame per call, so this cable costs a system call per frame.
pub struct Tap {
    device: tun::Device,
    buffer: Box<[u8]>,
    stats: CableStats,
}

impl Tap {
    /// Opens the interface `name`, which is created if it is not there.
    ///
    /// Addresses and the state of the interface are left to its owner.
    ///
    /// # Errors
    ///
    /// Fails without `/dev/net/tun` or without permission for the interface.
    pub fn open(name: &str) -> io::Result<Self> {
        let mut config = tun::Configuration::default();
        config.tun_name(name).layer(tun::Layer::L2);
        config.platform_config(|platform| {
            // Only what configures addresses needs more than the open itself.
            platform.ensure_root_privileges(false);
        });
        let device = tun::Device::new(&config).map_err(io::Error::other)?;
        device.set_nonblock()?;
        Ok(Self {
            device,
            buffer: vec![0; MAX_FRAME].into_boxed_slice(),
            stats: CableStats {
                connections: 1,
                ..CableStats::default()
            },
        })
    }
}

impl Endpoint for Tap {
    fn service(&mut self, _now: Instant) {}

    #[expect(
        unsafe_code,
        reason = "tun::Device lends its descriptor as a number only"
    )]
    fn wait(&self) -> Wait<'_> {
        // SAFETY: The device owns the descriptor and closes it when dropped. The result borrows
        // `self`, so the device outlives it.
        let fd = unsafe { BorrowedFd::borrow_raw(self.device.as_raw_fd()) };
        Wait {
            fd: Some(fd),
            read: true,
            ..Wait::default()
        }
    }

    fn link_up(&self) -> bool {
        true
    }

    fn can_send(&self) -> bool {
        // The kernel queues or drops on its side and never asks to wait.
        true
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        for frame in batch.frames() {
            match self.device.write(frame) {
                Ok(written) if written == frame.len() => self.stats.count_sent(1, written),
                // An interface that is down refuses frames; so does a full queue.
                _ => self.stats.send_drops += 1,
            }
        }
        batch.clear();
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut done = 0;
        while done < budget {
            match self.device.read(&mut self.buffer) {
                Ok(len) => {
                    let frame = self.buffer.get(..len).unwrap_or_default();
                    if self.stats.count_received(frame) {
                        sink(frame);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            done += 1;
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

    /// Needs permission to create an interface; where there is none, opening must say so.
    #[test]
    fn a_frame_goes_into_the_interface_or_opening_fails_cleanly() {
        match Tap::open("fbnictest%d") {
            Ok(mut tap) => {
                let mut batch = FrameBatch::with_capacity(1000);
                batch.push(&[0xff; 60]);
                tap.send(&mut batch);
                // The interface is down, and nothing may be lost without being counted.
                assert_eq!(tap.stats().sent + tap.stats().send_drops, 1);
                assert_eq!(tap.receive(1, &mut |_| ()), 0);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
