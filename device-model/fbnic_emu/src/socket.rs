// SPDX-License-Identifier: GPL-2.0
//! Listening sockets that vanish with their owner.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Pause after a client that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Removes the socket's path when dropped.
#[derive(Debug)]
pub struct SocketPath(PathBuf);

impl SocketPath {
    /// Takes over the path of a socket that somebody else in this process has bound.
    pub fn take_over(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Somebody else may have removed it already; there is nothing left to do then.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens at `path`, replacing a socket whose owner has died.
///
/// The path comes into being when connections are already taken, so whoever waits for it to appear
/// need not try again.
pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketPath)> {
    remove_stale(path)?;
    // Between binding and listening, which are two steps, a socket refuses connections.
    let early = SocketPath(path.with_file_name(format!(".{}", std::process::id())));
    remove_stale(&early.0)?;
    let listener = UnixListener::bind(&early.0)?;
    fs::rename(&early.0, path)?;
    Ok((listener, SocketPath::take_over(path)))
}

/// Waits a little after a client that could not be accepted.
///
/// Mostly there is a want of descriptors or memory, which passes; the client goes on waiting, and
/// accept() would fail again at once.
pub fn pause_after(error: &io::Error) {
    log::warn!("cannot accept a client: {error}; trying again");
    sleep(ACCEPT_PAUSE);
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?.file_type(),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "exists and is not a socket",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fbnic-emu-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let path = scratch("socket");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, guard) = listen(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(guard);
        assert!(!path.exists());
        let early = path.with_file_name(format!(".{}", std::process::id()));
        assert!(!early.exists());
    }

    #[test]
    fn files_are_left_alone() {
        let path = scratch("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            listen(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
}
