// SPDX-License-Identifier: GPL-2.0
//! The device as the hypervisor sees it: regions, DMA windows, interrupts, reset; and the worker.
//!
//! Lock order: the configuration space before the core, never the other way round.

use std::fs::File;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fbnic_defs::csr as r;
use guest_mem::{Access, GuestMem};
use net_backend::{CableStats, Endpoint};
use parking_lot::{Mutex, MutexGuard};
use pci_emu::{ConfigSpace, Identity, Msix, SetIrqs};

use crate::bus::{self, Action};
use crate::dma::Dma;
use crate::fault::spec::{Arm, Deed, LinkFec, LinkSpeed, Version};
use crate::fault::{Faults, Hook};
use crate::fw::{Firmware, FwConfig, HostState};
use crate::hw::Hw;
use crate::intr::IrqSink;
use crate::mac::LinkMode;
use crate::moderation::Moderator;
use crate::queue::{DataPath, FrameStats};
use crate::stats::Counter;
use crate::wake::Sleeper;

/// Most MSI-X vectors a function has.
pub const VECTORS: u16 = 256;
/// Bytes of BAR2, which holds the MSI-X table and the pending bits.
const BAR2_SIZE: u64 = 0x4000;
/// Bytes of BAR4, the firmware window.
const BAR4_SIZE: u64 = 0x2_0000;
/// Where the pending bits start in BAR2.
const PBA_OFFSET: u32 = 0x2000;

/// Region numbers of the vfio interface that the device serves.
pub mod region {
    /// Registers.
    pub const BAR0: u32 = 0;
    /// MSI-X table and pending bits.
    pub const BAR2: u32 = 2;
    /// Firmware window.
    pub const BAR4: u32 = 4;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
}

/// Sizes in bytes of the regions 0 to 7 of the vfio interface.
pub const REGION_SIZES: [u64; 8] = [r::BAR0_SIZE, 0, BAR2_SIZE, 0, BAR4_SIZE, 0, 0, 4096];

/// What one device is made of.
pub struct Config {
    /// Station address; becomes the device serial number.
    pub mac: [u8; 6],
    /// Speed and error correction.
    pub link: LinkMode,
    /// Device serial number instead of the one made of `mac`; `Some(None)`: there is none.
    pub serial: Option<Option<u64>>,
    /// MSI-X vectors, 1 to [`VECTORS`].
    pub vectors: u16,
    /// What the firmware announces.
    pub firmware: FwConfig,
    /// What decides where faults leave a choice.
    pub seed: u64,
    /// The far end of the cable.
    pub cable: Box<dyn Endpoint>,
}

/// What the data path gets for one round.
pub struct Cx<'a> {
    /// Registers, interrupts, clock, link.
    pub hw: &'a Hw,
    /// Guest memory.
    pub dma: Dma<'a>,
    /// Where completions are reported.
    pub moderator: &'a mut Moderator,
    /// When the round started.
    pub now: Instant,
}

/// What only one thread at a time may touch.
struct Core {
    mem: GuestMem,
    data: DataPath,
    moderator: Moderator,
}

/// One emulated NIC.
pub struct Device {
    hw: Hw,
    msix: Arc<Msix>,
    sink: Arc<MsixSink>,
    config: Mutex<ConfigSpace>,
    core: Mutex<Core>,
    firmware: Firmware,
    /// The link to the host is down, by a fault, and the device has been reset for it.
    link_lost: AtomicBool,
    stop: AtomicBool,
}

struct MsixSink {
    msix: Arc<Msix>,
    fired: Box<[Counter]>,
    faults: Arc<Faults>,
}

impl IrqSink for MsixSink {
    fn trigger(&self, vector: u8) {
        if self.faults.msix_lost(vector) {
            return;
        }
        if let Some(fired) = self.fired.get(usize::from(vector)) {
            fired.count();
        }
        self.msix.trigger(u16::from(vector));
    }
}

/// A snapshot of what the device did since it was made; see [`Device::totals`].
#[derive(Debug, Default)]
pub struct Totals {
    /// Messages sent per MSI-X vector.
    pub msix_by_vector: Vec<u64>,
    /// Frames and drops on the cable.
    pub cable: CableStats,
    /// What became of frames behind the cable.
    pub frames: FrameStats,
}

/// The serial number that makes the driver take `mac` as its address.
fn serial_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([a, b, c, 0xff, 0xfe, d, e, f])
}

impl Device {
    /// A device after power-on. Nothing moves before [`Self::run_worker`] runs.
    pub fn new(config: Config) -> std::io::Result<Self> {
        let msix = Arc::new(Msix::new(VECTORS));
        let fired = (0..VECTORS).map(|_| Counter::default()).collect();
        let faults = Arc::new(Faults::new(config.seed));
        let sink = Arc::new(MsixSink {
            msix: msix.clone(),
            fired,
            faults: faults.clone(),
        });
        let hw = Hw::with_faults(sink.clone(), config.link, faults)?;
        let identity = Identity {
            vendor: 0x1d9b,
            device: 0x0013,
            class: 0x02_0000,
            bar_sizes: [r::BAR0_SIZE, BAR2_SIZE, BAR4_SIZE],
            vectors: config.vectors.clamp(1, VECTORS),
            pba_offset: PBA_OFFSET,
            serial: config.serial.unwrap_or(Some(serial_number(config.mac))),
        };
        let device = Self {
            hw,
            msix,
            sink,
            config: Mutex::new(ConfigSpace::new(identity)),
            core: Mutex::new(Core {
                mem: GuestMem::new(),
                data: DataPath::new(config.cable),
                moderator: Moderator::new(),
            }),
            firmware: Firmware::new(config.firmware),
            link_lost: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        };
        device.reset_core(&device.config.lock());
        Ok(device)
    }

    /// Copies from `offset` of region `index` on into `buf`; what does not exist reads as ones.
    pub fn region_read(&self, index: u32, offset: u64, buf: &mut [u8]) {
        let stats = &self.hw.bus_stats;
        if self.is_absent(index) {
            stats.count_unanswered_read(index);
            return buf.fill(0xff);
        }
        match index {
            region::BAR0 => read_dwords(offset, buf, |dword| {
                stats.mmio_reads.count();
                bus::read(&self.hw, dword)
            }),
            region::BAR2 => match offset.checked_sub(u64::from(PBA_OFFSET)) {
                Some(offset) => self.msix.read_pba(offset, buf),
                None => buf.fill(0),
            },
            region::BAR4 => read_dwords(offset, buf, |dword| {
                stats.fw_reads.count();
                let value = self.firmware.read(dword);
                self.hw.faults.fw_window_read(dword, value)
            }),
            region::CONFIG => {
                stats.config_reads.count();
                self.config.lock().read(offset, buf);
                self.hw.faults.config_read(offset, buf);
            }
            _ => buf.fill(0xff),
        }
    }

    /// Writes `buf` from `offset` of region `index` on; what does not exist is ignored.
    pub fn region_write(&self, index: u32, offset: u64, buf: &[u8]) {
        if self.is_absent(index) {
            return self.hw.bus_stats.count_unanswered_write(index);
        }
        match index {
            region::BAR0 => write_dwords(offset, buf, |dword, value| self.csr_write(dword, value)),
            region::BAR4 => write_dwords(offset, buf, |dword, value| {
                self.firmware_write(dword, value)
            }),
            region::CONFIG => self.config_write(offset, buf),
            _ => {}
        }
    }

    /// Whether an access to region `index` finds no device. With its link the device loses its state.
    fn is_absent(&self, index: u32) -> bool {
        let absence = self.hw.faults.absence(index == region::CONFIG);
        let link_lost = absence == Some(true);
        // A plain load is all that an access without faults pays for.
        if link_lost != self.link_lost.load(Ordering::Relaxed) {
            self.link_lost.store(link_lost, Ordering::Relaxed);
            if link_lost {
                log::info!("link to the host lost");
                self.reset();
            }
        }
        absence.is_some()
    }

    fn csr_write(&self, index: u32, value: u32) {
        self.hw.bus_stats.count_write(index);
        match bus::write(&self.hw, index, value) {
            Action::None => {}
            Action::QueueControl => {
                let mut core = self.core.lock();
                core.with_data(&self.hw, |data, cx| data.queue_control(cx, index, value));
                drop(core);
                self.hw.doorbells.kick();
            }
            Action::GatesChanged => self.gates_changed(),
        }
    }

    /// The bus-master gates were opened or shut. No transfer that a shut gate forbids is under
    /// way when this returns; what waited for an open one goes on.
    fn gates_changed(&self) {
        drop(self.core.lock());
        self.hw.doorbells.kick();
    }

    fn firmware_write(&self, dword: u32, value: u32) {
        self.hw.bus_stats.fw_writes.count();
        let Self { hw, firmware, .. } = self;
        if firmware.write(dword, value, &hw.intr, &hw.faults) {
            self.hw.doorbells.kick();
        }
    }

    fn config_write(&self, offset: u64, buf: &[u8]) {
        self.hw.bus_stats.config_writes.count();
        let mut config = self.config.lock();
        let effect = config.write(offset, buf);
        if effect.reset {
            log::info!("function-level reset");
            self.reset_core(&config);
        } else if effect.command {
            self.hw
                .bus_master
                .store(config.bus_master(), Ordering::Relaxed);
            self.gates_changed();
        }
    }

    /// Adds a DMA window; see [`GuestMem::map`].
    pub fn dma_map(
        &self,
        addr: u64,
        len: u64,
        access: Access,
        file: Option<File>,
        offset: u64,
    ) -> Result<(), guest_mem::Error> {
        self.core.lock().mem.map(addr, len, access, file, offset)
    }

    /// Removes DMA windows. No access to them is under way when this returns.
    pub fn dma_unmap(&self, addr: u64, len: u64) {
        self.core.lock().mem.unmap(addr, len);
    }

    /// Removes all DMA windows. No access to them is under way when this returns.
    pub fn dma_unmap_all(&self) {
        self.core.lock().mem.unmap_all();
    }

    /// Connects or disconnects MSI-X vectors; `false` if the request makes no sense.
    pub fn set_irqs(&self, request: SetIrqs) -> bool {
        self.msix.set_irqs(request)
    }

    /// Reset of the machine: everything returns to its state after power-on.
    pub fn reset(&self) {
        let mut config = self.config.lock();
        config.reset();
        self.reset_core(&config);
    }

    /// The hypervisor went away: forget its memory and its interrupts.
    pub fn disconnect(&self) {
        self.reset();
        self.dma_unmap_all();
        self.msix.disconnect();
    }

    /// Everything behind `config` returns to its state after power-on, and goes on from there
    /// with what that has: a driver does not write a bit of the command register that is set.
    fn reset_core(&self, config: &ConfigSpace) {
        let mut core = self.core.lock();
        core.data.reset();
        core.moderator.reset();
        self.hw.reset();
        self.hw
            .bus_master
            .store(config.bus_master(), Ordering::Relaxed);
        self.firmware.reset(&self.hw.intr);
        drop(core);
        self.hw.doorbells.kick();
    }

    /// Registers, interrupts, clock and link.
    pub fn hw(&self) -> &Hw {
        &self.hw
    }

    /// Counters that no reset clears.
    pub fn totals(&self) -> Totals {
        let core = self.core.lock();
        Totals {
            msix_by_vector: self.sink.fired.iter().map(Counter::get).collect(),
            cable: core.data.cable_stats(),
            frames: core.data.frame_stats(),
        }
    }

    /// Moves frames until [`Self::stop`]; run this on a thread of its own.
    pub fn run_worker(&self) -> std::io::Result<()> {
        let mut sleeper = Sleeper::new(&self.hw.doorbells.waker)?;
        // A panic unlocks the core; what it left there is thrown away.
        while catch_unwind(AssertUnwindSafe(|| self.work(&mut sleeper)))
            .map_err(|_| self.recover())
            .unwrap_or(Ok(true))?
        {}
        Ok(())
    }

    /// The worker has panicked: the device loses everything but configuration space, as it would in
    /// a reset of its own, and goes on.
    fn recover(&self) {
        log::error!("the worker panicked: the device resets itself");
        std::thread::sleep(PANIC_PAUSE);
        self.reset_core(&self.config.lock());
    }

    /// Moves frames until [`Self::stop`]; false when that is the reason to end.
    fn work(&self, sleeper: &mut Sleeper) -> std::io::Result<bool> {
        while !self.stop.load(Ordering::SeqCst) {
            let (core, again) = self.round();
            if again {
                // A thread that waits for the lock gets it before the next round.
                MutexGuard::unlock_fair(core);
                continue;
            }
            let deadline = sleeper.watch(core.data.wait());
            let deadline = earlier(deadline, core.moderator.deadline());
            let deadline = earlier(deadline, self.hw.faults.deadline(Instant::now()));
            let deadline = earlier(deadline, self.firmware.deadline());
            MutexGuard::unlock_fair(core);
            let busy = || self.hw.doorbells.pending() || self.stop.load(Ordering::SeqCst);
            sleeper.sleep(&self.hw.doorbells.waker, deadline, busy)?;
        }
        Ok(false)
    }

    /// Does one bounded round of the worker's work; `true` if there is more to do at once.
    ///
    /// For tests and fuzzers, which want no second thread.
    pub fn step(&self) -> bool {
        self.round().1
    }

    fn round(&self) -> (MutexGuard<'_, Core>, bool) {
        let changed = self.hw.doorbells.start_round();
        let mut core = self.core.lock();
        self.suffer(&mut core);
        if changed || self.firmware.is_waiting() {
            let dma = Dma::new(&self.hw, &core.mem);
            self.firmware.service(&dma, &self.hw.intr);
        }
        let again = core.round(&self.hw);
        (core, again)
    }

    /// What faults do to the device by themselves, without an access of the host.
    #[expect(
        clippy::panic,
        reason = "how the worker recovers from one has to be tested"
    )]
    fn suffer(&self, core: &mut Core) {
        let faults = &self.hw.faults;
        let now = Instant::now();
        if faults.take_panic() {
            panic!("asked for over the control socket");
        }
        if let Some(vector) = faults.stray_msix(now) {
            self.sink.trigger(vector);
        }
        if faults.active().has(Hook::Dma) {
            let dma = Dma::new(&self.hw, &core.mem);
            for (addr, bytes) in faults.take_late(now) {
                // The host may have taken the memory away meanwhile.
                let _ = dma.write(addr, &bytes);
            }
        }
    }

    /// Arms a fault; returns its number.
    pub fn arm(&self, arm: Arm) -> u64 {
        let id = self.hw.faults.arm(arm);
        self.hw.doorbells.kick();
        id
    }

    /// Disarms fault `id`, or all; returns how many that were.
    pub fn disarm(&self, id: Option<u64>) -> usize {
        let count = self.hw.faults.disarm(id);
        self.hw.doorbells.kick();
        count
    }

    /// Makes something happen at once.
    pub fn inflict(&self, deed: Deed) {
        log::info!("now: {deed:?}");
        match deed {
            Deed::Reset {} => self.reset(),
            Deed::Flr {} => self.reset_core(&self.config.lock()),
            Deed::FwRestart { mailbox, tcam } => self.restart_firmware(mailbox, tcam),
            Deed::Firmware {
                version,
                commit,
                link_speed,
                fec,
            } => self.configure(version, commit, link_speed, fec),
            Deed::FwSend { hex } => self.firmware.send(hex.0),
            Deed::CsrWrite { csr, value } => self.hw.csr.store(csr, value),
            Deed::Msix { vector } => self.sink.trigger(vector),
            Deed::WorkerPanic {} => self.hw.faults.panic_worker(),
        }
        self.hw.doorbells.kick();
    }

    fn restart_firmware(&self, mailbox: bool, tcam: bool) {
        if tcam {
            let transmit = r::TCE_RAM_FIRST..=r::TCE_RAM_LAST;
            for csr in transmit.chain(r::RPC_ACTIONS_FIRST..=r::RPC_ACTIONS_LAST) {
                self.hw.csr.store(csr, 0);
            }
            self.hw.rpc_generation.fetch_add(1, Ordering::Release);
        }
        // The core lock keeps the worker from answering half of a message.
        let _core = self.core.lock();
        self.firmware.restart(mailbox, &self.hw.intr);
    }

    fn configure(
        &self,
        version: Option<Version>,
        commit: Option<String>,
        speed: Option<LinkSpeed>,
        fec: Option<LinkFec>,
    ) {
        let mut mode = self.hw.mac.mode();
        mode.speed = speed.map_or(mode.speed, Into::into);
        mode.fec = fec.map_or(mode.fec, Into::into);
        self.hw.mac.set_mode(&self.hw.csr, mode);
        self.firmware.configure(|config| {
            config.version = version.map_or(config.version, |version| version.0);
            config.commit = commit.unwrap_or_else(|| std::mem::take(&mut config.commit));
            config.link_speed = mode.speed as u32;
            config.link_fec = mode.effective_fec() as u32;
        });
    }

    /// The registers `first..=last` as they are, without the effects of a read by the host.
    pub fn peek_csrs(&self, first: u32, last: u32) -> Vec<u32> {
        let last = last.min(r::CSR_COUNT.saturating_sub(1));
        (first..=last).map(|csr| bus::peek(&self.hw, csr)).collect()
    }

    /// The dwords `first..=last` of the firmware window.
    pub fn peek_window(&self, first: u32, last: u32) -> Vec<u32> {
        // CAST: BAR4 has 32,768 dwords.
        let last = last.min((BAR4_SIZE / 4) as u32 - 1);
        (first..=last)
            .map(|dword| self.firmware.read(dword))
            .collect()
    }

    /// What the host has told the firmware.
    pub fn firmware_host(&self) -> HostState {
        self.firmware.host()
    }

    /// Ends [`Self::run_worker`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.hw.doorbells.kick();
    }
}

impl Core {
    fn with_data<T>(&mut self, hw: &Hw, f: impl FnOnce(&mut DataPath, &mut Cx<'_>) -> T) -> T {
        let Self {
            mem,
            data,
            moderator,
            ..
        } = self;
        let mut cx = Cx {
            hw,
            dma: Dma::new(hw, mem),
            moderator,
            now: Instant::now(),
        };
        f(data, &mut cx)
    }

    /// One bounded round of the data path; `true` if there is more to do at once.
    fn round(&mut self, hw: &Hw) -> bool {
        let again = self.with_data(hw, |data, cx| data.service(cx));
        let down = hw.faults.link_down(Instant::now());
        hw.mac.cut(down);
        hw.mac.set_cable(hw, self.data.link_up() && !down);
        self.moderator.expire(hw, Instant::now());
        self.moderator.flush(hw);
        again
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Reads whole dwords and copies the bytes asked for, whatever their alignment.
fn read_dwords(offset: u64, buf: &mut [u8], read: impl Fn(u32) -> u32) {
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let skip = (at % 4) as usize;
        let value = u32::try_from(at / 4).map_or(u32::MAX, &read).to_le_bytes();
        let n = rest.len().min(4 - skip);
        let (now, later) = rest.split_at_mut(n);
        for (to, byte) in now.iter_mut().zip(value.iter().skip(skip)) {
            *to = *byte;
        }
        rest = later;
        at = at.saturating_add(n as u64);
    }
}

/// Writes the aligned dwords of an access; the hardware ignores anything narrower.
fn write_dwords(offset: u64, buf: &[u8], write: impl Fn(u32, u32)) {
    if offset % 4 != 0 {
        log::debug!("unaligned register write at {offset:#x} ignored");
        return;
    }
    for (i, bytes) in (0u64..).zip(buf.chunks_exact(4)) {
        let dword = u32::try_from((offset / 4).saturating_add(i));
        if let (Ok(dword), Ok(bytes)) = (dword, <[u8; 4]>::try_from(bytes)) {
            write(dword, u32::from_le_bytes(bytes));
        }
    }
}

/// How long the worker waits after a panic, so that one which repeats does not fill the log.
const PANIC_PAUSE: Duration = Duration::from_millis(100);

/// How long the worker sleeps at most, so that nothing is ever lost for longer than this.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(1);
