// SPDX-License-Identifier: GPL-2.0

//! The descriptor rings of the mailbox: which slot is whose, and the order of the writes to BAR4.
//!
//! Ring 0 (Rx) takes messages from the firmware, ring 1 (Tx) messages to it. The host publishes a
//! descriptor by writing the low word last and takes one back by writing the low word first,
//! because the firmware acts on the low word. Of the [`SLOTS`] slots one always stays empty: it
//! marks the end for the firmware.
//!
//! This file uses `core` only, so that it can be tested outside of the kernel.

/// Slots of a ring.
pub const SLOTS: u8 = 16;

/// A mailbox descriptor.
///
/// | bits | |
/// |---|---|
/// | 63:48 | bytes: of the message, or of the page offered for one |
/// | 46 | the message ends here |
/// | 45:3 | bus address |
/// | 2 | the firmware failed; there is no message |
/// | 1 | the firmware is done with the descriptor |
/// | 0 | the host is done with the descriptor |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desc(u64);

impl Desc {
    const HOST_CMPL: u64 = 1 << 0;
    const FW_CMPL: u64 = 1 << 1;
    const FW_ERR: u64 = 1 << 2;
    const ADDR: u64 = (1 << 46) - (1 << 3);
    const EOM: u64 = 1 << 46;
    const LEN_SHIFT: u32 = 48;

    /// One that the firmware is to skip.
    const SKIP: Self = Self(Self::HOST_CMPL | Self::FW_CMPL);

    /// Hands the `len` bytes at bus address `addr` to the firmware.
    ///
    /// [`None`] if the address does not fit: 46 bits, units of 8 bytes.
    pub fn new(addr: u64, len: u16, eom: bool) -> Option<Self> {
        let eom = if eom { Self::EOM } else { 0 };
        (addr & !Self::ADDR == 0).then_some(Self(
            u64::from(len) << Self::LEN_SHIFT | eom | addr | Self::HOST_CMPL,
        ))
    }

    /// All of its bits.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// Bus address of the memory.
    pub fn addr(self) -> u64 {
        self.0 & Self::ADDR
    }

    /// Whether the message ends here.
    pub fn eom(self) -> bool {
        self.0 & Self::EOM != 0
    }

    /// Whether the host is done with the descriptor.
    pub fn host_cmpl(self) -> bool {
        self.0 & Self::HOST_CMPL != 0
    }

    /// Bytes of the message.
    pub fn len(self) -> u16 {
        // CAST: The field is 16 bits wide.
        (self.0 >> Self::LEN_SHIFT) as u16
    }

    /// Whether the firmware is done with the descriptor.
    pub fn fw_cmpl(self) -> bool {
        self.0 & Self::FW_CMPL != 0
    }

    /// Whether the firmware failed, so that there is no message.
    pub fn fw_err(self) -> bool {
        self.0 & Self::FW_ERR != 0
    }
}

/// Direction of a ring; its number in BAR4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the firmware.
    Rx = 0,
    /// To the firmware.
    Tx = 1,
}

/// What the rings need of the device.
pub trait Port {
    /// Whether the device is believed to be there. What it reads otherwise means nothing.
    fn is_present(&self) -> bool;

    /// Reads the word at byte `offset` of the mailbox.
    fn read32(&self, offset: usize) -> u32;

    /// Writes the word at byte `offset` of the mailbox.
    fn write32(&self, offset: usize, value: u32);

    /// Waits until all earlier writes to the mailbox have arrived.
    fn flush(&self);

    /// Ends the firmware's DMA in this direction. None takes place after it has returned.
    fn shut(&self, direction: Direction);
}

/// Why a descriptor cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostError {
    /// All slots but the one that marks the end are in use.
    Full,
    /// The firmware cannot reach the address.
    Address,
}

/// A slot number after `slot`.
const fn next(slot: u8) -> u8 {
    slot.wrapping_add(1) % SLOTS
}

/// One ring.
///
/// # Invariants
///
/// `head` and `tail` are below [`SLOTS`]. The slots from `head` up to, not including, `tail` belong
/// to the firmware or wait to be taken; they are never all slots.
#[derive(Debug)]
pub struct Ring {
    direction: Direction,
    head: u8,
    tail: u8,
}

impl Ring {
    /// An empty ring, to be [reset](Self::reset) before anything else.
    pub const fn new(direction: Direction) -> Self {
        // INVARIANT: The ring starts empty.
        Self {
            direction,
            head: 0,
            tail: 0,
        }
    }

    /// Whether the firmware has, and had, nothing that was not taken back.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether nothing can be posted.
    pub fn is_full(&self) -> bool {
        next(self.tail) == self.head
    }

    /// Slot of the oldest descriptor that was not taken back.
    pub fn head(&self) -> u8 {
        self.head
    }

    /// Slot that [`Ring::post`] uses next.
    pub fn tail(&self) -> u8 {
        self.tail
    }

    /// Byte offset of the low word of a slot. The high word follows.
    fn offset(&self, slot: u8) -> usize {
        // CAST: The discriminants are the ring numbers.
        8 * (usize::from(SLOTS) * self.direction as usize + usize::from(slot % SLOTS))
    }

    /// Reads a slot, whosever it is.
    pub fn read(&self, port: &impl Port, slot: u8) -> Desc {
        let low = port.read32(self.offset(slot));
        let high = port.read32(self.offset(slot) + 4);
        Desc(u64::from(high) << 32 | u64::from(low))
    }

    /// Takes a slot back, leaving only the flags in the low word of `desc`.
    fn invalidate(&self, port: &impl Port, slot: u8, desc: Desc) {
        // CAST: The flags are in the low half.
        port.write32(self.offset(slot), desc.0 as u32);
        port.flush();
        port.write32(self.offset(slot) + 4, 0);
    }

    /// Ends the firmware's DMA in this direction, then marks all slots as ones to skip, so that the
    /// firmware's own head ends up at slot 0, as ours does.
    pub fn reset(&mut self, port: &impl Port) {
        port.shut(self.direction);
        // The end the firmware will stop at is in place before there is anything to skip.
        self.invalidate(port, 0, Desc::default());
        for slot in (1..SLOTS).rev() {
            self.invalidate(port, slot, Desc::SKIP);
        }
        // INVARIANT: The ring is empty.
        self.head = 0;
        self.tail = 0;
    }

    /// Hands `len` bytes at bus address `addr` to the firmware, in the slot at the tail.
    pub fn post(
        &mut self,
        port: &impl Port,
        addr: u64,
        len: u16,
        eom: bool,
    ) -> Result<(), PostError> {
        if self.is_full() {
            return Err(PostError::Full);
        }
        let desc = Desc::new(addr, len, eom).ok_or(PostError::Address)?;

        // The next slot becomes the end before this one stops being it.
        let tail = next(self.tail);
        port.write32(self.offset(tail), 0);
        // CAST: Truncation is intended.
        let (high, low) = ((desc.0 >> 32) as u32, desc.0 as u32);
        port.write32(self.offset(self.tail) + 4, high);
        port.flush();
        port.write32(self.offset(self.tail), low);
        // INVARIANT: `next` stays below `SLOTS`, and the ring was not full.
        self.tail = tail;
        Ok(())
    }

    /// Takes back the slot at the head if the firmware is done with it. Its memory may be used again
    /// after that, and the slot with the next [`Ring::post`] that reaches it.
    pub fn take(&mut self, port: &impl Port) -> Option<(u8, Desc)> {
        if self.is_empty() {
            return None;
        }
        let slot = self.head;
        let desc = self.read(port, slot);
        // The descriptors of a device that is gone look complete.
        if !desc.fw_cmpl() || !port.is_present() {
            return None;
        }
        // INVARIANT: `next` stays below `SLOTS`; the ring was not empty.
        self.head = next(slot);
        Some((slot, desc))
    }
}
