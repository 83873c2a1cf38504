// SPDX-License-Identifier: GPL-2.0
//! MSI-X vectors as eventfds handed over by the vfio-user client.

use std::fs::File;

use parking_lot::Mutex;
use rustix::fs::OFlags;

/// A SET_IRQS request for the MSI-X interrupts, still unchecked.
#[derive(Debug)]
pub struct SetIrqs {
    /// Data and action flags of the vfio interface.
    pub flags: u32,
    /// First vector.
    pub start: u32,
    /// Number of vectors.
    pub count: u32,
    /// Event descriptors that came with the request.
    pub fds: Vec<File>,
}

const DATA_NONE: u32 = 1 << 0;
const DATA_EVENTFD: u32 = 1 << 2;
const ACTION_TRIGGER: u32 = 1 << 5;

#[derive(Default)]
struct Vector {
    event: Option<File>,
    /// The message was sent while nobody listened.
    pending: bool,
}

impl Vector {
    fn trigger(&mut self) {
        match &self.event {
            Some(event) => signal(event),
            None => self.pending = true,
        }
    }
}

/// Whether a write to the descriptor would rather fail than wait.
///
/// Interrupts are sent with locks held: one that waits, at a counter which its reader lets run full,
/// would stop the whole NIC. QEMU makes its eventfds non-blocking. The flag belongs to the open file,
/// which is the client's too, so it is looked at and not set.
fn never_waits(event: &File) -> bool {
    rustix::fs::fcntl_getfl(event).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Adds one to the eventfd.
fn signal(event: &File) {
    // The only failure of a live eventfd is a full counter, and then the listener has been told.
    if let Err(error) = rustix::io::write(event, &1u64.to_ne_bytes()) {
        log::debug!("interrupt not delivered: {error}");
    }
}

/// The MSI-X vectors of a function.
///
/// The client masks vectors on its own side; here a vector is connected or not. A message
/// for an unconnected vector stays pending and is sent when the vector is connected.
pub struct Msix {
    vectors: Mutex<Vec<Vector>>,
}

impl Msix {
    /// `count` unconnected vectors.
    pub fn new(count: u16) -> Self {
        let vectors = (0..count).map(|_| Vector::default()).collect();
        Self {
            vectors: Mutex::new(vectors),
        }
    }

    /// Sends the message of `vector`; a vector that does not exist is ignored.
    pub fn trigger(&self, vector: u16) {
        if let Some(vector) = self.vectors.lock().get_mut(usize::from(vector)) {
            vector.trigger();
        }
    }

    /// Disconnects every vector and forgets what is pending.
    pub fn disconnect(&self) {
        self.vectors
            .lock()
            .iter_mut()
            .for_each(|vector| *vector = Vector::default());
    }

    /// Carries out a SET_IRQS request; `false` if its vectors do not exist or it makes no sense.
    pub fn set_irqs(&self, request: SetIrqs) -> bool {
        if request.flags & ACTION_TRIGGER == 0 {
            // Masking and unmasking happen in the client.
            return true;
        }
        if request.flags & DATA_NONE != 0 && request.count == 0 {
            self.disconnect();
            return true;
        }
        let mut vectors = self.vectors.lock();
        let range = (request.start as usize)..(request.start as usize + request.count as usize);
        let Some(range) = vectors.get_mut(range) else {
            return false;
        };
        if request.flags & DATA_NONE != 0 {
            range.iter_mut().for_each(Vector::trigger);
            return true;
        }
        if request.flags & DATA_EVENTFD == 0 {
            return false;
        }
        if !request.fds.iter().all(never_waits) {
            log::error!(
                "interrupts refused: the client has to make its eventfds with EFD_NONBLOCK"
            );
            return false;
        }
        let mut fds = request.fds.into_iter();
        for vector in range {
            vector.event = fds.next();
            if vector.event.is_some() && std::mem::take(&mut vector.pending) {
                vector.trigger();
            }
        }
        true
    }

    /// Copies the pending bit array from byte `offset` on into `buf`; zeroes past the end.
    pub fn read_pba(&self, offset: u64, buf: &mut [u8]) {
        let vectors = self.vectors.lock();
        for (i, byte) in (0u64..).zip(buf.iter_mut()) {
            let first = offset.saturating_add(i).saturating_mul(8);
            *byte = (0..8u64).fold(0, |bits, bit| {
                let at = usize::try_from(first.saturating_add(bit)).unwrap_or(usize::MAX);
                let pending = vectors.get(at).is_some_and(|vector| vector.pending);
                bits | u8::from(pending) << bit
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eventfd() -> (File, File) {
        eventfd_with(rustix::event::EventfdFlags::NONBLOCK)
    }

    fn eventfd_with(flags: rustix::event::EventfdFlags) -> (File, File) {
        let file = File::from(rustix::event::eventfd(0, flags).unwrap());
        (file.try_clone().unwrap(), file)
    }

    fn count(event: &File) -> u64 {
        let mut buf = [0; 8];
        rustix::io::read(event, &mut buf).map_or(0, |_| u64::from_ne_bytes(buf))
    }

    fn connect(start: u32, count: u32, fds: Vec<File>) -> SetIrqs {
        SetIrqs {
            flags: DATA_EVENTFD | ACTION_TRIGGER,
            start,
            count,
            fds,
        }
    }

    #[test]
    fn early_messages_wait_for_the_connection() {
        let msix = Msix::new(4);
        msix.trigger(3);
        msix.trigger(4);
        let mut pba = [0; 2];
        msix.read_pba(0, &mut pba);
        assert_eq!(pba, [0x08, 0]);
        let (ours, theirs) = eventfd();
        assert!(msix.set_irqs(connect(3, 1, vec![theirs])));
        assert_eq!(count(&ours), 1);
        msix.trigger(3);
        assert_eq!(count(&ours), 1);
        msix.read_pba(0, &mut pba);
        assert_eq!(pba, [0, 0]);
    }

    #[test]
    fn disabling_disconnects_and_forgets() {
        let msix = Msix::new(2);
        let (ours, theirs) = eventfd();
        assert!(msix.set_irqs(connect(0, 2, vec![theirs])));
        msix.trigger(1);
        let off = SetIrqs {
            flags: DATA_NONE | ACTION_TRIGGER,
            start: 0,
            count: 0,
            fds: vec![],
        };
        assert!(msix.set_irqs(off));
        msix.trigger(0);
        assert_eq!(count(&ours), 0);
    }

    #[test]
    fn bad_ranges_are_refused() {
        let msix = Msix::new(2);
        assert!(!msix.set_irqs(connect(1, 2, vec![])));
        assert!(!msix.set_irqs(connect(u32::MAX, u32::MAX, vec![])));
        assert!(msix.set_irqs(connect(0, 1, vec![])));
        let mut pba = [1; 4];
        msix.read_pba(u64::MAX, &mut pba);
        assert_eq!(pba, [0; 4]);
    }

    #[test]
    fn a_descriptor_that_could_wait_is_refused() {
        let msix = Msix::new(2);
        let (ours, theirs) = eventfd();
        assert!(msix.set_irqs(connect(0, 1, vec![theirs])));
        let (full, blocking) = eventfd_with(rustix::event::EventfdFlags::empty());
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let (_, harmless) = eventfd();
        assert!(!msix.set_irqs(connect(0, 2, vec![harmless, blocking])));
        msix.trigger(1);
        // What was connected before still is.
        msix.trigger(0);
        assert_eq!(count(&ours), 1);
    }
}
