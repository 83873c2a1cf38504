// SPDX-License-Identifier: GPL-2.0
//! Firmware that is dead, slow, or talks nonsense.

use std::time::Duration;

use fbnic_defs::fw::{msg, MboxDesc, MAX_MSG};
use rand::Rng;

use super::spec::{Fault, MailboxField, Mangling};
use super::{Faults, Hook};
use crate::fw::tlv::{Builder, TlvError};

/// Header of a message or attribute in bytes.
const HEADER: usize = 4;
/// Bit of a header that marks a message.
const IS_MSG: u16 = 1 << 15;
/// How deep [`Mangling::Nested`] goes: each level costs a header.
const DEPTH: usize = 64;

/// What becomes of the answers to a request.
pub(crate) enum Answers {
    /// There are none.
    Silence,
    /// They come late.
    Late(Duration),
    /// They report this error instead.
    Error(i32),
    /// This comes instead.
    Replaced(Vec<u8>),
    /// Each is spoilt; the number chooses the details.
    Mangled(Mangling, u64),
}

impl Faults {
    /// Whether the firmware ignores its mailbox.
    pub(crate) fn firmware_dead(&self) -> bool {
        let dead = |fault: &Fault, _: &mut _| match fault {
            Fault::FwDead {} => Some(()),
            _ => None,
        };
        self.strike(Hook::Firmware, dead).is_some()
    }

    /// Whether request `id` is completed with FW_ERR.
    pub(crate) fn request_refused(&self, id: u16) -> bool {
        let refused = |fault: &Fault, _: &mut _| match fault {
            Fault::FwRefused { message } => message.is_none_or(|only| only == id).then_some(()),
            _ => None,
        };
        self.strike(Hook::Firmware, refused).is_some()
    }

    /// What becomes of the answers to request `id`.
    pub(crate) fn answers(&self, id: u16) -> Option<Answers> {
        let this = |only: Option<u16>| only.is_none_or(|only| only == id);
        self.strike(Hook::Firmware, |fault, rng| match fault {
            Fault::FwSilent { message } if this(*message) => Some(Answers::Silence),
            Fault::FwDelay { message, ms } if this(*message) => {
                Some(Answers::Late(Duration::from_millis(*ms)))
            }
            Fault::FwError { message, error } if *message == id => Some(Answers::Error(*error)),
            Fault::FwReplaced { message, hex } if *message == id => {
                Some(Answers::Replaced(hex.0.clone()))
            }
            Fault::FwMangled { message, how } if this(*message) => {
                Some(Answers::Mangled(*how, rng.random()))
            }
            _ => None,
        })
    }

    /// The completed descriptor that hands over a message.
    pub(crate) fn mailbox_descriptor(&self, desc: MboxDesc) -> MboxDesc {
        self.strike(Hook::Firmware, |fault, rng| match fault {
            Fault::FwDescriptor { field, value } => {
                let value = value.unwrap_or_else(|| rng.random());
                Some(with_field(desc, *field, value))
            }
            _ => None,
        })
        .unwrap_or(desc)
    }
}

/// `desc` with `value` in `field`, as far as the field has room for it.
fn with_field(desc: MboxDesc, field: MailboxField, value: u64) -> MboxDesc {
    // CAST: the field takes the low bits of the value.
    match field {
        MailboxField::Length => desc.with_len(value as u16),
        MailboxField::Address => desc.with_addr_8(value & ((1 << 43) - 1)),
        MailboxField::Eom => desc.with_eom(false),
        MailboxField::Error => desc.with_len(0).with_eom(false).with_fw_err(true),
    }
}

/// The answer of kind `id` that reports `error`; `None` for those that cannot.
pub(crate) fn error_answer(id: u16, error: i32) -> Option<Result<Vec<u8>, TlvError>> {
    let attr = match id {
        msg::COREDUMP_GET_INFO_RESP | msg::TSENE_READ_RESP => 2,
        msg::COREDUMP_READ_RESP => 3,
        msg::FW_START_UPGRADE_RESP | msg::FW_FINISH_UPGRADE_REQ => 0,
        msg::QSFP_READ_RESP => 4,
        _ => return None,
    };
    Some(Builder::new(id).s32(attr, error).finish())
}

/// Spoils a message; `chance` chooses the details.
pub(crate) fn mangle(mut bytes: Vec<u8>, how: Mangling, chance: u64) -> Vec<u8> {
    match how {
        // Also cuts headers in two, as the length need not be a multiple of 4.
        Mangling::Truncated => {
            let len = bytes.len().saturating_sub(1).max(1);
            // CAST: less than a message's length.
            bytes.truncate((chance % len as u64) as usize);
        }
        Mangling::Oversized => put_u16(&mut bytes, HEADER + 2, u16::MAX),
        // CAST: twelve bits.
        Mangling::WrongId => put_u16(&mut bytes, 0, IS_MSG | 0x0fff & chance as u16 | 0x80),
        Mangling::Nested => return nested(&bytes),
        Mangling::Duplicate => duplicate(&mut bytes),
        Mangling::Random => flip(&mut bytes, chance),
    }
    bytes
}

fn put_u16(bytes: &mut Vec<u8>, at: usize, value: u16) {
    if bytes.len() < at + 2 {
        bytes.resize(at + 2, 0);
    }
    for (to, byte) in bytes.iter_mut().skip(at).zip(value.to_le_bytes()) {
        *to = byte;
    }
}

fn get_u16(bytes: &[u8], at: usize) -> u16 {
    let pair = bytes.get(at..at + 2).and_then(|two| two.first_chunk());
    pair.map_or(0, |pair| u16::from_le_bytes(*pair))
}

/// Brings the dword count of the message's header in line with its length.
fn set_length(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4).min(MAX_MSG), 0);
    // CAST: at most a quarter of MAX_MSG.
    let dwords = (bytes.len() / 4) as u16;
    put_u16(bytes, 2, dwords);
}

/// The message's attributes within attributes that contain nothing else.
fn nested(message: &[u8]) -> Vec<u8> {
    let mut content = message.get(HEADER..).unwrap_or(&[]).to_vec();
    content.truncate(MAX_MSG - HEADER * (DEPTH + 1));
    for _ in 0..DEPTH {
        // CAST: less than MAX_MSG.
        let len = (content.len() + HEADER) as u16;
        let mut outer = get_u16(message, HEADER).to_le_bytes().to_vec();
        outer.extend(len.to_le_bytes());
        outer.extend(content);
        content = outer;
    }
    let mut bytes = message.get(..HEADER).unwrap_or(&[0; HEADER]).to_vec();
    bytes.extend(content);
    set_length(&mut bytes);
    bytes
}

/// Puts the first attribute at the end once more.
fn duplicate(bytes: &mut Vec<u8>) {
    let len = usize::from(get_u16(bytes, HEADER + 2));
    let first = bytes.get(HEADER..HEADER + len).unwrap_or(&[]).to_vec();
    bytes.extend(first);
    set_length(bytes);
}

/// Flips up to four bits.
fn flip(bytes: &mut [u8], chance: u64) {
    for n in chance.to_le_bytes().chunks(2) {
        let n = usize::from(get_u16(n, 0));
        let len = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(n / 8 % len) {
            *byte ^= 1 << (n % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fw::tlv::Message;

    fn heartbeat() -> Vec<u8> {
        Builder::new(msg::HEARTBEAT_RESP)
            .u64(0, 5)
            .finish()
            .unwrap()
    }

    #[test]
    fn what_is_mangled_does_not_parse() {
        for how in [
            Mangling::Truncated,
            Mangling::Oversized,
            Mangling::Duplicate,
        ] {
            let bytes = mangle(heartbeat(), how, 7);
            assert!(Message::parse(&bytes, |_, _| true).is_err(), "{how:?}");
        }
        let nested = mangle(heartbeat(), Mangling::Nested, 0);
        assert_eq!(nested.len(), heartbeat().len() + HEADER * DEPTH);
    }

    proptest! {
        #[test]
        fn anything_can_be_mangled(
            bytes in prop::collection::vec(any::<u8>(), 0..MAX_MSG),
            chance in any::<u64>(),
            how in prop::sample::select(vec![
                Mangling::Truncated, Mangling::Oversized, Mangling::WrongId,
                Mangling::Nested, Mangling::Duplicate, Mangling::Random,
            ]),
        ) {
            prop_assert!(mangle(bytes, how, chance).len() <= MAX_MSG + HEADER);
        }
    }
}
