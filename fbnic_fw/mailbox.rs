// SPDX-License-Identifier: GPL-2.0

//! The mailbox shared with the firmware: two [rings](super::ring) of descriptors in BAR4, and the
//! memory behind them.
//!
//! The pages behind the descriptors are one coherent allocation per ring, made once: the mailbox
//! carries a few messages per second, so nothing is gained by mapping pages per message, and
//! nothing can leak or be unmapped while the firmware still writes to it. Slot `n` always offers
//! page `n`. As the firmware may write to a page at any time, a message is copied out before it is
//! looked at.

use kernel::{
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    fmt,
    io::{
        io_project,
        Io, //
    },
    prelude::*, //
};

use super::{
    messages::Request,
    ring::{
        Desc,
        Direction,
        Port,
        PostError,
        Ring,
        SLOTS, //
    },
    to_errno, //
};
use crate::{
    fbnic_csr::{
        intr::*,
        pul::*,
        Csr,
        FW_ZERO_REG, //
    },
    fbnic_tlv::{
        Builder,
        MAX_MESSAGE, //
    }, //
};

/// Bytes behind each descriptor.
const PAGE: usize = MAX_MESSAGE;

/// Bit of the firmware vector in the words of the interrupt registers.
const FW_BIT: u32 = 1 << FW_VECTOR;

impl Port for Csr {
    fn is_present(&self) -> bool {
        Csr::is_present(self)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.fw_read32(FW_ZERO_REG + offset)
    }

    fn write32(&self, offset: usize, value: u32) {
        self.fw_write32(FW_ZERO_REG + offset, value);
    }

    fn flush(&self) {
        self.fw_flush();
    }

    fn shut(&self, direction: Direction) {
        match direction {
            // Writes that are already on their way are only dropped with both bits set.
            Direction::Rx => self.write_reg(
                PUL_OB_TLP_HDR_AW_CFG::zeroed()
                    .with_flush(true)
                    .with_flush_mode(true),
            ),
            Direction::Tx => self.write_reg(PUL_OB_TLP_HDR_AR_CFG::zeroed().with_flush(true)),
        }
        Csr::flush(self);
    }
}

/// Lets the firmware use DMA in this direction.
fn open_gate(csr: &Csr, direction: Direction, relaxed_ordering: bool) {
    let attr = kernel::num::Bounded::<u32, 3>::from_expr(if relaxed_ordering {
        u32::from(TLP_ATTR_RO) & 7
    } else {
        0
    });
    match direction {
        // Rx completions must not overtake the data they announce, so they keep strict order.
        Direction::Rx => csr.write_reg(
            PUL_OB_TLP_HDR_AW_CFG::zeroed()
                .with_bme(true)
                .with_rde_attr(attr)
                .with_tqm_attr(attr),
        ),
        Direction::Tx => csr.write_reg(
            PUL_OB_TLP_HDR_AR_CFG::zeroed()
                .with_bme(true)
                .with_tde_attr(attr)
                .with_rqm_attr(attr)
                .with_tqm_attr(attr),
        ),
    }
}

/// A ring with the memory behind its slots.
struct Paged {
    ring: Ring,
    pages: Coherent<[u8]>,
    /// Descriptors the firmware has completed with an error.
    errors: u64,
}

impl Paged {
    fn new(dev: &Device<Bound>, direction: Direction) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(direction),
            pages: Coherent::zeroed_slice(dev, PAGE * usize::from(SLOTS), GFP_KERNEL)?,
            errors: 0,
        })
    }

    /// Hands the page of the slot at the tail to the firmware.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is no slot left.
    fn post(&mut self, csr: &Csr, len: u16, eom: bool) -> Result {
        let page = PAGE * usize::from(self.ring.tail());
        let addr = io_project!(self.pages, [try: page..page + PAGE]).dma_address();
        self.ring
            .post(csr, addr, len, eom)
            .map_err(|error| match error {
                PostError::Full => EBUSY,
                PostError::Address => EINVAL,
            })
    }

    fn show(
        &self,
        csr: &Csr,
        name: &str,
        ready: bool,
        out: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let (ready, errors) = (u8::from(ready), self.errors);
        let (head, tail) = (self.ring.head(), self.ring.tail());
        writeln!(out, "{name}")?;
        writeln!(
            out,
            "Rdy: {ready} Head: {head} Tail: {tail} resp_error: {errors}"
        )?;
        writeln!(out, "Idx Len  E Addr         F H   Raw             ")?;
        writeln!(out, "{:-<47}", "")?;
        for slot in 0..SLOTS {
            let desc = self.ring.read(csr, slot);
            writeln!(
                out,
                "{slot:02}  {:04} {} {:012x} {} {:<3} {:016x}",
                desc.len(),
                u8::from(desc.eom()),
                desc.addr(),
                u8::from(desc.fw_cmpl()),
                u8::from(desc.host_cmpl()),
                desc.raw(),
            )?;
        }
        Ok(())
    }
}

/// What came out of a slot of the Rx ring.
pub(super) enum Received {
    /// A message of this many bytes is in the buffer.
    Message(usize),
    /// Nothing to look at: an empty descriptor.
    Nothing,
}

/// Both rings, while the mailbox is up.
pub(super) struct Mailbox {
    rx: Paged,
    tx: Paged,
    tx_open: bool,
    /// Types of the answers to the messages in the slots of the Tx ring.
    expected: [Option<u16>; SLOTS as usize],
}

impl Mailbox {
    /// Allocates the memory and resets both rings. No DMA takes place yet.
    pub(super) fn new(csr: &Csr, dev: &Device<Bound>) -> Result<Self> {
        let mut this = Self {
            rx: Paged::new(dev, Direction::Rx)?,
            tx: Paged::new(dev, Direction::Tx)?,
            tx_open: false,
            expected: [None; SLOTS as usize],
        };
        // The firmware's interrupt status must last until it is cleared, as it is polled too.
        csr.write32(intr_sw_ac_mode(0), !FW_BIT);
        csr.write32(intr_clear(0), FW_BIT);
        this.stop(csr);
        Ok(this)
    }

    /// Makes the firmware raise its interrupt, which it does for any write to its Tx ring.
    pub(super) fn knock(&mut self, csr: &Csr) {
        self.tx.ring.reset(csr);
    }

    /// Allows DMA and offers pages for messages from the firmware.
    pub(super) fn open(&mut self, csr: &Csr, relaxed_ordering: bool) -> Result {
        open_gate(csr, Direction::Rx, relaxed_ordering);
        while !self.rx.ring.is_full() {
            self.rx.post(csr, rx_len(), false)?;
        }
        open_gate(csr, Direction::Tx, relaxed_ordering);
        self.tx_open = true;
        Ok(())
    }

    /// Refuses further messages to the firmware.
    pub(super) fn close_tx(&mut self) {
        self.tx_open = false;
    }

    /// Whether messages can be sent.
    pub(super) fn is_open(&self) -> bool {
        self.tx_open
    }

    /// Whether the firmware has taken all messages.
    pub(super) fn tx_is_empty(&self) -> bool {
        self.tx.ring.is_empty()
    }

    /// Descriptors the firmware has completed with an error so far.
    pub(super) fn errors(&self) -> u64 {
        self.rx.errors + self.tx.errors
    }

    /// Sends a message, which is answered by one of type `reply`; `buf` is scratch space.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the mailbox is closed or the device gone, `EBUSY` if 15 messages are under way.
    pub(super) fn send<R: Request>(
        &mut self,
        csr: &Csr,
        buf: &mut [u8],
        request: &R,
        reply: Option<u16>,
    ) -> Result {
        if !self.tx_open || !csr.is_present() {
            return Err(ENODEV);
        }
        if self.tx.ring.is_full() {
            return Err(EBUSY);
        }

        let mut message = Builder::new(buf, R::ID).map_err(to_errno)?;
        request.encode(&mut message).map_err(to_errno)?;
        let len = message.finish().map_err(to_errno)?;

        let slot = usize::from(self.tx.ring.tail());
        let page = PAGE * slot;
        io_project!(self.tx.pages, [try: page..page + len])
            .copy_from_slice(buf.get(..len).ok_or(EINVAL)?);
        *self.expected.get_mut(slot).ok_or(EINVAL)? = reply;
        self.tx.post(csr, u16::try_from(len)?, true)
    }

    /// Takes back the messages that the firmware has read. Calls `failed` for each that it could
    /// not read, with the type of the answer that will not come, if there was to be one.
    pub(super) fn reap_tx(&mut self, csr: &Csr, mut failed: impl FnMut(Option<u16>)) {
        while let Some((slot, desc)) = self.tx.ring.take(csr) {
            if desc.fw_err() {
                self.tx.errors += 1;
                failed(self.expected.get(usize::from(slot)).copied().flatten());
            }
        }
    }

    /// Takes the next message from the firmware, if there is one, into `buf` and offers the page of
    /// the free slot in its place.
    ///
    /// # Errors
    ///
    /// `EIO` if the firmware failed to write the message, `EMSGSIZE` if it is larger than a page.
    pub(super) fn receive(&mut self, csr: &Csr, buf: &mut [u8]) -> Result<Option<Received>> {
        let Some((slot, desc)) = self.rx.ring.take(csr) else {
            return Ok(None);
        };
        let outcome = self.copy_out(slot, desc, buf);
        self.rx.post(csr, rx_len(), false)?;
        outcome.map(Some)
    }

    /// Copies the message that `desc`, the descriptor taken from `slot`, announces.
    fn copy_out(&mut self, slot: u8, desc: Desc, buf: &mut [u8]) -> Result<Received> {
        if desc.fw_err() {
            self.rx.errors += 1;
            return Err(EIO);
        }
        let len = usize::from(desc.len());
        if len == 0 {
            return Ok(Received::Nothing);
        }
        if len > PAGE {
            return Err(EMSGSIZE);
        }
        let page = PAGE * usize::from(slot);
        io_project!(self.rx.pages, [try: page..page + len])
            .copy_to_slice(buf.get_mut(..len).ok_or(EMSGSIZE)?);
        Ok(Received::Message(len))
    }

    /// Resets both rings, which stops DMA. The memory can be freed afterwards.
    pub(super) fn stop(&mut self, csr: &Csr) {
        self.tx_open = false;
        self.rx.ring.reset(csr);
        self.tx.ring.reset(csr);
    }

    /// Prints both rings as they are in BAR4 and in our books.
    pub(super) fn show(&self, csr: &Csr, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rx.show(csr, "Rx", self.tx_open, out)?;
        writeln!(out)?;
        self.tx.show(csr, "Tx", self.tx_open, out)
    }
}

/// Makes the firmware forget all memory it was told of, and the device stop all transfers, until a
/// mailbox is opened.
pub(super) fn forget(csr: &Csr) {
    Ring::new(Direction::Rx).reset(csr);
    Ring::new(Direction::Tx).reset(csr);
}

/// Length offered to the firmware.
fn rx_len() -> u16 {
    // CAST: A page of the mailbox is 4096 bytes.
    PAGE as u16
}

/// Returns whether the firmware has raised its interrupt, and clears it.
pub(super) fn take_event(csr: &Csr) -> bool {
    if csr.read32(intr_status(0)) & FW_BIT == 0 {
        return false;
    }
    csr.write32(intr_clear(0), FW_BIT);
    true
}
