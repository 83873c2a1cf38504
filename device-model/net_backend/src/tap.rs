// SPDX-License-Identifier: GPL-2.0
//! A cable into a tap interface of the machine the model runs on.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{netdevice, socket, AddressFamily, SocketType};
use tun::AbstractDevice;

use crate::{CableStats, Endpoint, FrameBatch, Wait, MAX_FRAME};

/// Pause between two looks for an interface that was deleted.
const RETRY: Duration = Duration::from_millis(500);

/// A tap interface, opened without packet information in front of the frames.
///
/// The kernel takes one frame per call, so this cable costs a system call per frame.
pub struct Tap {
    name: String,
    state: State,
    epoch: u32,
    buffer: Box<[u8]>,
    stats: CableStats,
}

enum State {
    Open(tun::Device),
    /// The interface was deleted; it is looked for again at the given time.
    Gone {
        retry_at: Instant,
    },
}

impl Tap {
    /// Opens the interface `name`, which is created if it is not there.
    ///
    /// Addresses and the state of the interface are left to its owner. An interface that is deleted
    /// takes the link with it; one that its owner makes again under that name brings it back.
    ///
    /// # Errors
    ///
    /// Fails without `/dev/net/tun` or without permission for the interface.
    pub fn open(name: &str) -> io::Result<Self> {
        let device = attach(name)?;
        Ok(Self {
            name: device.tun_name().map_err(io::Error::other)?,
            state: State::Open(device),
            epoch: 0,
            buffer: vec![0; MAX_FRAME].into_boxed_slice(),
            stats: CableStats {
                connections: 1,
                ..CableStats::default()
            },
        })
    }

    fn went_down(&mut self) {
        log::info!("cable: the interface {} is gone", self.name);
        let retry_at = Instant::now() + RETRY;
        self.state = State::Gone { retry_at };
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes the interface if it is there again. It is never created here: that would be in the
    /// way of whoever has deleted it.
    fn retry(&mut self, now: Instant) {
        match is_there(&self.name).and_then(|()| attach(&self.name)) {
            Ok(device) => {
                log::info!("cable: the interface {} is back", self.name);
                self.state = State::Open(device);
                self.epoch = self.epoch.wrapping_add(1);
                self.stats.connections += 1;
            }
            Err(error) => {
                log::debug!("cable: {}: {error}", self.name);
                let retry_at = now + RETRY;
                self.state = State::Gone { retry_at };
            }
        }
    }
}

/// Opens the interface for frames, without waiting for any.
fn attach(name: &str) -> io::Result<tun::Device> {
    let mut config = tun::Configuration::default();
    config.tun_name(name).layer(tun::Layer::L2);
    config.platform_config(|platform| {
        // Only what configures addresses needs more than the open itself.
        platform.ensure_root_privileges(false);
    });
    let device = tun::Device::new(&config).map_err(|error| match error {
        tun::Error::Io(error) => error,
        error => io::Error::other(error),
    })?;
    device.set_nonblock()?;
    Ok(device)
}

fn is_there(name: &str) -> io::Result<()> {
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    netdevice::name_to_index(&any, name)?;
    Ok(())
}

/// Returns whether the kernel says that the interface was deleted.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::BADFD.raw_os_error())
}

impl Endpoint for Tap {
    fn service(&mut self, now: Instant) {
        match self.state {
            State::Gone { retry_at } if retry_at <= now => self.retry(now),
            State::Gone { .. } | State::Open(_) => {}
        }
    }

    #[expect(
        unsafe_code,
        reason = "tun::Device lends its descriptor as a number only"
    )]
    fn wait(&self) -> Wait<'_> {
        let idle = Wait {
            epoch: self.epoch,
            ..Wait::default()
        };
        match &self.state {
            State::Open(device) => Wait {
                // SAFETY: The device owns the descriptor and closes it when dropped. The result
                // borrows `self`, so the device outlives it.
                fd: Some(unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }),
                read: true,
                ..idle
            },
            State::Gone { retry_at } => Wait {
                deadline: Some(*retry_at),
                ..idle
            },
        }
    }

    fn link_up(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    fn can_send(&self) -> bool {
        // The kernel queues or drops on its side and never asks to wait.
        true
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        for frame in batch.frames() {
            let State::Open(device) = &mut self.state else {
                self.stats.send_drops += 1;
                continue;
            };
            match device.write(frame) {
                Ok(written) if written == frame.len() => self.stats.count_sent(1, written),
                // An interface that is down refuses frames; so does a full queue.
                result => {
                    self.stats.send_drops += 1;
                    if result.is_err_and(|error| is_gone(&error)) {
                        self.went_down();
                    }
                }
            }
        }
        batch.clear();
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut done = 0;
        while done < budget {
            let State::Open(device) = &mut self.state else {
                break;
            };
            match device.read(&mut self.buffer) {
                Ok(len) => {
                    let frame = self.buffer.get(..len).unwrap_or_default();
                    if self.stats.count_received(frame) {
                        sink(frame);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    if is_gone(&error) {
                        self.went_down();
                    }
                    break;
                }
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
