// SPDX-License-Identifier: GPL-2.0

//! Set-up of the global data path: PCIe limits, queue managers, packet buffers.
//!
//! Done at probe and after every reset of the device. The values are those the hardware is
//! qualified with.

use kernel::{
    io::{
        register::Array,
        Io, //
    },
    num::Bounded,
    prelude::*, //
};

use super::PAUSE_FIFOS;
use crate::{
    fbnic_csr::{
        qm::*,
        rpc::*,
        rxb::*,
        tce::*,
        Csr, //
    },
    fbnic_dev::{
        Fbnic,
        PciParams, //
    }, //
};

/// Largest frame, bytes, without check sequence.
pub const MAX_FRAME: u16 = 9742;

/// One more: the scheduler's limit must not be within 16 bytes of a multiple of 64.
const SCHEDULER_LIMIT: u16 = MAX_FRAME + 1;

/// Frequency of the device's clock, Hz.
const CLOCK_HZ: u32 = 600_000_000;

/// Bytes of a cache line of the host.
const CACHE_LINE: u32 = 64;

/// Header length of the default Tx descriptor, raw, and its request for completions.
const DEFAULT_META_L: u32 = 14;
const DEFAULT_META_H: u32 = 1 << (37 - 32);

/// TCP flags.
const FIN: u32 = 0x01;
const PSH: u32 = 0x08;
const CWR: u32 = 0x80;

/// Calendar words: the host first in all slots but the last of the last word.
const CALENDAR: u32 = 0x1b1b_1b1b;
const CALENDAR_LAST: u32 = 0x1e1b_1b1b;

/// Place of a FIFO in the Rx packet buffer.
#[derive(Clone, Copy)]
struct Fifo {
    /// Units of 64 bytes.
    base: u16,
    /// Units of 2 KiB; zero if unused.
    size: u16,
}

impl Fifo {
    const fn new(base: u16, size: u16) -> Self {
        Self { base, size }
    }
}

const UNUSED: Fifo = Fifo::new(0, 0);

const FIFOS: [Fifo; RXB_FIFOS] = [
    Fifo::new(0x1800, 0x20), // From the network to both host and BMC.
    UNUSED,
    UNUSED,
    Fifo::new(0x1c00, 0x10), // From the network to the BMC.
    Fifo::new(0, 0xc0),      // From the network to the host.
    UNUSED,
    Fifo::new(0x1e00, 0x10), // From the BMC to the host.
    UNUSED,
];

/// Which FIFOs drop, including those without memory.
const DROP_FIFOS: u8 = 0x7d;
/// Which FIFOs mark congestion.
const ECN_FIFOS: u8 = 0x10;

/// A threshold that is never reached.
const NEVER: u32 = 0x1fff;

/// Units of 64 bytes in one of 2 KiB.
const UNITS: u32 = 32;

/// Units of 64 bytes that a largest frame takes, rounded down.
const FRAME_UNITS: u32 = MAX_FRAME as u32 / 64;

/// Fill below which pause starts or ends, units of 64 bytes: 56 KiB.
const PAUSE_SKID: u32 = 0x380;

/// log2 of a size, less that of 64 bytes, as two-bit fields hold it.
fn size_class(bytes: u32) -> Bounded<u32, 2> {
    let class = bytes.max(64).ilog2() - 6;
    Bounded::<u32, 2>::from_expr(class.min(3) & 3)
}

/// Threshold value with the same fill for on and off; both fields of all threshold registers lie
/// alike.
fn threshold(on: u32, off: u32) -> u32 {
    (on & NEVER) | (off & NEVER) << 13
}

impl Fbnic {
    /// Sets up the data path. In process context, before any queue is enabled.
    ///
    /// # Errors
    ///
    /// None that depends on the device.
    pub fn init_hw(&self) -> Result {
        self.rpc_reset();
        init_axi(&self.csr, &self.params);
        init_queue_manager(&self.csr);
        self.init_rxb()?;
        init_txb_queues(&self.csr);
        init_txb_scheduling(&self.csr)
    }

    fn init_rxb(&self) -> Result {
        let csr = &self.csr;
        // Firmware may have left reception running for the BMC; then the FIFOs stay as they are.
        let running = bool::from(csr.read(RPC_RMI_CONFIG).enable());
        for (index, fifo) in FIFOS.iter().enumerate() {
            let size = if running {
                let size = read_fifo_size(csr, index)?;
                if size < u32::from(fifo.size) {
                    dev_warn!(self.dev(), "fifo{} is smaller than expected\n", index);
                }
                size
            } else {
                place_fifo(csr, index, fifo)?;
                u32::from(fifo.size)
            };
            if size != 0 {
                set_thresholds(csr, index, size)?;
            }
        }
        csr.write_reg(
            RXB_PAUSE_DROP_CTRL::zeroed()
                .with_drop_enable(DROP_FIFOS)
                .with_ecn_enable(ECN_FIFOS),
        );
        init_rxb_scheduling(csr)
    }
}

/// Limits on what the device asks of the host.
fn init_axi(csr: &Csr, params: &PciParams) {
    let cls = size_class(CACHE_LINE);
    let mps = size_class(params.mps);
    let mrrs = size_class(params.readrq);

    csr.update(QM_TNI_TDF_CTL, |limits| {
        QM_TNI_TDF_CTL::zeroed()
            .with_max_ob(limits.max_ob())
            .with_max_ot(limits.max_ot())
            .with_mrrs(mrrs)
            .with_cls(cls)
    });
    csr.update(QM_TNI_TCM_CTL, |limits| limits.with_mps(mps).with_cls(cls));
    // 704 of 768 beats: the rest stays free for descriptors.
    csr.write_reg(
        QM_TNI_TDE_CTL::zeroed()
            .with_mrrs_1k(params.readrq > 512)
            .with_const_max_ob::<704>()
            .with_const_max_ot::<128>()
            .with_mrrs(mrrs)
            .with_cls(cls),
    );
    csr.update(QM_RNI_RBP_CTL, |limits| {
        QM_RNI_RBP_CTL::zeroed()
            .with_max_ob(limits.max_ob())
            .with_max_ot(limits.max_ot())
            .with_mrrs(mrrs)
            .with_cls(cls)
    });
    csr.update(QM_RNI_RDE_CTL, |limits| limits.with_mps(mps).with_cls(cls));
    csr.update(QM_RNI_RCM_CTL, |limits| limits.with_mps(mps).with_cls(cls));
}

/// Timing and limits of the queue managers.
fn init_queue_manager(csr: &Csr) {
    csr.write_reg(QM_TWQ_DEFAULT_META_L::from(DEFAULT_META_L));
    csr.write_reg(QM_TWQ_DEFAULT_META_H::from(DEFAULT_META_H));
    csr.write_reg(
        QM_TQS_CTL0::zeroed()
            .with_const_lso_ts::<1>()
            .with_const_prefetch_thresh::<16>(),
    );
    // As far as the EDT queueing discipline can look ahead.
    csr.write_reg(QM_TQS_EDT_TS_RANGE::from(0x7fff_ffff));
    csr.write_reg(QM_TQS_MTU_CTL0::from(u32::from(SCHEDULER_LIMIT)));
    csr.write_reg(QM_TQS_MTU_CTL1::from(u32::from(SCHEDULER_LIMIT)));

    // Moderation ticks of 1 µs; completions are gathered for up to 80 µs on Tx and 2 µs on Rx.
    csr.write_reg(
        QM_TCQ_CTL0::zeroed()
            .with_const_tick_cycles::<{ CLOCK_HZ / 1_000_000 }>()
            .with_const_coal_wait::<{ CLOCK_HZ / 12_500 }>(),
    );
    csr.write_reg(
        QM_RCQ_CTL0::zeroed()
            .with_const_tick_cycles::<{ CLOCK_HZ / 1_000_000 }>()
            .with_const_coal_wait::<{ CLOCK_HZ / 500_000 }>(),
    );
    csr.write_reg(
        FAB_AXI4_AR_SPACER_2_CFG::zeroed()
            .with_mask(true)
            .with_const_threshold::<2>(),
    );
}

/// Size of a FIFO in units of 2 KiB, as the device has it.
fn read_fifo_size(csr: &Csr, index: usize) -> Result<u32> {
    let config = csr.try_read(RXB_PBUF_CFG::try_at(index).ok_or(EINVAL)?)?;
    Ok(config.size().get())
}

/// Gives a FIFO its place in the packet buffer.
fn place_fifo(csr: &Csr, index: usize, fifo: &Fifo) -> Result {
    let size = u32::from(fifo.size);
    let credit = if size == 0 { 0 } else { size * UNITS + 4 };
    csr.try_write(
        RXB_CT_SIZE::try_at(index).ok_or(EINVAL)?,
        RXB_CT_SIZE::zeroed()
            .with_const_header::<4>()
            .with_const_payload::<2>(),
    )?;
    csr.try_write(
        RXB_PBUF_CFG::try_at(index).ok_or(EINVAL)?,
        RXB_PBUF_CFG::zeroed()
            .try_with_base_addr(u32::from(fifo.base))?
            .try_with_size(size)?,
    )?;
    csr.try_write(
        RXB_PBUF_CREDIT::try_at(index).ok_or(EINVAL)?,
        RXB_PBUF_CREDIT::zeroed().try_with_credit(credit)?,
    )
}

/// Sets at what fill a FIFO of `size` times 2 KiB pauses, drops and marks.
fn set_thresholds(csr: &Csr, index: usize, size: u32) -> Result {
    let units = size * UNITS;
    let is_in = |fifos: u8| fifos >> index & 1 != 0;
    let pause = if is_in(PAUSE_FIFOS) {
        threshold(units.saturating_sub(PAUSE_SKID), PAUSE_SKID)
    } else {
        NEVER
    };
    // Drop when only one largest frame would still fit.
    let drop = if is_in(DROP_FIFOS) {
        let fill = units.saturating_sub(FRAME_UNITS);
        threshold(fill, fill)
    } else {
        NEVER
    };
    // Mark when a quarter is full, but not before there is a largest frame.
    let ecn = if is_in(ECN_FIFOS) {
        let fill = (units / 4).max(FRAME_UNITS);
        threshold(fill, fill)
    } else {
        NEVER
    };
    csr.try_write(
        RXB_PAUSE_THLD::try_at(index).ok_or(EINVAL)?,
        RXB_PAUSE_THLD::from(pause),
    )?;
    csr.try_write(
        RXB_DROP_THLD::try_at(index).ok_or(EINVAL)?,
        RXB_DROP_THLD::from(drop),
    )?;
    csr.try_write(
        RXB_ECN_THLD::try_at(index).ok_or(EINVAL)?,
        RXB_ECN_THLD::from(ecn),
    )
}

/// Who may leave the Rx packet buffer when.
fn init_rxb_scheduling(csr: &Csr) -> Result {
    csr.write_reg(
        RXB_INTF_CREDIT::zeroed()
            .with_const_mask0::<0xf>()
            .with_const_mask1::<0xf>()
            .with_const_mask2::<0xf>()
            .with_const_mask3::<8>(),
    );
    for index in 0..RXB_CALENDAR_WORDS {
        csr.try_write(
            RXB_CLDR_PRIO_CFG::try_at(index).ok_or(EINVAL)?,
            RXB_CLDR_PRIO_CFG::from(calendar(index, RXB_CALENDAR_WORDS)),
        )?;
    }
    // Bytes per turn: 8000 for network to host and for multicast, 80 for BMC to host.
    csr.write_reg(
        RXB_DWRR_RDE_WEIGHT0::zeroed()
            .with_const_quantum0::<0x40>()
            .with_const_quantum2::<0x50>(),
    );
    csr.write_reg(RXB_DWRR_RDE_WEIGHT0_EXT::zeroed().with_const_quantum0::<0x1f>());
    csr.write_reg(RXB_DWRR_RDE_WEIGHT1::zeroed().with_const_quantum4::<0x40>());
    csr.write_reg(RXB_DWRR_RDE_WEIGHT1_EXT::zeroed().with_const_quantum4::<0x1f>());
    csr.write_reg(RXB_ENDIAN_FCS::from(0x0aaa_aaa0));
    Ok(())
}

/// Word `index` of a calendar.
fn calendar(index: usize, words: usize) -> u32 {
    if index + 1 == words {
        CALENDAR_LAST
    } else {
        CALENDAR
    }
}

/// Places the queues of the Tx buffer and sets what happens to packets in it.
fn init_txb_queues(csr: &Csr) {
    csr.write_reg(TCE_TXB_CTRL::zeroed());
    csr.write_reg(
        QM_TQS_CTL1::zeroed()
            .with_const_mc_max_credits::<0x40>()
            .with_const_bulk_max_credits::<0x20>(),
    );
    csr.write_reg(TCE_TXB_TEI_Q0_CTRL::zeroed());
    csr.write_reg(TCE_TXB_TEI_Q1_CTRL::zeroed());
    csr.write_reg(TCE_TXB_MC_Q_CTRL::zeroed().with_const_size::<0x400>());
    csr.write_reg(TCE_TXB_RX_TEI_Q_CTRL::zeroed());
    csr.write_reg(
        TCE_TXB_TX_BMC_Q_CTRL::zeroed()
            .with_const_start::<0x400>()
            .with_const_size::<0x200>(),
    );
    csr.write_reg(
        TCE_TXB_RX_BMC_Q_CTRL::zeroed()
            .with_const_start::<0x600>()
            .with_const_size::<0x200>(),
    );
    // A segment in the middle must not look like the end of what was pushed, or of the stream, and
    // only the first one says that the window was reduced.
    csr.write_reg(
        TCE_LSO_CTRL::zeroed()
            .with_ipid_mode_inc(true)
            .with_const_tcpf_clr_1st::<{ PSH | FIN }>()
            .with_const_tcpf_clr_mid::<{ PSH | CWR | FIN }>()
            .with_const_tcpf_clr_end::<{ CWR }>(),
    );
    csr.write_reg(TCE_CSO_CTRL::zeroed());
    csr.write_reg(
        TCE_BMC_MAX_PKTSZ::zeroed()
            .with_const_tx::<{ MAX_FRAME as u32 }>()
            .with_const_rx::<{ MAX_FRAME as u32 }>(),
    );
    csr.write_reg(TCE_MC_MAX_PKTSZ::zeroed().with_const_tmi::<{ MAX_FRAME as u32 }>());
}

/// Who may leave the Tx buffer when; then puts it into operation.
fn init_txb_scheduling(csr: &Csr) -> Result {
    for index in 0..TCE_CALENDAR_WORDS {
        csr.try_write(
            TCE_TXB_CLDR_SLOT_CFG::try_at(index).ok_or(EINVAL)?,
            TCE_TXB_CLDR_SLOT_CFG::from(calendar(index, TCE_CALENDAR_WORDS)),
        )?;
    }
    csr.write_reg(
        TCE_TXB_ENQ_WRR_CTRL::zeroed()
            .with_const_weight0::<0x64>()
            .with_const_weight2::<0x04>(),
    );
    csr.write_reg(TCE_TXB_TEI_DWRR_CTRL::zeroed());
    csr.write_reg(TCE_TXB_TEI_DWRR_CTRL_EXT::zeroed());
    csr.write_reg(
        TCE_TXB_BMC_DWRR_CTRL::zeroed()
            .with_const_quantum0::<0x50>()
            .with_const_quantum1::<0x82>(),
    );
    csr.write_reg(TCE_TXB_BMC_DWRR_CTRL_EXT::zeroed());
    csr.write_reg(
        TCE_TXB_NTWRK_DWRR_CTRL::zeroed()
            .with_const_quantum1::<0x50>()
            .with_const_quantum2::<0x20>(),
    );
    csr.write_reg(TCE_TXB_NTWRK_DWRR_CTRL_EXT::zeroed().with_const_quantum2::<0x03>());
    csr.write_reg(
        TCE_SOP_PROT_CTRL::zeroed()
            .with_const_tbi::<0x78>()
            .with_const_tti_frm::<0x40>()
            .with_const_tti_cm::<0x0c>(),
    );
    csr.write_reg(TMI_SOP_PROT_CTRL::from(8));
    csr.flush();
    csr.write_reg(
        TCE_TXB_CTRL::zeroed()
            .with_tcam_enable(true)
            .with_load(true),
    );
    Ok(())
}
