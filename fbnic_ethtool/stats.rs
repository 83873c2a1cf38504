// SPDX-License-Identifier: GPL-2.0

//! Statistics: `ethtool -S` and the standard groups.

use kernel::prelude::fmt;

use crate::{
    fbnic_csr::queue::QUEUE_COUNT,
    fbnic_dev::Fbnic,
    fbnic_hw_stats::{
        HwStats,
        QueueStats,
        RxbFifoStats,
        RxbInputStats,
        RxbOutputStats, //
    },
    fbnic_netdev::FbnicNet,
    fbnic_txrx::{
        XdpSnapshot,
        MAX_RXQS, //
    },
    net::ethtool::{
        EthCtrlStats,
        EthMacStats,
        FecStats,
        PauseStats,
        RmonHistRange,
        RmonStats,
        Strings,
        RMON_HIST_MAX, //
    }, //
};

/// Name of a counter and how to get at it.
type Stat<T> = (&'static str, fn(&T) -> u64);

/// Counters there is one of.
const FIXED: [Stat<HwStats>; 17] = [
    ("tti_cm_drop_frames", |s| s.tti.cm_drop_frames),
    ("tti_cm_drop_bytes", |s| s.tti.cm_drop_bytes),
    ("tti_frame_drop_frames", |s| s.tti.frame_drop_frames),
    ("tti_frame_drop_bytes", |s| s.tti.frame_drop_bytes),
    ("tti_tbi_drop_frames", |s| s.tti.tbi_drop_frames),
    ("tti_tbi_drop_bytes", |s| s.tti.tbi_drop_bytes),
    ("ptp_illegal_req", |s| s.tmi.ptp_illegal_req),
    ("ptp_good_ts", |s| s.tmi.ptp_good_ts),
    ("ptp_bad_ts", |s| s.tmi.ptp_bad_ts),
    ("rpc_unkn_etype", |s| s.rpc.unkn_etype),
    ("rpc_unkn_ext_hdr", |s| s.rpc.unkn_ext_hdr),
    ("rpc_ipv4_frag", |s| s.rpc.ipv4_frag),
    ("rpc_ipv6_frag", |s| s.rpc.ipv6_frag),
    ("rpc_ipv4_esp", |s| s.rpc.ipv4_esp),
    ("rpc_ipv6_esp", |s| s.rpc.ipv6_esp),
    ("rpc_tcp_opt_err", |s| s.rpc.tcp_opt_err),
    ("rpc_out_of_hdr_err", |s| s.rpc.out_of_hdr_err),
];

/// Counters of each input of the packet buffer. The number goes where the `#` is, here and below.
const RXB_INPUT: [Stat<RxbInputStats>; 6] = [
    ("rxb_integrity_err#", |s| s.integrity_err),
    ("rxb_mac_err#", |s| s.mac_err),
    ("rxb_parser_err#", |s| s.parser_err),
    ("rxb_frm_err#", |s| s.frm_err),
    ("rxb_drbo#_frames", |s| s.drbo_frames),
    ("rxb_drbo#_bytes", |s| s.drbo_bytes),
];

/// Counters of each FIFO of the packet buffer.
const RXB_FIFO: [Stat<RxbFifoStats>; 4] = [
    ("rxb_fifo#_drop", |s| s.trans_drop),
    ("rxb_fifo#_dropped_frames", |s| s.drop_frames),
    ("rxb_fifo#_ecn", |s| s.trans_ecn),
    ("rxb_fifo#_level", |s| s.level),
];

/// Counters of each output of the packet buffer.
const RXB_OUTPUT: [Stat<RxbOutputStats>; 4] = [
    ("rxb_intf#_frames", |s| s.intf_frames),
    ("rxb_intf#_bytes", |s| s.intf_bytes),
    ("rxb_pbuf#_frames", |s| s.pbuf_frames),
    ("rxb_pbuf#_bytes", |s| s.pbuf_bytes),
];

/// Counters of each receive queue.
const QUEUE: [Stat<QueueStats>; 3] = [
    ("rde_#_pkt_err", |s| s.rde_pkt_err),
    ("rde_#_pkt_cq_drop", |s| s.rde_pkt_cq_drop),
    ("rde_#_pkt_bdq_drop", |s| s.rde_pkt_bdq_drop),
];

/// Counters of each queue of frames that XDP programs send back.
const XDP: [Stat<XdpSnapshot>; 3] = [
    ("xdp_tx_queue_#_packets", |s| s.packets),
    ("xdp_tx_queue_#_bytes", |s| s.bytes),
    ("xdp_tx_queue_#_dropped", |s| s.dropped),
];

const RXB_INPUTS: usize = 4;
const RXB_FIFOS: usize = 8;
const RXB_OUTPUTS: usize = 4;
// CAST: Widening.
const XDP_QUEUES: usize = MAX_RXQS as usize;

/// Number of counters of `ethtool -S`.
pub(super) const COUNT: usize = FIXED.len()
    + RXB_INPUT.len() * RXB_INPUTS
    + RXB_FIFO.len() * RXB_FIFOS
    + RXB_OUTPUT.len() * RXB_OUTPUTS
    + QUEUE.len() * QUEUE_COUNT
    + XDP.len() * XDP_QUEUES;

/// Puts the names of a group of which there are `count`.
fn put_names<T>(out: &mut Strings<'_>, group: &[Stat<T>], count: usize) {
    for index in 0..count {
        for (name, _) in group {
            let (before, after) = name.split_once('#').unwrap_or((name, ""));
            out.put(fmt!("{before}{index}{after}"));
        }
    }
}

/// Puts the names of all counters.
pub(super) fn strings(out: &mut Strings<'_>) {
    for (name, _) in FIXED {
        out.put(fmt!("{name}"));
    }
    put_names(out, &RXB_INPUT, RXB_INPUTS);
    put_names(out, &RXB_FIFO, RXB_FIFOS);
    put_names(out, &RXB_OUTPUT, RXB_OUTPUTS);
    put_names(out, &QUEUE, QUEUE_COUNT);
    put_names(out, &XDP, XDP_QUEUES);
}

/// All values of a group, in the order of the names.
fn values_of<'a, T>(group: &'a [Stat<T>], all: &'a [T]) -> impl Iterator<Item = u64> + 'a {
    all.iter()
        .flat_map(move |one| group.iter().map(move |(_, get)| get(one)))
}

/// Reads all counters, in the order of the names.
pub(super) fn values(net: &FbnicNet, out: &mut [u64]) {
    let fbnic = net.fbnic();
    let stats = fbnic.hw_stats();
    let queues = (0..QUEUE_COUNT).flat_map(|index| {
        let queue = fbnic.queue_stats(index);
        QUEUE.map(|(_, get)| get(&queue))
    });
    let sent_back = (0..u32::from(MAX_RXQS)).flat_map(|index| {
        let queue = net.xdp_stats(index).unwrap_or_default();
        XDP.map(|(_, get)| get(&queue))
    });
    let all = FIXED
        .iter()
        .map(|(_, get)| get(&stats))
        .chain(values_of(&RXB_INPUT, &stats.rxb_in))
        .chain(values_of(&RXB_FIFO, &stats.rxb_fifo))
        .chain(values_of(&RXB_OUTPUT, &stats.rxb_out))
        .chain(queues)
        .chain(sent_back);

    for (to, from) in out.iter_mut().zip(all) {
        *to = from;
    }
}

/// Pause frames.
pub(super) fn pause(fbnic: &Fbnic) -> PauseStats {
    let stats = fbnic.pause_stats();

    PauseStats {
        tx_pause_frames: stats.tx_pause_frames,
        rx_pause_frames: stats.rx_pause_frames,
        tx_pause_storm_events: stats.tx_pause_storm_events,
    }
}

/// Error correction.
pub(super) fn fec(fbnic: &Fbnic) -> FecStats {
    let stats = fbnic.fec_stats();

    FecStats {
        corrected_blocks: stats.corrected_blocks,
        uncorrectable_blocks: stats.uncorrectable_blocks,
    }
}

/// Counters of the MAC.
pub(super) fn eth_mac(fbnic: &Fbnic) -> EthMacStats {
    let stats = fbnic.eth_mac_stats();

    EthMacStats {
        FramesTransmittedOK: stats.frames_transmitted_ok,
        FramesReceivedOK: stats.frames_received_ok,
        FrameCheckSequenceErrors: stats.frame_check_sequence_errors,
        AlignmentErrors: stats.alignment_errors,
        OctetsTransmittedOK: stats.octets_transmitted_ok,
        FramesLostDueToIntMACXmitError: stats.frames_lost_int_mac_xmit_error,
        OctetsReceivedOK: stats.octets_received_ok,
        FramesLostDueToIntMACRcvError: stats.frames_lost_int_mac_rcv_error,
        MulticastFramesXmittedOK: stats.multicast_frames_xmitted_ok,
        BroadcastFramesXmittedOK: stats.broadcast_frames_xmitted_ok,
        MulticastFramesReceivedOK: stats.multicast_frames_received_ok,
        BroadcastFramesReceivedOK: stats.broadcast_frames_received_ok,
        FrameTooLongErrors: stats.frame_too_long_errors,
    }
}

/// MAC control frames.
pub(super) fn eth_ctrl(fbnic: &Fbnic) -> EthCtrlStats {
    let stats = fbnic.eth_ctrl_stats();

    EthCtrlStats {
        MACControlFramesTransmitted: stats.mac_control_frames_transmitted,
        MACControlFramesReceived: stats.mac_control_frames_received,
    }
}

/// Size ranges of [`rmon`], bytes, without and with the largest frame.
pub(super) const RMON_RANGES: &[RmonHistRange] = &[
    range(0, 64),
    range(65, 127),
    range(128, 255),
    range(256, 511),
    range(512, 1023),
    range(1024, 1518),
    range(1519, 2047),
    range(2048, 4095),
    range(4096, 8191),
    range(8192, 9216),
    range(9217, 9742),
    range(0, 0),
];

const fn range(low: u16, high: u16) -> RmonHistRange {
    RmonHistRange { low, high }
}

/// Damaged frames, and frames by size.
pub(super) fn rmon(fbnic: &Fbnic) -> RmonStats {
    let (stats, sizes) = fbnic.rmon_stats();
    let sizes: [_; RMON_HIST_MAX] = sizes;

    RmonStats {
        undersize_pkts: stats.undersize_pkts,
        oversize_pkts: stats.oversize_pkts,
        fragments: stats.fragments,
        jabbers: stats.jabbers,
        hist: sizes.map(|size| size.rx),
        hist_tx: sizes.map(|size| size.tx),
    }
}
