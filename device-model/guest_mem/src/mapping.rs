// SPDX-License-Identifier: GPL-2.0
//! A piece of a file in this process' memory, without a descriptor that stays open for it.

use std::fs::File;
use std::ptr::null_mut;

use rustix::fs::SealFlags;
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::{MmapRegion, VolatileMemory, VolatileSlice};

use crate::{Access, Error};

/// Part of a file, mapped for as long as this lives.
///
/// `MmapRegion` can map a file by itself, but keeps it open: behind a vIOMMU there is a window for
/// each range that the guest maps, and the process would run out of descriptors.
///
/// # Invariants
///
/// `region` spans exactly one mapping, which [`Mapping::new`] made and nothing but `drop` ends.
#[derive(Debug)]
pub(crate) struct Mapping {
    region: MmapRegion,
    may_shrink: bool,
}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on.
    pub(crate) fn new(file: &File, offset: u64, len: u64, access: Access) -> Result<Self, Error> {
        // Asked before the length, which is the last one if the answer is yes.
        let sealed = is_sealed(file);
        // Touching a page past the end of the file would kill the process.
        let metadata = file.metadata().map_err(failed)?;
        let end = offset.checked_add(len);
        if metadata.is_file() && end.is_none_or(|end| end > metadata.len()) {
            return Err(Error::Map("the file is shorter than the window".into()));
        }
        let mut prot = ProtFlags::empty();
        prot.set(ProtFlags::READ, access.read);
        prot.set(ProtFlags::WRITE, access.write);
        let region = map(file, offset, usize::try_from(len).map_err(failed)?, prot)?;
        // INVARIANT: The region is the mapping just made, and nobody else knows of it.
        Ok(Self {
            region,
            may_shrink: metadata.is_file() && !sealed,
        })
    }

    /// Whether the file's owner can take memory away from under the mapping.
    pub(crate) fn may_shrink(&self) -> bool {
        self.may_shrink
    }

    /// The `len` bytes from `offset` on, if they lie inside.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> Option<VolatileSlice<'_>> {
        self.region.get_slice(offset, len).ok()
    }
}

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "the mapping is not the region's own")]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the range is that of one mapping, which is still there.
        // Whatever points into it borrows `self`, so nothing does any more.
        let result = unsafe { rustix::mm::munmap(self.region.as_ptr().cast(), self.region.size()) };
        if let Err(error) = result {
            log::error!("memory of the guest stays mapped: {error}");
        }
    }
}

#[expect(unsafe_code, reason = "mapping is what this module is for")]
fn map(file: &File, offset: u64, size: usize, prot: ProtFlags) -> Result<MmapRegion, Error> {
    let flags = MapFlags::SHARED | MapFlags::NORESERVE;
    // SAFETY: Without an address of our choice the kernel picks one where nothing is mapped.
    let addr = unsafe { rustix::mm::mmap(null_mut(), size, prot, flags, file, offset) };
    let addr = addr.map_err(failed)?;
    // SAFETY: `addr` and `size` are those of the mapping that was just made.
    let region = unsafe {
        MmapRegion::build_raw(addr.cast(), size, prot.bits() as i32, flags.bits() as i32)
    };
    // Only an address in the middle of a page is refused, and the kernel returns none.
    region.map_err(failed)
}

/// Whether no one can make the file shorter. Files that take no seals, those on a disk, are not.
fn is_sealed(file: &File) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Map(error.to_string())
}
