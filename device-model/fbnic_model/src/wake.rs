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
pub struct Sleeper<'w> {
    waker: BorrowedFd<'w>,
    epoll: OwnedFd,
    /// What the cable's descriptor is registered for, with the epoch it belongs to.
    cable: Option<(u32, EventFlags)>,
}

/// A set to wait on that has nothing but the waker in it.
fn waker_alone(waker: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, waker, WAKER, EventFlags::IN)?;
    Ok(epoll)
}

impl<'w> Sleeper<'w> {
    /// A sleeper that `waker` can wake. Timers of the calling thread become precise.
    pub fn new(waker: &'w Waker) -> std::io::Result<Self> {
        // The usual slack of 50 us is more than the moderation times this thread waits for.
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1)) {
            log::debug!("timer slack stays: {error}");
        }
        let waker = waker.fd();
        Ok(Self {
            waker,
            epoll: waker_alone(waker)?,
            cable: None,
        })
    }

    /// Takes note of what the cable waits for; returns the time it wants to be called at.
    pub fn watch(&mut self, wait: net_backend::Wait<'_>) -> Option<Instant> {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, wait.read);
        flags.set(EventFlags::OUT, wait.write);
        let wanted = wait.fd.map(|_| (wait.epoch, flags));
        if wanted != self.cable {
            if let Err(error) = self.register(&wait, flags) {
                log::warn!("cannot wait for the cable: {error}");
            }
            self.cable = wanted;
        }
        wait.deadline
    }

    fn register(
        &mut self,
        wait: &net_backend::Wait<'_>,
        flags: EventFlags,
    ) -> rustix::io::Result<()> {
        match (wait.fd, self.cable) {
            (Some(fd), Some((epoch, _))) if epoch == wait.epoch => {
                return epoll::modify(&self.epoll, fd, CABLE, flags);
            }
            // The cable may still hold the descriptor that it no longer waits for, a listening one
            // while it has a peer. Such an entry wakes the worker all the time, and only its
            // number, which the cable does not tell, could take it out of the set.
            (_, Some(_)) => self.epoll = waker_alone(self.waker)?,
            (_, None) => {}
        }
        wait.fd
            .map_or(Ok(()), |fd| epoll::add(&self.epoll, fd, CABLE, flags))
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use net_backend::Wait;

    use super::*;

    fn reading(end: &UnixStream, epoch: u32) -> Wait<'_> {
        Wait {
            fd: Some(end.as_fd()),
            epoch,
            read: true,
            ..Wait::default()
        }
    }

    /// Whether nothing ends the sleep before `longest` is over.
    fn lasts(sleeper: &mut Sleeper<'_>, waker: &Waker, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        sleeper.sleep(waker, Some(until), || false).unwrap();
        Instant::now() >= until
    }

    fn sleeps(sleeper: &mut Sleeper<'_>, waker: &Waker) -> bool {
        lasts(sleeper, waker, Duration::from_millis(30))
    }

    /// Leaves a busy machine the time to let this thread run.
    fn is_woken(sleeper: &mut Sleeper<'_>, waker: &Waker) -> bool {
        !lasts(sleeper, waker, LONGEST_SLEEP)
    }

    #[test]
    fn what_the_cable_no_longer_waits_for_wakes_nobody() {
        let waker = Waker::new().unwrap();
        let mut sleeper = Sleeper::new(&waker).unwrap();
        let (old, mut old_peer) = UnixStream::pair().unwrap();
        let (new, mut new_peer) = UnixStream::pair().unwrap();
        assert_eq!(sleeper.watch(reading(&old, 0)), None);
        old_peer.write_all(&[1]).unwrap();
        assert!(is_woken(&mut sleeper, &waker));
        // A listener stays open like this while its peer is connected.
        sleeper.watch(reading(&new, 1));
        assert!(sleeps(&mut sleeper, &waker));
        new_peer.write_all(&[1]).unwrap();
        assert!(is_woken(&mut sleeper, &waker));
        sleeper.watch(reading(&old, 2));
        assert!(is_woken(&mut sleeper, &waker));
        sleeper.watch(Wait::default());
        assert!(sleeps(&mut sleeper, &waker));
    }

    #[test]
    fn a_duplicate_of_what_was_closed_wakes_nobody() {
        let waker = Waker::new().unwrap();
        let mut sleeper = Sleeper::new(&waker).unwrap();
        let (first, _peer) = UnixStream::pair().unwrap();
        let writing = Wait {
            write: true,
            read: false,
            ..reading(&first, 0)
        };
        sleeper.watch(writing);
        assert!(is_woken(&mut sleeper, &waker));
        let second = first.try_clone().unwrap();
        drop(first);
        sleeper.watch(reading(&second, 1));
        assert!(sleeps(&mut sleeper, &waker));
    }

    #[test]
    fn the_waker_is_in_every_set() {
        let waker = Waker::new().unwrap();
        let mut sleeper = Sleeper::new(&waker).unwrap();
        let (end, _peer) = UnixStream::pair().unwrap();
        for epoch in 0..3 {
            sleeper.watch(reading(&end, epoch));
            waker.prepare();
            waker.wake();
            assert!(is_woken(&mut sleeper, &waker));
        }
    }
}
