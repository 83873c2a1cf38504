// SPDX-License-Identifier: GPL-2.0

//! Hardware counters.
//!
//! The device's counters run freely and wrap, 32-bit ones within minutes at line rate. The driver
//! adds up the differences between two looks at them, so totals survive wrapping and, with
//! [`Fbnic::stats_reset`], resets of the device. [`Fbnic::service_tick`] looks at the 32-bit
//! counters once a second; 64-bit ones are read when somebody asks.

use kernel::{
    prelude::*,
    sync::SpinLockGuard, //
};
use pin_init::init_zeroed;

use crate::{
    fbnic_csr::{
        queue::{
            queue_base,
            QUEUE_COUNT,
            RDE_BDQ_DROP_CNT,
            RDE_CQ_DROP_CNT,
            RDE_PKT_ERR_CNT, //
        },
        Csr, //
    },
    fbnic_dev::Fbnic, //
};

/// Where a counter is and how wide. Offsets are bytes.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// 32 bits.
    C32(usize),
    /// 64 bits, the high half next to the low one.
    C64(usize),
    /// 64 bits, low and high half apart.
    Split(usize, usize),
    /// Two registers of 16 bits, low and high, cleared by reading them in this order.
    Clearing(usize),
    /// Not a counter but a level.
    Gauge(usize),
}

impl Source {
    /// Whether the register can wrap or saturate before somebody happens to ask for it.
    const fn is_narrow(self) -> bool {
        matches!(self, Self::C32(_) | Self::Clearing(_))
    }
}

/// A running total.
#[derive(Clone, Copy, Default, Zeroable)]
pub(crate) struct Counter {
    total: u64,
    last: u64,
}

impl Counter {
    /// Takes in the current value of the register; `fresh` if the device was reset since.
    fn update(&mut self, csr: &Csr, source: Source, fresh: bool) {
        let (value, delta) = match source {
            Source::C32(offset) => {
                let value = csr.read32(offset);
                // CAST: The last value came from the same 32-bit register.
                (
                    u64::from(value),
                    u64::from(value.wrapping_sub(self.last as u32)),
                )
            }
            Source::C64(offset) => {
                let value = csr.read64(offset);
                (value, value.wrapping_sub(self.last))
            }
            Source::Split(low, high) => {
                let value = csr.read64_split(low, high);
                (value, value.wrapping_sub(self.last))
            }
            Source::Clearing(offset) => {
                let low = csr.read32(offset) & 0xffff;
                let high = csr.read32(offset + 4) & 0xffff;
                (0, u64::from(high << 16 | low))
            }
            Source::Gauge(offset) => {
                self.total = u64::from(csr.read32(offset));
                return;
            }
        };
        // A device that is gone must not add its all-ones to the totals.
        if !csr.is_present() {
            return;
        }
        self.last = value;
        if !fresh {
            self.total = self.total.wrapping_add(delta);
        }
    }
}

/// Declares groups of counters: a struct of totals for users, and where each is.
macro_rules! counters {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $( $(#[$field_doc:meta])* $field:ident: $source:expr; )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Zeroable)]
        pub struct $name<T = u64> {
            $( $(#[$field_doc])* pub $field: T, )*
        }

        #[allow(dead_code, reason = "not every group is used in every way")]
        impl $name<Counter> {
            const SOURCES: $name<Source> = $name { $( $field: $source, )* };

            fn update(&mut self, csr: &Csr, fresh: bool) {
                $( self.$field.update(csr, Self::SOURCES.$field, fresh); )*
            }

            /// Reads only what can wrap within a second or so.
            fn update32(&mut self, csr: &Csr) {
                $( if Self::SOURCES.$field.is_narrow() {
                    self.$field.update(csr, Self::SOURCES.$field, false);
                } )*
            }

            fn totals(&self) -> $name {
                $name { $( $field: self.$field.total, )* }
            }
        }
    )*};
}

use Source::{
    Clearing,
    C32,
    C64, //
};

counters! {
    /// IEEE 802.3 MAC counters (ethtool group eth-mac).
    EthMacStats {
        /// Frames sent without error.
        frames_transmitted_ok: C64(0x46908);
        /// Frames received without error.
        frames_received_ok: C64(0x46848);
        /// Frames with a wrong check sequence.
        frame_check_sequence_errors: C64(0x46850);
        /// Frames that are no whole number of bytes.
        alignment_errors: C64(0x46828);
        /// Bytes sent.
        octets_transmitted_ok: C64(0x468f8);
        /// Frames lost to internal errors on Tx.
        frames_lost_int_mac_xmit_error: C64(0x46918);
        /// Bytes received.
        octets_received_ok: C64(0x46820);
        /// Frames lost to internal errors on Rx.
        frames_lost_int_mac_rcv_error: C64(0x46860);
        /// Multicast frames sent.
        multicast_frames_xmitted_ok: C64(0x46928);
        /// Broadcast frames sent.
        broadcast_frames_xmitted_ok: C64(0x46930);
        /// Multicast frames received.
        multicast_frames_received_ok: C64(0x46870);
        /// Broadcast frames received.
        broadcast_frames_received_ok: C64(0x46878);
        /// Frames that are too long.
        frame_too_long_errors: C64(0x46838);
    }

    /// Pause frames (ethtool group pause).
    PauseStats {
        /// Pause frames sent.
        tx_pause_frames: C64(0x46810);
        /// Pause frames received.
        rx_pause_frames: C64(0x46800);
        /// Times the pause storm guard had to act.
        tx_pause_storm_events: C32(0x203a4);
    }

    /// MAC control frames (ethtool group eth-ctrl).
    EthCtrlStats {
        /// Sent.
        mac_control_frames_transmitted: C64(0x46978);
        /// Received.
        mac_control_frames_received: C64(0x468f0);
    }

    /// RMON counters (ethtool group rmon), other than frame sizes.
    RmonStats {
        /// Short frames with a correct check sequence.
        undersize_pkts: C64(0x46890);
        /// Long frames with a correct check sequence.
        oversize_pkts: C64(0x468d0);
        /// Short frames with a wrong check sequence.
        fragments: C64(0x468e0);
        /// Long frames with a wrong check sequence.
        jabbers: C64(0x468d8);
    }

    /// Error correction (ethtool group fec).
    FecStats {
        /// Blocks corrected.
        corrected_blocks: Clearing(0x42008);
        /// Blocks beyond correction.
        uncorrectable_blocks: Clearing(0x42010);
    }

    /// Tx path into the MAC.
    TmiStats {
        /// Frames dropped.
        drop_frames: C32(0x11008);
        /// Bytes of these.
        drop_bytes: C64(0x1100c);
        /// Time stamps asked for on frames that do not go to the network.
        ptp_illegal_req: C32(0x11024);
        /// Time stamps taken.
        ptp_good_ts: C32(0x11028);
        /// Time stamps that are wrong.
        ptp_bad_ts: C32(0x1102c);
    }

    /// Tx classification.
    TtiStats {
        /// Control frames dropped.
        cm_drop_frames: C32(0x100f8);
        /// Bytes of these.
        cm_drop_bytes: C64(0x100fc);
        /// Frames dropped.
        frame_drop_frames: C32(0x10104);
        /// Bytes of these.
        frame_drop_bytes: C64(0x10108);
        /// Frames from the BMC dropped.
        tbi_drop_frames: C32(0x10110);
        /// Bytes of these.
        tbi_drop_bytes: C64(0x10114);
    }

    /// Rx parser.
    RpcStats {
        /// TCP options that make no sense.
        tcp_opt_err: C32(0x21278);
        /// Ethernet types not known.
        unkn_etype: C32(0x2127c);
        /// IPv4 fragments.
        ipv4_frag: C32(0x21280);
        /// IPv6 fragments.
        ipv6_frag: C32(0x21284);
        /// Encrypted IPv4 payload.
        ipv4_esp: C32(0x21288);
        /// Encrypted IPv6 payload.
        ipv6_esp: C32(0x2128c);
        /// IPv6 extension headers not known.
        unkn_ext_hdr: C32(0x21290);
        /// Frames that end within their headers.
        out_of_hdr_err: C32(0x21294);
        /// Headers that are too long.
        ovr_size_err: C32(0x21298);
    }

    /// PCIe requests of the device (ethtool group pcie of the driver).
    PcieStats {
        /// Read requests.
        ob_rd_tlp: C64(0xc41b8);
        /// Words read.
        ob_rd_dword: C64(0xc41c0);
        /// Write requests.
        ob_wr_tlp: C64(0xc41c8);
        /// Words written.
        ob_wr_dword: C64(0xc41d0);
        /// Completions.
        ob_cpl_tlp: C64(0xc41d8);
        /// Words in completions.
        ob_cpl_dword: C64(0xc41e0);
        /// Reads that waited for completion credits.
        ob_rd_no_cpl_cred: C64(0xc41e8);
        /// Reads that waited for a tag.
        ob_rd_no_tag: C64(0xc41f0);
        /// Reads that waited for request credits.
        ob_rd_no_np_cred: C64(0xc41f8);
    }
}

/// Declares groups of counters of which there are several, by index.
macro_rules! indexed_counters {
    ($(
        $(#[$doc:meta])*
        $name:ident[$count:literal] {
            $( $(#[$field_doc:meta])* $field:ident: |$i:ident| $source:expr; )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Zeroable)]
        pub struct $name<T = u64> {
            $( $(#[$field_doc])* pub $field: T, )*
        }

        #[allow(dead_code, reason = "not every group is used in every way")]
        impl $name<Counter> {
            fn update(&mut self, index: usize, csr: &Csr, fresh: bool, only32: bool) {
                $( {
                    let $i = index;
                    let source = $source;
                    if !only32 || source.is_narrow() {
                        self.$field.update(csr, source, fresh);
                    }
                } )*
            }

            fn update_all(all: &mut [Self; $count], csr: &Csr, fresh: bool, only32: bool) {
                for (index, one) in all.iter_mut().enumerate() {
                    one.update(index, csr, fresh, only32);
                }
            }

            fn totals(&self) -> $name {
                $name { $( $field: self.$field.total, )* }
            }
        }
    )*};
}

indexed_counters! {
    /// An input of the Rx packet buffer: 0 network, 1 BMC.
    RxbInputStats[4] {
        /// Frames offered.
        drbo_frames: |i| Source::C32(0x203e4 + 4 * i);
        /// Bytes offered.
        drbo_bytes: |i| Source::Split(0x203f4 + 4 * i, 0x20404 + 4 * i);
        /// Frames damaged inside the device.
        integrity_err: |i| Source::C32(0x204bc + 4 * i);
        /// Frames with MAC errors.
        mac_err: |i| Source::C32(0x204cc + 4 * i);
        /// Frames with parser errors.
        parser_err: |i| Source::C32(0x204dc + 4 * i);
        /// Frames with framing errors.
        frm_err: |i| Source::C32(0x204ec + 4 * i);
    }

    /// A FIFO of the Rx packet buffer.
    RxbFifoStats[8] {
        /// Frames dropped.
        drop_frames: |i| Source::C32(0x2015c + 4 * i);
        /// Bytes of these.
        drop_bytes: |i| Source::C64(0x20200 + 8 * i);
        /// Frames cut short.
        trunc_frames: |i| Source::C32(0x20244 + 4 * i);
        /// Bytes of these.
        trunc_bytes: |i| Source::C64(0x20300 + 8 * i);
        /// Changes to the dropping state.
        trans_drop: |i| Source::C32(0x20364 + 4 * i);
        /// Changes to the marking state.
        trans_ecn: |i| Source::C32(0x20384 + 4 * i);
        /// Fill, units of 64 bytes; not a counter.
        level: |i| Source::Gauge(0x20474 + 4 * i);
    }

    /// An output of the Rx packet buffer: 2 BMC, 3 host.
    RxbOutputStats[4] {
        /// Frames passed on.
        intf_frames: |i| Source::C32(0x20414 + 4 * i);
        /// Bytes passed on.
        intf_bytes: |i| Source::Split(0x20424 + 4 * i, 0x20434 + 4 * i);
        /// Frames that went through the buffer.
        pbuf_frames: |i| Source::C32(0x20444 + 4 * i);
        /// Bytes that went through the buffer.
        pbuf_bytes: |i| Source::Split(0x20454 + 4 * i, 0x20464 + 4 * i);
    }

    /// Frames lost by one Rx queue.
    QueueStats[128] {
        /// For MAC, parser or truncation errors.
        rde_pkt_err: |i| Source::C32(queue_base(i) + RDE_PKT_ERR_CNT);
        /// Because the completion queue was full.
        rde_pkt_cq_drop: |i| Source::C32(queue_base(i) + RDE_CQ_DROP_CNT);
        /// For want of buffers.
        rde_pkt_bdq_drop: |i| Source::C32(queue_base(i) + RDE_BDQ_DROP_CNT);
    }

    /// Frame sizes (ethtool group rmon): 64, 127, 255, 511, 1023, 1518, 2047, 4095, 8191, 9216
    /// bytes and more.
    SizeStats[11] {
        /// Frames received.
        rx: |i| Source::C64(RX_SIZES[i % 11]);
        /// Frames sent.
        tx: |i| Source::C64(TX_SIZES[i % 11]);
    }

    /// Symbol errors of a lane (ethtool group eth-phy).
    LaneStats[4] {
        /// While there was a carrier.
        symbol_errors: |i| Source::Clearing(0x42200 + 8 * i);
    }
}

/// Where frames received are counted by size.
const RX_SIZES: [usize; 11] = [
    0x46898, 0x468a0, 0x468a8, 0x468b0, 0x468b8, 0x468c0, 0x2157c, 0x21584, 0x2158c, 0x21594,
    0x2159c,
];
/// Where frames sent are counted by size.
const TX_SIZES: [usize; 11] = [
    0x46938, 0x46940, 0x46948, 0x46950, 0x46958, 0x46960, 0x110cc, 0x110d4, 0x110dc, 0x110e4,
    0x110ec,
];

impl Drops {
    fn add_queues(&mut self, queues: &[QueueStats<Counter>]) {
        for queue in queues {
            let over = queue.rde_pkt_cq_drop.total;
            let over = over.wrapping_add(queue.rde_pkt_bdq_drop.total);
            self.rx_over = self.rx_over.wrapping_add(over);
            self.rx_errors = self.rx_errors.wrapping_add(queue.rde_pkt_err.total);
        }
    }
}

/// All counters of the adapter.
#[derive(Zeroable)]
pub(crate) struct HwCounters {
    eth_mac: EthMacStats<Counter>,
    pause: PauseStats<Counter>,
    eth_ctrl: EthCtrlStats<Counter>,
    rmon: RmonStats<Counter>,
    sizes: [SizeStats<Counter>; 11],
    fec: FecStats<Counter>,
    lanes: [LaneStats<Counter>; 4],
    tmi: TmiStats<Counter>,
    tti: TtiStats<Counter>,
    rpc: RpcStats<Counter>,
    rxb_in: [RxbInputStats<Counter>; 4],
    rxb_fifo: [RxbFifoStats<Counter>; 8],
    rxb_out: [RxbOutputStats<Counter>; 4],
    pcie: PcieStats<Counter>,
    queues: [QueueStats<Counter>; QUEUE_COUNT],
    /// Queues that have ever been in use; the counters of the others stand still.
    queues_used: usize,
    /// The device starts anew: what its counters hold is not to be compared with the last look.
    held: bool,
}

/// What `ethtool -S` shows of the adapter as a whole.
#[derive(Clone, Copy, Default)]
pub struct HwStats {
    /// Tx path into the MAC.
    pub tmi: TmiStats,
    /// Tx classification.
    pub tti: TtiStats,
    /// Rx parser.
    pub rpc: RpcStats,
    /// Inputs of the Rx packet buffer.
    pub rxb_in: [RxbInputStats; 4],
    /// FIFOs of the Rx packet buffer.
    pub rxb_fifo: [RxbFifoStats; 8],
    /// Outputs of the Rx packet buffer.
    pub rxb_out: [RxbOutputStats; 4],
    /// PCIe requests.
    pub pcie: PcieStats,
}

/// Packets lost in hardware, for the interface's own statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drops {
    /// Received, but lost in the packet buffer.
    pub rx_missed: u64,
    /// Received, but no buffer or completion slot was free.
    pub rx_over: u64,
    /// Received with errors.
    pub rx_errors: u64,
    /// To be sent, but dropped.
    pub tx_dropped: u64,
}

/// FIFOs of the packet buffer that end at the host. The others also drop what the classifier did not
/// want.
const HOST_FIFOS: [usize; 2] = [4, 6];

impl HwCounters {
    /// All totals zero.
    pub(crate) fn new() -> impl Init<Self> {
        init_zeroed()
    }

    fn update_queues(&mut self, csr: &Csr, fresh: bool) {
        let used = self.queues_used.min(QUEUE_COUNT);
        for (index, queue) in self.queues.iter_mut().enumerate().take(used) {
            queue.update(index, csr, fresh, false);
        }
    }

    fn update_narrow(&mut self, csr: &Csr) {
        self.pause.update32(csr);
        self.fec.update32(csr);
        LaneStats::update_all(&mut self.lanes, csr, false, true);
        self.tmi.update32(csr);
        self.tti.update32(csr);
        self.rpc.update32(csr);
        RxbInputStats::update_all(&mut self.rxb_in, csr, false, true);
        RxbFifoStats::update_all(&mut self.rxb_fifo, csr, false, true);
        RxbOutputStats::update_all(&mut self.rxb_out, csr, false, true);
        self.update_queues(csr, false);
    }

    /// Reads what [`Fbnic::drops`] adds up.
    fn update_drops(&mut self, csr: &Csr) {
        self.tmi.update32(csr);
        self.tti.update32(csr);
        for index in HOST_FIFOS {
            if let Some(fifo) = self.rxb_fifo.get_mut(index) {
                fifo.update(index, csr, false, true);
            }
        }
        self.update_queues(csr, false);
    }

    fn update_adapter(&mut self, csr: &Csr, fresh: bool) {
        self.tmi.update(csr, fresh);
        self.tti.update(csr, fresh);
        self.rpc.update(csr, fresh);
        RxbInputStats::update_all(&mut self.rxb_in, csr, fresh, false);
        RxbFifoStats::update_all(&mut self.rxb_fifo, csr, fresh, false);
        RxbOutputStats::update_all(&mut self.rxb_out, csr, fresh, false);
        self.pcie.update(csr, fresh);
    }

    fn update_port(&mut self, csr: &Csr, fresh: bool) {
        self.eth_mac.update(csr, fresh);
        self.pause.update(csr, fresh);
        self.eth_ctrl.update(csr, fresh);
        self.rmon.update(csr, fresh);
        SizeStats::update_all(&mut self.sizes, csr, fresh, false);
        self.fec.update(csr, fresh);
        LaneStats::update_all(&mut self.lanes, csr, fresh, false);
    }
}

/// Statistics. May be called from any context but hard interrupts; each reads registers.
impl Fbnic {
    /// Leaves the totals as they are until [`Fbnic::stats_reset`], whoever asks for them. Before
    /// registers can be accessed again of a device that was reset.
    pub(crate) fn stats_hold(&self) {
        self.counters.lock().held = true;
    }

    /// Takes the present values of all counters as the start, at probe and after the device was
    /// reset. Totals are kept.
    pub fn stats_reset(&self) {
        let mut counters = self.counters.lock();
        counters.held = false;
        counters.update_port(&self.csr, true);
        counters.update_adapter(&self.csr, true);
        // Queues that are not in use yet may be later, and those that are stay so.
        QueueStats::update_all(&mut counters.queues, &self.csr, true, false);
    }

    /// Brings counters up to date with `look`, if they can be compared with the device's.
    fn look_at_counters(
        &self,
        look: impl FnOnce(&mut HwCounters, &Csr),
    ) -> SpinLockGuard<'_, HwCounters> {
        let mut counters = self.counters.lock();
        if !counters.held {
            look(&mut counters, &self.csr);
        }
        counters
    }

    /// Makes the counters of the first `queues` Rx queues being looked at. Before they are enabled.
    pub(crate) fn stats_use_queues(&self, queues: usize) {
        let mut counters = self.counters.lock();
        counters.queues_used = counters.queues_used.max(queues);
    }

    /// Once a second: reads the counters that could wrap unseen.
    pub(crate) fn update_counters32(&self) {
        drop(self.look_at_counters(HwCounters::update_narrow));
    }

    /// Counters of the MAC.
    pub fn eth_mac_stats(&self) -> EthMacStats {
        self.look_at_counters(|counters, csr| counters.eth_mac.update(csr, false))
            .eth_mac
            .totals()
    }

    /// Pause frames.
    pub fn pause_stats(&self) -> PauseStats {
        self.look_at_counters(|counters, csr| counters.pause.update(csr, false))
            .pause
            .totals()
    }

    /// MAC control frames.
    pub fn eth_ctrl_stats(&self) -> EthCtrlStats {
        self.look_at_counters(|counters, csr| counters.eth_ctrl.update(csr, false))
            .eth_ctrl
            .totals()
    }

    /// RMON counters, and frames by size.
    pub fn rmon_stats(&self) -> (RmonStats, [SizeStats; 11]) {
        let counters = self.look_at_counters(|counters, csr| {
            counters.rmon.update(csr, false);
            SizeStats::update_all(&mut counters.sizes, csr, false, false);
        });
        let sizes = counters.sizes.each_ref().map(SizeStats::totals);
        (counters.rmon.totals(), sizes)
    }

    /// Error correction.
    pub fn fec_stats(&self) -> FecStats {
        self.look_at_counters(|counters, csr| counters.fec.update(csr, false))
            .fec
            .totals()
    }

    /// Symbol errors of all lanes.
    pub fn symbol_errors(&self) -> u64 {
        let counters = self.look_at_counters(|counters, csr| {
            LaneStats::update_all(&mut counters.lanes, csr, false, false);
        });
        let lanes = counters.lanes.iter();
        lanes.fold(0, |sum, lane| sum.wrapping_add(lane.symbol_errors.total))
    }

    /// Counters of the adapter as a whole.
    pub fn hw_stats(&self) -> HwStats {
        let counters = self.look_at_counters(|counters, csr| counters.update_adapter(csr, false));
        HwStats {
            tmi: counters.tmi.totals(),
            tti: counters.tti.totals(),
            rpc: counters.rpc.totals(),
            rxb_in: counters.rxb_in.each_ref().map(RxbInputStats::totals),
            rxb_fifo: counters.rxb_fifo.each_ref().map(RxbFifoStats::totals),
            rxb_out: counters.rxb_out.each_ref().map(RxbOutputStats::totals),
            pcie: counters.pcie.totals(),
        }
    }

    /// Counters of Rx queue `index`; zero if there is no such queue.
    pub fn queue_stats(&self, index: usize) -> QueueStats {
        let counters = self.look_at_counters(|counters, csr| {
            if let Some(queue) = counters.queues.get_mut(index) {
                queue.update(index, csr, false, false);
            }
        });
        let queue = counters.queues.get(index);
        queue.map_or_else(QueueStats::default, QueueStats::totals)
    }

    /// Packets lost in hardware.
    pub fn drops(&self) -> Drops {
        let counters = self.look_at_counters(HwCounters::update_drops);

        let mut drops = Drops {
            tx_dropped: counters
                .tmi
                .drop_frames
                .total
                .wrapping_add(counters.tti.cm_drop_frames.total)
                .wrapping_add(counters.tti.frame_drop_frames.total)
                .wrapping_add(counters.tti.tbi_drop_frames.total),
            ..Drops::default()
        };
        for index in HOST_FIFOS {
            if let Some(fifo) = counters.rxb_fifo.get(index) {
                drops.rx_missed = drops.rx_missed.wrapping_add(fifo.drop_frames.total);
            }
        }
        drops.add_queues(&counters.queues);
        drops
    }

    /// Packets that Rx queues from number `first` on have lost.
    pub fn drops_beyond(&self, first: usize) -> Drops {
        let counters = self.look_at_counters(|counters, csr| counters.update_queues(csr, false));

        let mut drops = Drops::default();
        drops.add_queues(counters.queues.get(first..).unwrap_or_default());
        drops
    }
}
