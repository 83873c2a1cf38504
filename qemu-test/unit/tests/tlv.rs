// SPDX-License-Identifier: GPL-2.0

//! The TLV codec against the rules of the firmware interface, at their limits.

use fbnic_unit::fbnic_tlv::{
    mac, Attr, Attrs, Builder, Kind, Message, TlvError, MAX_ATTRS, MAX_DEPTH, MAX_MESSAGE,
};
use proptest::prelude::*;

const MSG: u16 = 1 << 15;
const CANNOT_IGNORE: u16 = 1 << 14;

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
];

/// An attribute as it is on the wire.
fn attr(word: u16, data: &[u8]) -> Vec<u8> {
    let mut out = word.to_le_bytes().to_vec();
    out.extend((4 + data.len() as u16).to_le_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A message as it is on the wire.
fn message(word: u16, attrs: &[Vec<u8>]) -> Vec<u8> {
    let body = attrs.concat();
    let mut out = word.to_le_bytes().to_vec();
    out.extend((1 + body.len() as u16 / 4).to_le_bytes());
    out.extend(body);
    out
}

fn parse(bytes: &[u8]) -> Result<Attrs<'_>, TlvError> {
    Message::parse(bytes)?.attrs(SCHEMA)
}

fn error(attrs: &[Vec<u8>]) -> Option<TlvError> {
    parse(&message(MSG | 0x11, attrs)).err()
}

#[test]
fn message_headers() {
    let cases: &[(&[u8], Result<u16, TlvError>)] = &[
        (&[], Err(TlvError::Length)),
        (&[0x11, 0x80, 1], Err(TlvError::Length)),
        (&[0x11, 0x80, 1, 0], Ok(0x11)),
        (&[0xff, 0x8f, 1, 0], Ok(0xfff)),
        (&[0x11, 0x00, 1, 0], Err(TlvError::NotMessage)),
        // Shorter than its header, longer than what was received, longer than allowed.
        (&[0x11, 0x80, 0, 0], Err(TlvError::Length)),
        (&[0x11, 0x80, 2, 0], Err(TlvError::Length)),
        (&[0x11, 0x80, 0xff, 0xff], Err(TlvError::Length)),
        // What follows the message is not looked at.
        (&[0x11, 0x80, 1, 0, 0xff, 0xff], Ok(0x11)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            Message::parse(bytes).map(|m| m.id()),
            *expected,
            "{bytes:x?}"
        );
    }
}

#[test]
fn largest_message() {
    let mut bytes = vec![0; MAX_MESSAGE + 4];
    bytes[..4].copy_from_slice(&[0x11, 0x80, 0x00, 0x04]);
    assert!(Message::parse(&bytes).is_ok());
    bytes[2] = 0x01;
    assert_eq!(Message::parse(&bytes).err(), Some(TlvError::Length));
}

#[test]
fn attribute_headers() {
    assert_eq!(error(&[attr(0, &[])]), None);
    assert_eq!(error(&[attr(MSG, &[])]), Some(TlvError::Id));
    // Ids that exist but are not known are skipped, unless that is forbidden.
    let last = MAX_ATTRS as u16 - 1;
    assert_eq!(error(&[attr(last, &[1, 2, 3])]), None);
    assert_eq!(
        error(&[attr(last | CANNOT_IGNORE, &[1, 2, 3])]),
        Some(TlvError::CannotIgnore)
    );
    assert_eq!(error(&[attr(CANNOT_IGNORE, &[])]), None);
    assert_eq!(error(&[attr(last + 1, &[])]), Some(TlvError::Id));
    // Known attributes may not repeat; those not known may, as nobody looks at them.
    assert_eq!(
        error(&[attr(0, &[]), attr(0, &[])]),
        Some(TlvError::Duplicate)
    );
    assert_eq!(error(&[attr(last, &[]), attr(last, &[])]), None);
}

#[test]
fn attribute_lengths() {
    for length in 0..=9 {
        let mut bytes = message(MSG, &[attr(6, &[1, 2, 3])]);
        bytes[6] = length;
        // Five to eight: one to four bytes of data, which is what there is room for.
        assert_eq!(parse(&bytes).is_ok(), (5..=8).contains(&length), "{length}");
    }
    // The padding of the last attribute must be there, too.
    let mut bytes = message(MSG, &[attr(6, &[1, 2, 3, 4, 5])]);
    bytes.truncate(bytes.len() - 1);
    assert!(parse(&bytes).is_err());
    // A header cut short.
    let mut bytes = message(MSG, &[attr(0, &[]), vec![0; 4]]);
    bytes[10] = 3;
    assert_eq!(parse(&bytes).err(), Some(TlvError::Length));
}

#[test]
fn sizes_by_kind() {
    let sized = |id: u16, size: usize| error(&[attr(id, &vec![0; size])]).is_none();
    for (id, allowed) in [
        (0, 0..=0),
        (1, 1..=4),
        (2, 1..=8),
        (3, 1..=4),
        (4, 1..=8),
        (6, 1..=5),
        (7, 1..=6),
    ] {
        for size in 0..12 {
            assert_eq!(
                sized(id, size),
                allowed.contains(&size),
                "id {id} size {size}"
            );
        }
    }
}

#[test]
fn strings_need_a_nul_in_reach() {
    let text = |bytes: &[u8]| {
        let message = message(MSG, &[attr(5, bytes)]);
        parse(&message).map(|attrs| attrs.text(5).map(<[u8]>::to_vec))
    };
    assert_eq!(text(b"\0"), Ok(Some(vec![])));
    assert_eq!(text(b"abcdefg\0"), Ok(Some(b"abcdefg".to_vec())));
    assert_eq!(text(b"abcdefgh\0"), Err(TlvError::Value));
    assert_eq!(text(b"abc"), Err(TlvError::Value));
    assert_eq!(text(b""), Err(TlvError::Value));
    assert_eq!(text(b"ab\0c and more"), Ok(Some(b"ab".to_vec())));
}

#[test]
fn integers() {
    let bytes = message(
        MSG,
        &[
            attr(1, &[0xfe, 0xff]),
            attr(2, &[1, 2, 3, 4, 5, 6, 7, 0x88]),
            attr(3, &[0xfe]),
            attr(4, &[0xfe, 0xff, 0x7f]),
        ],
    );
    let attrs = parse(&bytes).unwrap();
    assert_eq!(attrs.u32(1), Some(0xfffe));
    assert_eq!(attrs.unsigned(2), Some(0x8807_0605_0403_0201));
    assert_eq!(attrs.u32(2), None);
    assert_eq!(attrs.s32(3), Some(-2));
    assert_eq!(attrs.signed(4), Some(0x7f_fffe));
    assert_eq!(attrs.u32(5), None);
    assert_eq!(attrs.u32(99), None);
}

#[test]
fn arrays_hold_one_id_and_no_more_than_asked() {
    let mac = |last| attr(7, &[0, 0, 0, 0, 0, last]);
    let array = |elements: &[Vec<u8>]| message(MSG, &[attr(9, &elements.concat())]);
    let count = |bytes: &[u8]| {
        let mut out = [None; 2];
        parse(bytes)?.array(9, (7, Kind::Mac), &mut out)
    };
    assert_eq!(count(&message(MSG, &[])), Ok(0));
    assert_eq!(count(&array(&[])), Ok(0));
    assert_eq!(count(&array(&[mac(1), mac(2)])), Ok(2));
    assert_eq!(
        count(&array(&[mac(1), mac(2), mac(3)])),
        Err(TlvError::Full)
    );
    assert_eq!(count(&array(&[mac(1), attr(6, &[1])])), Err(TlvError::Id));
    assert_eq!(count(&array(&[attr(7, &[0; 7])])), Err(TlvError::Value));
    assert_eq!(
        count(&message(MSG, &[attr(9, &[0, 0, 0])])),
        Err(TlvError::Value)
    );
}

#[test]
fn nesting_is_limited_on_both_sides() {
    fn nest(builder: &mut Builder<'_>, depth: u8) -> Result<(), TlvError> {
        match depth {
            0 => Ok(()),
            _ => builder.nest(8, |inner| nest(inner, depth - 1)),
        }
    }
    let mut buf = [0; 256];
    let mut builder = Builder::new(&mut buf, 1).unwrap();
    assert_eq!(nest(&mut builder, MAX_DEPTH), Ok(()));
    let mut buf = [0; 256];
    let mut builder = Builder::new(&mut buf, 1).unwrap();
    assert_eq!(nest(&mut builder, MAX_DEPTH + 1), Err(TlvError::Depth));

    let mut deep = attr(0, &[]);
    for _ in 0..=MAX_DEPTH {
        deep = attr(8, &deep);
    }
    let bytes = message(MSG, &[deep]);
    let mut attrs = parse(&bytes).unwrap();
    for _ in 0..MAX_DEPTH {
        attrs = attrs.nested(8, SCHEMA).unwrap().unwrap();
    }
    assert_eq!(attrs.nested(8, SCHEMA).err(), Some(TlvError::Depth));
}

#[test]
fn building_fails_at_the_end_of_the_buffer() {
    for (size, fits) in [(3, false), (4, true), (7, true), (8, true)] {
        assert_eq!(Builder::new(&mut vec![0; size], 0).is_ok(), fits, "{size}");
    }
    let mut buf = [0xff; 16];
    let mut builder = Builder::new(&mut buf, 0xfff).unwrap();
    assert_eq!(builder.put_bytes(32, &[]), Err(TlvError::Id));
    assert_eq!(builder.put_bytes(31, &[1; 9]), Err(TlvError::Full));
    assert_eq!(builder.put_text(31, b"a\0b"), Err(TlvError::Value));
    assert_eq!(builder.put_bytes(31, &[1; 5]), Ok(()));
    assert_eq!(builder.put_flag(0), Err(TlvError::Full));
    assert_eq!(builder.finish(), Ok(16));
    assert_eq!(buf, [0xff, 0x8f, 4, 0, 31, 0, 9, 0, 1, 1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(Builder::new(&mut [0; 8], 0x1000).err(), Some(TlvError::Id));
}

#[test]
fn a_message_uses_no_more_than_a_page() {
    let mut buf = vec![0; 2 * MAX_MESSAGE];
    let mut builder = Builder::new(&mut buf, 0).unwrap();
    assert_eq!(
        builder.put_bytes(0, &[0; MAX_MESSAGE - 7]),
        Err(TlvError::Full)
    );
    assert_eq!(builder.put_bytes(0, &[0; MAX_MESSAGE - 8]), Ok(()));
    assert_eq!(builder.finish(), Ok(MAX_MESSAGE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
    ))]

    /// Whatever arrives, nothing panics, and what is returned lies within what arrived.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        if let Ok(attrs) = parse(&bytes) {
            for id in 0..40 {
                let _ = (attrs.unsigned(id), attrs.signed(id), attrs.text(id), attrs.bytes(id).and_then(mac));
                let _ = attrs.nested(id, SCHEMA).is_ok();
                let _ = attrs.array(id, (1, Kind::U32), &mut [None; 3]).is_ok();
                prop_assert!(attrs.bytes(id).is_none_or(|data| data.len() <= bytes.len()));
            }
        }
    }

    /// Almost valid messages reach the depths that random bytes do not.
    #[test]
    fn damaged_messages(
        attrs in proptest::collection::vec(
            (0_u16..12, proptest::collection::vec(any::<u8>(), 0..12)), 0..8),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let attrs: Vec<_> = attrs.iter().map(|(id, data)| attr(*id, data)).collect();
        let mut bytes = message(MSG, &attrs);
        for (index, value) in damage {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let _ = parse(&bytes).map(|attrs| {
            (attrs.text(5).map(<[u8]>::len), attrs.nested(8, SCHEMA).is_ok())
        });
    }

    /// What was built is read back.
    #[test]
    fn round_trip(
        number in any::<u32>(),
        signed in any::<i32>(),
        text in proptest::collection::vec(1_u8.., 0..7),
        data in proptest::collection::vec(any::<u8>(), 1..=5),
        macs in proptest::collection::vec(any::<[u8; 6]>(), 0..4),
    ) {
        let mut buf = [0xaa; 256];
        let mut builder = Builder::new(&mut buf, 0x46).unwrap();
        builder.put_flag(0).unwrap();
        builder.put_u32(1, number).unwrap();
        builder.put_bytes(3, &signed.to_le_bytes()).unwrap();
        builder.put_text(5, &text).unwrap();
        builder.put_bytes(6, &data).unwrap();
        builder.nest(8, |inner| inner.put_u32(1, !number)).unwrap();
        builder
            .nest(9, |array| macs.iter().try_for_each(|mac| array.put_bytes(7, mac)))
            .unwrap();
        let len = builder.finish().unwrap();

        let message = Message::parse(&buf[..len]).unwrap();
        prop_assert_eq!(message.id(), 0x46);
        let attrs = message.attrs(SCHEMA).unwrap();
        prop_assert!(attrs.flag(0));
        prop_assert_eq!(attrs.u32(1), Some(number));
        prop_assert_eq!(attrs.s32(3), Some(signed));
        prop_assert_eq!(attrs.text(5), Some(&text[..]));
        prop_assert_eq!(attrs.bytes(6), Some(&data[..]));
        prop_assert_eq!(attrs.nested(8, SCHEMA).unwrap().unwrap().u32(1), Some(!number));
        let mut out = [None; 4];
        prop_assert_eq!(attrs.array(9, (7, Kind::Mac), &mut out), Ok(macs.len()));
        for (got, mac) in out.iter().zip(&macs) {
            prop_assert_eq!(*got, Some(&mac[..]));
        }
    }
}
