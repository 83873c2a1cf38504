// SPDX-License-Identifier: GPL-2.0
//! The cable as the user writes it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::local::{loopback, Null};
use crate::stream::{Address, Stream};
use crate::tap::Tap;
use crate::Endpoint;

/// The forms of a cable, for a help text.
pub const CABLE_HELP: &str = "\
unix:PATH              connect to a Unix socket: QEMU -netdev stream,server=on, passt
unix-listen:PATH       wait for a peer on a Unix socket, for example another fbnic-emu
tcp:HOST:PORT          connect over TCP
tcp-listen:HOST:PORT   wait for a peer over TCP
tap:NAME               a tap interface of this machine, made if it is not there
loopback               every frame comes back
null                   link up, every frame is swallowed";

/// A cable to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CableSpec {
    /// A stream socket that connects.
    Connect(Address),
    /// A stream socket that waits for its peer.
    Listen(Address),
    /// A tap interface, by name.
    Tap(String),
    /// Frames come back.
    Loopback,
    /// Frames vanish.
    Null,
}

impl FromStr for CableSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest.is_empty()) {
            ("unix", false) => Ok(Self::Connect(Address::Unix(PathBuf::from(rest)))),
            ("unix-listen", false) => Ok(Self::Listen(Address::Unix(PathBuf::from(rest)))),
            ("tcp", false) => Ok(Self::Connect(Address::Tcp(resolve(rest)?))),
            ("tcp-listen", false) => Ok(Self::Listen(Address::Tcp(resolve(rest)?))),
            ("tap", false) if rest.len() < 16 => Ok(Self::Tap(rest.to_owned())),
            ("tap", false) => Err(format!("interface name \"{rest}\" exceeds 15 bytes")),
            ("loopback", true) => Ok(Self::Loopback),
            ("null", true) => Ok(Self::Null),
            _ => Err(format!("\"{text}\" is none of:\n{CABLE_HELP}")),
        }
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|error| format!("\"{text}\": {error}"))?
        .next()
        .ok_or_else(|| format!("\"{text}\" has no address"))
}

impl fmt::Display for CableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address) => address.fmt(f),
            Self::Listen(Address::Unix(path)) => write!(f, "unix-listen:{}", path.display()),
            Self::Listen(Address::Tcp(address)) => write!(f, "tcp-listen:{address}"),
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::Loopback => f.write_str("loopback"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// Opens a cable.
///
/// A stream that cannot connect is no error: it keeps trying, with the link down.
///
/// # Errors
///
/// Fails when the address cannot be listened on or the tap not be opened. The error names the cable.
pub fn open(spec: &CableSpec) -> io::Result<Box<dyn Endpoint>> {
    let opened = || -> io::Result<Box<dyn Endpoint>> {
        Ok(match spec {
            CableSpec::Connect(address) => Box::new(Stream::connect(address.clone())),
            CableSpec::Listen(address) => Box::new(Stream::listen(address)?),
            CableSpec::Tap(name) => Box::new(Tap::open(name)?),
            CableSpec::Loopback => Box::new(loopback()?),
            CableSpec::Null => Box::new(Null::default()),
        })
    };
    opened().map_err(|error| io::Error::new(error.kind(), format!("--cable {spec}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let path = PathBuf::from("a:b");
        for (text, spec) in [
            ("unix:a:b", CableSpec::Connect(Address::Unix(path.clone()))),
            ("unix-listen:a:b", CableSpec::Listen(Address::Unix(path))),
            (
                "tcp:127.0.0.1:5",
                CableSpec::Connect(Address::Tcp(([127, 0, 0, 1], 5).into())),
            ),
            (
                "tcp-listen:[::1]:5",
                CableSpec::Listen(Address::Tcp("[::1]:5".parse().unwrap())),
            ),
            ("tap:tap0", CableSpec::Tap("tap0".into())),
            ("loopback", CableSpec::Loopback),
            ("null", CableSpec::Null),
        ] {
            assert_eq!(spec.to_string(), text);
            assert_eq!(text.parse(), Ok(spec));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "unix:",
            "unix",
            "tcp:5",
            "loopback:x",
            "tap:0123456789abcdef",
        ] {
            assert!(text.parse::<CableSpec>().is_err(), "{text}");
        }
    }
}
