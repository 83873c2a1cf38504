// SPDX-License-Identifier: GPL-2.0
//! Large send: cutting a packet into segments, and completing checksums.
//!
//! The caller owns all bytes. It copies the headers and a piece of the payload
//! into the place the segment will be sent from, and [`Lso::finish`] edits that
//! place: lengths, IPv4 identification, TCP sequence number and flags, checksums.

use crate::checksum::Sum;

/// Most bytes one large send may grow to on the wire, headers of all segments
/// included. Only a hostile driver, with a tiny MSS behind large headers, meets it.
pub const MAX_OUTPUT: usize = 4 << 20;

/// Network layer edits wanted per segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L3Type {
    /// No edit; the driver has filled in what every full segment needs.
    Other,
    /// Total length, identification and header checksum.
    Ipv4,
    /// Payload length.
    Ipv6,
    /// Payload lengths of IPv6 in IPv6.
    V6InV6,
}

/// Transport layer edits wanted per segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Type {
    /// Sequence number and flags.
    Tcp,
    /// Length field.
    Udp,
}

/// What the descriptor says about a large send. Lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Ethernet header with tags.
    pub l2_len: usize,
    /// Outer network header, with all between it and the inner one.
    pub outer_len: usize,
    /// Inner or only network header.
    pub inner_len: usize,
    /// Transport header.
    pub l4_len: usize,
    /// Where in the transport header the checksum is.
    pub csum_offset: usize,
    /// Most payload bytes in a segment.
    pub mss: usize,
    /// Network layer edits.
    pub l3: L3Type,
    /// Transport layer edits.
    pub l4: L4Type,
}

/// The device's settings for large sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// TCP flags cleared in the first of several segments.
    pub first_clear: u16,
    /// TCP flags cleared in all between.
    pub middle_clear: u16,
    /// TCP flags cleared in the last of several segments.
    pub last_clear: u16,
    /// Each segment's IPv4 identification is one more than the one before.
    pub increment_id: bool,
}

/// Why a large send cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The MSS is 0.
    ZeroMss,
    /// The headers are longer than the packet, or do not hold the fields to edit.
    BadHeader,
    /// The IPv4 header is a fragment's, which cannot be cut further.
    Fragment,
    /// The result would exceed [`MAX_OUTPUT`].
    TooLong,
}

/// A checked large send.
#[derive(Clone, Copy, Debug)]
pub struct Lso {
    request: Request,
    control: Control,
    payload_len: usize,
    segments: usize,
}

impl Lso {
    /// Checks `request` against the packet's own first bytes.
    ///
    /// `header` must hold [`Request::header_len`] bytes; `total_len` is the length
    /// of the whole packet.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn new(
        request: Request,
        control: Control,
        header: &[u8],
        total_len: usize,
    ) -> Result<Self, Error> {
        let header_len = request.header_len();
        if request.mss == 0 {
            return Err(Error::ZeroMss);
        }
        if header.len() != header_len || total_len < header_len {
            return Err(Error::BadHeader);
        }
        request.check_headers(header)?;
        let payload_len = total_len - header_len;
        let segments = payload_len.div_ceil(request.mss).max(1);
        match header_len.checked_mul(segments) {
            Some(headers) if headers + payload_len <= MAX_OUTPUT => Ok(Self {
                request,
                control,
                payload_len,
                segments,
            }),
            _ => Err(Error::TooLong),
        }
    }

    /// Returns the number of segments, at least one.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Returns where in the payload segment `n` starts, and its length.
    #[must_use]
    pub fn payload(&self, n: usize) -> (usize, usize) {
        let start = n.saturating_mul(self.request.mss).min(self.payload_len);
        (start, self.request.mss.min(self.payload_len - start))
    }

    /// Completes segment `n`, whose headers and payload have been copied to `segment`.
    pub fn finish(&self, n: usize, segment: &mut [u8]) {
        let l3 = self.request.l2_len + self.request.outer_len;
        match self.request.l3 {
            L3Type::Other => {}
            L3Type::Ipv4 => self.edit_ipv4(n, l3, segment),
            L3Type::Ipv6 => edit_ipv6(l3, segment),
            L3Type::V6InV6 => {
                edit_ipv6(self.request.l2_len, segment);
                edit_ipv6(l3, segment);
            }
        }
        let l4 = l3 + self.request.inner_len;
        match self.request.l4 {
            L4Type::Tcp => self.edit_tcp(n, l4, segment),
            L4Type::Udp => put_u16(segment, l4 + 4, length_from(segment, l4)),
        }
        self.checksum(l4, segment);
    }

    fn edit_ipv4(&self, n: usize, at: usize, segment: &mut [u8]) {
        put_u16(segment, at + 2, length_from(segment, at));
        if self.control.increment_id {
            // CAST: the identification wraps at 16 bits.
            let id = get_u16(segment, at + 4).wrapping_add(n as u16);
            put_u16(segment, at + 4, id);
        }
        put_u16(segment, at + 10, 0);
        if let Some(header) = segment.get_mut(at..at + self.request.inner_len) {
            let field = Sum::of(header).field();
            if let Some(place) = header.get_mut(10..12) {
                place.copy_from_slice(&field);
            }
        }
    }

    fn edit_tcp(&self, n: usize, at: usize, segment: &mut [u8]) {
        // CAST: sequence numbers wrap at 32 bits.
        let advance = self.payload(n).0 as u32;
        if let Some(field) = segment.get_mut(at + 4..at + 8) {
            let seq = field.try_into().map_or(0, u32::from_be_bytes);
            field.copy_from_slice(&seq.wrapping_add(advance).to_be_bytes());
        }
        let clear = match (n == 0, n + 1 == self.segments) {
            (true, true) => 0,
            (true, false) => self.control.first_clear,
            (false, false) => self.control.middle_clear,
            (false, true) => self.control.last_clear,
        };
        let flags = get_u16(segment, at + 12) & !(clear & 0x1ff);
        put_u16(segment, at + 12, flags);
    }

    /// The field arrives holding the pseudo-header sum without a length.
    fn checksum(&self, l4: usize, segment: &mut [u8]) {
        let len = length_from(segment, l4);
        let sum = Sum::of(segment.get(l4..).unwrap_or_default()).plus_word(len);
        store_checksum(
            segment,
            l4 + self.request.csum_offset,
            sum,
            self.request.l4 == L4Type::Udp,
        );
    }
}

impl Request {
    /// Returns the length of all headers, which every segment repeats.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.l2_len + self.outer_len + self.inner_len + self.l4_len
    }

    /// Checks that the fields to edit are inside the headers they belong to.
    fn check_headers(&self, header: &[u8]) -> Result<(), Error> {
        let l3 = self.l2_len + self.outer_len;
        let min_l4 = match self.l4 {
            L4Type::Tcp => 20,
            L4Type::Udp => 8,
        };
        let min_l3 = match self.l3 {
            L3Type::Other => 0,
            L3Type::Ipv4 => 20,
            L3Type::Ipv6 | L3Type::V6InV6 => 40,
        };
        let min_outer = if self.l3 == L3Type::V6InV6 { 40 } else { 0 };
        if self.l2_len < 14
            || self.l4_len < min_l4
            || self.inner_len < min_l3
            || self.outer_len < min_outer
            || self.csum_offset + 2 > self.l4_len
        {
            return Err(Error::BadHeader);
        }
        let version = |at: usize| header.get(at).map(|byte| byte >> 4);
        let versions_match = match self.l3 {
            L3Type::Other => true,
            L3Type::Ipv4 => version(l3) == Some(4),
            L3Type::Ipv6 => version(l3) == Some(6),
            L3Type::V6InV6 => version(self.l2_len) == Some(6) && version(l3) == Some(6),
        };
        if !versions_match {
            return Err(Error::BadHeader);
        }
        if self.l3 == L3Type::Ipv4 {
            let ihl = usize::from(header.get(l3).copied().unwrap_or(0) & 15) * 4;
            if ihl != self.inner_len {
                return Err(Error::BadHeader);
            }
            if get_u16(header, l3 + 6) & 0x3fff != 0 {
                return Err(Error::Fragment);
            }
        }
        Ok(())
    }
}

fn edit_ipv6(at: usize, segment: &mut [u8]) {
    let payload = length_from(segment, at + 40);
    put_u16(segment, at + 4, payload);
}

/// Completes the checksum of one packet that is sent as it is.
///
/// Sums from `start` to the end of `frame`, with what the stack has put into the
/// checksum field, and stores the complement at `field`. `udp` keeps a result of
/// zero, which UDP reserves for "none", from being sent. Returns false, leaving
/// the frame alone, when the field is not inside it.
pub fn complete_checksum(frame: &mut [u8], start: usize, field: usize, udp: bool) -> bool {
    let fits = field >= start && field.checked_add(2).is_some_and(|end| end <= frame.len());
    if fits {
        let sum = Sum::of(frame.get(start..).unwrap_or_default());
        store_checksum(frame, field, sum, udp);
    }
    fits
}

fn store_checksum(frame: &mut [u8], at: usize, sum: Sum, udp: bool) {
    let field = match sum.field() {
        [0, 0] if udp => [0xff, 0xff],
        field => field,
    };
    if let Some(place) = frame.get_mut(at..at + 2) {
        place.copy_from_slice(&field);
    }
}

/// Returns the number of bytes from `at` to the end. A segment over 64 KiB, which
/// no length field can hold, gives the field its largest value.
fn length_from(segment: &[u8], at: usize) -> u16 {
    u16::try_from(segment.len().saturating_sub(at)).unwrap_or(u16::MAX)
}

fn get_u16(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_be_bytes)
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
