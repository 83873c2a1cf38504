// SPDX-License-Identifier: GPL-2.0
//! Questions to a generic netlink family (Documentation/userspace-api/netlink/intro.rst).
//!
//! The crate neli would do it with procedural macros, which cargo does not make for a target whose programs
//! are linked statically.

#![allow(unsafe_code)]

use crate::packet_socket::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Lengths of `nlmsghdr`, `genlmsghdr` and `nlattr`.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
/// Command and attributes of the family that knows the others (linux/genetlink.h).
const GETFAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Without the bits that say how an attribute is encoded.
const TYPE_MASK: u16 = 0x3fff;

/// A socket for one family.
pub struct Generic {
    fd: OwnedFd,
    family: u16,
}

impl Generic {
    /// Opens a socket for the family with this name.
    ///
    /// # Errors
    ///
    /// Those of socket(2), or what the kernel answers, `ENOENT` if there is no such family.
    pub fn open(name: &str) -> io::Result<Self> {
        // SAFETY: socket() takes plain numbers.
        let raw = check(unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_GENERIC,
            )
        })?;
        // SAFETY: socket() has just given us this descriptor, nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut this = Self {
            fd,
            family: libc::GENL_ID_CTRL as u16,
        };
        let name = attribute(FAMILY_NAME, &[name.as_bytes(), &[0]].concat());
        let answer = this.ask(GETFAMILY, &name)?;
        let id = find(&answer, FAMILY_ID).and_then(|id| id.try_into().ok());
        this.family = u16::from_ne_bytes(id.ok_or(io::ErrorKind::InvalidData)?);
        Ok(this)
    }

    /// Sends a command and returns the attributes of the answer.
    ///
    /// # Errors
    ///
    /// Those of send(2) and recv(2), and what the kernel answers.
    pub fn ask(&self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        let length = HEADER + GENERIC_HEADER + attributes.len();
        let mut message = u32::try_from(length)
            .map_err(io::Error::other)?
            .to_ne_bytes()
            .to_vec();
        message.extend(self.family.to_ne_bytes());
        message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        // Neither a number of the message nor of the socket is needed.
        message.extend([0; 8]);
        message.extend([command, 1, 0, 0]);
        message.extend(attributes);
        // SAFETY: Pointer and length are those of `message`.
        let sent = unsafe {
            libc::send(
                self.fd.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        self.answer()
    }

    fn answer(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0u8; 16 << 10];
        // SAFETY: Pointer and length are those of `buffer`.
        let length = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        buffer.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
        let kind = buffer.get(4..6).and_then(|kind| kind.try_into().ok());
        if kind.map(u16::from_ne_bytes) == Some(libc::NLMSG_ERROR as u16) {
            let error = buffer.get(HEADER..HEADER + 4);
            let error = error.and_then(|error| error.try_into().ok());
            return Err(io::Error::from_raw_os_error(
                -error.map_or(-libc::EPROTO, i32::from_ne_bytes),
            ));
        }
        let attributes = buffer.get(HEADER + GENERIC_HEADER..);
        Ok(attributes.ok_or(io::ErrorKind::InvalidData)?.to_vec())
    }
}

/// An attribute with this value, padded to what the next one needs.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (ATTRIBUTE_HEADER + value.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of this kind.
pub fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (header, _) = attributes.split_first_chunk::<ATTRIBUTE_HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = attributes.get(ATTRIBUTE_HEADER..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::{attribute, find};

    #[test]
    fn attributes_are_found() {
        let bytes = [attribute(7, b"abcde"), attribute(9, b"fg")].concat();
        assert_eq!(find(&bytes, 7), Some(b"abcde".as_slice()));
        assert_eq!(find(&bytes, 9), Some(b"fg".as_slice()));
        assert_eq!(find(&bytes, 8), None);
    }

    #[test]
    fn cut_attributes_are_not() {
        let bytes = attribute(7, b"abcde");
        assert_eq!(find(&bytes[..6], 7), None);
        assert_eq!(find(&[2, 0, 7, 0], 7), None);
    }
}
