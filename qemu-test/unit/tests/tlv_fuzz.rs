// SPDX-License-Identifier: GPL-2.0

//! Ten million messages, most of them slightly wrong, through the driver's TLV codec and that of the
//! emulated firmware, which were written apart from each other.
//!
//! Nothing may panic, and what the driver accepts or refuses, and why, is compared with a plain
//! reading of the rules of the firmware interface. `TLV_CASES` and `TLV_SEED` change how many
//! messages there are and which; a failure prints the message.

use fastrand::Rng;
use fbnic_unit::{
    fbnic_tlv::{
        mac, text, Attr, Attrs, Builder, Kind, Message, TlvError, MAX_ATTRS, MAX_DEPTH, MAX_MESSAGE,
    },
    messages::*,
    model_tlv,
};

const IS_MSG: u16 = 1 << 15;
const CANNOT_IGNORE: u16 = 1 << 14;

/// Every kind of attribute; the ids are those the generator prefers.
const SCHEMA: &[Attr] = &[
    (0, Kind::Flag),
    (1, Kind::U32),
    (2, Kind::U64),
    (3, Kind::S32),
    (4, Kind::S64),
    (5, Kind::Str(8)),
    (6, Kind::Binary(5)),
    (7, Kind::Mac),
    (8, Kind::Nested),
    (9, Kind::Array),
    (10, Kind::Unsigned(2)),
    (11, Kind::Signed(1)),
];

/// Message types with a decoder.
const DECODED: [u16; 10] = [
    id::TEST,
    id::FW_CAP_RESP,
    id::OWNERSHIP_RESP,
    id::HEARTBEAT_RESP,
    id::COREDUMP_GET_INFO_RESP,
    id::COREDUMP_READ_RESP,
    id::QSFP_READ_RESP,
    id::TSENE_READ_RESP,
    id::LOG_MSG_REQ,
    0x7ff,
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn cases() -> u64 {
    number("TLV_CASES", 10_000_000)
}

fn rng() -> Rng {
    Rng::with_seed(number("TLV_SEED", 0x1d9b_0013))
}

/// Whether something happens that happens once in `n` times.
fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// A number that is close to `right`, and mostly that.
fn about(rng: &mut Rng, right: usize) -> u16 {
    let wrong = match rng.u32(..48) {
        0 => right.wrapping_add(rng.usize(1..6)),
        1 => right.wrapping_sub(rng.usize(1..6)),
        2 => rng.usize(..),
        _ => right,
    };
    wrong as u16
}

/// A size that the kind of attribute `id` allows, mostly.
fn size(rng: &mut Rng, id: u16) -> usize {
    if once_in(rng, 24) {
        return rng.usize(..40);
    }
    match id {
        0 => 0,
        1 | 3 => rng.usize(1..=4),
        2 | 4 => rng.usize(1..=8),
        6 => rng.usize(1..=5),
        7 => rng.usize(1..=6),
        10 => rng.usize(1..=2),
        11 => 1,
        _ => rng.usize(..8),
    }
}

fn put_attribute(rng: &mut Rng, out: &mut Vec<u8>, depth: u32) {
    let id = match rng.u32(..64) {
        0 => rng.u16(..) & 0xfff,
        1..16 if depth > 0 => 8,
        _ => rng.u16(..13),
    };
    let mut word = id;
    if once_in(rng, 64) {
        word |= CANNOT_IGNORE;
    }
    if once_in(rng, 256) {
        word |= IS_MSG;
    }
    let start = out.len();
    out.extend([0; 4]);
    if matches!(id, 8 | 9) && depth < u32::from(MAX_DEPTH) + 2 {
        for _ in 0..rng.u32(..3) {
            put_attribute(rng, out, depth + 1);
        }
    } else if id == 5 {
        let text = size(rng, id);
        out.extend((0..text).map(|_| rng.u8(b' '..)));
        out.push(0);
    } else {
        let bytes = size(rng, id);
        out.extend((0..bytes).map(|_| rng.u8(..)));
    }
    let length = about(rng, out.len() - start);
    out[start..start + 2].copy_from_slice(&word.to_le_bytes());
    out[start + 2..start + 4].copy_from_slice(&length.to_le_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A message that is nearly right.
fn put_message(rng: &mut Rng, out: &mut Vec<u8>) {
    out.clear();
    let id = *rng.choice(&DECODED).unwrap();
    let is_msg = if once_in(rng, 64) { 0 } else { IS_MSG };
    out.extend((id | is_msg).to_le_bytes());
    out.extend([0; 2]);
    for _ in 0..rng.u32(..7) {
        put_attribute(rng, out, 0);
    }
    let words = about(rng, out.len() / 4);
    out[2..4].copy_from_slice(&words.to_le_bytes());
    if once_in(rng, 8) {
        for _ in 0..rng.u32(1..4) {
            let at = rng.usize(..out.len());
            out[at] = rng.u8(..);
        }
    }
    if once_in(rng, 32) {
        out.truncate(rng.usize(..=out.len()));
    }
    if once_in(rng, 64) {
        out.resize(MAX_MESSAGE + 8, rng.u8(..));
    }
}

/// The values of a message by id, or the first rule it breaks.
type Reading<'a> = Result<[Option<&'a [u8]>; MAX_ATTRS], TlvError>;

/// The rules for one level of attributes, in the order in which they apply.
fn read_attributes(mut rest: &[u8]) -> Reading<'_> {
    let mut values = [None; MAX_ATTRS];
    while !rest.is_empty() {
        if rest.len() < 4 {
            return Err(TlvError::Length);
        }
        let word = u16::from(rest[0]) | u16::from(rest[1]) << 8;
        let length = usize::from(rest[2]) | usize::from(rest[3]) << 8;
        let id = word & 0xfff;
        if word & IS_MSG != 0 || id > 31 {
            return Err(TlvError::Id);
        }
        let room = length.div_ceil(4) * 4;
        if length < 4 || room > rest.len() {
            return Err(TlvError::Length);
        }
        let data = &rest[4..length];
        rest = &rest[room..];
        let Some((_, kind)) = SCHEMA.iter().find(|(known, _)| *known == id) else {
            if word & CANNOT_IGNORE != 0 {
                return Err(TlvError::CannotIgnore);
            }
            continue;
        };
        if !fits(*kind, data) {
            return Err(TlvError::Value);
        }
        if values[usize::from(id)].is_some() {
            return Err(TlvError::Duplicate);
        }
        values[usize::from(id)] = Some(data);
    }
    Ok(values)
}

fn fits(kind: Kind, data: &[u8]) -> bool {
    let size = data.len();
    match kind {
        Kind::Flag => size == 0,
        Kind::Unsigned(most) | Kind::Signed(most) | Kind::Binary(most) => size > 0 && size <= most,
        Kind::Mac => size > 0 && size <= 6,
        Kind::Str(most) => data.iter().take(most).any(|byte| *byte == 0),
        Kind::Nested | Kind::Array => size % 4 == 0,
    }
}

fn read_message(bytes: &[u8]) -> Reading<'_> {
    if bytes.len() < 4 {
        return Err(TlvError::Length);
    }
    if bytes[1] & 0x80 == 0 {
        return Err(TlvError::NotMessage);
    }
    let length = 4 * (usize::from(bytes[2]) | usize::from(bytes[3]) << 8);
    if length < 4 || length > bytes.len() || length > 4096 {
        return Err(TlvError::Length);
    }
    read_attributes(&bytes[4..length])
}

/// Compares one level, and those below it, as deep as they go.
fn compare(attrs: &Attrs<'_>, values: &[Option<&[u8]>; MAX_ATTRS], depth: u8, seen: &mut Seen) {
    for (id, value) in (0..).zip(values) {
        assert_eq!(attrs.bytes(id), *value);
        assert_eq!(attrs.flag(id), value.is_some());
    }
    let same = |got: Option<i128>, id: usize, signed: bool| {
        let sign = |data: &[u8]| signed && data.last().is_some_and(|byte| byte & 0x80 != 0);
        let want = values[id].map(|data| {
            let digits = data
                .iter()
                .rev()
                .fold(0_i128, |sum, byte| sum << 8 | i128::from(*byte));
            digits - if sign(data) { 1 << (8 * data.len()) } else { 0 }
        });
        assert_eq!(got, want, "attribute {id}");
    };
    same(attrs.u32(1).map(i128::from), 1, false);
    same(attrs.unsigned(2).map(i128::from), 2, false);
    same(attrs.s32(3).map(i128::from), 3, true);
    same(attrs.signed(4).map(i128::from), 4, true);
    same(attrs.u32(10).map(i128::from), 10, false);
    same(attrs.s32(11).map(i128::from), 11, true);
    let until_nul = |data: &[u8]| data.split(|byte| *byte == 0).next().unwrap().to_vec();
    assert_eq!(attrs.text(5).map(<[u8]>::to_vec), values[5].map(until_nul));
    assert!(values[7].is_none_or(|data| mac(data).is_some()));
    compare_array(attrs, values[9]);

    let nested = attrs.nested(8, SCHEMA);
    let Some(body) = values[8] else {
        assert!(matches!(nested, Ok(None)));
        return;
    };
    if depth == 0 {
        assert_eq!(nested.err(), Some(TlvError::Depth));
        seen.too_deep += 1;
        return;
    }
    match (nested, read_attributes(body)) {
        (Ok(Some(attrs)), Ok(values)) => compare(&attrs, &values, depth - 1, seen),
        (got, want) => assert_eq!(got.err(), want.err()),
    }
}

/// Arrays hold attributes of one id; six fit what is asked for here.
fn compare_array(attrs: &Attrs<'_>, body: Option<&[u8]>) {
    let mut out = [None; 6];
    let outcome = attrs.array(9, (1, Kind::U32), &mut out);
    let Ok(count) = outcome else { return };
    let again: usize = out
        .iter()
        .flatten()
        .map(|data| 4 + data.len().next_multiple_of(4))
        .sum();
    assert_eq!(again, body.map_or(0, <[u8]>::len));
    assert_eq!(out.iter().flatten().count(), count);
    assert!(out
        .iter()
        .flatten()
        .all(|data| (1..=4).contains(&data.len())));
}

/// How often what has happened, to see that the messages reach everything.
#[derive(Debug, Default)]
struct Seen {
    accepted: u64,
    refused: std::collections::HashMap<String, u64>,
    too_deep: u64,
}

/// Hands a message to its decoder. What comes out is the decoder's business; it must come out.
fn decode(message: &Message<'_>, out: &mut [u8]) {
    let read = QsfpRead {
        bank: 0,
        page: 0,
        offset: 0,
        length: 4,
    };
    match message.id() {
        id::FW_CAP_RESP => drop(Caps::decode(message, &Caps::default())),
        id::OWNERSHIP_RESP | id::HEARTBEAT_RESP => drop(decode_uptime(message)),
        id::COREDUMP_GET_INFO_RESP => drop(CoredumpInfo { create: true }.decode(message)),
        id::COREDUMP_READ_RESP => drop(CoredumpRead { offset: 0, out }.decode(message)),
        id::QSFP_READ_RESP => drop({ read }.decode(message)),
        id::TSENE_READ_RESP => drop(SensorRead.decode(message)),
        id::LOG_MSG_REQ => drop(decode_logs(message, |entry| {
            assert!(entry.text.len() < LOG_TEXT);
        })),
        _ => drop(SelfTest.decode(message)),
    }
}

/// The emulated firmware takes whatever the driver would take of a message in which no attribute
/// repeats, and nothing that is not framed as a message.
fn compare_with_model(bytes: &[u8], reading: &Reading<'_>) {
    let known = |_, id| usize::from(id) < SCHEMA.len();
    let model = model_tlv::Message::parse(bytes, known);
    match (&model, reading) {
        (Ok(message), Ok(values)) => {
            for (id, _) in SCHEMA {
                assert_eq!(message.bytes(*id), values[usize::from(*id)]);
            }
            for id in 0..40 {
                let _ = (message.flag(id), message.u32(id), message.mac_array(id));
            }
        }
        // Values are checked by the model when they are asked for, repetitions even of what it
        // does not know.
        (Ok(_), Err(error)) => assert_eq!(*error, TlvError::Value),
        (Err(model_tlv::TlvError::Duplicate(_)), Ok(_)) => {}
        (Err(error), Ok(_)) => panic!("only the model refuses: {error}"),
        (Err(_), Err(_)) => {}
    }
}

fn check(bytes: &[u8], out: &mut [u8], seen: &mut Seen) {
    let reading = read_message(bytes);
    compare_with_model(bytes, &reading);
    let message = Message::parse(bytes);
    if let Ok(message) = &message {
        decode(message, out);
    }
    match (message.and_then(|message| message.attrs(SCHEMA)), &reading) {
        (Ok(attrs), Ok(values)) => {
            seen.accepted += 1;
            compare(&attrs, values, MAX_DEPTH, seen);
        }
        (got, want) => {
            let (got, want) = (got.err(), want.as_ref().err());
            assert_eq!(got.as_ref(), want);
            *seen.refused.entry(format!("{got:?}")).or_default() += 1;
        }
    }
}

#[test]
fn ten_million_messages() {
    let (mut rng, mut seen) = (rng(), Seen::default());
    let mut bytes = Vec::new();
    let mut out = [0; 4];
    for case in 0..cases() {
        put_message(&mut rng, &mut bytes);
        let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&bytes, &mut out, &mut seen);
        }));
        assert!(attempt.is_ok(), "message {case}: {bytes:02x?}");
    }
    println!("{} messages: {seen:?}", cases());
    // Both sides of every rule have been met, and often.
    let often = cases() / 10_000;
    assert!(seen.accepted > cases() / 5, "{seen:?}");
    assert!(seen.too_deep > often / 10, "{seen:?}");
    assert_eq!(seen.refused.len(), 6, "{seen:?}");
    assert!(
        seen.refused.values().all(|count| *count > often),
        "{seen:?}"
    );
}

/// What an attribute of a round trip looks like.
fn put_random(
    rng: &mut Rng,
    builder: &mut Builder<'_>,
    id: u16,
    data: &[u8],
) -> Result<(), TlvError> {
    match rng.u32(..4) {
        0 => builder.put_bytes(id, data),
        1 => builder.put_text(id, text(data).unwrap_or(b"none")),
        2 => builder.put_flag(id),
        _ => builder.nest(id, |inner| {
            inner.put_bytes(id, data)?;
            inner.put_u32(0, 7)
        }),
    }
}

/// Random messages out of either encoder are what the other side's parser reads, whatever the room.
#[test]
fn a_million_round_trips() {
    let mut rng = rng();
    let (mut full, mut whole) = (0, 0);
    let mut data = [0; 2000];
    for _ in 0..cases() / 10 {
        let mut buf = vec![
            0;
            if once_in(&mut rng, 4) {
                rng.usize(4..64)
            } else {
                8000
            }
        ];
        let mut builder = Builder::new(&mut buf, 0x46).unwrap();
        let mut room = true;
        for id in 0..rng.u16(..6) {
            let most = if once_in(&mut rng, 64) { 2000 } else { 20 };
            let len = rng.usize(..most);
            rng.fill(&mut data[..len]);
            room &= put_random(&mut rng, &mut builder, id, &data[..len]).is_ok();
        }
        if !room {
            full += 1;
            continue;
        }
        let len = builder.finish().unwrap();
        assert!(len % 4 == 0 && len <= MAX_MESSAGE);
        let model = model_tlv::Message::parse(&buf[..len], |_, _| true).unwrap();
        assert_eq!(model.id(), Message::parse(&buf[..len]).unwrap().id());
        whole += 1;

        let mut builder = model_tlv::Builder::new(0x46);
        for id in 0..4 {
            if let Some(data) = model.bytes(id) {
                builder = builder.data(id, data);
            }
        }
        let again = builder.finish().unwrap();
        let values = Message::parse(&again).unwrap();
        let any = &[
            (0, Kind::Binary(4096)),
            (1, Kind::Binary(4096)),
            (2, Kind::Binary(4096)),
            (3, Kind::Binary(4096)),
        ];
        // An attribute without data is a flag, not binary data.
        if let Ok(attrs) = values.attrs(any) {
            assert!((0..4).all(|id| attrs.bytes(id) == model.bytes(id)));
        }
    }
    assert!(
        full > 1000 && whole > 1000,
        "{full} too large, {whole} whole"
    );
}
