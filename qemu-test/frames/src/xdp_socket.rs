// SPDX-License-Identifier: GPL-2.0
//! A socket of the family AF_XDP, bound to a queue.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Of asm-generic/socket.h.
const INCOMING_NAPI_ID: libc::c_int = 56;
/// A chunk is a page; there are two, as nothing is sent or received.
const CHUNK: usize = 4096;
const CHUNKS: usize = 2;
const ENTRIES: libc::c_int = 2;

#[repr(align(4096))]
struct Area([u8; CHUNK * CHUNKS]);

/// Binds a socket to a queue, with frames copied by the kernel, and asks which NAPI context the
/// kernel has found for it: its number, 0 for none.
///
/// # Errors
///
/// Those of socket(2), bind(2), setsockopt(2) and getsockopt(2).
pub fn napi_of(interface: &str, queue: u32) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: `name` is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket() takes plain numbers.
    let raw = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: socket() has just given us this descriptor, nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // The kernel keeps the pages by itself while the socket lives, which is not longer than this.
    let area = Box::new(Area([0; CHUNK * CHUNKS]));
    let memory = libc::xdp_umem_reg {
        addr: area.0.as_ptr().addr() as u64,
        len: area.0.len() as u64,
        chunk_size: CHUNK as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(&fd, libc::XDP_UMEM_REG, &memory)?;
    set(&fd, libc::XDP_UMEM_FILL_RING, &ENTRIES)?;
    set(&fd, libc::XDP_UMEM_COMPLETION_RING, &ENTRIES)?;
    set(&fd, libc::XDP_RX_RING, &ENTRIES)?;
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: pointer and length are those of `address`, a sockaddr_xdp.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    })?;
    let mut napi = 0u32;
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `napi`, which has as many.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            INCOMING_NAPI_ID,
            (&raw mut napi).cast(),
            &raw mut length,
        )
    })?;
    Ok(napi)
}

fn set<T>(fd: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length are those of `value`; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
