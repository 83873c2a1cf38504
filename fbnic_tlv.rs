// SPDX-License-Identifier: GPL-2.0

//! Codec of the firmware's messages: type, length, value.
//!
//! A message is a 4-byte header followed by attributes, which have a header of their own:
//!
//! ```text
//!  15     14             13:12     11:0   15:0
//! +------+--------------+---------+------+--------+----------------- - -
//! |is_msg|cannot_ignore |reserved | type | length | data, padded to 4
//! +------+--------------+---------+------+--------+----------------- - -
//! ```
//!
//! All integers are little-endian. The length of a message counts 32-bit words, header included; the
//! length of an attribute counts bytes, its header included and its padding not. Attributes can
//! contain attributes. A whole message is at most [`MAX_MESSAGE`] bytes.
//!
//! Nothing here depends on the kernel or on the device, so that the rules can be tested on the
//! host. Everything parsed comes from firmware and is not trusted: [`Message::parse`] and
//! [`Attrs::parse`] check every length before any value is looked at, and refuse the whole message
//! when one rule is broken.

/// Largest message, bytes: what fits into the page behind one mailbox descriptor.
pub const MAX_MESSAGE: usize = 4096;

/// Bytes of a header.
pub const HEADER: usize = 4;

/// Attribute ids are below this.
pub const MAX_ATTRS: usize = 32;

/// Deepest nesting that is parsed or built.
pub const MAX_DEPTH: u8 = 4;

const TYPE_MASK: u16 = 0x0fff;
const CANNOT_IGNORE: u16 = 1 << 14;
const IS_MSG: u16 = 1 << 15;

/// Bytes of an Ethernet address.
const MAC_LEN: usize = 6;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvError {
    /// The outer header is not that of a message.
    NotMessage,
    /// A length is below a header's, or reaches past what contains it.
    Length,
    /// An attribute has an id that no attribute can have, or carries the message flag.
    Id,
    /// An attribute occurs twice.
    Duplicate,
    /// The size or content of a value does not fit its kind.
    Value,
    /// The sender does not allow the receiver to skip an attribute it does not know.
    CannotIgnore,
    /// Attributes are nested too deep.
    Depth,
    /// What is to be sent does not fit the message.
    Full,
}

/// Outcome of encoding or parsing.
pub type TlvResult<T = ()> = core::result::Result<T, TlvError>;

/// What the value of an attribute looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value: present means true.
    Flag,
    /// Unsigned integer of one to this many bytes.
    Unsigned(usize),
    /// Signed integer of one to this many bytes, sign-extended from its own width.
    Signed(usize),
    /// Text with a terminating NUL, both together at most this many bytes.
    Str(usize),
    /// One to this many bytes.
    Binary(usize),
    /// Ethernet address: up to six bytes, the rest zero.
    Mac,
    /// Attributes, each at most once.
    Nested,
    /// Attributes of one id, any number.
    Array,
}

impl Kind {
    /// A `u32`.
    pub const U32: Kind = Kind::Unsigned(4);
    /// A `u64`.
    pub const U64: Kind = Kind::Unsigned(8);
    /// An `i32`.
    pub const S32: Kind = Kind::Signed(4);
    /// An `i64`.
    pub const S64: Kind = Kind::Signed(8);

    /// Checks the data of an attribute of this kind.
    fn check(self, data: &[u8]) -> TlvResult {
        let fits = match self {
            Kind::Flag => data.is_empty(),
            Kind::Unsigned(max) | Kind::Signed(max) | Kind::Binary(max) => {
                (1..=max).contains(&data.len())
            }
            Kind::Mac => (1..=MAC_LEN).contains(&data.len()),
            Kind::Str(max) => until_nul(data).is_some_and(|text| text.len() < max),
            Kind::Nested | Kind::Array => data.len() % HEADER == 0,
        };
        if fits {
            Ok(())
        } else {
            Err(TlvError::Value)
        }
    }
}

/// One attribute that a message may contain.
pub type Attr = (u16, Kind);

/// The text before the first NUL, if there is one.
fn until_nul(data: &[u8]) -> Option<&[u8]> {
    data.get(..data.iter().position(|&byte| byte == 0)?)
}

/// Bytes with padding.
const fn padded(len: usize) -> usize {
    len.next_multiple_of(HEADER)
}

/// A decoded header.
struct Header {
    flags: u16,
    id: u16,
    length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> TlvResult<Self> {
        let &[t0, t1, l0, l1] = bytes.first_chunk::<HEADER>().ok_or(TlvError::Length)?;
        let word = u16::from_le_bytes([t0, t1]);
        Ok(Self {
            flags: word & !TYPE_MASK,
            id: word & TYPE_MASK,
            length: usize::from(u16::from_le_bytes([l0, l1])),
        })
    }
}

/// A received message whose own length has been checked.
pub struct Message<'a> {
    id: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the message off the front of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> TlvResult<Self> {
        let header = Header::parse(bytes)?;
        if header.flags & IS_MSG == 0 {
            return Err(TlvError::NotMessage);
        }
        let length = header.length * HEADER;
        if length > MAX_MESSAGE {
            return Err(TlvError::Length);
        }
        let body = bytes.get(HEADER..length).ok_or(TlvError::Length)?;
        Ok(Self {
            id: header.id,
            body,
        })
    }

    /// What kind of message it is.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Parses the attributes, of which `schema` lists those known.
    pub fn attrs(&self, schema: &'static [Attr]) -> TlvResult<Attrs<'a>> {
        Attrs::parse(self.body, schema, MAX_DEPTH)
    }
}

/// Walks over consecutive attributes and checks their lengths.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Takes the next attribute: its header and its data without padding.
    fn next(&mut self) -> TlvResult<Option<(Header, &'a [u8])>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = Header::parse(self.rest)?;
        if header.flags & IS_MSG != 0 || usize::from(header.id) >= MAX_ATTRS {
            return Err(TlvError::Id);
        }
        let data = self
            .rest
            .get(HEADER..header.length)
            .ok_or(TlvError::Length)?;
        self.rest = self
            .rest
            .get(padded(header.length)..)
            .ok_or(TlvError::Length)?;
        Ok(Some((header, data)))
    }
}

/// The attributes of a message or of a nested attribute, by id.
///
/// # Invariants
///
/// Each value has been checked against the kind that the schema gives to its id.
pub struct Attrs<'a> {
    values: [Option<&'a [u8]>; MAX_ATTRS],
    depth: u8,
}

impl<'a> Attrs<'a> {
    fn parse(body: &'a [u8], schema: &[Attr], depth: u8) -> TlvResult<Self> {
        let mut values = [None; MAX_ATTRS];
        let mut walk = Walk { rest: body };
        while let Some((header, data)) = walk.next()? {
            let Some(&(_, kind)) = schema.iter().find(|(id, _)| *id == header.id) else {
                if header.flags & CANNOT_IGNORE != 0 {
                    return Err(TlvError::CannotIgnore);
                }
                continue;
            };
            kind.check(data)?;
            let slot = values.get_mut(usize::from(header.id)).ok_or(TlvError::Id)?;
            if slot.replace(data).is_some() {
                return Err(TlvError::Duplicate);
            }
        }
        // INVARIANT: Only values that `Kind::check` passed were stored.
        Ok(Self { values, depth })
    }

    /// The data of attribute `id`, if it was sent and is known to the schema.
    pub fn bytes(&self, id: u16) -> Option<&'a [u8]> {
        *self.values.get(usize::from(id))?
    }

    /// Whether attribute `id` was sent.
    pub fn flag(&self, id: u16) -> bool {
        self.bytes(id).is_some()
    }

    /// The unsigned integer `id`.
    pub fn unsigned(&self, id: u16) -> Option<u64> {
        self.bytes(id).and_then(unsigned)
    }

    /// The unsigned integer `id` if it fits 32 bits, which kind [`Kind::U32`] guarantees.
    pub fn u32(&self, id: u16) -> Option<u32> {
        u32::try_from(self.unsigned(id)?).ok()
    }

    /// The signed integer `id`.
    pub fn signed(&self, id: u16) -> Option<i64> {
        self.bytes(id).and_then(signed)
    }

    /// The signed integer `id` if it fits 32 bits, which kind [`Kind::S32`] guarantees.
    pub fn s32(&self, id: u16) -> Option<i32> {
        i32::try_from(self.signed(id)?).ok()
    }

    /// The text `id` without its NUL.
    pub fn text(&self, id: u16) -> Option<&'a [u8]> {
        until_nul(self.bytes(id)?)
    }

    /// Parses the attributes nested in `id`.
    pub fn nested(&self, id: u16, schema: &'static [Attr]) -> TlvResult<Option<Attrs<'a>>> {
        let Some(body) = self.bytes(id) else {
            return Ok(None);
        };
        let depth = self.depth.checked_sub(1).ok_or(TlvError::Depth)?;
        Attrs::parse(body, schema, depth).map(Some)
    }

    /// Collects the values of the array `id`, whose elements are attributes `element`.
    ///
    /// Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`TlvError::Full`] if there are more than `out` can take, apart from those of any attribute.
    pub fn array(&self, id: u16, element: Attr, out: &mut [Option<&'a [u8]>]) -> TlvResult<usize> {
        let mut walk = Walk {
            rest: self.bytes(id).unwrap_or_default(),
        };
        let mut count = 0;
        while let Some((header, data)) = walk.next()? {
            if header.id != element.0 {
                return Err(TlvError::Id);
            }
            element.1.check(data)?;
            *out.get_mut(count).ok_or(TlvError::Full)? = Some(data);
            count += 1;
        }
        Ok(count)
    }
}

/// Decodes an unsigned integer of one to eight bytes.
pub fn unsigned(data: &[u8]) -> Option<u64> {
    let mut bytes = [0; 8];
    if data.is_empty() {
        return None;
    }
    bytes.get_mut(..data.len())?.copy_from_slice(data);
    Some(u64::from_le_bytes(bytes))
}

/// Decodes a signed integer of one to eight bytes.
pub fn signed(data: &[u8]) -> Option<i64> {
    let negative = data.last()? & 0x80 != 0;
    let mut bytes = [if negative { 0xff } else { 0 }; 8];
    bytes.get_mut(..data.len())?.copy_from_slice(data);
    Some(i64::from_le_bytes(bytes))
}

/// Decodes an Ethernet address.
pub fn mac(data: &[u8]) -> Option<[u8; MAC_LEN]> {
    let mut bytes = [0; MAC_LEN];
    bytes.get_mut(..data.len())?.copy_from_slice(data);
    Some(bytes)
}

/// Decodes a text up to its NUL.
pub fn text(data: &[u8]) -> Option<&[u8]> {
    until_nul(data)
}

/// A message under construction.
///
/// # Invariants
///
/// `len` is a multiple of four and at most `buf.len()`, which is at most [`MAX_MESSAGE`].
pub struct Builder<'a> {
    buf: &'a mut [u8],
    len: usize,
    depth: u8,
}

impl<'a> Builder<'a> {
    /// Starts a message of type `id` in `buf`, of which at most [`MAX_MESSAGE`] bytes are used.
    pub fn new(buf: &'a mut [u8], id: u16) -> TlvResult<Self> {
        if id & !TYPE_MASK != 0 {
            return Err(TlvError::Id);
        }
        let room = buf.len().min(MAX_MESSAGE) / HEADER * HEADER;
        let buf = buf.get_mut(..room).ok_or(TlvError::Full)?;
        // INVARIANT: Zero is a multiple of four and fits any buffer.
        let mut message = Self {
            buf,
            len: 0,
            depth: MAX_DEPTH,
        };
        message.append(IS_MSG | id, 0, &[])?;
        Ok(message)
    }

    /// Appends a header with the given words, then `data` and its padding.
    fn append(&mut self, word: u16, length: u16, data: &[u8]) -> TlvResult {
        let end = self.len + HEADER + padded(data.len());
        let room = self.buf.get_mut(self.len..end).ok_or(TlvError::Full)?;
        let (header, rest) = room.split_at_mut_checked(HEADER).ok_or(TlvError::Full)?;
        for (to, from) in header
            .iter_mut()
            .zip(word.to_le_bytes().into_iter().chain(length.to_le_bytes()))
        {
            *to = from;
        }
        for (to, from) in rest
            .iter_mut()
            .zip(data.iter().copied().chain(core::iter::repeat(0)))
        {
            *to = from;
        }
        // INVARIANT: `end` was just found to be inside the buffer; all terms are multiples of four.
        self.len = end;
        Ok(())
    }

    /// Replaces the length in the header at `start`.
    fn patch_length(&mut self, start: usize, length: usize) -> TlvResult {
        let length = u16::try_from(length).map_err(|_| TlvError::Full)?;
        self.buf
            .get_mut(start + 2..start + HEADER)
            .ok_or(TlvError::Full)?
            .copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn check_id(id: u16) -> TlvResult {
        if usize::from(id) < MAX_ATTRS {
            Ok(())
        } else {
            Err(TlvError::Id)
        }
    }

    /// Adds an attribute with the given data.
    pub fn put_bytes(&mut self, id: u16, data: &[u8]) -> TlvResult {
        Self::check_id(id)?;
        let length = u16::try_from(HEADER + data.len()).map_err(|_| TlvError::Full)?;
        self.append(id, length, data)
    }

    /// Adds a flag: its presence means true.
    pub fn put_flag(&mut self, id: u16) -> TlvResult {
        self.put_bytes(id, &[])
    }

    /// Adds a 32-bit integer.
    pub fn put_u32(&mut self, id: u16, value: u32) -> TlvResult {
        self.put_bytes(id, &value.to_le_bytes())
    }

    /// Adds a text, which must not contain a NUL, and a NUL.
    pub fn put_text(&mut self, id: u16, text: &[u8]) -> TlvResult {
        if text.contains(&0) {
            return Err(TlvError::Value);
        }
        Self::check_id(id)?;
        let data_len = text.len() + 1;
        let length = u16::try_from(HEADER + data_len).map_err(|_| TlvError::Full)?;
        // The padding is zero, and so is the terminator one byte further when there is none.
        self.append(id, length, text)?;
        if text.len() % HEADER == 0 {
            let end = self.len + HEADER;
            self.buf
                .get_mut(self.len..end)
                .ok_or(TlvError::Full)?
                .fill(0);
            // INVARIANT: `end` was just found to be inside the buffer.
            self.len = end;
        }
        Ok(())
    }

    /// Adds attribute `id` around the attributes that `fill` adds. Also used for arrays.
    ///
    /// After an error the message must not be sent.
    pub fn nest(&mut self, id: u16, fill: impl FnOnce(&mut Self) -> TlvResult) -> TlvResult {
        let start = self.len;
        self.put_flag(id)?;
        self.depth = self.depth.checked_sub(1).ok_or(TlvError::Depth)?;
        fill(self)?;
        self.depth += 1;
        self.patch_length(start, self.len - start)
    }

    /// Completes the message and returns its length in bytes.
    pub fn finish(mut self) -> TlvResult<usize> {
        self.patch_length(0, self.len / HEADER)?;
        Ok(self.len)
    }
}
