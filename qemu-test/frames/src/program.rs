// SPDX-License-Identifier: GPL-2.0
//! XDP programs given as raw instructions (bpf(2)), attached to a driver for as long as this runs.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// Values of linux/bpf.h and linux/if_link.h.
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
const HAS_FRAGS: u32 = 1 << 5;
const DRIVER_MODE: u32 = 1 << 2;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// The beginning of `union bpf_attr` for a program to load; the kernel takes the rest as zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    /// Level, size and place of the verifier's log, and a version of the kernel: all unused.
    log: [u32; 5],
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// The same for a link: program, interface or new program, type or flags, and flags.
#[repr(C)]
struct Link([u32; 4]);

/// A loaded program.
pub struct Program(OwnedFd);

/// A program attached to an interface, until this is dropped.
pub struct Attached(OwnedFd);

impl Program {
    /// Loads a program that takes frames in several pieces if `frags` says so.
    ///
    /// # Errors
    ///
    /// Those of bpf(2).
    pub fn load(code: &[u8], frags: bool) -> io::Result<Self> {
        let license = c"GPL";
        let attr = Load {
            kind: PROG_TYPE_XDP,
            count: (code.len() / INSTRUCTION)
                .try_into()
                .map_err(io::Error::other)?,
            instructions: code.as_ptr().addr() as u64,
            license: license.as_ptr().addr() as u64,
            log: [0; 5],
            flags: if frags { HAS_FRAGS } else { 0 },
            name: *b"frames\0\0\0\0\0\0\0\0\0\0",
            interface: 0,
            attach_type: ATTACH_TYPE_XDP,
        };
        bpf(PROG_LOAD, &attr).map(Self)
    }

    /// Attaches the program to the driver of `interface`.
    ///
    /// # Errors
    ///
    /// Those of bpf(2); `EOPNOTSUPP` and others are the driver's.
    pub fn attach(&self, interface: &str) -> io::Result<Attached> {
        let name = CString::new(interface)?;
        // SAFETY: `name` is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let attr = Link([self.number()?, index, ATTACH_TYPE_XDP, DRIVER_MODE]);
        bpf(LINK_CREATE, &attr).map(Attached)
    }

    fn number(&self) -> io::Result<u32> {
        self.0.as_raw_fd().try_into().map_err(io::Error::other)
    }
}

impl Attached {
    /// Puts another program in the place of the attached one.
    ///
    /// # Errors
    ///
    /// Those of bpf(2).
    pub fn replace(&self, program: &Program) -> io::Result<()> {
        let link = self.0.as_raw_fd().try_into().map_err(io::Error::other)?;
        let attr = Link([link, program.number()?, 0, 0]);
        call(LINK_UPDATE, &attr).map(drop)
    }
}

fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just given us this descriptor, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_int> {
    // SAFETY: pointer and length are those of `attr`, which the kernel only reads, and what is in it
    // outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    result.try_into().map_err(io::Error::other)
}
