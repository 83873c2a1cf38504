// SPDX-License-Identifier: GPL-2.0
//! The guest's memory as the device's bus master sees it.
//!
//! The vfio-user client hands over memory as file descriptors (`DMA_MAP`). Each window is mapped
//! once and reached with plain copies; no message travels for an access. Every address and
//! length comes from the guest, so every access is checked against the windows and fails as
//! a whole when any byte of it lies outside.
//!
//! One thing is left to trust: that the client does not shrink a file it handed over. The next access
//! to what went would end the process with SIGBUS, and with it every NIC in it. A memfd sealed with
//! F_SEAL_SHRINK cannot shrink, and QEMU's `memory-backend-memfd` makes such; without the seal a warning
//! is logged once.
//!
//! The owner keeps [`GuestMem`] behind the lock of its data path: mapping and unmapping take
//! `&mut self`, so no access can be under way while a window goes.

mod mapping;

use std::cell::Cell;
use std::fs::File;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, VolatileSlice};

use mapping::Mapping;

/// Why an access or a mapping failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Part of the access lies in no window.
    #[error("bus address {addr:#x}+{len:#x} is not mapped")]
    Unmapped {
        /// First bus address of the access.
        addr: u64,
        /// Bytes of the access.
        len: usize,
    },
    /// The window may not be used in this direction.
    #[error("bus address {addr:#x}+{len:#x} does not allow this direction")]
    Denied {
        /// First bus address of the access.
        addr: u64,
        /// Bytes of the access.
        len: usize,
    },
    /// A single-word access was not naturally aligned.
    #[error("bus address {addr:#x} is not aligned to 8 bytes")]
    Misaligned {
        /// Bus address of the access.
        addr: u64,
    },
    /// The new window overlaps an older one or wraps around.
    #[error("window {addr:#x}+{len:#x} overlaps another or is not usable")]
    BadWindow {
        /// First bus address of the window.
        addr: u64,
        /// Bytes of the window.
        len: u64,
    },
    /// The descriptor could not be mapped.
    #[error("mapping failed: {0}")]
    Map(String),
}

/// Directions a window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
}

#[derive(Debug)]
struct Window {
    start: u64,
    len: u64,
    access: Access,
    /// Absent for windows that came without a descriptor (ROM, device memory).
    mapping: Option<Mapping>,
}

impl Window {
    fn contains(&self, addr: u64) -> bool {
        addr.checked_sub(self.start)
            .is_some_and(|off| off < self.len)
    }
}

/// All windows of one device, sorted by bus address and free of overlap.
#[derive(Debug, Default)]
pub struct GuestMem {
    windows: Vec<Window>,
    /// Index of the window of the last access: nearly all accesses hit the same one.
    last: Cell<usize>,
    /// The log says already that a file may shrink.
    warned: bool,
}

impl GuestMem {
    /// An empty address space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the window `addr..addr + len`, backed by `file` from `offset` on.
    ///
    /// The file is closed on return; what is mapped of it stays.
    /// Without a file the window is remembered, but every access to it fails.
    pub fn map(
        &mut self,
        addr: u64,
        len: u64,
        access: Access,
        file: Option<File>,
        offset: u64,
    ) -> Result<(), Error> {
        let bad = Error::BadWindow { addr, len };
        let end = match addr.checked_add(len) {
            Some(end) if len != 0 => end,
            _ => return Err(bad),
        };
        let at = self.windows.partition_point(|w| w.start < addr);
        let clear_below = at
            .checked_sub(1)
            .and_then(|i| self.windows.get(i))
            .is_none_or(|w| w.start + w.len <= addr);
        let clear_above = self.windows.get(at).is_none_or(|w| end <= w.start);
        if !clear_below || !clear_above {
            return Err(bad);
        }
        let mapping = file
            .map(|file| Mapping::new(&file, offset, len, access))
            .transpose()?;
        if mapping.as_ref().is_some_and(Mapping::may_shrink) {
            self.warn_of_shrinking();
        }
        self.windows.insert(
            at,
            Window {
                start: addr,
                len,
                access,
                mapping,
            },
        );
        self.last.set(0);
        Ok(())
    }

    fn warn_of_shrinking(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "the guest's memory is a file that may shrink, and its owner can end this process so: \
                 QEMU's -object memory-backend-memfd,share=on seals it"
            );
        }
    }

    /// Drops every window that lies inside `addr..addr + len`; returns how many went.
    pub fn unmap(&mut self, addr: u64, len: u64) -> usize {
        let before = self.windows.len();
        let end = addr.saturating_add(len);
        self.windows
            .retain(|w| w.start < addr || w.start + w.len > end);
        self.last.set(0);
        before - self.windows.len()
    }

    /// Drops every window.
    pub fn unmap_all(&mut self) {
        self.windows.clear();
        self.last.set(0);
    }

    /// Whether `addr..addr + len` lies in memory that may be read and written.
    pub fn check(&self, addr: u64, len: usize) -> bool {
        let both = Access {
            read: true,
            write: true,
        };
        self.for_each_piece(addr, len, both, |_, _| ()).is_ok()
    }

    /// Whether `addr..addr + len` lies in memory that may be read, be it by a device alone.
    pub fn is_readable(&self, addr: u64, len: usize) -> bool {
        let read = Access {
            read: true,
            write: false,
        };
        self.for_each_piece(addr, len, read, |_, _| ()).is_ok()
    }

    /// Copies guest memory from `addr` on into `buf`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Error> {
        let access = Access {
            read: true,
            write: false,
        };
        self.for_each_piece(addr, buf.len(), access, |off, piece| {
            if let Some(part) = buf.get_mut(off..off + piece.len()) {
                piece.copy_to(part);
            }
        })
    }

    /// Copies `buf` to guest memory from `addr` on.
    ///
    /// Nothing is written when any byte of the range is out of bounds, unless the range
    /// crosses windows: then the windows before the hole may have been written.
    pub fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Error> {
        let access = Access {
            read: false,
            write: true,
        };
        self.for_each_piece(addr, buf.len(), access, |off, piece| {
            if let Some(part) = buf.get(off..off + piece.len()) {
                piece.copy_from(part);
            }
        })
    }

    /// Reads the little-endian word at `addr` in one access that later reads cannot overtake.
    pub fn load_u64(&self, addr: u64) -> Result<u64, Error> {
        let access = Access {
            read: true,
            write: false,
        };
        let slice = self.word(addr, access)?;
        let word: u64 = slice
            .load(0, Ordering::Acquire)
            .map_err(|_| Error::Misaligned { addr })?;
        Ok(u64::from_le(word))
    }

    /// Writes the little-endian word at `addr` in one access that no earlier write can follow.
    pub fn store_u64_release(&self, addr: u64, word: u64) -> Result<(), Error> {
        let access = Access {
            read: false,
            write: true,
        };
        let slice = self.word(addr, access)?;
        slice
            .store(word.to_le(), 0, Ordering::Release)
            .map_err(|_| Error::Misaligned { addr })
    }

    fn word(&self, addr: u64, access: Access) -> Result<VolatileSlice<'_>, Error> {
        if addr % 8 != 0 {
            return Err(Error::Misaligned { addr });
        }
        let (slice, _) = self.piece(addr, 8, access)?;
        if slice.len() < 8 {
            return Err(Error::Unmapped { addr, len: 8 });
        }
        Ok(slice)
    }

    /// Calls `f` with the offset and the memory of each part of the range, in order.
    fn for_each_piece<F>(
        &self,
        addr: u64,
        len: usize,
        access: Access,
        mut f: F,
    ) -> Result<(), Error>
    where
        F: FnMut(usize, &VolatileSlice<'_>),
    {
        let mut done = 0;
        while done < len {
            let at = addr
                .checked_add(done as u64)
                .ok_or(Error::Unmapped { addr, len })?;
            let (slice, n) = self.piece(at, len - done, access)?;
            f(done, &slice);
            done += n;
        }
        Ok(())
    }

    /// The part of `addr..addr + len` that lies in the window of `addr`; never empty.
    fn piece(
        &self,
        addr: u64,
        len: usize,
        access: Access,
    ) -> Result<(VolatileSlice<'_>, usize), Error> {
        let unmapped = || Error::Unmapped { addr, len };
        let window = self.find(addr).ok_or_else(unmapped)?;
        if (access.read && !window.access.read) || (access.write && !window.access.write) {
            return Err(Error::Denied { addr, len });
        }
        let mapping = window.mapping.as_ref().ok_or_else(unmapped)?;
        let off = addr - window.start;
        let n = len.min(usize::try_from(window.len - off).unwrap_or(usize::MAX));
        let off = usize::try_from(off).map_err(|_| unmapped())?;
        let slice = mapping.slice(off, n).ok_or_else(unmapped)?;
        Ok((slice, n))
    }

    fn find(&self, addr: u64) -> Option<&Window> {
        if let Some(window) = self
            .windows
            .get(self.last.get())
            .filter(|w| w.contains(addr))
        {
            return Some(window);
        }
        let at = self
            .windows
            .partition_point(|w| w.start <= addr)
            .checked_sub(1)?;
        let window = self.windows.get(at).filter(|w| w.contains(addr))?;
        self.last.set(at);
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RW: Access = Access {
        read: true,
        write: true,
    };
    const RO: Access = Access {
        read: true,
        write: false,
    };

    fn memfd(len: u64) -> File {
        named_memfd("guest", len)
    }

    fn named_memfd(name: &str, len: u64) -> File {
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_read_back_across_windows() {
        let mut mem = GuestMem::new();
        mem.map(0x1000, 0x1000, RW, Some(memfd(0x1000)), 0).unwrap();
        mem.map(0x2000, 0x1000, RW, Some(memfd(0x3000)), 0x2000)
            .unwrap();
        let data: Vec<u8> = (0..=255).collect();
        mem.write(0x1f80, &data).unwrap();
        let mut back = [0; 256];
        mem.read(0x1f80, &mut back).unwrap();
        assert_eq!(&back[..], &data[..]);
        mem.store_u64_release(0x2ff8, 0x1122_3344_5566_7788)
            .unwrap();
        assert_eq!(mem.load_u64(0x2ff8).unwrap(), 0x1122_3344_5566_7788);
        let mut byte = [0];
        mem.read(0x2ff8, &mut byte).unwrap();
        assert_eq!(byte, [0x88]);
    }

    #[test]
    fn holes_ends_and_directions_are_refused() {
        let mut mem = GuestMem::new();
        mem.map(0x1000, 0x1000, RW, Some(memfd(0x1000)), 0).unwrap();
        mem.map(0x4000, 0x1000, RO, Some(memfd(0x1000)), 0).unwrap();
        mem.map(0x8000, 0x1000, RW, None, 0).unwrap();
        let mut buf = [0; 16];
        assert!(mem.read(0xff8, &mut buf).is_err());
        assert!(mem.read(0x1ff8, &mut buf).is_err());
        assert!(mem.read(u64::MAX - 7, &mut buf).is_err());
        assert!(mem.read(0x8000, &mut buf).is_err());
        assert!(matches!(mem.write(0x4000, &buf), Err(Error::Denied { .. })));
        assert!(matches!(
            mem.load_u64(0x1004),
            Err(Error::Misaligned { .. })
        ));
        assert!(mem.check(0x1000, 0x1000));
        assert!(!mem.check(0x1000, 0x1001));
        assert!(!mem.check(0x4000, 8) && mem.is_readable(0x4000, 8));
        assert!(!mem.is_readable(0x4000, 0x1001));
    }

    #[test]
    fn overlap_wrap_and_short_files_are_refused() {
        let mut mem = GuestMem::new();
        mem.map(0x2000, 0x2000, RW, None, 0).unwrap();
        assert!(mem.map(0x3000, 0x1000, RW, None, 0).is_err());
        assert!(mem.map(0x1000, 0x1001, RW, None, 0).is_err());
        assert!(mem.map(0x1000, 0x8000, RW, None, 0).is_err());
        assert!(mem.map(u64::MAX, 2, RW, None, 0).is_err());
        assert!(mem.map(0x8000, 0, RW, None, 0).is_err());
        assert!(mem.map(0x8000, 0x2000, RW, Some(memfd(0x1000)), 0).is_err());
        mem.map(0x1000, 0x1000, RW, None, 0).unwrap();
        mem.map(0x4000, 0x1000, RW, None, 0).unwrap();
    }

    #[test]
    fn unmapping_takes_whole_windows() {
        let mut mem = GuestMem::new();
        for page in 1..5 {
            mem.map(page * 0x1000, 0x1000, RW, Some(memfd(0x1000)), 0)
                .unwrap();
        }
        assert_eq!(mem.unmap(0x2000, 0x2000), 2);
        assert!(mem.check(0x1000, 8) && mem.check(0x4000, 8));
        assert!(!mem.check(0x2000, 8) && !mem.check(0x3000, 8));
        mem.unmap_all();
        assert!(!mem.check(0x1000, 8));
    }

    #[test]
    fn a_window_needs_no_open_file() {
        let named = |text: &str| text.contains("memfd:closed at once");
        let is_mapped = || named(&std::fs::read_to_string("/proc/self/maps").unwrap());
        let is_open = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap();
            links
                .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
                .any(|link| named(&link.to_string_lossy()))
        };
        let file = named_memfd("closed at once", 0x1000);
        assert!(is_open() && !is_mapped());
        let mut mem = GuestMem::new();
        mem.map(0x1000, 0x1000, RW, Some(file), 0).unwrap();
        assert!(!is_open() && is_mapped());
        mem.write(0x1ff8, &[1; 8]).unwrap();
        mem.unmap_all();
        assert!(!is_mapped());
    }

    #[test]
    fn only_a_seal_keeps_the_warning_away() {
        use rustix::fs::{fcntl_add_seals, MemfdFlags, SealFlags};
        let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("sealed", sealable).unwrap());
        file.set_len(0x1000).unwrap();
        let open = file.try_clone().unwrap();
        fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        assert!(open.set_len(0).is_err());
        let mut mem = GuestMem::new();
        mem.map(0x1000, 0x1000, RW, Some(file), 0).unwrap();
        mem.map(0x2000, 0x1000, RW, None, 0).unwrap();
        assert!(!mem.warned);
        mem.map(0x3000, 0x1000, RW, Some(memfd(0x1000)), 0).unwrap();
        assert!(mem.warned && mem.check(0x3000, 0x1000));
    }
}
