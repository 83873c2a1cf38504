// SPDX-License-Identifier: GPL-2.0
//! Register accesses of BAR0: which register does what.
//!
//! Reads take no lock but the clock's, which is held for a few instructions. Writes that only the bus thread and the data path's register reads care
//! about are plain stores; those that change who may touch guest memory are handed to the
//! caller as an [`Action`], which carries them out under the core lock.

use std::sync::atomic::Ordering;

use fbnic_defs::csr as r;

use crate::csr::is_known;
use crate::fault::Hook;
use crate::hw::Hw;
use crate::queue;

/// What a register write leaves to do under the core lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// A queue control register was stored.
    QueueControl,
    /// The bus-master gates changed: mailbox and queues may have been waiting for them.
    GatesChanged,
}

/// Groups of idle words; all queues are idle whenever the guest can look.
const IDLE: [(u32, u32); 7] = [
    (r::QM_TWQ_IDLE, 8),
    (r::QM_TQS_IDLE, 8),
    (r::QM_TDE_IDLE, 8),
    (r::QM_TCQ_IDLE, 4),
    (r::QM_HPQ_IDLE, 4),
    (r::QM_PPQ_IDLE, 4),
    (r::QM_RCQ_IDLE, 4),
];

/// Reads register `index`, as it is or as a fault has it.
pub fn read(hw: &Hw, index: u32) -> u32 {
    let value = read_true(hw, index);
    if hw.faults.active().has(Hook::CsrRead) {
        return hw.faults.csr_read(index, value, is_idle_word(index));
    }
    value
}

fn read_true(hw: &Hw, index: u32) -> u32 {
    if let Some(count) = hw.mac.take_counter(&hw.csr, index) {
        return count;
    }
    if !is_known(index) {
        hw.unknown.report(index, None);
    }
    peek(hw, index)
}

fn is_idle_word(index: u32) -> bool {
    IDLE.iter()
        .any(|&(first, words)| (first..first + words).contains(&index))
}

/// Reads register `index` as a debugger would: what the host would get, but nothing clears,
/// nothing is distorted.
pub fn peek(hw: &Hw, index: u32) -> u32 {
    match index {
        r::QUEUE_FIRST..=r::QUEUE_LAST => {
            queue::pointers(hw, index).unwrap_or_else(|| hw.csr.load(index))
        }
        0x000..=0x03f | r::INTR_CQ_FIRST..=r::INTR_CQ_LAST => hw.intr.read(index).unwrap_or(0),
        r::QM_TWQ_IDLE..=r::QM_RCQ_LAST if is_idle_word(index) => u32::MAX,
        r::PTP_CTR_VAL_HI | r::PTP_MONO_PTP_CTR_HI => (hw.ptp.now() >> 32) as u32,
        r::PTP_CTR_VAL_LO | r::PTP_MONO_PTP_CTR_LO => hw.ptp.now() as u32,
        r::PCS_PAGE_0..=r::RSFEC_LAST | r::SIG_PCS_OUT0 | r::SIG_PCS_OUT1 => {
            hw.mac.read(index).unwrap_or_else(|| hw.csr.load(index))
        }
        _ => hw.csr.bus_read(index),
    }
}

/// Writes register `index`; the caller carries out the returned action.
pub fn write(hw: &Hw, index: u32, value: u32) -> Action {
    if hw.faults.csr_write_lost(index) {
        return Action::None;
    }
    match index {
        r::QUEUE_FIRST..=r::QUEUE_LAST => return write_queue(hw, index, value),
        0x000..=0x03f | r::INTR_CQ_FIRST..=r::INTR_CQ_LAST => {
            hw.intr.write(index, value);
        }
        r::INTR_MSIX_CTRL..=r::INTR_MSIX_CTRL_LAST => {
            hw.csr.store(index, value);
            hw.mac.update_interrupt(hw);
        }
        r::PTP_CTR_VAL_HI..=r::PTP_MONO_PTP_CTR_LO => {}
        r::PTP_CTRL..=r::PTP_SPARE => {
            // INIT and friends are commands: they read back as 0.
            hw.csr
                .store(index, if index == r::PTP_ADJUST { 0 } else { value });
            hw.ptp.write(&hw.csr, index, value);
        }
        r::PUL_OB_TLP_HDR_AW_CFG | r::PUL_OB_TLP_HDR_AR_CFG => {
            hw.csr.store(index, value);
            return Action::GatesChanged;
        }
        r::TCE_FIRST..=r::TCE_RAM_LAST | r::RPC_RMI_CONFIG..=r::RPC_RAM_LAST => {
            write_classifier(hw, index, value);
        }
        r::MAC_STAT_FIRST..=r::MAC_STAT_LAST => {}
        r::RXB_ERR_INTR_STS => {
            hw.csr.clear_bits(index, value);
        }
        r::MAC_COMMAND_CONFIG | r::SIG_MAC_IN0 | r::TMI_DROP_CTRL => {
            hw.csr.store(index, value);
            hw.doorbells.kick();
        }
        _ if hw.mac.write(hw, index, value) => {}
        _ if is_known(index) => hw.csr.store(index, value),
        _ => hw.unknown.report(index, Some(value)),
    }
    Action::None
}

/// TCE, RPC and their tables: the data path compiles them, so tell it that they changed.
fn write_classifier(hw: &Hw, index: u32, value: u32) {
    if !is_known(index) {
        hw.unknown.report(index, Some(value));
        return;
    }
    hw.csr.store(index, value);
    hw.rpc_generation.fetch_add(1, Ordering::Release);
    if index == r::RPC_RMI_CONFIG {
        hw.doorbells.kick();
    }
}

fn write_queue(hw: &Hw, index: u32, value: u32) -> Action {
    let queue = (index - r::QUEUE_FIRST) / r::QUEUE_STRIDE;
    let off = index % r::QUEUE_STRIDE;
    match off {
        r::Q_TWQ0_TAIL | r::Q_TWQ1_TAIL | r::Q_TCQ_HEAD => {
            hw.csr.store(index, value);
            hw.doorbells.ring_tx(queue);
        }
        r::Q_BDQ_HPQ_TAIL | r::Q_BDQ_PPQ_TAIL | r::Q_RCQ_HEAD => {
            hw.csr.store(index, value);
            hw.doorbells.ring_rx(queue);
        }
        r::Q_TWQ0_CTL | r::Q_TWQ1_CTL | r::Q_TCQ_CTL | r::Q_RCQ_CTL | r::Q_BDQ_CTL => {
            hw.csr.store(index, value);
            return Action::QueueControl;
        }
        // Pointers and counters belong to the device.
        r::Q_TWQ0_PTRS
        | r::Q_TWQ1_PTRS
        | r::Q_TCQ_PTRS
        | r::Q_RCQ_PTRS
        | r::Q_BDQ_HPQ_PTRS
        | r::Q_BDQ_PPQ_PTRS
        | r::Q_TWQ0_PKT_CNT
        | r::Q_TWQ0_ERR_CNT
        | r::Q_TWQ1_PKT_CNT
        | r::Q_TWQ1_ERR_CNT
        | r::Q_RDE_PKT_CNT..=r::Q_RDE_BDQ_DROP_CNT => {}
        r::Q_TWQ0_SIZE
        | r::Q_TWQ1_SIZE
        | r::Q_TCQ_SIZE
        | r::Q_RCQ_SIZE
        | r::Q_BDQ_HPQ_SIZE
        | r::Q_BDQ_PPQ_SIZE => hw.csr.store(index, value & r::Q_SIZE_MASK),
        r::Q_TWQ0_BAL
        | r::Q_TWQ1_BAL
        | r::Q_TCQ_BAL
        | r::Q_RCQ_BAL
        | r::Q_BDQ_HPQ_BAL
        | r::Q_BDQ_PPQ_BAL => hw.csr.store(index, value & r::Q_BAL_MASK),
        // Setting the manager's own status raises the queue's vector.
        r::Q_TIM_SET | r::Q_RIM_SET => {
            let ctl = if off == r::Q_TIM_SET {
                r::Q_TIM_CTL
            } else {
                r::Q_RIM_CTL
            };
            if value & 1 != 0 {
                let vector = hw.csr.load(r::queue(queue, ctl)) & r::Q_IM_CTL_MSIX_MASK;
                hw.intr.raise(vector as u8);
            }
        }
        r::Q_TIM_CLEAR | r::Q_RIM_CLEAR => {}
        _ => hw.csr.store(index, value),
    }
    Action::None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intr::tests::Sent;
    use crate::mac::{Fec, LinkMode, Speed};

    fn hw() -> Hw {
        let mode = LinkMode {
            speed: Speed::R2x50,
            fec: Fec::Rs,
        };
        Hw::new(Arc::new(Sent::default()), mode).unwrap()
    }

    #[test]
    fn the_register_self_test_of_the_driver() {
        let hw = hw();
        for pattern in [u32::MAX, 0x5a5a_5a5a, 0xa5a5_a5a5, 0] {
            for (off, mask) in [
                (r::Q_TWQ0_CTL, r::Q_CTL_RESET),
                (r::Q_BDQ_CTL, r::Q_CTL_RESET),
                (r::Q_TWQ0_SIZE, 0xf),
                (r::Q_RCQ_BAL, 0xffff_ff80),
                (r::Q_BDQ_PPQ_BAH, u32::MAX),
            ] {
                write(
                    &hw,
                    r::queue(63, off),
                    pattern & if mask == 1 { 1 } else { u32::MAX },
                );
                assert_eq!(read(&hw, r::queue(63, off)), pattern & mask);
            }
            write(&hw, r::queue(63, r::Q_TWQ0_PTRS), pattern);
            assert_eq!(read(&hw, r::queue(63, r::Q_TWQ0_PTRS)), 0);
        }
    }

    #[test]
    fn pointers_show_the_last_doorbell_inside_the_ring() {
        let hw = hw();
        for (ptrs, doorbell, size) in [
            (r::Q_TWQ0_PTRS, r::Q_TWQ0_TAIL, r::Q_TWQ0_SIZE),
            (r::Q_TWQ1_PTRS, r::Q_TWQ1_TAIL, r::Q_TWQ1_SIZE),
            (r::Q_TCQ_PTRS, r::Q_TCQ_HEAD, r::Q_TCQ_SIZE),
            (r::Q_RCQ_PTRS, r::Q_RCQ_HEAD, r::Q_RCQ_SIZE),
            (r::Q_BDQ_HPQ_PTRS, r::Q_BDQ_HPQ_TAIL, r::Q_BDQ_HPQ_SIZE),
            (r::Q_BDQ_PPQ_PTRS, r::Q_BDQ_PPQ_TAIL, r::Q_BDQ_PPQ_SIZE),
        ] {
            let [ptrs, doorbell, size] = [ptrs, doorbell, size].map(|off| r::queue(127, off));
            hw.csr.store(ptrs, 5 << 16);
            for (log2, value, shown) in [(6, 200, 200 - 3 * 64), (0, 0x1_fffe, 0xfffe)] {
                write(&hw, size, log2);
                write(&hw, doorbell, value);
                assert_eq!(read(&hw, ptrs), 5 << 16 | shown);
            }
        }
    }

    #[test]
    fn a_debugger_sees_what_the_host_would_without_its_effects() {
        let hw = hw();
        hw.mac.set_cable(&hw, true);
        write(&hw, r::queue(0, r::Q_BDQ_HPQ_TAIL), 9);
        for index in [
            r::SIG_PCS_OUT0,
            r::PCS_PAGE_0 + r::PCS_CTRL1,
            r::QM_TWQ_IDLE,
            r::queue(0, r::Q_BDQ_HPQ_PTRS),
        ] {
            let seen = peek(&hw, index);
            assert_ne!(seen, 0);
            assert_eq!(seen, read(&hw, index));
        }
        hw.csr.store(r::RSFEC_CCW_LO, 7);
        assert_eq!(peek(&hw, r::RSFEC_CCW_LO), 7);
        assert_eq!(read(&hw, r::RSFEC_CCW_LO), 7);
        assert_eq!(peek(&hw, r::RSFEC_CCW_LO), 0);
    }

    #[test]
    fn doorbells_mark_their_queue() {
        let hw = hw();
        assert_eq!(write(&hw, r::queue(127, r::Q_TWQ0_TAIL), 5), Action::None);
        write(&hw, r::queue(3, r::Q_BDQ_PPQ_TAIL), 5);
        assert_eq!(hw.doorbells.take_tx(), 1 << 127);
        assert_eq!(hw.doorbells.take_rx(), 1 << 3);
        assert!(!hw.doorbells.pending());
        assert_eq!(read(&hw, r::queue(127, r::Q_TWQ0_TAIL)), 5);
    }

    #[test]
    fn idle_words_are_ones_and_their_neighbours_are_not() {
        let hw = hw();
        for (first, words) in IDLE {
            assert_eq!(read(&hw, first), u32::MAX);
            assert_eq!(read(&hw, first + words - 1), u32::MAX);
        }
        assert_eq!(read(&hw, r::QM_TWQ_IDLE + 8), 0);
        assert_eq!(read(&hw, r::MASTER_SPARE_0), 0);
    }

    #[test]
    fn every_register_can_be_read_and_written() {
        let hw = hw();
        for index in 0..r::CSR_COUNT {
            write(&hw, index, 0x5a5a_5a5a);
            read(&hw, index);
        }
        assert_eq!(read(&hw, r::CSR_COUNT - 1), 0);
    }

    #[test]
    fn table_writes_make_compiled_tables_stale() {
        let hw = hw();
        for index in [
            r::rpc_tcam_act(0, 0),
            r::rpc_rss_tbl(1, 255),
            r::tce_ram_tcam3(7),
        ] {
            let before = hw.rpc_generation.load(Ordering::Relaxed);
            write(&hw, index, 1);
            assert_ne!(hw.rpc_generation.load(Ordering::Relaxed), before);
        }
    }
}
