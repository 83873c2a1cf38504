// SPDX-License-Identifier: GPL-2.0
//! Where frames go out and come in: a packet socket, or a Unix socket onto the cable.

use crate::packet_socket::PacketSocket;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// More than any frame. A stream that announces a longer one has lost its step.
const LONGEST: usize = 1 << 16;

/// One end of the cable.
pub trait Port {
    /// Sends one frame, from destination address to the last byte before the FCS.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Waits for the next frame; `None` when none comes in time.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>>;
}

impl Port for PacketSocket {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        PacketSocket::send(self, frame)
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        PacketSocket::receive(self)
    }
}

/// QEMU's stream of frames: each has its length in front, four bytes, most significant first.
pub struct Wire {
    stream: UnixStream,
    /// What has been read of the next frame, length included.
    partial: Vec<u8>,
}

impl Wire {
    /// Connects to the socket at `path`; [`receive`](Port::receive) waits at most `patience`.
    ///
    /// # Errors
    ///
    /// Those of connect(2).
    pub fn open(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self {
            stream,
            partial: Vec::new(),
        })
    }

    /// The same stream once more, for the other direction.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            partial: Vec::new(),
        })
    }

    /// Length of the next frame, once its first four bytes are there.
    fn announced(&self) -> io::Result<Option<usize>> {
        let Some(length) = self.partial.first_chunk() else {
            return Ok(None);
        };
        match u32::from_be_bytes(*length) as usize {
            length if length <= LONGEST => Ok(Some(length)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Port for Wire {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(frame)
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 1 << 14];
        loop {
            if let Some(length) = self.announced()? {
                if self.partial.len() >= 4 + length {
                    let rest = self.partial.split_off(4 + length);
                    let frame = std::mem::replace(&mut self.partial, rest).split_off(4);
                    return Ok(Some(frame));
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.partial.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_pieces() {
        let (mut left, right) = UnixStream::pair().unwrap();
        right
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut wire = Wire {
            stream: right,
            partial: Vec::new(),
        };
        left.write_all(&[0, 0, 0, 3, 1, 2]).unwrap();
        assert_eq!(wire.receive().unwrap(), None);
        left.write_all(&[3, 0, 0, 0, 1, 9, 0]).unwrap();
        assert_eq!(wire.receive().unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(wire.receive().unwrap(), Some(vec![9]));
        left.write_all(&[2, 0, 0, 0]).unwrap();
        assert!(wire.receive().is_err());
    }
}
