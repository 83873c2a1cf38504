// SPDX-License-Identifier: GPL-2.0
//! The part of the device that all threads share without a lock.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use fbnic_defs::csr as r;
use parking_lot::Mutex;

use crate::csr::CsrFile;
use crate::fault::Faults;
use crate::intr::{Intr, IrqSink};
use crate::mac::{LinkMode, Mac};
use crate::ptp::Ptp;
use crate::stats::BusStats;
use crate::wake::Waker;

/// Registers, interrupts, clock and link: reached from the bus and from the data path.
pub struct Hw {
    /// Storage of all registers without state elsewhere, counters included.
    pub csr: CsrFile,
    /// The interrupt block.
    pub intr: Intr,
    /// The clock.
    pub ptp: Ptp,
    /// MAC and PCS.
    pub mac: Mac,
    /// Queues with new doorbells, and the worker's wake-up.
    pub doorbells: Doorbells,
    /// Grows with every write to the TCE, RPC and RPC_RAM regions: compiled tables are stale.
    pub rpc_generation: AtomicU32,
    /// Bus Master Enable of the PCI command register.
    pub bus_master: AtomicBool,
    /// Accesses to registers that do not exist.
    pub unknown: Unknown,
    /// What the guest did, for benchmarks.
    pub bus_stats: BusStats,
    /// What goes wrong on purpose.
    pub faults: Arc<Faults>,
}

impl Hw {
    /// The device after power-on, sending interrupts to `sink`.
    pub fn new(sink: Arc<dyn IrqSink>, mode: LinkMode) -> std::io::Result<Self> {
        Self::with_faults(sink, mode, Arc::new(Faults::new(0)))
    }

    /// The same with faults that somebody else knows of too.
    pub fn with_faults(
        sink: Arc<dyn IrqSink>,
        mode: LinkMode,
        faults: Arc<Faults>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            csr: CsrFile::new(),
            intr: Intr::new(sink),
            ptp: Ptp::new(),
            mac: Mac::new(mode),
            doorbells: Doorbells::new()?,
            rpc_generation: AtomicU32::new(0),
            bus_master: AtomicBool::new(false),
            unknown: Unknown::default(),
            bus_stats: BusStats::default(),
            faults,
        })
    }

    /// Puts registers, interrupts and the clock into their state after power-on.
    ///
    /// The link stays: the far end of the cable does not notice a reset of the host interface. So
    /// does bus mastering, which is up to configuration space.
    pub fn reset(&self) {
        self.csr.reset();
        self.mac.reset(&self.csr);
        self.intr.reset();
        self.ptp.reset();
        self.faults.reset();
        self.doorbells.take_tx();
        self.doorbells.take_rx();
        self.rpc_generation.fetch_add(1, Ordering::Release);
    }

    /// Whether transfers of the direction with the TLP header register `cfg` may happen.
    pub fn can_dma(&self, cfg: u32) -> bool {
        self.bus_master.load(Ordering::Relaxed) && self.csr.load(cfg) & r::PUL_OB_TLP_HDR_BME != 0
    }
}

/// One bit per queue set, set by the bus thread and taken by the worker.
#[derive(Default)]
struct QueueBits([AtomicU64; 2]);

impl QueueBits {
    fn set(&self, queue: u32) {
        if let Some(word) = self.0.get(queue as usize / 64) {
            word.fetch_or(1 << (queue % 64), Ordering::SeqCst);
        }
    }

    fn take(&self) -> u128 {
        let [lo, hi] = &self.0;
        let take = |word: &AtomicU64| {
            // The usual answer is "nothing", which a plain load finds without a locked access.
            if word.load(Ordering::SeqCst) == 0 {
                0
            } else {
                u128::from(word.swap(0, Ordering::SeqCst))
            }
        };
        take(lo) | take(hi) << 64
    }

    fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }
}

/// Which queue sets have had doorbells since the worker last looked.
pub struct Doorbells {
    tx: QueueBits,
    rx: QueueBits,
    /// Something other than a doorbell changed.
    kicked: AtomicBool,
    /// Wakes the worker.
    pub(crate) waker: Waker,
}

impl Doorbells {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            tx: QueueBits::default(),
            rx: QueueBits::default(),
            kicked: AtomicBool::new(false),
            waker: Waker::new()?,
        })
    }

    /// A transmit doorbell (TWQ0_TAIL, TWQ1_TAIL or TCQ_HEAD) of `queue` was stored.
    pub fn ring_tx(&self, queue: u32) {
        self.tx.set(queue);
        self.waker.wake();
    }

    /// A receive doorbell (BDQ_HPQ_TAIL, BDQ_PPQ_TAIL or RCQ_HEAD) of `queue` was stored.
    pub fn ring_rx(&self, queue: u32) {
        self.rx.set(queue);
        self.waker.wake();
    }

    /// The queue sets with transmit doorbells; clears them.
    pub fn take_tx(&self) -> u128 {
        self.tx.take()
    }

    /// The queue sets with receive doorbells; clears them.
    pub fn take_rx(&self) -> u128 {
        self.rx.take()
    }

    /// Something other than a doorbell changed: the worker shall look at everything once.
    pub fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// The worker starts a round; says whether something other than a doorbell changed.
    pub(crate) fn start_round(&self) -> bool {
        self.kicked.load(Ordering::SeqCst) && self.kicked.swap(false, Ordering::SeqCst)
    }

    /// Whether there is a doorbell or a change nobody took.
    pub fn pending(&self) -> bool {
        self.kicked.load(Ordering::SeqCst) || self.tx.any() || self.rx.any()
    }
}

/// Registers named in the log before it falls silent: a register dump strays over hundreds.
const MAX_UNKNOWN: usize = 32;

/// Accesses to registers that do not exist: each is logged once, and only so many of them.
#[derive(Default)]
pub struct Unknown {
    seen: Mutex<HashSet<u32>>,
}

impl Unknown {
    /// Logs the first access to register `index`; `value` is what was written, if anything.
    pub fn report(&self, index: u32, value: Option<u32>) {
        let mut seen = self.seen.lock();
        if seen.len() >= MAX_UNKNOWN || !seen.insert(index) {
            return;
        }
        match value {
            Some(value) => log::warn!("write of {value:#x} to unknown register {index:#x}"),
            None => log::warn!("read of unknown register {index:#x}"),
        }
        if seen.len() == MAX_UNKNOWN {
            log::warn!("further unknown registers are not logged");
        }
    }
}
