// SPDX-License-Identifier: GPL-2.0
//! A cable over a stream socket, with the framing of QEMU's `-netdev stream`.
//!
//! The connection is the link: it is up while a peer is connected. A connecting
//! end tries again with growing pauses; a listening end serves one peer at a time
//! and lets the next wait in the socket's queue. A new connection starts with
//! empty queues, so that never half a frame is continued on it.
//!
//! Whoever owns this end must go on reading. QEMU (11.1, `server=on`) writes to the
//! socket blocking and holding its global lock, so that a peer which stops reading
//! stops the whole virtual machine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::batch::{split, Split, PREFIX};
use crate::{CableStats, Endpoint, FrameBatch, Wait, BATCH_CAPACITY, MAX_FRAME};

/// Pause before the first new attempt to connect; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Longest pause between attempts to connect.
const LAST_RETRY: Duration = Duration::from_secs(2);
/// An attempt to connect that has not come to a result by then has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once. Holds at least three frames of the greatest length.
const READ_BUFFER: usize = 256 << 10;
/// Socket buffers asked for; the system may give less.
const SOCKET_BUFFER: usize = 1 << 20;

/// Where the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path in the file system.
    Unix(PathBuf),
    /// An IP address and port.
    Tcp(SocketAddr),
}

impl Address {
    /// Returns a non-blocking socket of the right family, and this address for it.
    fn socket(&self) -> io::Result<(Socket, SockAddr)> {
        let (domain, address) = match self {
            Self::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            Self::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A listening socket; a Unix one takes its path away when dropped.
struct Listener {
    socket: Socket,
    path: Option<PathBuf>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// How this end comes to a connection.
enum Role {
    Connect { address: Address, retry: Duration },
    Listen(Listener),
}

/// State of the one connection.
enum Link {
    /// None; a connecting end tries again at the given time.
    Down { retry_at: Option<Instant> },
    /// The connection has been asked for.
    Connecting { socket: Socket, until: Instant },
    /// Connected.
    Up(Socket),
}

/// A cable over a stream socket.
pub struct Stream {
    role: Role,
    link: Link,
    epoch: u32,
    /// Bytes the socket has not taken, with the number of frames that begin in them.
    pending: Vec<u8>,
    written: usize,
    input: Input,
    stats: CableStats,
}

/// Received bytes: `start..end` of `bytes` is not delivered yet.
struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads once. Returns whether the buffer was filled, so that more may wait.
    fn fill(&mut self, mut socket: &Socket) -> io::Result<bool> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let wanted = room.len();
        let got = socket.read(room)?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.end += got;
        Ok(got == wanted)
    }
}

impl Stream {
    /// Returns a cable that connects to `address`, for as long as it takes.
    #[must_use]
    pub fn connect(address: Address) -> Self {
        let role = Role::Connect {
            address,
            retry: FIRST_RETRY,
        };
        Self::new(role, Some(Instant::now()))
    }

    /// Returns a cable that waits for its peer at `address`.
    ///
    /// # Errors
    ///
    /// Fails when the address is in use or may not be used. A socket file that
    /// nobody listens on any more is replaced.
    pub fn listen(address: &Address) -> io::Result<Self> {
        let path = match address {
            Address::Unix(path) => Some(path.clone()),
            Address::Tcp(_) => None,
        };
        if let Some(path) = &path {
            remove_stale(path)?;
        }
        let (socket, at) = address.socket()?;
        if path.is_none() {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&at)?;
        let listener = Listener { socket, path };
        listener.socket.listen(1)?;
        Ok(Self::new(Role::Listen(listener), None))
    }

    fn new(role: Role, retry_at: Option<Instant>) -> Self {
        Self {
            role,
            link: Link::Down { retry_at },
            epoch: 0,
            pending: Vec::with_capacity(2 * BATCH_CAPACITY),
            written: 0,
            input: Input {
                bytes: vec![0; READ_BUFFER].into_boxed_slice(),
                start: 0,
                end: 0,
            },
            stats: CableStats::default(),
        }
    }

    /// Returns the address a listening TCP end has been given.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.role {
            Role::Listen(listener) => listener.socket.local_addr().ok()?.as_socket(),
            Role::Connect { .. } => None,
        }
    }

    fn set_link(&mut self, link: Link) {
        self.link = link;
        self.epoch = self.epoch.wrapping_add(1);
        self.pending.clear();
        self.written = 0;
        self.input.clear();
    }

    fn came_up(&mut self, socket: Socket) {
        // These make the cable faster, and it works without them.
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        if let Role::Connect { address, retry } = &mut self.role {
            *retry = FIRST_RETRY;
            log::info!("cable connected to {address}");
            if matches!(address, Address::Tcp(_)) {
                let _ = socket.set_tcp_nodelay(true);
            }
        } else {
            log::info!("cable connected");
            let _ = socket.set_tcp_nodelay(true);
        }
        self.stats.connections += 1;
        self.set_link(Link::Up(socket));
    }

    /// Ends the connection or the attempt at one. `why` is logged once per
    /// connection, not for each attempt.
    fn went_down(&mut self, why: &dyn std::fmt::Display) {
        if matches!(self.link, Link::Up(_)) {
            log::info!("cable disconnected: {why}");
        }
        let retry_at = match &mut self.role {
            Role::Listen(_) => None,
            Role::Connect { address, retry } => {
                let pause = *retry;
                if pause == FIRST_RETRY {
                    log::info!("cable {address}: {why}; trying again");
                }
                *retry = (pause * 2).min(LAST_RETRY);
                Some(Instant::now() + pause)
            }
        };
        self.set_link(Link::Down { retry_at });
    }

    fn start_connect(&mut self, now: Instant) {
        let Role::Connect { address, .. } = &self.role else {
            return;
        };
        let attempt = address.socket().and_then(|(socket, at)| {
            let started = match socket.connect(&at) {
                Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
                started => started.is_ok(),
            };
            Ok((socket, started))
        });
        match attempt {
            Ok((socket, true)) => self.came_up(socket),
            Ok((socket, false)) => self.set_link(Link::Connecting {
                socket,
                until: now + CONNECT_TIMEOUT,
            }),
            Err(error) => self.went_down(&error),
        }
    }

    /// Looks whether the connection that was asked for has come about.
    fn check_connect(&mut self, now: Instant) {
        let Link::Connecting { socket, until } = &self.link else {
            return;
        };
        let result = match socket.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match socket.peer_addr() {
                Ok(_) => Ok(true),
                Err(_) if now < *until => Ok(false),
                Err(_) => Err(ErrorKind::TimedOut.into()),
            },
        };
        match result {
            Ok(true) => {
                let attempt = std::mem::replace(&mut self.link, Link::Down { retry_at: None });
                if let Link::Connecting { socket, .. } = attempt {
                    self.came_up(socket);
                }
            }
            Ok(false) => {}
            Err(error) => self.went_down(&error),
        }
    }

    fn accept(&mut self) {
        let Role::Listen(listener) = &self.role else {
            return;
        };
        match listener.socket.accept() {
            Ok((socket, _)) => match socket.set_nonblocking(true) {
                Ok(()) => self.came_up(socket),
                Err(error) => log::warn!("cable: {error}"),
            },
            Err(error) if is_retry(&error) => {}
            Err(error) => log::debug!("cable accept: {error}"),
        }
    }

    /// Writes what the socket has not taken earlier.
    fn flush(&mut self) {
        let Link::Up(socket) = &self.link else {
            return;
        };
        let mut socket: &Socket = socket;
        while let Some(rest) = self.pending.get(self.written..).filter(|r| !r.is_empty()) {
            match socket.write(rest) {
                Ok(written) => self.written += written,
                Err(error) if is_retry(&error) => return,
                Err(error) => return self.went_down(&error),
            }
        }
        self.pending.clear();
        self.written = 0;
    }

    /// Queues the frames that there is room for, behind what is pending already.
    fn queue(&mut self, batch: &FrameBatch) {
        self.pending.drain(..self.written);
        self.written = 0;
        for frame in batch.frames() {
            if self.pending.len() + PREFIX + frame.len() > self.pending.capacity() {
                self.stats.send_drops += 1;
                continue;
            }
            // CAST: a batch holds no frame over MAX_FRAME.
            let prefix = (frame.len() as u32).to_be_bytes();
            self.pending.extend_from_slice(&prefix);
            self.pending.extend_from_slice(frame);
            self.stats.count_sent(1, frame.len());
        }
    }

    /// Delivers whole frames from the buffer. `Err` tells a length that cannot be.
    fn deliver(
        &mut self,
        budget: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, crate::batch::OutOfStep> {
        let mut done = 0;
        while done < budget {
            let Split::Frame { frame, rest } = split(self.input.unread())? else {
                break;
            };
            done += 1;
            if self.stats.count_received(frame) {
                sink(frame);
            }
            self.input.start = self.input.end - rest.len();
        }
        Ok(done)
    }
}

/// `EINPROGRESS`, which the standard library gives no stable name.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Returns whether the call may simply be made again when the socket is ready.
fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Removes a socket file that a listener has left behind.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let (socket, at) = Address::Unix(path.to_owned()).socket()?;
    match socket.connect(&at) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

impl Endpoint for Stream {
    fn service(&mut self, now: Instant) {
        match &self.link {
            Link::Up(_) => self.flush(),
            Link::Connecting { .. } => self.check_connect(now),
            Link::Down { retry_at: None } => self.accept(),
            Link::Down { retry_at: Some(at) } if *at <= now => self.start_connect(now),
            Link::Down { .. } => {}
        }
    }

    fn wait(&self) -> Wait<'_> {
        let idle = Wait {
            epoch: self.epoch,
            ..Wait::default()
        };
        match (&self.link, &self.role) {
            (Link::Up(socket), _) => Wait {
                fd: Some(socket.as_fd()),
                read: true,
                write: !self.pending.is_empty(),
                ..idle
            },
            (Link::Connecting { socket, until }, _) => Wait {
                fd: Some(socket.as_fd()),
                write: true,
                deadline: Some(*until),
                ..idle
            },
            (Link::Down { .. }, Role::Listen(listener)) => Wait {
                fd: Some(listener.socket.as_fd()),
                read: true,
                ..idle
            },
            (Link::Down { retry_at }, Role::Connect { .. }) => Wait {
                deadline: *retry_at,
                ..idle
            },
        }
    }

    fn link_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    fn can_send(&self) -> bool {
        self.pending.is_empty()
    }

    fn send(&mut self, batch: &mut FrameBatch) {
        let frames = batch.len() as u64;
        let Link::Up(socket) = &self.link else {
            self.stats.send_drops += frames;
            return batch.clear();
        };
        if !self.pending.is_empty() {
            self.queue(batch);
            return batch.clear();
        }
        let mut socket: &Socket = socket;
        let wire = batch.wire();
        match socket.write(wire) {
            Ok(written) => {
                self.stats.count_sent(frames, batch.frame_bytes());
                self.pending
                    .extend_from_slice(wire.get(written..).unwrap_or_default());
            }
            Err(error) if is_retry(&error) => {
                self.stats.count_sent(frames, batch.frame_bytes());
                self.pending.extend_from_slice(wire);
            }
            Err(error) => {
                self.stats.send_drops += frames;
                self.went_down(&error);
            }
        }
        batch.clear();
    }

    fn receive(&mut self, budget: usize, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut done = 0;
        let mut drained = false;
        while done < budget {
            match self.deliver(budget - done, sink) {
                Ok(count) => done += count,
                Err(crate::batch::OutOfStep(length)) => {
                    self.stats.framing_errors += 1;
                    self.went_down(&format_args!(
                        "the peer announced a frame of {length} bytes, the limit is {MAX_FRAME}"
                    ));
                    break;
                }
            }
            let Link::Up(socket) = &self.link else { break };
            if done == budget || drained {
                break;
            }
            match self.input.fill(socket) {
                Ok(more) => drained = !more,
                Err(error) if is_retry(&error) => break,
                Err(error) => {
                    self.went_down(&error);
                    break;
                }
            }
        }
        done
    }

    fn stats(&self) -> CableStats {
        self.stats
    }
}
