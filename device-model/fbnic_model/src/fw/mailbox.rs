// SPDX-License-Identifier: GPL-2.0
//! The two descriptor rings of the mailbox, in BAR4 (guide, section 14).
//!
//! The host writes descriptors, high dword first; the firmware acts on low-dword writes. Each
//! ring has a head of the firmware's own that walks over every slot with both completion bits
//! set. That walk happens at once with the write, in the bus thread: after a ring reset the
//! host may fill the slot the old head stood on before the worker runs.

use fbnic_defs::fw::{MboxDesc, MAX_MSG, RING_SLOTS};

use super::tlv::Message;
use crate::dma::{Dma, DmaError};
use crate::fault::Hook;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Its memory was not reached.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// Its descriptor has EOM clear. Messages of several descriptors do not exist.
    #[error("its descriptor is not the end of a message")]
    NotTheEnd,
    /// Its descriptor has a length that is not the message's own.
    #[error("its descriptor says {0} bytes, the message something else")]
    Length(u16),
}

/// Which ring: its place in BAR4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Firmware to host.
    Rx = 0,
    /// Host to firmware.
    Tx = 1,
}

/// Both rings and the firmware's place in them.
#[derive(Debug, Default)]
pub struct Mailbox {
    desc: [[u64; RING_SLOTS]; 2],
    head: [usize; 2],
}

impl Mailbox {
    /// Empty rings, as after a reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads dword `dword` of the mailbox region, or `None` outside of it.
    pub fn read(&self, dword: usize) -> Option<u32> {
        let desc = self
            .desc
            .get(dword / (2 * RING_SLOTS))?
            .get(dword / 2 % RING_SLOTS)?;
        Some(if dword % 2 == 0 {
            *desc as u32
        } else {
            (*desc >> 32) as u32
        })
    }

    /// Writes dword `dword`; returns the ring if that was a low dword.
    pub fn write(&mut self, dword: usize, value: u32) -> Option<Ring> {
        let ring = dword / (2 * RING_SLOTS);
        let desc = self.desc.get_mut(ring)?.get_mut(dword / 2 % RING_SLOTS)?;
        if dword % 2 != 0 {
            *desc = *desc & u64::from(u32::MAX) | u64::from(value) << 32;
            return None;
        }
        *desc = *desc & !u64::from(u32::MAX) | u64::from(value);
        let ring = if ring == 0 { Ring::Rx } else { Ring::Tx };
        self.skip_done(ring);
        Some(ring)
    }

    /// The firmware has restarted and finds its place in the rings as the host left them: at the
    /// first slot of the Tx ring that is not finished, and behind the one free slot of the Rx
    /// ring, which the host keeps filled otherwise.
    pub fn find_place(&mut self) {
        let [rx, _] = &self.desc;
        let free = rx.iter().position(|desc| *desc as u32 == 0);
        self.head = [free.map_or(0, |free| (free + 1) % RING_SLOTS), 0];
        self.skip_done(Ring::Tx);
        self.skip_done(Ring::Rx);
    }

    /// Walks the head of `ring` over finished slots, once around at the most.
    fn skip_done(&mut self, ring: Ring) {
        for _ in 0..RING_SLOTS {
            match self.at_head(ring) {
                Some(desc) if desc.host_cmpl() && desc.fw_cmpl() => self.advance(ring),
                _ => return,
            }
        }
    }

    fn at_head(&self, ring: Ring) -> Option<MboxDesc> {
        let head = *self.head.get(ring as usize)?;
        Some(MboxDesc::from_bits(
            *self.desc.get(ring as usize)?.get(head)?,
        ))
    }

    fn advance(&mut self, ring: Ring) {
        if let Some(head) = self.head.get_mut(ring as usize) {
            *head = (*head + 1) % RING_SLOTS;
        }
    }

    /// Writes `desc` back to the head's slot and moves on.
    fn complete(&mut self, ring: Ring, desc: MboxDesc) {
        let head = self.head.get(ring as usize).copied().unwrap_or_default();
        if let Some(slot) = self
            .desc
            .get_mut(ring as usize)
            .and_then(|r| r.get_mut(head))
        {
            *slot = desc.into_bits();
        }
        self.advance(ring);
        self.skip_done(ring);
    }

    /// The descriptor the firmware may use next, if the host gave it one.
    fn owned(&self, ring: Ring) -> Option<MboxDesc> {
        self.at_head(ring).filter(|d| d.host_cmpl() && !d.fw_cmpl())
    }

    /// Takes the next message of the host.
    ///
    /// `None`: there is none, or the host has not opened the gate for reads. An error completes
    /// the descriptor with FW_ERR, as it is when `refuse` says so of the message.
    pub fn receive(
        &mut self,
        dma: &Dma<'_>,
        refuse: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Result<Vec<u8>, MessageError>> {
        let desc = self.owned(Ring::Tx).filter(|_| dma.can_read())?;
        let result = match read_message(dma, desc) {
            Ok(bytes) if refuse(&bytes) => Err(DmaError::Refused.into()),
            result => result,
        };
        self.complete(
            Ring::Tx,
            desc.with_fw_cmpl(true).with_fw_err(result.is_err()),
        );
        Some(result)
    }

    /// Hands `message` to the host.
    ///
    /// False: the host has posted no buffer or has not opened the gate for writes; the
    /// message has to wait. A buffer that is not memory or too short is completed with FW_ERR and
    /// loses the message, as the host then retries.
    pub fn send(&mut self, dma: &Dma<'_>, message: &[u8]) -> bool {
        let Some(desc) = self.owned(Ring::Rx).filter(|_| dma.can_write()) else {
            return false;
        };
        let desc = match write_message(dma, desc, message) {
            // CAST: no more than the length it was offered with.
            Ok(()) => desc.with_len(message.len() as u16).with_eom(true),
            Err(error) => {
                log::warn!("firmware: cannot write a message: {error}");
                desc.with_len(0).with_fw_err(true)
            }
        };
        let desc = match dma.faults(Hook::Firmware) {
            Some(faults) => faults.mailbox_descriptor(desc),
            None => desc,
        };
        self.complete(Ring::Rx, desc.with_fw_cmpl(true));
        true
    }
}

/// Reads the message that `desc` describes, which is one whole message and nothing else.
fn read_message(dma: &Dma<'_>, desc: MboxDesc) -> Result<Vec<u8>, MessageError> {
    if !desc.eom() {
        return Err(MessageError::NotTheEnd);
    }
    let len = usize::from(desc.len());
    if len > MAX_MSG {
        return Err(MessageError::Length(desc.len()));
    }
    let mut bytes = vec![0; len];
    dma.read(desc.addr(), &mut bytes)?;
    if Message::peek_len(&bytes) != Some(len) {
        return Err(MessageError::Length(desc.len()));
    }
    Ok(bytes)
}

/// Writes `message` into the buffer that `desc` describes.
fn write_message(dma: &Dma<'_>, desc: MboxDesc, message: &[u8]) -> Result<(), MessageError> {
    if message.len() > usize::from(desc.len()) {
        return Err(MessageError::Length(desc.len()));
    }
    Ok(dma.write(desc.addr(), message)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use fbnic_defs::csr as r;
    use guest_mem::{Access, GuestMem};

    use super::*;
    use crate::hw::Hw;
    use crate::intr::tests::Sent;
    use crate::mac::{Fec, LinkMode, Speed};

    const PAGE: u64 = 0x1000;

    /// Hardware with its gates open, and two pages of memory.
    fn host() -> (Hw, GuestMem) {
        let (speed, fec) = (Speed::R2x50, Fec::Rs);
        let hw = Hw::new(Arc::new(Sent::default()), LinkMode { speed, fec }).unwrap();
        hw.bus_master
            .store(true, std::sync::atomic::Ordering::Relaxed);
        for gate in [r::PUL_OB_TLP_HDR_AW_CFG, r::PUL_OB_TLP_HDR_AR_CFG] {
            hw.csr.store(gate, r::PUL_OB_TLP_HDR_BME);
        }
        let fd = rustix::fs::memfd_create("host", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(2 * PAGE).unwrap();
        let mut mem = GuestMem::new();
        let access = Access {
            read: true,
            write: true,
        };
        mem.map(PAGE, 2 * PAGE, access, Some(file), 0).unwrap();
        (hw, mem)
    }

    /// Offers the page behind `len` and `eom` in slot 0 of `ring`.
    fn offer(mbox: &mut Mailbox, ring: Ring, len: u16, eom: bool) {
        let desc = MboxDesc::new().with_len(len).with_eom(eom);
        let desc = desc.with_addr_8(PAGE >> 3).with_host_cmpl(true).into_bits();
        mbox.write(low(ring, 0) + 1, (desc >> 32) as u32);
        mbox.write(low(ring, 0), desc as u32);
    }

    #[test]
    fn the_descriptor_has_to_say_what_the_message_is() {
        let (hw, mem) = host();
        let dma = Dma::new(&hw, &mem);
        // A message of two dwords.
        mem.write(PAGE, &[0x10, 0x80, 2, 0, 0, 0, 4, 0]).unwrap();
        for (len, eom, good) in [
            (8, true, true),
            (8, false, false),
            (4, true, false),
            (12, true, false),
            (0, true, false),
            (2, true, false),
            (u16::MAX, true, false),
        ] {
            let mut mbox = Mailbox::new();
            offer(&mut mbox, Ring::Tx, len, eom);
            let taken = mbox.receive(&dma, |_| false).unwrap();
            assert_eq!(taken.map(|bytes| bytes.len()).ok(), good.then_some(8));
            let desc = MboxDesc::from_bits(mbox.desc[1][0]);
            assert_eq!((desc.fw_cmpl(), desc.fw_err()), (true, !good), "{len}");
        }
    }

    #[test]
    fn an_answer_longer_than_its_buffer_is_not_written() {
        let (hw, mem) = host();
        let dma = Dma::new(&hw, &mem);
        for (len, good) in [(8, true), (4096, true), (7, false), (0, false)] {
            mem.write(PAGE, &[0; 8]).unwrap();
            let mut mbox = Mailbox::new();
            offer(&mut mbox, Ring::Rx, len, false);
            assert!(mbox.send(&dma, &[1; 8]));
            let desc = MboxDesc::from_bits(mbox.desc[0][0]);
            assert_eq!((desc.fw_cmpl(), desc.fw_err()), (true, !good), "{len}");
            assert_eq!((desc.len(), desc.eom()), (if good { 8 } else { 0 }, good));
            let mut memory = [0; 8];
            mem.read(PAGE, &mut memory).unwrap();
            assert_eq!(memory, [u8::from(good); 8]);
        }
    }

    /// The dword index of a slot's low half.
    fn low(ring: Ring, slot: usize) -> usize {
        2 * (RING_SLOTS * ring as usize + slot)
    }

    fn reset(mbox: &mut Mailbox, ring: Ring) {
        mbox.write(low(ring, 0), 0);
        mbox.write(low(ring, 0) + 1, 0);
        for slot in (1..RING_SLOTS).rev() {
            mbox.write(low(ring, slot), 3);
            mbox.write(low(ring, slot) + 1, 0);
        }
    }

    #[test]
    fn a_ring_reset_brings_the_head_to_slot_0() {
        for start in 0..RING_SLOTS {
            let mut mbox = Mailbox::new();
            mbox.head = [start; 2];
            reset(&mut mbox, Ring::Tx);
            assert_eq!(mbox.head, [start, 0], "only the reset ring moves");
        }
    }

    #[test]
    fn descriptors_read_back_as_written() {
        let mut mbox = Mailbox::new();
        assert_eq!(mbox.write(low(Ring::Rx, 5) + 1, 0x1000_4000), None);
        assert_eq!(mbox.write(low(Ring::Rx, 5), 0x1234_5001), Some(Ring::Rx));
        assert_eq!(mbox.read(low(Ring::Rx, 5)), Some(0x1234_5001));
        assert_eq!(mbox.read(low(Ring::Rx, 5) + 1), Some(0x1000_4000));
        assert_eq!((mbox.read(64), mbox.write(64, 1)), (None, None));
    }

    #[test]
    fn a_slot_is_usable_only_while_the_host_owns_nothing_of_it() {
        let mut mbox = Mailbox::new();
        for (bits, usable) in [(0, false), (1, true), (2, false), (3, false)] {
            mbox.head = [0; 2];
            mbox.desc = Default::default();
            mbox.write(low(Ring::Tx, 0), bits);
            assert_eq!(mbox.owned(Ring::Tx).is_some(), usable, "bits {bits}");
        }
    }

    #[test]
    fn a_ring_of_finished_slots_does_not_spin() {
        let mut mbox = Mailbox::new();
        for slot in 0..RING_SLOTS {
            mbox.write(low(Ring::Rx, slot), 3);
        }
        assert!(mbox.owned(Ring::Rx).is_none());
    }
}
