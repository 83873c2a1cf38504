// SPDX-License-Identifier: GPL-2.0
//! Serves one [`Device`] to one vfio-user client at a time.
//!
//! The only file that knows the `vfio_user` crate. What the crate lacks is made up for here:
//! it serves one client and returns, it panics on some malformed messages, and it turns an
//! error of the backend into a reply that QEMU takes for success. So every method
//! succeeds, ranges are checked here, and a panic ends one connection.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::panic::{catch_unwind, AssertUnwindSafe};

use fbnic_model::device::{region, Device, REGION_SIZES, VECTORS};
use guest_mem::Access;
use pci_emu::SetIrqs;
use vfio_bindings::bindings::vfio;
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

use crate::socket;

/// Serves `device` to one client after the other, for as long as the process lives.
pub fn serve(listener: UnixListener, device: &Device) -> ! {
    let server = Server::from_owned_fd(OwnedFd::from(listener), true, irqs(), regions());
    loop {
        let mut backend = Backend { device };
        // The device keeps no invariant across calls that a panic in the crate could break: its
        // methods do not call back into the crate.
        let result = catch_unwind(AssertUnwindSafe(|| server.run(&mut backend)));
        device.disconnect();
        match result {
            Ok(Ok(())) => log::info!("hypervisor disconnected"),
            Ok(Err(vfio_user::Error::SocketAccept(error))) => socket::pause_after(&error),
            Ok(Err(error)) => log::warn!("connection lost: {error}"),
            Err(_) => log::error!("malformed message, connection dropped"),
        }
    }
}

fn regions() -> Vec<ServerRegion> {
    (0u32..)
        .zip(REGION_SIZES)
        .map(|(index, size)| ServerRegion {
            region_info: vfio::vfio_region_info {
                argsz: size_of::<vfio::vfio_region_info>() as u32,
                // No region can be mapped: a mapped one would make QEMU wait for every write.
                flags: if size == 0 {
                    0
                } else {
                    vfio::VFIO_REGION_INFO_FLAG_READ | vfio::VFIO_REGION_INFO_FLAG_WRITE
                },
                index,
                size,
                ..Default::default()
            },
            sparse_areas: Vec::new(),
            mmap_fd: None,
        })
        .collect()
}

fn irqs() -> Vec<IrqInfo> {
    let count = |index| match index {
        vfio::VFIO_PCI_MSIX_IRQ_INDEX => u32::from(VECTORS),
        // Offered because QEMU complains without it; never signalled.
        vfio::VFIO_PCI_ERR_IRQ_INDEX => 1,
        _ => 0,
    };
    (0..vfio::VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo {
            index,
            flags: if count(index) == 0 {
                0
            } else {
                vfio::VFIO_IRQ_INFO_EVENTFD
            },
            count: count(index),
        })
        .collect()
}

/// Most bytes of a read outside of everything that are set to ones.
const LARGEST_FILL: usize = 4096;

struct Backend<'a> {
    device: &'a Device,
}

/// Whether the access lies inside the region.
fn inside(index: u32, offset: u64, len: usize) -> bool {
    let size = REGION_SIZES.get(index as usize).copied().unwrap_or(0);
    offset
        .checked_add(len as u64)
        .is_some_and(|end| end <= size)
}

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if inside(index, offset, data.len()) {
            self.device.region_read(index, offset, data);
        } else {
            log::debug!(
                "read of {} bytes at {offset:#x} outside of region {index}",
                data.len()
            );
            // The crate allocates whatever size the client names; touching all of it could use up
            // the host's memory.
            if data.len() <= LARGEST_FILL {
                data.fill(0xff);
            }
        }
        Ok(())
    }

    fn region_write(&mut self, index: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        if inside(index, offset, data.len()) {
            self.device.region_write(index, offset, data);
        } else if index != region::CONFIG {
            log::debug!(
                "write of {} bytes at {offset:#x} outside of region {index}",
                data.len()
            );
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        let access = Access {
            read: flags.contains(DmaMapFlags::READ),
            write: flags.contains(DmaMapFlags::WRITE),
        };
        if fd.is_none() && access.write {
            log::warn!(
                "memory {address:#x}+{size:#x} came without a descriptor: \
                 QEMU needs -object memory-backend-memfd,share=on"
            );
        }
        log::debug!("map {address:#x}+{size:#x} at {offset:#x}, {access:?}");
        if let Err(error) = self.device.dma_map(address, size, access, fd, offset) {
            log::warn!("{error}");
        }
        Ok(())
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        log::debug!("unmap {address:#x}+{size:#x}");
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.device.dma_unmap_all();
        } else {
            self.device.dma_unmap(address, size);
        }
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        log::info!("device reset");
        self.device.reset();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        // The other interrupts exist for form's sake and never fire.
        if index == vfio::VFIO_PCI_MSIX_IRQ_INDEX
            && !self.device.set_irqs(SetIrqs {
                flags,
                start,
                count,
                fds,
            })
        {
            log::warn!("impossible interrupts: flags {flags:#x}, {count} from {start} on");
        }
        Ok(())
    }
}
