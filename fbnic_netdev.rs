// SPDX-License-Identifier: GPL-2.0

//! The network device: its life, its configuration and its statistics.
//!
//! Locks, outermost first: RTNL, the netdev lock, [`FbnicNet::interface`], [`FbnicNet::config`].
//! Every operation comes with the netdev lock held, so the two mutexes are never contended by
//! operations. They are for the service task and for phylink's work, which has neither lock and
//! therefore only takes the last one.

mod datapath;

use kernel::{
    device::Bound,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

use crate::{
    fbnic_dev::Fbnic,
    fbnic_pci::NON_NAPI_VECTORS,
    fbnic_phylink::{
        Link,
        LinkIrq,
        MdioBus, //
    },
    fbnic_rpc::RxMode,
    fbnic_txrx::{
        self,
        Config,
        RxSnapshot,
        RxStats,
        TxProducer,
        TxSnapshot,
        TxStats,
        XdpSnapshot,
        MAX_RXQS,
        MAX_TXQS, //
    },
    net::{
        ethtool::{
            self,
            ExtAck, //
        },
        netdevice::{
            self,
            default_rss_queues,
            features,
            flags,
            AddressList,
            LinkStats,
            Locked,
            MacAddress,
            NetDevice,
            Operations,
            QueueStatsRx,
            QueueStatsTx,
            QueueType,
            Registration,
            Xmit,
            XmitContext, //
        },
        skbuff::SkBuff,
        xdp, //
    },
    pci::IrqVectors, //
};
use datapath::{
    Datapath,
    Queues, //
};

/// The smallest MTU, bytes: that of IPv6.
const MIN_MTU: u32 = 1280;

/// The largest MTU, bytes: the largest frame without the Ethernet header.
const MAX_MTU: u32 = 9742 - ETH_HLEN;

/// Length of an Ethernet header, bytes.
const ETH_HLEN: u32 = 14;

/// Tunnels whose segments the stack prepares, so that the device only has to cut.
const GSO_PARTIAL_FEATURES: u64 = features::GSO_GRE
    | features::GSO_GRE_CSUM
    | features::GSO_IPXIP4
    | features::GSO_UDP_TUNNEL
    | features::GSO_UDP_TUNNEL_CSUM;

/// Everything the device can do for the stack.
const FEATURES: u64 = GSO_PARTIAL_FEATURES
    | features::GSO_IPXIP6
    | features::RXHASH
    | features::SG
    | features::HW_CSUM
    | features::RXCSUM
    | features::TSO
    | features::TSO_ECN
    | features::TSO6
    | features::GSO_PARTIAL
    | features::GSO_UDP_L4;

/// The most addresses of a kind that are worth listing: one more than the device's tables hold.
const MAX_ADDRESSES: usize = 33;

/// A registered network device. Dropping it closes the interface and unregisters it.
pub(crate) struct Netdev(Registration<FbnicNet>);

/// The private data of the network device.
#[pin_data]
pub(crate) struct FbnicNet {
    /// What exists while the interface is open.
    #[pin]
    interface: Mutex<Option<Interface>>,
    /// What user space asked for; that of the open interface, if it is open.
    #[pin]
    config: Mutex<Config>,
    /// The interrupt vectors, unless the device sleeps.
    #[pin]
    vectors: Mutex<Option<Arc<IrqVectors>>>,
    /// Counters of the queues. They outlive the queues, so that totals keep growing.
    tx_stats: KVec<Arc<TxStats>>,
    rx_stats: KVec<Arc<RxStats>>,
    /// The XDP program of all receive queues, which takes turns with them and stays when they go.
    xdp_program: Arc<xdp::Slot>,
    link: Arc<Link>,
    fbnic: Arc<Fbnic>,
}

/// An open interface. Fields are dropped in order, which is how [`Interface::close`] begins.
struct Interface {
    link_irq: LinkIrq,
    link: ActiveLink,
    _ownership: Ownership,
    datapath: Datapath,
}

/// The host's ownership of the port, given back when dropped.
struct Ownership(Arc<Fbnic>);

impl Ownership {
    fn take(fbnic: &Arc<Fbnic>) -> Result<Self> {
        fbnic.fw_take_ownership().inspect_err(|err| {
            dev_warn!(
                fbnic.dev(),
                "Error {:?} taking ownership from the firmware\n",
                err
            )
        })?;
        Ok(Self(fbnic.clone()))
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.0.fw_release_ownership();
    }
}

/// Running link management, stopped when dropped. RTNL held for both.
struct ActiveLink(Arc<Link>, Arc<Fbnic>);

impl ActiveLink {
    fn start(link: &Arc<Link>, fbnic: &Arc<Fbnic>) -> Self {
        link.resume();
        Self(link.clone(), fbnic.clone())
    }
}

impl Drop for ActiveLink {
    fn drop(&mut self) {
        self.0.suspend(self.1.fw_caps().bmc_present);
    }
}

impl Interface {
    /// Prepares everything for traffic, but lets none flow. RTNL and netdev lock held.
    fn open(net: &FbnicNet, dev: &Locked<'_>) -> Result<Self> {
        let vectors = net.vectors.lock().clone().ok_or(ENODEV)?;
        let config = net.config();
        let queues = Queues::new(net, dev, &config)?;
        let datapath = Datapath::new(net, dev, &vectors, queues)?;
        let ownership = Ownership::take(&net.fbnic)?;
        let link_irq = net.link.request_irq(&vectors, dev.name())?;
        net.fbnic.rpc_open();
        Ok(Self {
            link_irq,
            link: ActiveLink::start(&net.link, &net.fbnic),
            _ownership: ownership,
            datapath,
        })
    }

    /// Lets traffic flow. Netdev lock held.
    fn up(&mut self, net: &FbnicNet, dev: &Locked<'_>) -> Result {
        let tx_pause = self.link.0.tx_pause();
        self.datapath.enable(tx_pause);
        // The link may have come up meanwhile, and its choice been overwritten with the old one.
        if self.link.0.tx_pause() != tx_pause {
            fbnic_txrx::config_drop_mode(&net.fbnic, self.datapath.config(), !tx_pause);
        }
        net.fbnic.rpc_up();
        net.sync_rx_mode(dev);
        self.datapath.up(dev)
    }

    /// Stops traffic. Netdev lock held.
    fn down(&mut self, net: &FbnicNet, dev: &Locked<'_>) {
        self.datapath.quiesce(dev);
        net.fbnic.rpc_down();
        self.datapath.disable(dev);
    }

    /// Stops traffic and gives everything back. RTNL and netdev lock held.
    fn close(self, net: &FbnicNet, dev: &Locked<'_>) {
        let Self {
            link_irq,
            link,
            _ownership,
            mut datapath,
        } = self;
        drop(link_irq);
        drop(link);
        datapath.quiesce(dev);
        net.fbnic.rpc_down();
        datapath.disable(dev);
    }
}

impl FbnicNet {
    fn new<'a>(
        dev: &NetDevice,
        fbnic: Arc<Fbnic>,
        vectors: Arc<IrqVectors>,
        mdio: Arc<MdioBus>,
    ) -> Result<impl PinInit<Self, Error> + 'a> {
        let mut config = Config::default();
        let queues = u16::try_from(default_rss_queues()).unwrap_or(MAX_RXQS);
        fit_queues(&mut config, queues, queues, &vectors);
        fbnic.use_queues(config.num_rx.into());
        fbnic.rss_init(config.num_rx.into());

        let mut tx_stats = KVec::with_capacity(MAX_TXQS.into(), GFP_KERNEL)?;
        for _ in 0..MAX_TXQS {
            tx_stats.push(Arc::new(TxStats::default(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let mut rx_stats = KVec::with_capacity(MAX_RXQS.into(), GFP_KERNEL)?;
        for _ in 0..MAX_RXQS {
            rx_stats.push(Arc::new(RxStats::default(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let link = Link::new(fbnic.clone(), mdio, dev)?;
        Ok(try_pin_init!(Self {
            interface <- new_mutex!(None),
            config <- new_mutex!(config),
            vectors <- new_mutex!(Some(vectors)),
            tx_stats,
            rx_stats,
            xdp_program: Arc::new(xdp::Slot::new(), GFP_KERNEL)?,
            link,
            fbnic,
        }? Error))
    }

    /// Returns the configuration of the queues.
    pub(crate) fn config(&self) -> Config {
        *self.config.lock()
    }

    /// Returns the adapter.
    pub(crate) fn fbnic(&self) -> &Arc<Fbnic> {
        &self.fbnic
    }

    /// Returns the link.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Returns the interrupt vectors, unless the device sleeps.
    pub(crate) fn vectors(&self) -> Option<Arc<IrqVectors>> {
        self.vectors.lock().clone()
    }

    /// Returns how many NAPI contexts there can be.
    pub(crate) fn max_napi(&self) -> u32 {
        self.vectors.lock().as_ref().map_or(0, max_napi).into()
    }

    /// Returns the counters of transmit queue `index`.
    pub(crate) fn tx_stats(&self, index: u32) -> Option<TxSnapshot> {
        Some(self.tx_stats.get(index as usize)?.snapshot())
    }

    /// Returns the counters of transmit queue `index` and of what XDP programs sent back in the queue
    /// of the same number.
    fn tx_total(&self, index: u32) -> Option<TxSnapshot> {
        let mut total = self.tx_stats(index)?;
        let sent = self.xdp_stats(index)?;
        total.packets = total.packets.wrapping_add(sent.packets);
        total.bytes = total.bytes.wrapping_add(sent.bytes);
        Some(total)
    }

    /// Returns the counters of receive queue `index`.
    pub(crate) fn rx_stats(&self, index: u32) -> Option<RxSnapshot> {
        Some(self.rx_stats.get(index as usize)?.snapshot())
    }

    /// Returns the counters of the frames that XDP programs of the NAPI context with receive queue
    /// `index` as its first send back.
    pub(crate) fn xdp_stats(&self, index: u32) -> Option<XdpSnapshot> {
        Some(self.rx_stats.get(index as usize)?.xdp_snapshot())
    }

    /// Returns whether the XDP program needs every frame in one piece, and frames would come in
    /// several with this MTU in bytes and this configuration. Netdev lock held.
    pub(crate) fn splits_frames(&self, mtu: u32, config: &Config) -> bool {
        self.xdp_program.wants_one_piece() && may_split(mtu, config)
    }

    /// Changes the queues, with traffic interrupted if the interface is open. RTNL and netdev
    /// lock held.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or `EINVAL`, in which case nothing has changed. The interface stays without queues until
    /// the next change if the memory for the old ones is gone as well. `ENODEV` without a device.
    pub(crate) fn set_config(&self, dev: &Locked<'_>, config: &Config) -> Result {
        if u32::from(config.num_napi) > self.max_napi() {
            return Err(EINVAL);
        }
        let mut guard = self.interface.lock();
        let Some(interface) = &mut *guard else {
            self.store(dev, config);
            return Ok(());
        };
        // Everything that is likely to fail happens before the old queues are given up.
        let queues = Queues::new(self, dev, config)?;
        let vectors = self.vectors.lock().clone().ok_or(ENODEV)?;
        let old = *interface.datapath.config();
        if interface.datapath.is_up() {
            interface.down(self, dev);
        }
        if !self.fbnic.csr.is_present() {
            // It was gone, or was given up as its queues did not stop: nobody would serve new ones.
            return Err(ENODEV);
        }
        let result = interface.replace(self, dev, &vectors, queues, config);
        if result.is_err() {
            let queues = Queues::new(self, dev, &old)?;
            interface.replace(self, dev, &vectors, queues, &old)?;
        }
        // Also if nothing was up, after a change that could not be undone for want of memory.
        if dev.is_present() {
            interface.up(self, dev)?;
        }
        result
    }

    /// Remembers `config`, and spreads flows over the receive queues anew if their number changed.
    /// A table that the user has chosen stays as long as all queues in it exist.
    fn store(&self, dev: &NetDevice, config: &Config) {
        let mut current = self.config.lock();
        if current.num_rx != config.num_rx {
            self.fbnic.use_queues(config.num_rx.into());
            if !dev.is_rxfh_configured() || !self.fbnic.rss_fits(config.num_rx.into()) {
                self.fbnic.rss_init(config.num_rx.into());
            }
        }
        *current = *config;
    }

    /// Changes the interrupt moderation. Netdev lock held.
    pub(crate) fn set_coalesce(&self, dev: &Locked<'_>, config: &Config) {
        if let Some(interface) = &mut *self.interface.lock() {
            interface.datapath.set_moderation(dev, config);
        }
        let mut current = self.config.lock();
        current.rx_usecs = config.rx_usecs;
        current.tx_usecs = config.tx_usecs;
        current.rx_max_frames = config.rx_max_frames;
    }

    /// Programs the classifier from the lists of the device itself. Netdev lock held.
    pub(crate) fn sync_rx_mode(&self, dev: &Locked<'_>) {
        let (uc, mc) = dev.with_addresses(|uc, mc| (Addresses::new(uc), Addresses::new(mc)));
        self.program_rx_mode(dev, &uc, &mc);
    }

    fn program_rx_mode(&self, dev: &NetDevice, uc: &Addresses, mc: &Addresses) {
        let bits = dev.flags();
        self.fbnic.set_rx_mode(&RxMode {
            dev_addr: dev.dev_addr(),
            uc: uc.as_slice(),
            mc: mc.as_slice(),
            promisc: bits & flags::PROMISC != 0,
            allmulti: bits & flags::ALLMULTI != 0,
            broadcast: bits & flags::BROADCAST != 0,
        });
    }
}

impl Interface {
    /// Puts `queues` in the place of the present ones, which must be down.
    fn replace(
        &mut self,
        net: &FbnicNet,
        dev: &Locked<'_>,
        vectors: &Arc<IrqVectors>,
        queues: Queues,
        config: &Config,
    ) -> Result {
        // The interrupts of the old contexts have to be free before the new ones can have them.
        self.datapath.release();
        self.datapath = Datapath::new(net, dev, vectors, queues)?;
        net.store(dev, config);
        Ok(())
    }
}

/// A copy of an address list, cut off where the device's own tables are exceeded anyway.
struct Addresses {
    list: [MacAddress; MAX_ADDRESSES],
    count: usize,
}

impl Addresses {
    fn new(addresses: AddressList<'_>) -> Self {
        let mut this = Self {
            list: [[0; 6]; MAX_ADDRESSES],
            count: 0,
        };
        for (slot, address) in this.list.iter_mut().zip(addresses.iter()) {
            *slot = address;
            this.count += 1;
        }
        this
    }

    fn as_slice(&self) -> &[MacAddress] {
        self.list.get(..self.count).unwrap_or(&[])
    }
}

fn max_napi(vectors: &Arc<IrqVectors>) -> u16 {
    u16::try_from(vectors.len().saturating_sub(NON_NAPI_VECTORS)).unwrap_or(MAX_RXQS)
}

/// Sets the numbers of queues, and of contexts, to what there are vectors for.
fn fit_queues(config: &mut Config, tx: u16, rx: u16, vectors: &Arc<IrqVectors>) {
    let contexts = max_napi(vectors).max(1);
    config.num_tx = tx.clamp(1, MAX_TXQS).min(contexts);
    config.num_rx = rx.clamp(1, MAX_RXQS).min(contexts);
    config.num_napi = config.num_tx.max(config.num_rx);
}

#[vtable]
impl Operations for FbnicNet {
    type TxQueue = TxProducer;

    fn open(this: &Self, dev: &Locked<'_>) -> Result {
        let mut interface = Interface::open(this, dev)?;
        if let Err(err) = interface.up(this, dev) {
            interface.close(this, dev);
            return Err(err);
        }
        *this.interface.lock() = Some(interface);
        Ok(())
    }

    fn stop(this: &Self, dev: &Locked<'_>) {
        // phylink's work may be waiting for `config`, so nothing is held while it is stopped.
        let interface = this.interface.lock().take();
        if let Some(interface) = interface {
            interface.close(this, dev);
        }
    }

    #[inline]
    fn start_xmit(queue: &mut TxProducer, skb: SkBuff, context: &XmitContext<'_>) -> Xmit {
        queue.xmit(skb, context)
    }

    #[inline]
    fn features_check(skb: &SkBuff, _dev: &NetDevice, features: u64) -> u64 {
        fbnic_txrx::features_check(skb, features)
    }

    fn set_rx_mode(
        this: &Self,
        dev: &Locked<'_>,
        uc: AddressList<'_>,
        mc: AddressList<'_>,
    ) -> Result {
        if dev.is_running() {
            this.program_rx_mode(dev, &Addresses::new(uc), &Addresses::new(mc));
        }
        Ok(())
    }

    fn set_mac_address(this: &Self, dev: &Locked<'_>) {
        if dev.is_running() {
            this.sync_rx_mode(dev);
        }
    }

    fn change_mtu(this: &Self, dev: &Locked<'_>, mtu: u32) -> Result {
        // The receive buffers take every frame the device does, and the core checks the range.
        let config = this.config();
        if this.splits_frames(mtu, &config) {
            let hds_thresh = config.one_piece_max();
            dev_err!(
                dev.dma_device(),
                "MTU {mtu} is larger than HDS threshold {hds_thresh} in XDP mode\n"
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    fn set_xdp_program(
        this: &Self,
        dev: &Locked<'_>,
        program: Option<xdp::Program>,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let one_piece = program.as_ref().is_some_and(|new| !new.has_frags());
        if one_piece && may_split(dev.mtu(), &this.config()) {
            extack.set(c"fbnic: MTU too high, or HDS threshold is too low for single buffer XDP");
            return Err(EOPNOTSUPP);
        }
        this.xdp_program.replace(program);
        Ok(())
    }

    fn get_stats64(this: &Self, _dev: &NetDevice, stats: &mut LinkStats) {
        // Some of it is what the device has counted, which may be anything.
        let add = |sum: &mut u64, more: u64| *sum = sum.wrapping_add(more);
        for queue in &this.tx_stats {
            let queue = queue.snapshot();
            add(&mut stats.tx_packets, queue.packets);
            add(&mut stats.tx_bytes, queue.bytes);
            add(&mut stats.tx_dropped, queue.dropped);
        }
        for queue in &this.rx_stats {
            let sent = queue.xdp_snapshot();
            add(&mut stats.tx_packets, sent.packets);
            add(&mut stats.tx_bytes, sent.bytes);
            add(&mut stats.tx_dropped, sent.dropped);
            let queue = queue.snapshot();
            add(&mut stats.rx_packets, queue.packets);
            add(&mut stats.rx_bytes, queue.bytes);
            add(&mut stats.rx_dropped, queue.dropped);
            add(&mut stats.rx_errors, queue.length_errors);
            add(&mut stats.rx_length_errors, queue.length_errors);
        }
        let drops = this.fbnic.drops();
        add(&mut stats.tx_dropped, drops.tx_dropped);
        add(&mut stats.rx_missed_errors, drops.rx_missed);
        add(&mut stats.rx_over_errors, drops.rx_over);
        add(&mut stats.rx_errors, drops.rx_errors);
    }

    fn queue_stats_rx(this: &Self, _dev: &Locked<'_>, index: u32, stats: &mut QueueStatsRx) {
        if let Some(queue) = this.rx_stats(index) {
            put_rx(stats, &queue);
        }
        let lost = this.fbnic.queue_stats(index as usize);
        stats.hw_drop_overruns = lost.rde_pkt_cq_drop.wrapping_add(lost.rde_pkt_bdq_drop);
        stats.hw_drops = stats.hw_drop_overruns.wrapping_add(lost.rde_pkt_err);
    }

    fn queue_stats_tx(this: &Self, _dev: &Locked<'_>, index: u32, stats: &mut QueueStatsTx) {
        if let Some(queue) = this.tx_total(index) {
            put_tx(stats, &queue);
        }
    }

    fn base_stats(this: &Self, dev: &Locked<'_>, rx: &mut QueueStatsRx, tx: &mut QueueStatsTx) {
        // Queues that were used before the number of queues was reduced. The others are those the
        // kernel knows, who adds them: while the interface is down not those of the configuration.
        let (num_rx, num_tx) = (
            dev.real_num_queues(QueueType::Rx),
            dev.real_num_queues(QueueType::Tx),
        );
        let mut total = RxSnapshot::default();
        for queue in this.rx_stats.iter().skip(num_rx as usize) {
            total += queue.snapshot();
        }
        put_rx(rx, &total);
        let lost = this.fbnic.drops_beyond(num_rx as usize);
        rx.hw_drop_overruns = lost.rx_over;
        rx.hw_drops = lost.rx_over.wrapping_add(lost.rx_errors);
        let mut total = TxSnapshot::default();
        for queue in (num_tx..MAX_TXQS.into()).filter_map(|queue| this.tx_total(queue)) {
            total += queue;
        }
        put_tx(tx, &total);
    }
}

fn put_rx(stats: &mut QueueStatsRx, queue: &RxSnapshot) {
    stats.packets = queue.packets;
    stats.bytes = queue.bytes;
    stats.alloc_fail = queue.alloc_failed.wrapping_add(queue.bdq_alloc_failed);
    stats.csum_complete = queue.csum_complete;
    stats.csum_none = queue.csum_none;
}

fn put_tx(stats: &mut QueueStatsTx, queue: &TxSnapshot) {
    stats.packets = queue.packets;
    stats.bytes = queue.bytes;
    stats.needs_csum = queue.csum_partial.wrapping_add(queue.lso);
    stats.hw_gso_wire_packets = queue.lso;
    stats.stop = queue.stop;
    stats.wake = queue.wake;
}

/// Returns whether frames of the largest size for `mtu` are received in several pieces.
fn may_split(mtu: u32, config: &Config) -> bool {
    mtu.saturating_add(ETH_HLEN) > config.one_piece_max()
}

/// Tells the receive queues of `dev` whether they may wait for buffers.
///
/// Called by phylink's work when the link comes up; process context, no lock held.
pub(crate) fn config_drop_mode(dev: &NetDevice, tx_pause: bool) {
    if let Some(net) = dev.private::<FbnicNet>() {
        let config = net.config();
        fbnic_txrx::config_drop_mode(&net.fbnic, &config, tx_pause);
    }
}

impl Netdev {
    /// Creates and registers the network device of `fbnic`. Process context, no lock held.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the serial number makes no valid address, `ENOMEM`, or what phylink or
    /// `register_netdev` return.
    pub(crate) fn new(
        pdev: &kernel::pci::Device<Bound>,
        fbnic: Arc<Fbnic>,
        vectors: Arc<IrqVectors>,
        mdio: Arc<MdioBus>,
    ) -> Result<Arc<Self>> {
        let Some(mac) = fbnic.mac_from_dsn() else {
            // A made-up address would confuse provisioning more than a missing interface.
            dev_err!(
                pdev,
                "serial number {:#018x} makes no MAC address\n",
                fbnic.params.dsn
            );
            return Err(EINVAL);
        };
        let config = netdevice::Config {
            max_queues: MAX_RXQS.into(),
            mac,
            features: FEATURES,
            fixed_features: features::NTUPLE,
            gso_partial_features: GSO_PARTIAL_FEATURES,
            xdp_features: xdp::features::BASIC | xdp::features::RX_SG,
            netmem_tx: true,
            mtu: (MIN_MTU, MAX_MTU),
            hds_thresh: fbnic_txrx::HDS_THRESH_DEFAULT,
            ethtool_ops: ethtool::Table::<FbnicNet>::OPS,
        };
        let registration = Registration::new(pdev.as_ref(), &config, |dev| {
            FbnicNet::new(dev, fbnic, vectors, mdio)
        })?;
        Ok(Arc::new(Self(registration), GFP_KERNEL)?)
    }

    /// Takes the interface off the device before it sleeps or is reset. Process context.
    pub(crate) fn suspend(&self) {
        let dev = self.0.lock();
        let net = self.0.data();
        dev.detach();
        FbnicNet::stop(net, &dev);
        *net.vectors.lock() = None;
    }

    /// Prepares the interface again, with the vectors the device has now. Process context.
    ///
    /// # Errors
    ///
    /// As for opening the interface.
    pub(crate) fn resume(&self, vectors: Arc<IrqVectors>) -> Result {
        let dev = self.0.lock();
        let net = self.0.data();
        let mut config = net.config();
        let (tx, rx) = (config.num_tx, config.num_rx);
        fit_queues(&mut config, tx, rx, &vectors);
        net.store(&dev, &config);
        *net.vectors.lock() = Some(vectors);
        if dev.is_running() {
            // The vectors belong to the next attempt, or the device could not have new ones for it.
            let interface =
                Interface::open(net, &dev).inspect_err(|_| *net.vectors.lock() = None)?;
            *net.interface.lock() = Some(interface);
        }
        Ok(())
    }

    /// Lets traffic flow again after [`Self::resume`]. Process context.
    pub(crate) fn attach(&self) {
        let dev = self.0.lock();
        let net = self.0.data();
        if let Some(interface) = &mut *net.interface.lock() {
            if let Err(err) = interface.up(net, &dev) {
                dev_err!(dev.dma_device(), "cannot start the queues: {:?}\n", err);
            }
        }
        dev.attach();
        // Who noticed meanwhile that the device is gone has found the interface off already.
        if !net.fbnic.csr.is_present() {
            dev_err!(dev.dma_device(), "device lost while it was restarted\n");
            dev.detach();
        }
    }

    /// Programs the address filters anew, after the firmware changed what it wants. RTNL held.
    pub(crate) fn refresh_rx_mode(&self) {
        let dev = self.0.lock_instance();
        let net = self.0.data();
        if net.interface.lock().is_some() {
            net.sync_rx_mode(&dev);
        }
    }

    /// Tells the stack that the device is gone. Any context.
    pub(crate) fn detach(&self) {
        self.0.detach();
    }

    /// Returns whether the interface is up.
    pub(crate) fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Returns whether the link is up.
    pub(crate) fn carrier_ok(&self) -> bool {
        self.0.carrier_ok()
    }

    /// Restarts queues that nothing else would: receive queues that ran out of memory for buffers,
    /// and those whose interrupt was lost. Process context.
    pub(crate) fn rescue_queues(&self) {
        let net = self.0.data();
        if let Some(interface) = net.interface.lock().as_ref() {
            interface.datapath.rescue(|queue| {
                net.rx_stats
                    .get(usize::from(queue))
                    .is_some_and(|stats| stats.is_starved())
            });
            interface.datapath.recover_lost_interrupts();
        }
    }

    /// Returns the link.
    pub(crate) fn link(&self) -> &Arc<Link> {
        self.0.data().link()
    }
}
