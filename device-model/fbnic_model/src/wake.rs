// SPDX-License-Identifier: GPL-2.0
//! Waking the worker: one system call only when it sleeps.

use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{eventfd, EventfdFlags, Timespec};

use crate::device::LONGEST_SLEEP;

/// An eventfd with a flag that says whether anybody waits for it.
pub struct Waker {
    asleep: AtomicBool,
    fd: OwnedFd,
}

impl Waker {
    /// A waker nobody waits for.
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            asleep: AtomicBool::new(false),
            fd,
        })
    }

    /// Wakes the worker if it sleeps or is about to.
    ///
    /// What the worker shall see must be stored (sequentially consistent) before the call.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // The counter cannot overflow: one write per sleep, and the sleeper drains it.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Announces sleep. The worker must look for work once more between this and its wait.
    pub fn prepare(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Ends the sleep. `signalled` says that the wait found the descriptor readable.
    pub fn finish(&self, signalled: bool) {
        let was_woken = !self.asleep.swap(false, Ordering::SeqCst);
        if signalled || was_woken {
            let mut count = [0; 8];
            let _ = rustix::io::read(&self.fd, &mut count);
        }
    }

    /// What the worker waits on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const WAKER: EventData = EventData::new_u64(0);
const CABLE: EventData = EventData::new_u64(1);

/// The worker's bed: sleeps until the waker, the cable or a time.
pub struct Sleeper {
    epoll: OwnedFd,
    /// What the cable's descriptor is registered for, with the epoch it belongs to.
    cable: Option<(u32, EventFlags)>,
}

impl Sleeper {
    /// A sleeper that `waker` can wake. Timers of the calling thread become precise.
    pub fn new(waker: &Waker) -> std::io::Result<Self> {
        // The usual slack of 50 us is more than the moderation times this thread waits for.
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
            log::debug!("timer slack stays: {error}");
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, waker.fd(), WAKER, EventFlags::IN)?;
        Ok(Self { epoll, cable: None })
    }

    /// Takes note of what the cable waits for; returns the time it wants to be called at.
    pub fn watch(&mut self, wait: net_backend::Wait<'_>) -> Option<Instant> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, wait.read);
        flags.set(EventFlags::OUT, wait.write);
        let wanted = wait.fd.map(|_| (wait.epoch, flags));
        if wanted != self.cable {
            let result = match (wait.fd, self.cable) {
                // A closed descriptor leaves the set by itself, so a new epoch only adds.
                (Some(fd), Some((epoch, _))) if epoch == wait.epoch => {
                    epoll::modify(&self.epoll, fd, CABLE, flags)
                }
                (Some(fd), _) => epoll::add(&self.epoll, fd, CABLE, flags),
                (None, _) => Ok(()),
            };
            if let Err(error) = result {
                log::warn!("cannot wait for the cable: {error}");
            }
            self.cable = wanted;
        }
        wait.deadline
    }

    /// Sleeps until something happens, `deadline`, or at once if `busy` says so.
    pub fn sleep(
        &mut self,
        waker: &Waker,
        deadline: Option<Instant>,
        busy: impl Fn() -> bool,
    ) -> std::io::Result<()> {
        waker.prepare();
        if busy() {
            waker.finish(false);
            return Ok(());
        }
        let longest = LONGEST_SLEEP;
        let timeout = deadline.map_or(longest, |at| {
            at.saturating_duration_since(Instant::now()).min(longest)
        });
        let timeout = Timespec {
            // At most LONGEST_SLEEP.
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [const { MaybeUninit::uninit() }; 4];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {
                waker.finish(false);
                return Ok(());
            }
            result => result?,
        };
        waker.finish(events.iter().any(|event| {
            // Copied out because the structure is packed.
            let data = event.data;
            data == WAKER
        }));
        Ok(())
    }
}
