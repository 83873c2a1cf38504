// SPDX-License-Identifier: GPL-2.0
//! `fbnic-emu`: emulated fbnic NICs for QEMU, served over vfio-user.

mod args;
mod control;
mod socket;
mod vfio;

use std::io;
use std::iter;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use clap::{CommandFactory, Parser};
use fbnic_model::{Config, Device};
use log::LevelFilter;
use net_backend::pcap::Captured;
use net_backend::stream::Address;
use net_backend::{CableSpec, Endpoint};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use args::Args;
use socket::SocketPath;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(message) = args.check() {
        Args::command()
            .error(clap::error::ErrorKind::ArgumentConflict, message)
            .exit();
    }
    init_log(&args);
    raise_descriptor_limit();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn init_log(args: &Args) {
    let level = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Info,
        (false, 1) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    };
    // The protocol crate logs each message at its debug level; that takes a second -v.
    let protocol = if args.verbose > 1 {
        LevelFilter::Debug
    } else {
        LevelFilter::Warn
    };
    env_logger::Builder::new()
        .filter_level(level)
        .filter_module("vfio_user", protocol)
        .format_target(false)
        .init();
}

/// Allows as many open files as the system lets us have.
///
/// Each interrupt vector takes a descriptor, and many NICs may live in one process. The low soft
/// limit is there for programs that use select(2), which this one does not.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!(
            "the limit of open files stays at {:?}: {error}",
            limit.current
        );
    }
}

/// A NIC that runs. Dropping it stops the worker, then removes the socket.
struct Nic {
    device: Arc<Device>,
    worker: Option<JoinHandle<()>>,
    _socket: SocketPath,
}

impl Drop for Nic {
    fn drop(&mut self) {
        self.device.stop();
        if let Some(worker) = self.worker.take() {
            if worker.join().is_err() {
                log::error!("the worker had panicked");
            }
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    // Installed first, so that no early signal leaves a socket behind.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let cables = cables(args)?;
    let _cable_paths = cable_paths(args);
    let devices = cables
        .into_iter()
        .enumerate()
        .map(|(index, cable)| device(args, index, cable))
        .collect::<io::Result<Vec<_>>>()?;
    if let Some(path) = &args.script {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{path:?}: {error}"));
        let text = std::fs::read_to_string(path).map_err(named)?;
        control::run_script(&text, &devices).map_err(named)?;
    }
    let _nics = devices
        .iter()
        .zip(&args.socket)
        .enumerate()
        .map(|(index, (device, socket))| start(index, socket, device.clone()))
        .collect::<io::Result<Vec<Nic>>>()?;
    let _control = args
        .control
        .as_deref()
        .map(|path| control::start(path, devices))
        .transpose()?;
    if let Some(signal) = signals.forever().next() {
        log::info!("signal {signal}, leaving");
    }
    Ok(())
}

/// The cable of each NIC: as told, else in memory between two, else nothing; beside it a capture.
fn cables(args: &Args) -> io::Result<Vec<Box<dyn Endpoint>>> {
    let mut cables = if args.cable.is_empty() && args.socket.len() == 2 {
        let (a, b) = net_backend::pair()?;
        vec![a, b]
    } else {
        let told = args.cable.iter().chain(iter::repeat(&CableSpec::Null));
        told.take(args.socket.len())
            .map(net_backend::open)
            .collect::<io::Result<Vec<_>>>()?
    };
    for (index, path) in args.pcap.iter().enumerate() {
        let cable = cables.remove(index);
        cables.insert(index, Box::new(Captured::new(cable, path)?));
    }
    Ok(cables)
}

/// The socket files that cables have made, to be removed at the end.
///
/// A cable removes its own when it is dropped, but it never is: the threads that serve QEMU hold
/// their device until the process ends.
fn cable_paths(args: &Args) -> Vec<SocketPath> {
    let path = |cable: &CableSpec| match cable {
        CableSpec::Listen(Address::Unix(path)) => Some(SocketPath::take_over(path)),
        _ => None,
    };
    args.cable.iter().filter_map(path).collect()
}

fn device(args: &Args, index: usize, cable: Box<dyn Endpoint>) -> io::Result<Arc<Device>> {
    let config = Config {
        mac: args.mac_of(index),
        serial: args.serial(),
        vectors: args.vectors,
        seed: args.seed,
        link: args.link_mode(),
        firmware: args.firmware(),
        cable,
    };
    Ok(Arc::new(Device::new(config)?))
}

fn start(index: usize, path: &Path, device: Arc<Device>) -> io::Result<Nic> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{path:?}: {error}"));
    let (listener, socket) = socket::listen(path).map_err(named)?;
    let worker = spawn(format!("nic{index}"), &device, |device| device.run_worker())?;
    spawn(format!("vfio{index}"), &device, |device| {
        vfio::serve(listener, device)
    })?;
    log::info!("waiting for QEMU on {}", path.display());
    Ok(Nic {
        device,
        worker: Some(worker),
        _socket: socket,
    })
}

/// Runs `body` on a thread of its own; a failure is logged.
fn spawn(
    name: String,
    device: &Arc<Device>,
    body: impl FnOnce(&Device) -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let device = device.clone();
    thread::Builder::new().name(name.clone()).spawn(move || {
        if let Err(error) = body(&device) {
            log::error!("{name}: {error}");
        }
    })
}
