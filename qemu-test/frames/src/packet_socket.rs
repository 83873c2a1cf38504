// SPDX-License-Identifier: GPL-2.0
//! A packet socket (packet(7)) on one interface: whole frames, as they are on the wire.
//!
//! The kernel takes the outer VLAN tag out of a received frame and reports it beside the frame;
//! [`PacketSocket::receive`] puts it back, so that a frame is again what was sent.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Length of both Ethernet addresses, which is where a VLAN tag goes.
const ADDRESSES: usize = 12;
/// More than any frame; a longer one would be cut and then differ.
const BUFFER: usize = 16 << 10;
const RECEIVE_QUEUE_BYTES: libc::c_int = 64 << 20;

/// An open packet socket, bound to one interface and all protocols.
pub struct PacketSocket {
    fd: OwnedFd,
    index: libc::c_int,
    buffer: Vec<u8>,
}

impl PacketSocket {
    /// Opens a socket on `interface` of the network namespace this thread is in.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and setsockopt(2); [`receive`](Self::receive) waits at most
    /// `patience`.
    pub fn open(interface: &str, patience: Duration) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: `name` is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: socket() takes plain numbers.
        let raw = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: socket() has just given us this descriptor, nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let on: libc::c_int = 1;
        set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)?;
        set(
            &fd,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            &RECEIVE_QUEUE_BYTES,
        )?;
        let wait = libc::timeval {
            tv_sec: patience.as_secs().try_into().map_err(io::Error::other)?,
            tv_usec: patience.subsec_micros().into(),
        };
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait)?;
        let address = address(index as libc::c_int, libc::ETH_P_ALL as u16);
        // SAFETY: the pointer and the length are those of `address`, a sockaddr_ll.
        check(unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })?;
        Ok(Self {
            fd,
            index: index as libc::c_int,
            buffer: vec![0; BUFFER],
        })
    }

    /// From here on each frame to send has a `virtio_net_hdr` in front, and so has each received one.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn take_offload_headers(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        set(&self.fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &on)
    }

    /// From here on frames that this host sends are received as well.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn see_outgoing(&self) -> io::Result<()> {
        let off: libc::c_int = 0;
        set(
            &self.fd,
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            &off,
        )
    }

    /// Sends one frame, from destination address to the last byte before the FCS.
    ///
    /// # Errors
    ///
    /// Those of send(2); `EMSGSIZE` for a frame above the interface's MTU.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are those of `frame`.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        all_sent(sent, frame.len())
    }

    /// Sends one packet of protocol `ethertype`, which it does not say itself, on an interface
    /// without a link layer header.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_as(&self, ethertype: u16, packet: &[u8]) -> io::Result<()> {
        let to = address(self.index, ethertype);
        // SAFETY: pointers and lengths are those of `packet` and of `to`, a sockaddr_ll.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        all_sent(sent, packet.len())
    }

    /// Waits for the next received frame, with its VLAN tag; `None` when none comes in time.
    ///
    /// # Errors
    ///
    /// Those of recvmsg(2).
    pub fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut vector = libc::iovec {
            iov_base: self.buffer.as_mut_ptr().cast(),
            iov_len: self.buffer.len(),
        };
        // u64 gives the alignment that a cmsghdr needs.
        let mut control = [0u64; 16];
        // SAFETY: msghdr consists of integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; 16]>();
        // SAFETY: `message` points to `vector` and `control`, which outlive the call, and `vector`
        // to `self.buffer`, which is not used otherwise meanwhile.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        };
        let mut frame = self
            .buffer
            .get(..length)
            .ok_or(io::ErrorKind::InvalidData)?
            .to_vec();
        if let Some(tag) = vlan_tag(&message) {
            frame.splice(ADDRESSES..ADDRESSES, tag);
        }
        Ok(Some(frame))
    }
}

/// An interface and an ethertype.
fn address(index: libc::c_int, ethertype: u16) -> libc::sockaddr_ll {
    // SAFETY: all fields of sockaddr_ll are integers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index;
    address
}

/// What send(2) has returned for `length` bytes.
fn all_sent(sent: libc::ssize_t, length: usize) -> io::Result<()> {
    match usize::try_from(sent) {
        Ok(sent) if sent == length => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The tag that the kernel has taken out of a frame, as the four bytes it was on the wire.
fn vlan_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: recvmsg() has filled in `message`, whose control buffer still lives in the caller.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: a message of this type carries a tpacket_auxdata, which need not be aligned.
    let data: libc::tpacket_auxdata = unsafe {
        libc::CMSG_DATA(header)
            .cast::<libc::tpacket_auxdata>()
            .read_unaligned()
    };
    if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let [a, b] = data.tp_vlan_tpid.to_be_bytes();
    let [c, d] = data.tp_vlan_tci.to_be_bytes();
    Some([a, b, c, d])
}

/// Moves this thread into a network namespace that `ip netns add` has made.
///
/// # Errors
///
/// Those of open(2) and setns(2).
pub fn enter_namespace(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: setns() takes a descriptor, which `file` keeps open, and a number.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Sets an option of a socket.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set<T>(
    fd: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: pointer and length are those of `value`; the kernel only reads it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// What a system call has returned, or why it failed.
///
/// # Errors
///
/// The last one of this thread.
pub fn check(result: libc::c_int) -> io::Result<RawFd> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
