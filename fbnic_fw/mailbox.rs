// SPDX-License-Identifier: GPL-2.0

//! The mailbox shared with the firmware: two descriptor rings in BAR4.
//!
//! Ring 0 (Rx) takes messages from the firmware, ring 1 (Tx) messages to it. The host publishes a
//! descriptor by writing the low word last and takes one back by writing the low word first,
//! because the firmware acts on the low word. Of the [`SLOTS`] slots one always stays empty: it
//! marks the end for the firmware.
//!
//! The pages behind the descriptors are one coherent allocation per ring, made once: the mailbox
//! carries a few messages per second, so nothing is gained by mapping pages per message, and
//! nothing can leak or be unmapped while the firmware still writes to it. As the firmware may write
//! to a page at any time, a message is copied out before it is looked at.

use kernel::{
    bitfield,
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    prelude::*, //
};

use super::{
    messages::Request,
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

/// Slots of a ring.
const SLOTS: u8 = 16;

/// Bytes behind each descriptor.
const PAGE: usize = MAX_MESSAGE;

/// Bit of the firmware vector in the words of the interrupt registers.
const FW_BIT: u32 = 1 << FW_VECTOR;

bitfield! {
    /// A mailbox descriptor.
    struct Desc(u64) {
        /// Bytes: of the message, or of the page offered for one.
        63:48 len;
        /// The message ends here.
        46:46 eom;
        /// Bus address, units of 8 bytes.
        45:3 addr;
        /// The firmware failed; there is no message.
        2:2 fw_err;
        /// The firmware is done with the descriptor.
        1:1 fw_cmpl;
        /// The host is done with the descriptor.
        0:0 host_cmpl;
    }
}

/// Direction of a ring; its number in BAR4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the firmware.
    Rx = 0,
    /// To the firmware.
    Tx = 1,
}

impl Direction {
    /// Byte offset of the low word of a slot in BAR4. The high word follows.
    fn offset(self, slot: u8) -> usize {
        // CAST: The discriminants are the ring numbers.
        FW_ZERO_REG + 8 * (usize::from(SLOTS) * self as usize + usize::from(slot % SLOTS))
    }

    fn read(self, csr: &Csr, slot: u8) -> Desc {
        let low = csr.fw_read32(self.offset(slot));
        let high = csr.fw_read32(self.offset(slot) + 4);
        Desc::from(u64::from(high) << 32 | u64::from(low))
    }

    /// Publishes a descriptor.
    fn write(self, csr: &Csr, slot: u8, desc: Desc) {
        let raw = desc.into_raw();
        // CAST: Truncation is intended.
        let (high, low) = ((raw >> 32) as u32, raw as u32);
        csr.fw_write32(self.offset(slot) + 4, high);
        csr.fw_flush();
        csr.fw_write32(self.offset(slot), low);
    }

    /// Takes a descriptor back, leaving only the flags `low`.
    fn invalidate(self, csr: &Csr, slot: u8, low: Desc) {
        // CAST: The flags are in the low half.
        csr.fw_write32(self.offset(slot), low.into_raw() as u32);
        csr.fw_flush();
        csr.fw_write32(self.offset(slot) + 4, 0);
    }

    /// Stops the firmware's DMA in this direction, then marks all slots as ones to skip, so that
    /// the firmware's head ends up at slot 0.
    pub(super) fn reset(self, csr: &Csr) {
        match self {
            // Writes that are already on their way are only dropped with both bits set.
            Self::Rx => csr.write_reg(
                PUL_OB_TLP_HDR_AW_CFG::zeroed()
                    .with_flush(true)
                    .with_flush_mode(true),
            ),
            Self::Tx => csr.write_reg(PUL_OB_TLP_HDR_AR_CFG::zeroed().with_flush(true)),
        }
        csr.flush();

        // The end the firmware will stop at is in place before there is anything to skip.
        self.invalidate(csr, 0, Desc::zeroed());
        for slot in (1..SLOTS).rev() {
            let skip = Desc::zeroed().with_fw_cmpl(true).with_host_cmpl(true);
            self.invalidate(csr, slot, skip);
        }
    }

    /// Lets the firmware use DMA in this direction.
    fn enable_dma(self, csr: &Csr, relaxed_ordering: bool) {
        let attr = kernel::num::Bounded::<u32, 3>::from_expr(if relaxed_ordering {
            u32::from(TLP_ATTR_RO) & 7
        } else {
            0
        });
        match self {
            // Rx completions must not overtake the data they announce, so they keep strict order.
            Self::Rx => csr.write_reg(
                PUL_OB_TLP_HDR_AW_CFG::zeroed()
                    .with_bme(true)
                    .with_rde_attr(attr)
                    .with_tqm_attr(attr),
            ),
            Self::Tx => csr.write_reg(
                PUL_OB_TLP_HDR_AR_CFG::zeroed()
                    .with_bme(true)
                    .with_tde_attr(attr)
                    .with_rqm_attr(attr)
                    .with_tqm_attr(attr),
            ),
        }
    }
}

/// A slot number after `slot`.
fn next(slot: u8) -> u8 {
    slot.wrapping_add(1) % SLOTS
}

/// One ring and the memory behind it.
///
/// # Invariants
///
/// `head` and `tail` are below [`SLOTS`]. The slots from `head` up to, not including, `tail` belong
/// to the firmware or wait to be reaped.
struct Ring {
    direction: Direction,
    head: u8,
    tail: u8,
    pages: Coherent<[u8]>,
}

impl Ring {
    fn new(dev: &Device<Bound>, direction: Direction) -> Result<Self> {
        // INVARIANT: The ring starts empty.
        Ok(Self {
            direction,
            head: 0,
            tail: 0,
            pages: Coherent::zeroed_slice(dev, PAGE * usize::from(SLOTS), GFP_KERNEL)?,
        })
    }

    fn is_full(&self) -> bool {
        next(self.tail) == self.head
    }

    /// Publishes the page of the tail slot with the given length.
    fn post(&mut self, csr: &Csr, len: u16, eom: bool) -> Result {
        let page = PAGE * usize::from(self.tail);
        let addr = io_project!(self.pages, [try: page..page + PAGE]).dma_address();
        let desc = Desc::zeroed()
            .with_len(len)
            .with_eom(eom)
            .with_host_cmpl(true)
            .try_with_addr(addr >> 3)?;

        // The next slot becomes the end before this one stops being it.
        let tail = next(self.tail);
        csr.fw_write32(self.direction.offset(tail), 0);
        self.direction.write(csr, self.tail, desc);
        // INVARIANT: `next` stays below `SLOTS`.
        self.tail = tail;
        Ok(())
    }
}

/// What came out of a slot of the Rx ring.
pub(super) enum Received {
    /// A message of this many bytes is in the buffer.
    Message(usize),
    /// Nothing to look at: an empty descriptor, or one the firmware failed to fill.
    Nothing,
}

/// Both rings, while the mailbox is up.
pub(super) struct Mailbox {
    rx: Ring,
    tx: Ring,
    tx_open: bool,
    errors: u64,
}

impl Mailbox {
    /// Allocates the memory and resets both rings. No DMA takes place yet.
    pub(super) fn new(csr: &Csr, dev: &Device<Bound>) -> Result<Self> {
        let this = Self {
            rx: Ring::new(dev, Direction::Rx)?,
            tx: Ring::new(dev, Direction::Tx)?,
            tx_open: false,
            errors: 0,
        };
        // The firmware's interrupt status must last until it is cleared, as it is polled too.
        csr.write32(intr_sw_ac_mode(0), !FW_BIT);
        csr.write32(intr_clear(0), FW_BIT);
        Direction::Rx.reset(csr);
        Direction::Tx.reset(csr);
        Ok(this)
    }

    /// Allows DMA and offers pages for messages from the firmware.
    pub(super) fn open(&mut self, csr: &Csr, relaxed_ordering: bool) -> Result {
        Direction::Rx.enable_dma(csr, relaxed_ordering);
        while !self.rx.is_full() {
            self.rx.post(csr, rx_len(), false)?;
        }
        Direction::Tx.enable_dma(csr, relaxed_ordering);
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
        self.tx.head == self.tx.tail
    }

    /// Descriptors the firmware has completed with an error so far.
    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Sends a message; `buf` is scratch space.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the mailbox is closed or the device gone, `EBUSY` if 15 messages are under way.
    pub(super) fn send<R: Request>(&mut self, csr: &Csr, buf: &mut [u8], request: &R) -> Result {
        if !self.tx_open || !csr.is_present() {
            return Err(ENODEV);
        }
        if self.tx.is_full() {
            return Err(EBUSY);
        }

        let mut message = Builder::new(buf, R::ID).map_err(to_errno)?;
        request.encode(&mut message).map_err(to_errno)?;
        let len = message.finish().map_err(to_errno)?;

        let page = PAGE * usize::from(self.tx.tail);
        io_project!(self.tx.pages, [try: page..page + len])
            .copy_from_slice(buf.get(..len).ok_or(EINVAL)?);
        self.tx.post(csr, u16::try_from(len)?, true)
    }

    /// Takes back the messages that the firmware has read.
    pub(super) fn reap_tx(&mut self, csr: &Csr) {
        while !self.tx_is_empty() {
            let desc = Direction::Tx.read(csr, self.tx.head);
            if !bool::from(desc.fw_cmpl()) {
                break;
            }
            if bool::from(desc.fw_err()) {
                self.errors += 1;
            }
            // INVARIANT: `next` stays below `SLOTS`.
            self.tx.head = next(self.tx.head);
        }
    }

    /// Takes the next message from the firmware, if there is one, into `buf` and offers the page of
    /// the free slot in its place.
    pub(super) fn receive(&mut self, csr: &Csr, buf: &mut [u8]) -> Result<Option<Received>> {
        let desc = Direction::Rx.read(csr, self.rx.head);
        // The descriptors of a device that is gone look complete.
        if !bool::from(desc.fw_cmpl()) || self.rx.head == self.rx.tail || !csr.is_present() {
            return Ok(None);
        }

        let outcome = self.copy_out(desc, buf);
        csr.fw_write32(Direction::Rx.offset(self.rx.head), 0);
        // INVARIANT: `next` stays below `SLOTS`.
        self.rx.head = next(self.rx.head);
        self.rx.post(csr, rx_len(), false)?;
        outcome.map(Some)
    }

    /// Copies the message that `desc`, the descriptor at the head, announces.
    fn copy_out(&mut self, desc: Desc, buf: &mut [u8]) -> Result<Received> {
        if bool::from(desc.fw_err()) {
            self.errors += 1;
            return Ok(Received::Nothing);
        }
        let len = usize::try_from(desc.len().get())?;
        if len == 0 {
            return Ok(Received::Nothing);
        }
        if len > PAGE {
            return Err(EMSGSIZE);
        }
        let page = PAGE * usize::from(self.rx.head);
        io_project!(self.rx.pages, [try: page..page + len])
            .copy_to_slice(buf.get_mut(..len).ok_or(EMSGSIZE)?);
        Ok(Received::Message(len))
    }

    /// Resets both rings, which stops DMA. The memory can be freed afterwards.
    pub(super) fn stop(&mut self, csr: &Csr) {
        self.tx_open = false;
        Direction::Rx.reset(csr);
        Direction::Tx.reset(csr);
    }
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
