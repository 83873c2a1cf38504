// SPDX-License-Identifier: GPL-2.0

//! Queues: how packets get to the device and from it.
//!
//! The device has 128 queue sets, each with a transmit triad (two work queues and a completion
//! queue) and a receive triad (header and payload buffers and a completion queue). A
//! [`NapiVector`] serves some of them with one interrupt.
//!
//! Life of the queues, all in process context under the netdev lock:
//!
//! 1. [`NapiVector::new`] allocates, [`NapiVector::bind`] announces to the stack.
//! 2. [`NapiVector::enable`] for each vector, [`Csr::flush`](crate::fbnic_csr::Csr::flush), then
//!    [`NapiVector::fill`].
//! 3. The NAPI contexts are enabled, [`Vector::unmask`], [`kick`]. Packets flow.
//! 4. The NAPI contexts are disabled, [`Vector::mask`]; transmit queues are stopped.
//! 5. [`NapiVector::disable`] for each vector, a flush, [`wait_all_queues_idle`]. Then
//!    [`NapiVector::is_stopped`], as what comes next may be the end of the memory: [`give_up`] if not.
//! 6. [`NapiVector::flush`] throws away what is left. Then drop, or [`NapiVector::rewind`] for each
//!    transmit queue and step 2 again.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    io::poll::read_poll_timeout,
    prelude::*,
    sync::Arc,
    time::Delta, //
};

use crate::{
    fbnic_csr::{
        intr,
        qm,
        queue as regs,
        tce, //
    },
    fbnic_dev::Fbnic,
    net::{
        napi::{
            Budget,
            Handler,
            Line,
            NapiHandle,
            PollContext,
            WorkDone, //
        },
        netdevice::NetDevice,
        xdp, //
    },
};

mod completion;
mod config;
mod desc;
mod dump;
mod headers;
mod layout;
mod ring;
mod rx;
mod stats;
mod text;
mod tx;
mod xdp_tx;

pub use config::{
    vector_layout,
    Config,
    HDS_THRESH_DEFAULT,
    HDS_THRESH_MAX,
    MAX_RXQS,
    MAX_TXQS,
    RX_DESC_MIN, //
};
pub use dump::RingDump;
pub use layout::VectorLayout;
pub use ring::RingSize;
pub use stats::{
    RxSnapshot,
    RxStats,
    TxSnapshot,
    TxStats,
    XdpSnapshot, //
};
pub use tx::{
    features_check,
    TxProducer,
    TX_DESC_MIN, //
};

/// The registers of one queue set.
struct QueueRegs {
    fbnic: Arc<Fbnic>,
    index: u16,
}

impl QueueRegs {
    fn new(fbnic: &Arc<Fbnic>, index: u16) -> Self {
        Self {
            fbnic: fbnic.clone(),
            index,
        }
    }

    fn fbnic(&self) -> &Fbnic {
        &self.fbnic
    }

    #[inline]
    fn index(&self) -> u16 {
        self.index
    }

    /// Returns the offset in BAR0 of register `reg` of this queue, bytes.
    #[inline]
    fn offset(&self, reg: usize) -> usize {
        regs::queue_base(self.index.into()) + reg
    }

    fn read(&self, reg: usize) -> u32 {
        self.fbnic.csr.read32(self.offset(reg))
    }

    #[inline]
    fn write(&self, reg: usize, value: u32) {
        self.write_at(self.offset(reg), value);
    }

    /// Writes the register at `offset` in BAR0.
    #[inline]
    fn write_at(&self, offset: usize, value: u32) {
        self.fbnic.csr.write32(offset, value);
    }

    fn update(&self, reg: usize, clear: u32, set: u32) {
        self.fbnic.csr.update32(self.offset(reg), clear, set);
    }

    fn write_base(&self, low: usize, high: usize, addr: u64) {
        // CAST: The halves of the address.
        self.write(low, addr as u32);
        self.write(high, (addr >> 32) as u32);
    }
}

/// The control registers of a transmit triad, and of a receive queue.
const TX_CONTROLS: [usize; 3] = [regs::TWQ0_CTL, regs::TWQ1_CTL, regs::TCQ_CTL];
const RX_CONTROLS: [usize; 2] = [regs::RCQ_CTL, regs::BDQ_CTL];

/// How often a queue is told to stop that does not seem to have heard.
const STOP_TRIES: u32 = 4;

/// Returns whether these control registers of queue set `index` read `value` in the bits of `mask`; writes
/// it again to one that does not.
///
/// Never so if the device is gone: then it may still do what it was told last.
fn obeys(fbnic: &Fbnic, index: u16, controls: &[usize], mask: u32, value: u32) -> bool {
    let base = regs::queue_base(index.into());
    controls.iter().all(|control| {
        (0..STOP_TRIES).any(|_| {
            let obeys = fbnic.csr.read32(base + control) & mask == value;
            if !obeys {
                fbnic.csr.write32(base + control, value);
            }
            obeys
        })
    })
}

fn is_stopped(fbnic: &Fbnic, index: u16, controls: &[usize]) -> bool {
    obeys(fbnic, index, controls, regs::QUEUE_CTL_ENABLE, 0)
}

fn reset(fbnic: &Fbnic, index: u16, controls: &[usize]) -> bool {
    let both = regs::QUEUE_CTL_ENABLE | regs::QUEUE_CTL_RESET;
    obeys(fbnic, index, controls, both, regs::QUEUE_CTL_RESET)
}

/// Makes sure that the device uses no queue that somebody else has left running. Process context.
///
/// # Errors
///
/// `EIO` if it cannot be stopped.
pub fn stop_leftovers(fbnic: &Fbnic) -> Result {
    let stopped =
        |index| is_stopped(fbnic, index, &TX_CONTROLS) && is_stopped(fbnic, index, &RX_CONTROLS);
    match (0..).take(regs::QUEUE_COUNT).find(|index| !stopped(*index)) {
        None => Ok(()),
        Some(index) => {
            dev_err!(fbnic.dev(), "queue {} cannot be stopped\n", index);
            Err(EIO)
        }
    }
}

/// An interrupt vector that completions raise.
#[derive(Clone)]
pub struct Vector {
    fbnic: Arc<Fbnic>,
    index: u32,
}

impl Vector {
    /// Returns the number of the vector.
    pub fn index(&self) -> u32 {
        self.index
    }

    fn offset(&self) -> usize {
        // CAST: At most 255.
        intr::intr_cq_rearm(self.index as usize)
    }

    /// Sets the moderation time-outs and unmasks the vector. Any context.
    pub fn unmask(&self, cfg: &Config) {
        self.set_usecs(cfg, intr::INTR_CQ_REARM_INTR_UNMASK);
    }

    /// Sets the moderation time-outs. Any context.
    pub fn set_moderation(&self, cfg: &Config) {
        self.set_usecs(cfg, 0);
    }

    fn set_usecs(&self, cfg: &Config, bits: u32) {
        let clamp = |usecs: u16| u32::from(usecs).min(intr::INTR_CQ_REARM_TIMEOUT_MAX);
        let value = bits
            | intr::INTR_CQ_REARM_RCQ_TIMEOUT_UPD_EN
            | clamp(cfg.rx_usecs) << intr::INTR_CQ_REARM_RCQ_TIMEOUT_SHIFT
            | intr::INTR_CQ_REARM_TCQ_TIMEOUT_UPD_EN
            | clamp(cfg.tx_usecs) << intr::INTR_CQ_REARM_TCQ_TIMEOUT_SHIFT;
        self.fbnic.csr.write32(self.offset(), value);
    }

    /// Keeps the vector from interrupting. Any context.
    pub fn mask(&self) {
        // CAST: At most 255.
        let word = self.index as usize / 32;
        self.fbnic
            .csr
            .write32(intr::intr_mask_set(word), 1 << (self.index % 32));
    }
}

impl Line for Vector {
    #[inline]
    fn rearm(&self) {
        self.fbnic
            .csr
            .write32(self.offset(), intr::INTR_CQ_REARM_INTR_UNMASK);
    }
}

/// A set of interrupt vectors, a bit for each.
#[derive(Default)]
pub struct VectorSet([u32; intr::INTR_WORDS]);

impl VectorSet {
    /// Adds vector `index`.
    pub fn insert(&mut self, index: u32) {
        // CAST: At most 255; others have no word.
        if let Some(word) = self.0.get_mut(index as usize / 32) {
            *word |= 1 << (index % 32);
        }
    }
}

/// Makes the vectors interrupt now. Any context.
///
/// With `unmask` they do so even if they are masked, otherwise as soon as they are unmasked.
pub fn kick(fbnic: &Fbnic, vectors: &VectorSet, unmask: bool) {
    for (word, &bits) in vectors.0.iter().enumerate() {
        if bits != 0 {
            if unmask {
                fbnic.csr.write32(intr::intr_mask_clear(word), bits);
            }
            fbnic.csr.write32(intr::intr_set(word), bits);
        }
    }
    fbnic.csr.flush();
}

/// Chooses what receive queues do without buffers, after Tx pause was negotiated or not.
///
/// Any context; the queues may be running.
pub fn config_drop_mode(fbnic: &Fbnic, cfg: &Config, tx_pause: bool) {
    let value = cfg.rde_ctl0(tx_pause);
    for queue in 0..usize::from(cfg.num_rx) {
        fbnic
            .csr
            .write32(regs::queue_base(queue) + regs::RDE_CTL0, value);
    }
}

/// What queues have in common with those that come after them.
pub struct Shared<'a> {
    /// Counters of the transmit queues, by number.
    pub tx_stats: &'a [Arc<TxStats>],
    /// Counters of the receive queues, by number.
    pub rx_stats: &'a [Arc<RxStats>],
    /// The XDP program that receive queues run.
    pub program: &'a Arc<xdp::Slot>,
}

impl Shared<'_> {
    fn tx_stats(&self, queue: u16) -> Result<Arc<TxStats>> {
        let stats = self.tx_stats.get(usize::from(queue));
        stats.cloned().ok_or(EINVAL)
    }

    fn rx_stats(&self, queue: u16) -> Result<Arc<RxStats>> {
        let stats = self.rx_stats.get(usize::from(queue));
        stats.cloned().ok_or(EINVAL)
    }
}

/// The queues that one NAPI context serves.
///
/// With receive queues the first transmit triad has the queue for frames that XDP programs send back;
/// the triad may be there for nothing else.
///
/// Dropping it stops the queues if that was not done, and frees all of their memory. Fields are
/// dropped in order.
pub struct NapiVector {
    tx: KVec<tx::TxConsumer>,
    rx: KVec<rx::RxQueue>,
    vector: Vector,
    enabled: bool,
}

impl NapiVector {
    /// Allocates the queues that `layout` names. Touches no register.
    ///
    /// Process context. Also returns the other side of each transmit queue with the queue's number.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINVAL` for sizes the device does not have.
    pub fn new(
        fbnic: &Arc<Fbnic>,
        netdev: &NetDevice,
        dev: &Device<Bound>,
        cfg: &Config,
        layout: &VectorLayout,
        shared: &Shared<'_>,
    ) -> Result<(Self, KVec<(u16, TxProducer)>)> {
        let mut this = Self {
            tx: KVec::new(),
            rx: KVec::new(),
            vector: Vector {
                fbnic: fbnic.clone(),
                index: layout.vector(),
            },
            enabled: false,
        };
        let mut producers = KVec::new();
        let size = RingSize::new(cfg.txq_size).ok_or(EINVAL)?;
        for index in layout.txqs() {
            let stats = shared.tx_stats(index)?;
            let (producer, consumer) = tx::new_queue(fbnic, dev, index, size, stats)?;
            this.tx.push(consumer, GFP_KERNEL)?;
            producers.push((index, producer), GFP_KERNEL)?;
        }
        if let Some(layout) = layout.xdp() {
            if this.tx.is_empty() {
                let (index, stats) = (layout.triad, shared.tx_stats(layout.triad)?);
                let triad = tx::TxConsumer::new(fbnic, dev, index, size, stats)?;
                this.tx.push(triad, GFP_KERNEL)?;
            }
            let first = this.tx.first_mut().ok_or(EINVAL)?;
            first.add_xdp(dev, shared.rx_stats(layout.rxq)?)?;
        }
        for index in layout.rxqs() {
            let queue = rx::RxQueue::new(fbnic, netdev, dev, index, cfg, shared)?;
            this.rx.push(queue, GFP_KERNEL)?;
        }
        Ok((this, producers))
    }

    /// Announces the receive queues to the stack as polled by `napi`.
    ///
    /// Process context, once after the NAPI context was created.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the stack says.
    pub fn bind(&mut self, netdev: &NetDevice, napi: NapiHandle<'_>) -> Result {
        self.rx
            .iter_mut()
            .try_for_each(|queue| queue.bind(netdev, napi))
    }

    /// Returns the interrupt vector.
    pub fn vector(&self) -> &Vector {
        &self.vector
    }

    /// Returns what it takes to show the rings, of which `layout` tells whose they are, in the order of
    /// their queues.
    ///
    /// Process context. They have to be gone before the device is unbound.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn dumps(&self, layout: &VectorLayout) -> Result<KVec<RingDump>> {
        let mut dumps = KVec::new();
        let mut xdp = layout.xdp().map(|xdp| xdp.rxq);
        for queue in &self.tx {
            for dump in queue.dumps(xdp.take()) {
                dumps.push(dump, GFP_KERNEL)?;
            }
        }
        for queue in &self.rx {
            for dump in queue.dumps() {
                dumps.push(dump, GFP_KERNEL)?;
            }
        }
        Ok(dumps)
    }

    /// Returns the numbers of the transmit triads.
    fn triads(&self) -> impl Iterator<Item = u16> + '_ {
        self.tx.iter().map(tx::TxConsumer::index)
    }

    /// Returns the numbers of the receive queues.
    fn rxqs(&self) -> impl Iterator<Item = u16> + '_ {
        self.rx.iter().map(rx::RxQueue::index)
    }

    /// Sets up all queues in the device and starts them. They must be empty.
    pub fn enable(&mut self, cfg: &Config, tx_pause: bool) {
        self.enabled = true;
        for queue in &mut self.tx {
            queue.enable(self.vector.index);
        }
        for queue in &mut self.rx {
            queue.enable(cfg, tx_pause, self.vector.index);
        }
    }

    /// Posts receive buffers.
    pub fn fill(&mut self) {
        for queue in &mut self.rx {
            queue.fill();
        }
    }

    /// Sets how many received frames raise the interrupt, while the queues are running.
    pub fn set_rx_frames(&mut self, cfg: &Config) {
        for queue in &mut self.rx {
            queue.set_rx_frames(cfg, self.vector.index);
        }
    }

    /// Tells the device to stop the queues, which takes until they are idle.
    pub fn disable(&mut self) {
        self.enabled = false;
        for queue in &mut self.tx {
            queue.disable();
        }
        for queue in &mut self.rx {
            queue.disable();
        }
    }

    /// Throws away everything in the rings, which must be idle, and resets the accounting of bytes.
    ///
    /// The transmit queues must be stopped.
    pub fn flush(&mut self, netdev: &NetDevice) {
        for queue in &mut self.tx {
            queue.flush(Some(netdev));
        }
        for queue in &mut self.rx {
            queue.flush();
        }
    }

    /// Lets the transmit queue of which `producer` is the other side start over, if it is here.
    pub fn rewind(&mut self, producer: &mut TxProducer) {
        // Only the right one does.
        self.tx.iter_mut().any(|queue| queue.rewind(producer));
    }

    /// Returns whether the device has heard that the queues are to stop.
    pub fn is_stopped(&self) -> bool {
        self.all(is_stopped)
    }

    /// Makes the device forget what the queues were doing. Returns whether it has heard.
    pub fn reset(&self) -> bool {
        self.all(reset)
    }

    /// Returns whether `check` holds for the control registers of all queues.
    fn all(&self, check: fn(&Fbnic, u16, &[usize]) -> bool) -> bool {
        let fbnic = &self.vector.fbnic;
        self.triads().all(|index| check(fbnic, index, &TX_CONTROLS))
            && self.rxqs().all(|index| check(fbnic, index, &RX_CONTROLS))
    }

    /// Waits until the device has stopped these queues and no others.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if one was not idle within 500 ms.
    pub fn wait_idle(&self) -> Result {
        let fbnic = &self.vector.fbnic;
        for index in self.triads() {
            wait_queue_idle(fbnic, &qm::TX_IDLE, index)?;
        }
        for index in self.rxqs() {
            wait_queue_idle(fbnic, &qm::RX_IDLE, index)?;
        }
        Ok(())
    }
}

impl Handler for NapiVector {
    type Line = Vector;

    #[inline]
    fn poll(&mut self, napi: &PollContext<'_>, budget: Budget) -> WorkDone {
        let limit = budget.limit();
        let mut more = false;
        for queue in &mut self.tx {
            more |= queue.poll(napi, limit);
        }
        // Netpoll calls with 0 to get transmit completions only.
        let mut work_done = 0u32;
        if limit != 0 {
            let mut xdp = self.tx.first_mut().and_then(tx::TxConsumer::xdp_mut);
            if let Some(queue) = &mut xdp {
                queue.clean();
            }
            for queue in &mut self.rx {
                work_done = work_done.saturating_add(queue.poll(napi, limit, xdp.as_deref_mut()));
            }
        }
        if more {
            return budget.exhausted();
        }
        budget.complete(work_done)
    }
}

impl Drop for NapiVector {
    fn drop(&mut self) {
        if self.enabled {
            // The rings are freed next, so the device must not use them any more.
            self.disable();
            self.vector.fbnic.csr.flush();
            let fbnic = &self.vector.fbnic;
            let idle = self.wait_idle().is_ok();
            if !self.is_stopped() || !idle && !fbnic.without_dma(|| self.reset()) {
                give_up(fbnic);
            }
        }
    }
}

/// Gives up a device that cannot be told to stop its queues, so that their memory can go.
pub fn give_up(fbnic: &Fbnic) {
    if fbnic.csr.is_present() {
        dev_err!(fbnic.dev(), "queues do not stop: the device is given up\n");
    }
    fbnic.give_up();
}

/// How often idle bits are read.
const IDLE_POLL: Delta = Delta::from_micros(2);

/// How long a queue may take to become idle.
const IDLE_TIMEOUT: Delta = Delta::from_millis(500);

/// Waits for all queues of the device to be idle, after they were disabled.
///
/// Transmit queues that are stuck have their packets discarded by the device. Process context;
/// may sleep for up to 1.5 s.
///
/// # Errors
///
/// `ETIMEDOUT` if some queue did not become idle. What keeps it busy was logged.
pub fn wait_all_queues_idle(fbnic: &Fbnic) -> Result {
    let mut tx = wait_idle(fbnic, &qm::TX_IDLE);
    if tx.is_err() {
        dev_warn!(fbnic.dev(), "triggering Tx flush\n");
        let drop_en = tce::TMI_DROP_CTRL_EN;
        fbnic.csr.update32(tce::TMI_DROP_CTRL, 0, drop_en);
        tx = wait_idle(fbnic, &qm::TX_IDLE);
        fbnic.csr.update32(tce::TMI_DROP_CTRL, drop_en, 0);
    }
    if tx.is_err() {
        dump_idle(fbnic, &qm::TX_IDLE);
    }
    let rx = wait_idle(fbnic, &qm::RX_IDLE);
    if rx.is_err() {
        dump_idle(fbnic, &qm::RX_IDLE);
    }
    tx.and(rx)
}

fn idle_words(groups: &[qm::IdleRegs]) -> impl Iterator<Item = (&qm::IdleRegs, usize)> {
    groups
        .iter()
        .flat_map(|group| (0..group.words).map(move |word| (group, group.offset + 4 * word)))
}

fn wait_idle(fbnic: &Fbnic, groups: &[qm::IdleRegs]) -> Result {
    let all_idle = || Ok(idle_words(groups).all(|(_, offset)| fbnic.csr.read32(offset) == !0));
    read_poll_timeout(all_idle, |&idle| idle, IDLE_POLL, IDLE_TIMEOUT).map(|_| ())
}

fn wait_queue_idle(fbnic: &Fbnic, groups: &[qm::IdleRegs], index: u16) -> Result {
    let bit = 1u32 << (index % 32);
    let word = 4 * usize::from(index / 32);
    let is_idle = || {
        Ok(groups
            .iter()
            .all(|group| fbnic.csr.read32(group.offset + word) & bit != 0))
    };
    read_poll_timeout(is_idle, |&idle| idle, IDLE_POLL, IDLE_TIMEOUT)
        .map(|_| ())
        .inspect_err(|_| dump_idle(fbnic, groups))
}

fn dump_idle(fbnic: &Fbnic, groups: &[qm::IdleRegs]) {
    for (group, offset) in idle_words(groups) {
        let value = fbnic.csr.read32(offset);
        if value != !0 {
            let name = group.name;
            dev_err!(
                fbnic.dev(),
                "queues not idle: {name} {offset:#06x}: {value:08x}\n"
            );
        }
    }
}
