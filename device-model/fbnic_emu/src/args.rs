// SPDX-License-Identifier: GPL-2.0
//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Parser, ValueEnum};
use fbnic_model::device::VECTORS;
use fbnic_model::fault::spec::Version;
use fbnic_model::fw::FwConfig;
use fbnic_model::mac::{Fec, LinkMode, Speed};
use net_backend::CableSpec;

const AFTER_HELP: &str = "\
CABLES
  A stream carries frames as QEMU's -netdev stream does: four bytes of length, most significant
  first, then the frame. The link of the NIC is down while there is no peer. An end that
  connects tries again until there is one; an end that listens serves one peer after the other.

  With a tap the link goes with the interface when somebody deletes it, and comes back with one of
  that name. Bringing the interface up and giving it addresses is up to its owner, for example:

    ip tuntap add mode tap user $USER fbnic0; ip address add 192.0.2.2/24 dev fbnic0
    ip link set fbnic0 up; fbnic-emu --socket nic.sock --cable tap:fbnic0

  Two NICs in one process that are given no --cable are joined in memory. Any other NIC without
  one gets null.

EXAMPLES
  One NIC with a way out through passt, which needs no rights. passt goes on listening when
  fbnic-emu ends, and fbnic-emu finds a passt that is started again:

    passt --foreground --socket wire.sock &
    fbnic-emu --socket nic.sock --cable unix:wire.sock &
    qemu-system-x86_64 -M q35,memory-backend=mem -m 1G \\
      -object memory-backend-memfd,id=mem,size=1G,share=on \\
      -device pcie-root-port,id=rp,chassis=1 \\
      -device '{\"driver\":\"vfio-user-pci\",\"bus\":\"rp\",
                \"socket\":{\"path\":\"nic.sock\",\"type\":\"unix\"}}' ...

  The guest's memory must be a shared memfd, and the NIC belongs behind a root port.
  Start fbnic-emu first: QEMU connects once and does not try again.

  Two NICs back to back, of one process or of two:

    fbnic-emu --socket a.sock --socket b.sock

    fbnic-emu --socket a.sock --cable unix-listen:wire.sock &
    fbnic-emu --socket b.sock --cable unix:wire.sock &

SIGNALS
  SIGINT and SIGTERM remove the sockets and end the process. A guest that resets, reloads
  its driver or goes away with its QEMU does not: the next QEMU can connect to the same socket.";

/// An emulated fbnic NIC (PCI 1d9b:0013) for QEMU, served over vfio-user.
#[derive(Debug, Parser)]
#[command(name = "fbnic-emu", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// Unix socket to serve the NIC on; give it again for another NIC
    #[arg(short, long, value_name = "PATH", required = true)]
    pub socket: Vec<PathBuf>,

    /// Station address, one per NIC in the order of --socket
    ///
    /// Becomes the PCI device serial number, from which the driver takes it. NICs without one
    /// get 02:fb:1c:00:00:00, 02:fb:1c:00:00:01 and so on.
    #[arg(short, long, value_name = "ADDRESS")]
    pub mac: Vec<MacAddress>,

    #[arg(short, long, value_name = "CABLE", help = "What the cable of a NIC leads to, one per NIC in the order of --socket",
        long_help = cable_help())]
    pub cable: Vec<CableSpec>,

    /// Write every frame on the cable to this pcap file, one per NIC in the order of --socket
    #[arg(short, long, value_name = "FILE")]
    pub pcap: Vec<PathBuf>,

    /// Speed and lanes of the port
    #[arg(short = 'l', long, value_name = "MODE", default_value = "100")]
    pub link_speed: SpeedArg,

    /// Forward error correction; the PAM4 speeds 50r1 and 100 always use rs
    #[arg(short, long, value_name = "FEC", default_value = "rs")]
    pub fec: FecArg,

    /// Announce a management controller with this address; up to four times
    #[arg(short, long, value_name = "ADDRESS")]
    pub bmc: Vec<MacAddress>,

    /// Version the firmware reports
    #[arg(long, value_name = "A.B.C.D", default_value = "25.7.25.2")]
    pub fw_version: Version,

    /// Device serial number instead of the one made of --mac, such as 0x0011223344556677; for one
    /// NIC alone
    #[arg(long, value_name = "NUMBER", value_parser = parse_u64)]
    pub dsn: Option<u64>,

    /// No device serial number at all
    #[arg(long, conflicts_with = "dsn")]
    pub no_dsn: bool,

    /// MSI-X vectors of the NIC
    #[arg(long, value_name = "N", default_value_t = VECTORS,
        value_parser = clap::value_parser!(u16).range(1..=VECTORS as i64))]
    pub vectors: u16,

    /// What decides where faults leave a choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Carry out the requests in this file, those of the control socket, one per line
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Serve counters and arm faults on this Unix socket: one line in, one line of JSON out
    ///
    /// "stats" asks for the counters, which are sums with several NICs. "help" lists all requests,
    /// for example: echo help | socat - UNIX-CONNECT:PATH. Faults are described in
    /// fbnic_model/src/fault/spec.rs.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Log more; give it twice for every mapping and message
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

fn cable_help() -> String {
    format!(
        "What the cable of a NIC leads to, one per NIC in the order of --socket\n\n{}",
        net_backend::CABLE_HELP
    )
}

impl Args {
    /// The port's mode.
    pub fn link_mode(&self) -> LinkMode {
        let speed = match self.link_speed {
            SpeedArg::R1x25 => Speed::R1x25,
            SpeedArg::R2x25 => Speed::R2x25,
            SpeedArg::R1x50 => Speed::R1x50,
            SpeedArg::R2x50 => Speed::R2x50,
        };
        let fec = match self.fec {
            FecArg::None => Fec::None,
            FecArg::Rs => Fec::Rs,
            FecArg::Baser => Fec::BaseR,
        };
        LinkMode { speed, fec }
    }

    /// What the firmware announces.
    pub fn firmware(&self) -> FwConfig {
        let mode = self.link_mode();
        FwConfig {
            version: self.fw_version.0,
            commit: "emulated".into(),
            link_speed: mode.speed as u32,
            link_fec: mode.effective_fec() as u32,
            bmc_macs: self.bmc.iter().map(|mac| mac.0).collect(),
        }
    }

    /// What is said about the device serial number; see [`fbnic_model::Config::serial`].
    pub fn serial(&self) -> Option<Option<u64>> {
        if self.no_dsn {
            Some(None)
        } else {
            self.dsn.map(Some)
        }
    }

    /// Station address of NIC `index`.
    pub fn mac_of(&self, index: usize) -> [u8; 6] {
        self.mac
            .get(index)
            .map_or([0x02, 0xfb, 0x1c, 0, 0, index as u8], |mac| mac.0)
    }

    /// What is wrong with the combination of arguments, if anything.
    pub fn check(&self) -> Result<(), String> {
        let nics = self.socket.len();
        for (what, count) in [
            ("--mac", self.mac.len()),
            ("--cable", self.cable.len()),
            ("--pcap", self.pcap.len()),
        ] {
            if count > nics {
                return Err(format!("{what} given {count} times for {nics} NIC(s)"));
            }
        }
        if self.dsn.is_some() && nics > 1 {
            return Err("--dsn would give all NICs the same address: \
                        use --mac, once per NIC, of which serial numbers are made"
                .into());
        }
        if self.dsn.is_some() && !self.mac.is_empty() {
            return Err("--dsn and --mac both set the address: leave out one of them".into());
        }
        if nics > 128 {
            return Err("at most 128 NICs in one process".into());
        }
        if self.bmc.len() > 4 {
            return Err("at most four --bmc addresses".into());
        }
        Ok(())
    }
}

/// `--link-speed`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SpeedArg {
    /// 25 Gb/s on one lane
    #[value(name = "25")]
    R1x25,
    /// 50 Gb/s on two lanes
    #[value(name = "50r2")]
    R2x25,
    /// 50 Gb/s on one PAM4 lane
    #[value(name = "50r1")]
    R1x50,
    /// 100 Gb/s on two PAM4 lanes
    #[value(name = "100")]
    R2x50,
}

/// `--fec`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FecArg {
    /// No correction
    None,
    /// Reed-Solomon
    Rs,
    /// Firecode
    Baser,
}

/// A unicast Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octet = |part: &str| {
            // The conversion alone would take a sign.
            let digits = part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        let mac: [u8; 6] = octets
            .and_then(|octets| octets.try_into().ok())
            .ok_or("expected six octets, such as 02:fb:1c:00:00:01")?;
        match mac {
            [0, 0, 0, 0, 0, 0] => Err("the zero address is not usable".into()),
            [first, ..] if first & 1 != 0 => Err("a group address is not usable".into()),
            mac => Ok(Self(mac)),
        }
    }
}

/// A number, in hexadecimal after 0x.
fn parse_u64(text: &str) -> Result<u64, String> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(
            "2:fb:1c:0:0:ff".parse(),
            Ok(MacAddress([2, 0xfb, 0x1c, 0, 0, 0xff]))
        );
        for bad in [
            "",
            "02:fb",
            "02:fb:1c:00:00:00:00",
            "00:00:00:00:00:00",
            "01:00:00:00:00:01",
            "02:fb:1c:00:00:+1",
            "02:fb:1c:00:00:100",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_checked() {
        assert_eq!("25.7.25.2".parse(), Ok(Version(0x1907_1902)));
        for bad in ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "a.b.c.d"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_serial_number_is_for_one_nic_without_an_address() {
        let check = |more: &[&str]| {
            let told = ["fbnic-emu", "--socket", "a", "--dsn", "0x0011223344556677"];
            Args::try_parse_from(told.iter().chain(more))
                .unwrap()
                .check()
        };
        assert_eq!(check(&[]), Ok(()));
        let several = check(&["--socket", "b"]).unwrap_err();
        assert!(several.contains("once per NIC"), "{several}");
        let both = check(&["--mac", "02:11:22:33:44:55"]).unwrap_err();
        assert!(both.contains("leave out one"), "{both}");
    }
}
