// SPDX-License-Identifier: GPL-2.0
//! Sending from memory that a device has exported (Documentation/networking/devmem.rst).
//!
//! The exporter is the kernel's udmabuf driver: what it exports is common memory, but the network stack
//! only gets to know where a device finds it, and never looks at it.

#![allow(unsafe_code)]

use crate::netlink::{attribute, find, Generic};
use crate::packet_socket::{check, set};
use std::fs::File;
use std::io::{self, Write};
use std::mem::size_of;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

type Error = Box<dyn std::error::Error>;

/// `UDMABUF_CREATE` of linux/udmabuf.h.
const UDMABUF_CREATE: libc::c_ulong = 0x4018_7542;
/// `SCM_DEVMEM_DMABUF` of asm/socket.h.
const SCM_DEVMEM_DMABUF: libc::c_int = 79;
/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` of linux/errqueue.h.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;
/// Sends of which the kernel has not said that they are done, at most: it keeps a note of each.
const OUTSTANDING: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(20);

/// Command and attributes of the netlink family "netdev" (linux/netdev.h).
const BIND_TX: u8 = 15;
const DMABUF_IFINDEX: u16 = 1;
const DMABUF_FD: u16 = 3;
const DMABUF_ID: u16 = 4;

/// Exported memory that an interface may send from, as long as this lives.
pub struct Binding {
    id: u32,
    _netlink: Generic,
    _memory: OwnedFd,
}

impl Binding {
    /// Exports memory that holds `bytes`, whole pages, and maps it for `interface` to send from.
    ///
    /// # Errors
    ///
    /// What udmabuf and the command `bind-tx` of netdev(7) answer.
    pub fn new(interface: &str, bytes: &[u8]) -> Result<Self, Error> {
        let memory = export(bytes)?;
        let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
        let (netlink, id) = bind(index.trim().parse()?, &memory)?;
        Ok(Self {
            id,
            _netlink: netlink,
            _memory: memory,
        })
    }

    /// Sends the parts of the memory that `parts` names by offset and length, in this order.
    ///
    /// Returns once the kernel does not need the memory any more.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2), or if the kernel has copied what it sent.
    pub fn send(&self, stream: &TcpStream, parts: &[(usize, usize)]) -> Result<(), Error> {
        let on: libc::c_int = 1;
        set(stream, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &on)?;
        let (mut sends, mut done) = (0, 0);
        for &(offset, length) in parts {
            let mut sent = 0;
            while sent < length {
                sent += self.send_part(stream, offset + sent, length - sent)?;
                sends += 1;
                while sends - done > OUTSTANDING {
                    done += completed(stream)?;
                }
            }
        }
        while done < sends {
            done += completed(stream)?;
        }
        Ok(())
    }

    fn send_part(&self, stream: &TcpStream, offset: usize, length: usize) -> io::Result<usize> {
        let mut vector = libc::iovec {
            // An offset in the memory takes the place of an address.
            iov_base: std::ptr::without_provenance_mut(offset),
            iov_len: length,
        };
        // u64 gives the alignment that a cmsghdr needs.
        let mut control = [0u64; 4];
        // SAFETY: msghdr consists of integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute. There is room for one header with an u32.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<u32>() as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = SCM_DEVMEM_DMABUF;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<u32>() as u32) as usize;
            libc::CMSG_DATA(header)
                .cast::<u32>()
                .write_unaligned(self.id);
        }
        // SAFETY: `message` points to `vector` and `control`, which outlive the call. With that control
        // message the kernel takes the base of the vector for an offset.
        let sent =
            unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_ZEROCOPY) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Makes memory that holds `bytes`, and exports it.
fn export(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: The name is a C string.
    let fd = check(unsafe { libc::memfd_create(c"frames".as_ptr(), libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: memfd_create() has just given us this descriptor, nobody else knows it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    // SAFETY: fcntl() takes plain numbers here.
    check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) })?;
    let udmabuf = File::options()
        .read(true)
        .write(true)
        .open("/dev/udmabuf")?;

    /// `struct udmabuf_create` of linux/udmabuf.h.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    let create = Create {
        memfd: fd.try_into().map_err(io::Error::other)?,
        flags: 0,
        offset: 0,
        size: bytes.len() as u64,
    };
    // SAFETY: The request reads such a structure, and gives back a descriptor that nobody else knows.
    Ok(unsafe {
        OwnedFd::from_raw_fd(check(libc::ioctl(
            udmabuf.as_raw_fd(),
            UDMABUF_CREATE,
            &raw const create,
        ))?)
    })
}

/// Binds exported memory to the interface `index`, until the socket is closed. Returns its number.
fn bind(index: u32, memory: &OwnedFd) -> Result<(Generic, u32), Error> {
    let netdev = Generic::open("netdev")?;
    let fd: u32 = memory.as_raw_fd().try_into()?;
    let attributes = [
        attribute(DMABUF_IFINDEX, &index.to_ne_bytes()),
        attribute(DMABUF_FD, &fd.to_ne_bytes()),
    ];
    let answer = netdev.ask(BIND_TX, &attributes.concat())?;
    let id = find(&answer, DMABUF_ID).ok_or("bind-tx gives no number")?;
    Ok((netdev, u32::from_ne_bytes(id.try_into()?)))
}

/// Waits for the kernel to say of sends that they are done, and returns of how many.
fn completed(stream: &TcpStream) -> Result<u32, Error> {
    let mut poll = libc::pollfd {
        fd: stream.as_raw_fd(),
        // That there are errors is always told.
        events: 0,
        revents: 0,
    };
    // SAFETY: There is one such structure.
    if check(unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as libc::c_int) })? == 0 {
        return Err("sends are never done".into());
    }
    let mut control = [0u64; 16];
    // SAFETY: msghdr consists of integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<[u64; 16]>();
    // SAFETY: `message` points to `control`, which outlives the call.
    let length = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    if length < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: recvmsg() has filled in `message`, whose control buffer still lives.
    let header =
        unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() }.ok_or("nothing is told")?;
    // SAFETY: The error queue of a TCP socket carries this structure, which need not be aligned.
    let error: libc::sock_extended_err = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::sock_extended_err>()
            .read_unaligned()
    };
    if error.ee_origin != ORIGIN_ZEROCOPY || error.ee_code == CODE_COPIED {
        return Err(format!(
            "origin {}, code {} in the error queue",
            error.ee_origin, error.ee_code
        )
        .into());
    }
    Ok(error.ee_data.wrapping_sub(error.ee_info) + 1)
}
