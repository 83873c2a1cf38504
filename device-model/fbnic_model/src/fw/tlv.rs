// SPDX-License-Identifier: GPL-2.0
//! The mailbox's type-length-value encoding (guide, section 15), from the firmware's side.
//!
//! A message is a header that counts dwords, followed by attributes whose headers count bytes.
//! The bytes come from the guest, so [`Message::parse`] checks a whole message before anybody
//! looks at an attribute.

use fbnic_defs::fw::MAX_MSG;

const HEADER: usize = 4;
const TYPE_MASK: u16 = 0x0fff;
const CANNOT_IGNORE: u16 = 1 << 14;
const IS_MSG: u16 = 1 << 15;
/// Attribute identifiers lie below this.
const ATTR_LIMIT: u16 = 32;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// The bytes end before the lengths say so.
    #[error("the message is cut short")]
    Truncated,
    /// The first header is not that of a message.
    #[error("the first header is not a message header")]
    NotAMessage,
    /// A header inside the message is that of a message.
    #[error("attribute {0:#x} is marked as a message")]
    NestedMessage(u16),
    /// The identifier does not fit the attribute table.
    #[error("attribute {0:#x} is out of range")]
    BadId(u16),
    /// An attribute came twice.
    #[error("attribute {0:#x} comes twice")]
    Duplicate(u16),
    /// An attribute has a length its type does not allow.
    #[error("attribute {0:#x} has a wrong length")]
    BadLength(u16),
    /// An attribute this firmware does not know must not be skipped.
    #[error("attribute {0:#x} is unknown and cannot be ignored")]
    Unknown(u16),
    /// A message being built does not fit a mailbox page.
    #[error("the message does not fit a mailbox page")]
    TooLong,
}

/// A checked message: attribute bytes by identifier.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    id: u16,
    attrs: [Option<&'a [u8]>; ATTR_LIMIT as usize],
}

impl<'a> Message<'a> {
    /// Checks `bytes`, one message of which the host said it is `bytes.len()` long.
    ///
    /// `known` says which attribute identifiers the message `id` may have.
    pub fn parse(bytes: &'a [u8], known: impl Fn(u16, u16) -> bool) -> Result<Self, TlvError> {
        let (kind, dwords) = header(bytes)?;
        if kind & IS_MSG == 0 {
            return Err(TlvError::NotAMessage);
        }
        let id = kind & TYPE_MASK;
        let end = usize::from(dwords) * 4;
        let mut rest = bytes.get(HEADER..end).ok_or(TlvError::Truncated)?;
        let mut attrs = [None; ATTR_LIMIT as usize];
        while !rest.is_empty() {
            let (attr, data, next) = attribute(rest)?;
            let number = attr & TYPE_MASK;
            let slot = attrs
                .get_mut(usize::from(number))
                .ok_or(TlvError::BadId(number))?;
            if slot.replace(data).is_some() {
                return Err(TlvError::Duplicate(number));
            }
            if attr & CANNOT_IGNORE != 0 && !known(id, number) {
                return Err(TlvError::Unknown(number));
            }
            rest = next;
        }
        Ok(Self { id, attrs })
    }

    /// The length in bytes that `bytes` says it has, without a check of the rest.
    pub fn peek_len(bytes: &[u8]) -> Option<usize> {
        let (_, dwords) = header(bytes).ok()?;
        Some(usize::from(dwords) * 4)
    }

    /// The message identifier of `bytes` without a look at the rest, if they are a message.
    pub fn peek_id(bytes: &[u8]) -> Option<u16> {
        let (kind, _) = header(bytes).ok()?;
        (kind & IS_MSG != 0).then_some(kind & TYPE_MASK)
    }

    /// The message identifier.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The bytes of attribute `id`, if it is there.
    pub fn bytes(&self, id: u16) -> Option<&'a [u8]> {
        self.attrs.get(usize::from(id)).copied().flatten()
    }

    /// Whether flag `id` is set. A flag carries no data.
    pub fn flag(&self, id: u16) -> Result<bool, TlvError> {
        match self.bytes(id) {
            Some([]) => Ok(true),
            Some(_) => Err(TlvError::BadLength(id)),
            None => Ok(false),
        }
    }

    /// The unsigned number `id` of up to 32 bits.
    pub fn u32(&self, id: u16) -> Result<Option<u32>, TlvError> {
        let Some(data) = self.bytes(id) else {
            return Ok(None);
        };
        let mut word = [0; 4];
        let used = word.get_mut(..data.len()).ok_or(TlvError::BadLength(id))?;
        if used.is_empty() {
            return Err(TlvError::BadLength(id));
        }
        used.copy_from_slice(data);
        Ok(Some(u32::from_le_bytes(word)))
    }

    /// The MAC addresses in array `id`, whose elements are attributes `id` as well or of any
    /// one other identifier.
    pub fn mac_array(&self, id: u16) -> Result<Vec<[u8; 6]>, TlvError> {
        let mut macs = Vec::new();
        let mut rest = self.bytes(id).unwrap_or(&[]);
        while !rest.is_empty() {
            let (_, data, next) = attribute(rest)?;
            macs.push(data.try_into().map_err(|_| TlvError::BadLength(id))?);
            rest = next;
        }
        Ok(macs)
    }
}

/// Splits a header off: type field and length field.
fn header(bytes: &[u8]) -> Result<(u16, u16), TlvError> {
    match bytes {
        [a, b, c, d, ..] => Ok((u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))),
        _ => Err(TlvError::Truncated),
    }
}

/// Splits the first attribute off `bytes`: type field, data without padding, what follows.
fn attribute(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), TlvError> {
    let (kind, len) = header(bytes)?;
    let number = kind & TYPE_MASK;
    if kind & IS_MSG != 0 {
        return Err(TlvError::NestedMessage(number));
    }
    let len = usize::from(len);
    if len < HEADER {
        return Err(TlvError::BadLength(number));
    }
    let data = bytes.get(HEADER..len).ok_or(TlvError::Truncated)?;
    let next = bytes
        .get(len.next_multiple_of(4)..)
        .ok_or(TlvError::Truncated)?;
    Ok((kind, data, next))
}

/// A message being built.
///
/// The first attribute that does not fit spoils the message; [`Self::finish`] says so.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    spoilt: bool,
}

impl Builder {
    /// Starts message `id`.
    pub fn new(id: u16) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&(id & TYPE_MASK | IS_MSG).to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        Self {
            bytes,
            spoilt: false,
        }
    }

    /// Adds attribute `id` with `data`.
    pub fn data(mut self, id: u16, data: &[u8]) -> Self {
        let padded = HEADER + data.len().next_multiple_of(4);
        if self.bytes.len() + padded > MAX_MSG {
            self.spoilt = true;
            return self;
        }
        let len = (HEADER + data.len()) as u16; // At most MAX_MSG, checked above.
        self.bytes
            .extend_from_slice(&(id & TYPE_MASK).to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds flag `id` if `set`.
    pub fn flag(self, id: u16, set: bool) -> Self {
        if set {
            self.data(id, &[])
        } else {
            self
        }
    }

    /// Adds an unsigned 32-bit number.
    pub fn u32(self, id: u16, value: u32) -> Self {
        self.data(id, &value.to_le_bytes())
    }

    /// Adds a signed 32-bit number.
    pub fn s32(self, id: u16, value: i32) -> Self {
        self.data(id, &value.to_le_bytes())
    }

    /// Adds an unsigned 64-bit number.
    pub fn u64(self, id: u16, value: u64) -> Self {
        self.data(id, &value.to_le_bytes())
    }

    /// Adds a string with its NUL. Bytes from a NUL on are left out.
    pub fn string(self, id: u16, text: &str) -> Self {
        let text = text.split('\0').next().unwrap_or_default();
        let mut data = text.as_bytes().to_vec();
        data.push(0);
        self.data(id, &data)
    }

    /// Adds array `id` of the elements that `fill` adds.
    pub fn array(self, id: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inner = fill(Self {
            bytes: Vec::new(),
            spoilt: false,
        });
        let spoilt = inner.spoilt;
        let mut outer = self.data(id, &inner.bytes);
        outer.spoilt |= spoilt;
        outer
    }

    /// The finished message.
    pub fn finish(mut self) -> Result<Vec<u8>, TlvError> {
        if self.spoilt {
            return Err(TlvError::TooLong);
        }
        let dwords = (self.bytes.len() / 4) as u16; // At most MAX_MSG / 4.
        for (at, byte) in self.bytes.iter_mut().skip(2).zip(dwords.to_le_bytes()) {
            *at = byte;
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Message<'_>, TlvError> {
        Message::parse(bytes, |_, _| false)
    }

    #[test]
    fn what_is_built_parses() {
        let bytes = Builder::new(0x11)
            .u32(0, 0x0102_0304)
            .flag(1, true)
            .flag(2, false)
            .string(6, "abc")
            .array(3, |a| {
                a.data(2, &[1, 2, 3, 4, 5, 6]).data(2, &[6, 5, 4, 3, 2, 1])
            })
            .finish()
            .unwrap();
        let msg = parse(&bytes).unwrap();
        assert_eq!(msg.id(), 0x11);
        assert_eq!(msg.u32(0), Ok(Some(0x0102_0304)));
        assert_eq!((msg.flag(1), msg.flag(2)), (Ok(true), Ok(false)));
        assert_eq!(msg.bytes(6), Some(&b"abc\0"[..]));
        assert_eq!(
            msg.mac_array(3).unwrap(),
            [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]
        );
    }

    #[test]
    fn lengths_are_those_of_the_guide() {
        let bytes = Builder::new(1).data(2, &[9]).finish().unwrap();
        assert_eq!(bytes, [1, 0x80, 3, 0, 2, 0, 5, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn broken_messages_are_refused() {
        let cases: [(&[u8], TlvError); 7] = [
            (&[1, 0x80, 1], TlvError::Truncated),
            (&[1, 0x80, 2, 0], TlvError::Truncated),
            (&[1, 0, 1, 0], TlvError::NotAMessage),
            (&[1, 0x80, 2, 0, 2, 0, 3, 0], TlvError::BadLength(2)),
            (&[1, 0x80, 2, 0, 2, 0, 5, 0], TlvError::Truncated),
            (&[1, 0x80, 2, 0, 32, 0, 4, 0], TlvError::BadId(32)),
            (
                &[1, 0x80, 3, 0, 2, 0, 4, 0, 2, 0, 4, 0],
                TlvError::Duplicate(2),
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(bytes).map(|m| m.id()), Err(error), "{bytes:?}");
        }
        assert_eq!(
            parse(&[1, 0x80, 2, 0, 2, 0x40, 4, 0]).map(|m| m.id()),
            Err(TlvError::Unknown(2))
        );
        assert_eq!(
            parse(&[1, 0x80, 2, 0, 2, 0x80, 4, 0]).map(|m| m.id()),
            Err(TlvError::NestedMessage(2))
        );
    }

    #[test]
    fn numbers_have_limits() {
        let bytes = Builder::new(1)
            .data(0, &[0; 5])
            .data(1, &[])
            .data(2, &[7])
            .finish()
            .unwrap();
        let msg = parse(&bytes).unwrap();
        assert_eq!(msg.u32(0), Err(TlvError::BadLength(0)));
        assert_eq!(msg.u32(1), Err(TlvError::BadLength(1)));
        assert_eq!(msg.u32(2), Ok(Some(7)));
        assert_eq!(msg.flag(2), Err(TlvError::BadLength(2)));
    }

    #[test]
    fn a_page_is_the_limit() {
        assert!(Builder::new(1).data(0, &[0; MAX_MSG - 8]).finish().is_ok());
        assert_eq!(
            Builder::new(1).data(0, &[0; MAX_MSG - 7]).finish(),
            Err(TlvError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(msg) = parse(&bytes) {
                for id in 0..40 {
                    let _ = (msg.flag(id), msg.u32(id), msg.mac_array(id));
                }
            }
        }
    }
}
