// SPDX-License-Identifier: GPL-2.0
//! Counters of the MAC, parser, buffer and Tx interface, gathered per round.
//!
//! The data path counts in plain memory and adds to the registers once per round,
//! so that a frame costs no register access.

use fbnic_defs::csr as r;

use crate::csr::CsrFile;

/// Bytes of the frame check sequence, which the cable does not carry but the
/// MAC's octet counters and size bins include.
const FCS: usize = 4;
/// EtherType of the frames MACs exchange among themselves (IEEE 802.3, clause 31).
const MAC_CONTROL: [u8; 2] = [0x88, 0x08];
/// Opcode of those that ask for a pause. The time follows; zero ends one.
const PAUSE: [u8; 2] = [0, 1];

/// Frames of one direction as the MAC counts them.
#[derive(Default)]
pub(super) struct MacCounters {
    bytes: u64,
    frames: u64,
    multicast: u64,
    broadcast: u64,
    control: u64,
    /// Control frames that ask to stop sending for a while.
    pauses: u64,
    bins: [u64; 7],
    jumbo_bins: [u64; 5],
}

impl MacCounters {
    /// Counts one good frame without FCS.
    pub fn frame(&mut self, frame: &[u8]) {
        let len = frame.len() + FCS;
        self.frames += 1;
        self.bytes += len as u64;
        if frame.starts_with(&[0xff; 6]) {
            self.broadcast += 1;
        } else if frame.first().is_some_and(|byte| byte & 1 == 1) {
            self.multicast += 1;
        }
        if frame.get(12..14) == Some(&MAC_CONTROL) {
            self.control_frame(&frame[14..]);
        }
        let bin = match len {
            0..=64 => 0,
            65..=127 => 1,
            128..=255 => 2,
            256..=511 => 3,
            512..=1023 => 4,
            1024..=1518 => 5,
            _ => 6,
        };
        self.bins[bin] += 1;
        let jumbo = match len {
            0..=1518 => return,
            1519..=2047 => 0,
            2048..=4095 => 1,
            4096..=8191 => 2,
            8192..=9216 => 3,
            _ => 4,
        };
        self.jumbo_bins[jumbo] += 1;
    }

    /// Returns how many frames were counted since the registers were last brought up to date.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Counts a MAC control frame by what follows its EtherType.
    fn control_frame(&mut self, contents: &[u8]) {
        self.control += 1;
        if contents.starts_with(&PAUSE) && contents.get(2..4).is_some_and(|time| time != [0, 0]) {
            self.pauses += 1;
        }
    }
}

/// What became of frames since the device was made. No reset clears it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameStats {
    /// Received frames placed in host memory.
    pub rx_placed: u64,
    /// Received while the MAC or the receive path behind it was off.
    pub rx_off: u64,
    /// Received frames longer than the MTU.
    pub rx_too_long: u64,
    /// Received frames that no filter directs to the host.
    pub rx_filtered: u64,
    /// Received frames for a queue that was not enabled.
    pub rx_queue_off: u64,
    /// Received frames that found no room in the completion ring.
    pub rx_no_completions: u64,
    /// Received frames that found no buffers.
    pub rx_no_buffers: u64,
    /// Received frames that found the packet buffer full.
    pub rx_buffer_full: u64,
    /// Received frames that could not be placed: too many pieces, or buffers that are no memory.
    pub rx_bad: u64,
    /// Packets with descriptors that cannot be carried out.
    pub tx_bad: u64,
    /// Packets discarded because the MAC was off, the drop control on, or the far end stuck.
    pub tx_discarded: u64,
    /// Packets for the management controller or the firmware, which do not exist.
    pub tx_inside: u64,
    /// Frames the MAC's loopback had no room for.
    pub loopback_full: u64,
}

/// Counters that are kept until the end of the round.
#[derive(Default)]
pub(super) struct Counters {
    pub tx: MacCounters,
    pub rx: MacCounters,
    pub frames: FrameStats,
    /// 32-bit registers and what to add.
    small: Vec<(u32, u32)>,
}

impl Counters {
    /// Adds `n` to a rarely used 32-bit register at the end of the round.
    pub fn add(&mut self, csr: u32, n: u32) {
        match self.small.iter_mut().find(|(known, _)| *known == csr) {
            Some((_, count)) => *count = count.wrapping_add(n),
            None => self.small.push((csr, n)),
        }
    }

    /// Forgets what the device has not shown in its registers yet.
    pub fn reset(&mut self) {
        *self = Self {
            frames: self.frames,
            ..Self::default()
        };
    }

    /// Moves everything to the registers.
    pub fn flush(&mut self, csr: &CsrFile) {
        for (register, n) in self.small.drain(..) {
            csr.add32(register, n);
        }
        if self.tx.frames > 0 {
            let tx = std::mem::take(&mut self.tx);
            csr.add64(r::MAC_STAT_TX_BYTE_COUNT, tx.bytes);
            csr.add64(r::MAC_STAT_TX_TRANSMITTED_OK, tx.frames);
            csr.add64(r::MAC_STAT_TX_MULTICAST, tx.multicast);
            csr.add64(r::MAC_STAT_TX_BROADCAST, tx.broadcast);
            // Pauses that software sends are none of the MAC's own, which TX_XOFF counts.
            csr.add64(r::MAC_STAT_TX_CONTROL, tx.control);
            add_bins(csr, &tx.bins, r::mac_stat_tx_bin);
            add_bins(csr, &tx.jumbo_bins, r::tmi_stat_tx_bin);
        }
        if self.rx.frames > 0 {
            let rx = std::mem::take(&mut self.rx);
            csr.add64(r::MAC_STAT_RX_BYTE_COUNT, rx.bytes);
            csr.add64(r::MAC_STAT_RX_RECEIVED_OK, rx.frames);
            csr.add64(r::MAC_STAT_RX_MULTICAST, rx.multicast);
            csr.add64(r::MAC_STAT_RX_BROADCAST, rx.broadcast);
            csr.add64(r::MAC_STAT_RX_CONTROL, rx.control);
            csr.add64(r::MAC_STAT_RX_XOFF, rx.pauses);
            add_bins(csr, &rx.bins, r::mac_stat_rx_bin);
            add_bins(csr, &rx.jumbo_bins, r::rpc_stat_rx_bin);
        }
    }
}

fn add_bins(csr: &CsrFile, bins: &[u64], register: fn(u32) -> u32) {
    for (bin, count) in (0u32..).zip(bins) {
        if *count > 0 {
            csr.add64(register(bin), *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_their_bins() {
        let mut counters = Counters::default();
        for len in [60, 61, 123, 124, 1514, 1515, 9212, 9213] {
            counters.tx.frame(&vec![0; len]);
        }
        counters.tx.frame(&[0xff; 60]);
        counters.tx.frame(&[1; 60]);
        let csr = CsrFile::new();
        counters.flush(&csr);
        counters.flush(&csr);
        let bins: Vec<_> = (0..7)
            .map(|bin| csr.load(r::mac_stat_tx_bin(bin)))
            .collect();
        assert_eq!(bins, [3, 2, 1, 0, 0, 1, 3]);
        let jumbo: Vec<_> = (0..5)
            .map(|bin| csr.load(r::tmi_stat_tx_bin(bin)))
            .collect();
        assert_eq!(jumbo, [1, 0, 0, 1, 1]);
        assert_eq!(csr.load(r::MAC_STAT_TX_BROADCAST), 1);
        assert_eq!(csr.load(r::MAC_STAT_TX_MULTICAST), 1);
    }

    #[test]
    fn control_frames_are_told_from_others() {
        let frame =
            |contents: &[u8]| [&[1, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0, 2], contents].concat();
        let mut counters = Counters::default();
        for contents in [
            &[0x88, 0x08, 0, 1, 0, 9][..],
            &[0x88, 0x08, 0, 1, 0, 0],
            &[0x88, 0x08, 1, 1, 0, 9],
            &[0x88, 0x08, 0, 1],
            &[0x88, 0x08],
            &[0x88, 0x09, 0, 1, 0, 9],
            &[0x88],
        ] {
            counters.tx.frame(&frame(contents));
            counters.rx.frame(&frame(contents));
        }
        let csr = CsrFile::new();
        counters.flush(&csr);
        assert_eq!(csr.load(r::MAC_STAT_RX_CONTROL), 5);
        assert_eq!(csr.load(r::MAC_STAT_TX_CONTROL), 5);
        assert_eq!(csr.load(r::MAC_STAT_RX_XOFF), 1);
        assert_eq!(csr.load(r::MAC_STAT_TX_XOFF), 0);
    }

    #[test]
    fn small_counters_add_up() {
        let mut counters = Counters::default();
        counters.add(r::TMI_DROP_PKTS, 2);
        counters.add(r::TMI_DROP_PKTS, 3);
        let csr = CsrFile::new();
        counters.flush(&csr);
        assert_eq!(csr.load(r::TMI_DROP_PKTS), 5);
    }
}
