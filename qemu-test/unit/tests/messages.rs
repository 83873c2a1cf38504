// SPDX-License-Identifier: GPL-2.0

//! The firmware's messages: what is sent byte by byte, and answers good and bad.

use fbnic_unit::{
    fbnic_tlv::{Builder, Message, TlvError, MAX_MESSAGE},
    messages::*,
};

fn encode<R: Request>(request: &R) -> Vec<u8> {
    let mut buf = [0; MAX_MESSAGE];
    let mut builder = Builder::new(&mut buf, R::ID).unwrap();
    request.encode(&mut builder).unwrap();
    let len = builder.finish().unwrap();
    buf[..len].to_vec()
}

/// Builds an answer.
fn reply(id: u16, fill: impl FnOnce(&mut Builder<'_>) -> Result<(), TlvError>) -> Vec<u8> {
    let mut buf = [0; MAX_MESSAGE];
    let mut builder = Builder::new(&mut buf, id).unwrap();
    fill(&mut builder).unwrap();
    let len = builder.finish().unwrap();
    buf[..len].to_vec()
}

fn decode<C: Call>(mut call: C, bytes: &[u8]) -> Result<C::Reply, Failure> {
    call.decode(&Message::parse(bytes).unwrap())
}

#[test]
fn requests_on_the_wire() {
    assert_eq!(encode(&HostCapReq), [0x10, 0x80, 1, 0]);
    assert_eq!(encode(&HeartbeatReq), [0x14, 0x80, 1, 0]);
    assert_eq!(encode(&SensorRead), [0x3c, 0x80, 1, 0]);
    assert_eq!(encode(&OwnershipReq { take: false }), [0x12, 0x80, 1, 0]);
    assert_eq!(
        encode(&OwnershipReq { take: true }),
        [0x12, 0x80, 2, 0, 0, 0, 4, 0]
    );
    let logs = |enable, history| encode(&SendLogs { enable, history });
    assert_eq!(logs(false, true), [0x43, 0x80, 1, 0]);
    assert_eq!(
        logs(true, false),
        [0x43, 0x80, 4, 0, 0, 0, 4, 0, 1, 0, 8, 0, 1, 0, 0, 0]
    );
    assert_eq!(logs(true, true)[16..], [2, 0, 4, 0]);
}

#[test]
fn mac_sync_omits_empty_lists() {
    let flags = |sync: &MacSync| encode(sync)[8..].to_vec();
    assert_eq!(flags(&MacSync::default()), [0, 0, 0, 0]);
    let all = MacSync {
        promisc: true,
        all_multi: true,
        broadcast: true,
        ..MacSync::default()
    };
    assert_eq!(flags(&all), [7, 0, 0, 0]);

    let mut one = MacSync::default();
    one.multicast[3] = Some([1, 2, 3, 4, 5, 6]);
    assert_eq!(
        encode(&one),
        [
            0x46, 0x80, 7, 0, // message
            2, 0, 16, 0, // multicast array
            3, 0, 10, 0, 1, 2, 3, 4, 5, 6, 0, 0, // address
            0, 0, 8, 0, 0, 0, 0, 0, // flags
        ]
    );
}

/// A capability message with the given extra attributes.
fn caps(fill: impl FnOnce(&mut Builder<'_>) -> Result<(), TlvError>) -> Result<Caps, TlvError> {
    let bytes = reply(id::FW_CAP_RESP, |message| {
        message.put_u32(0, Version::new(25, 7, 25, 2).0)?;
        fill(message)
    });
    Caps::decode(&Message::parse(&bytes).unwrap(), &Caps::default())
}

#[test]
fn capabilities() {
    let caps = caps(|message| {
        message.put_u32(4, 0x0102_0304)?;
        message.put_u32(5, 1)?;
        message.put_text(6, b"abcdef012345678901")?;
        message.put_u32(0xa, 4)?;
        message.put_u32(0xb, 2)?;
        message.put_text(0xc, b"stored")?;
        message.put_u32(0xd, 5)?;
        message.put_text(0x12, b"uefi")?;
        message.put_u32(0x15, 77)
    })
    .unwrap();
    assert_eq!(caps.running.mgmt.version.parts(), [25, 7, 25, 2]);
    assert_eq!(caps.running.mgmt.commit(), b"abcdef012345678901");
    assert_eq!(caps.running.bootloader.version, Version(5));
    assert_eq!(caps.running.bootloader.commit(), b"");
    assert_eq!(caps.stored.mgmt.version.parts(), [1, 2, 3, 4]);
    assert_eq!(caps.stored.mgmt.commit(), b"stored");
    assert_eq!(caps.stored.undi.commit(), b"uefi");
    assert_eq!(
        (caps.active_slot, caps.link_speed, caps.link_fec),
        (1, 4, 2)
    );
    assert_eq!(caps.anti_rollback_version, 77);
    assert!(!caps.bmc_present);
}

#[test]
fn capabilities_that_are_refused() {
    assert!(caps(|_| Ok(())).is_ok());
    // One byte more than the longest commit name.
    assert_eq!(
        caps(|m| m.put_text(6, &[b'x'; 19])).err(),
        Some(TlvError::Value)
    );
    // A BMC without addresses.
    assert_eq!(caps(|m| m.put_flag(1)).err(), Some(TlvError::Value));
    // No version, or version zero.
    for bytes in [
        reply(id::FW_CAP_RESP, |_| Ok(())),
        reply(id::FW_CAP_RESP, |m| m.put_u32(0, 0)),
    ] {
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            Caps::decode(&message, &Caps::default()),
            Err(TlvError::Value)
        );
    }
}

#[test]
fn bmc_capabilities() {
    let with = |count: usize, wish: Option<u32>, before: bool| {
        let bytes = reply(id::FW_CAP_RESP, |m| {
            m.put_u32(0, Version::MIN.0)?;
            m.put_flag(1)?;
            m.nest(3, |array| {
                (0..count).try_for_each(|n| array.put_bytes(2, &[n as u8 + 2; 6]))
            })?;
            wish.map_or(Ok(()), |wish| m.put_u32(8, wish))
        });
        let before = Caps {
            bmc_all_multi: before,
            ..Caps::default()
        };
        Caps::decode(&Message::parse(&bytes).unwrap(), &before)
    };
    let caps = with(2, Some(1), false).unwrap();
    assert_eq!(caps.bmc_mac, [[2; 6], [3; 6], [0; 6], [0; 6]]);
    assert!(caps.bmc_all_multi);
    assert!(with(4, None, true).unwrap().bmc_all_multi);
    assert!(!with(4, Some(0), true).unwrap().bmc_all_multi);
    assert_eq!(with(5, None, false), Err(TlvError::Full));
}

#[test]
fn versions_compare_by_significance() {
    assert_eq!(Version::MIN.0, 0x000a_0600);
    assert!(Version::new(0, 10, 5, 255) < Version::MIN);
    assert!(Version::new(1, 0, 0, 0) > Version::MIN_LOG);
    assert!(Version::MIN < Version::MIN_LOG && Version::MIN_LOG < Version::MIN_LOG_HISTORY);
}

#[test]
fn sensors() {
    let answer = |fill: &dyn Fn(&mut Builder<'_>) -> Result<(), TlvError>| {
        decode(SensorRead, &reply(id::TSENE_READ_RESP, fill))
    };
    assert_eq!(
        answer(&|m| m
            .put_bytes(0, &i32::to_le_bytes(-40_000))
            .and_then(|()| m.put_bytes(1, &i32::to_le_bytes(750)))),
        Ok(Sensors {
            millidegrees: -40_000,
            millivolts: 750
        })
    );
    assert_eq!(
        answer(&|m| m.put_bytes(0, &i32::to_le_bytes(1))),
        Err(Failure::Mismatch)
    );
    assert_eq!(
        answer(&|m| m.put_bytes(2, &i32::to_le_bytes(-5))),
        Err(Failure::Firmware(-5))
    );
    assert_eq!(
        answer(&|m| m.put_bytes(2, &i32::to_le_bytes(0))),
        Err(Failure::Mismatch)
    );
    assert_eq!(
        answer(&|m| m.put_bytes(0, &[0; 5])),
        Err(Failure::Tlv(TlvError::Value))
    );
}

#[test]
fn qsfp_answers_must_echo_the_question() {
    let read = QsfpRead {
        bank: 0,
        page: 3,
        offset: 128,
        length: 4,
    };
    let answer = |page, length, data: &[u8], error| {
        let bytes = reply(id::QSFP_READ_RESP, |m| {
            m.put_u32(1, page)?;
            m.put_u32(2, 128)?;
            m.put_u32(3, length)?;
            m.put_bytes(4, &i32::to_le_bytes(error))?;
            m.put_bytes(5, data)
        });
        decode(read, &bytes).map(|data| data[..5].to_vec())
    };
    assert_eq!(answer(3, 4, &[1, 2, 3, 4, 5], 0), Ok(vec![1, 2, 3, 4, 0]));
    // Answers to earlier questions, for which those of today need not fail.
    assert_eq!(answer(2, 4, &[1, 2, 3, 4], 0), Err(Failure::Stale));
    assert_eq!(answer(3, 5, &[1, 2, 3, 4], 0), Err(Failure::Stale));
    assert_eq!(answer(2, 4, &[1], -5), Err(Failure::Stale));
    // Less data than asked for, which must not be read past its end.
    assert_eq!(answer(3, 4, &[1, 2, 3], 0), Err(Failure::Mismatch));
    assert_eq!(answer(3, 4, &[1, 2, 3, 4], 19), Err(Failure::Firmware(19)));

    let greedy = QsfpRead {
        length: 129,
        ..read
    };
    let bytes = reply(id::QSFP_READ_RESP, |m| {
        m.put_u32(1, 3)?;
        m.put_u32(2, 128)?;
        m.put_u32(3, 129)?;
        m.put_bytes(5, &[0; 200])
    });
    assert_eq!(decode(greedy, &bytes), Err(Failure::Mismatch));
}

#[test]
fn core_dumps() {
    assert_eq!(encode(&CoredumpInfo { create: false }), [0x18, 0x80, 1, 0]);
    assert_eq!(
        encode(&CoredumpInfo { create: true }),
        [0x18, 0x80, 2, 0, 0, 0, 4, 0]
    );
    let info = |available, size: u32, error: i32| {
        let bytes = reply(id::COREDUMP_GET_INFO_RESP, |m| {
            if available {
                m.put_flag(0)?;
            }
            m.put_u32(1, size)?;
            m.put_bytes(2, &error.to_le_bytes())
        });
        decode(CoredumpInfo { create: true }, &bytes)
    };
    assert_eq!(info(true, 100, 0), Ok(100));
    assert_eq!(info(true, 0, 0), Ok(0));
    assert_eq!(info(false, 100, 0), Err(Failure::Firmware(-2)));
    assert_eq!(info(true, 100, -5), Err(Failure::Firmware(-5)));

    let mut out = [0; 3];
    let read = |offset| {
        encode(&CoredumpRead {
            offset,
            out: &mut [0; 3],
        })
    };
    assert_eq!(read(0), [0x20, 0x80, 3, 0, 1, 0, 8, 0, 3, 0, 0, 0]);
    assert_eq!(
        read(9)[4..],
        [0, 0, 8, 0, 9, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0]
    );
    let mut part = |offset: u32, length: u32, data: &[u8]| {
        let bytes = reply(id::COREDUMP_READ_RESP, |m| {
            m.put_u32(0, offset)?;
            m.put_u32(1, length)?;
            m.put_bytes(2, data)
        });
        out = [0; 3];
        let call = CoredumpRead {
            offset: 9,
            out: &mut out,
        };
        decode(call, &bytes).map(|()| out)
    };
    assert_eq!(part(9, 3, &[1, 2, 3, 4]), Ok([1, 2, 3]));
    assert_eq!(part(9, 3, &[1, 2]), Err(Failure::Mismatch));
    assert_eq!(part(8, 3, &[1, 2, 3]), Err(Failure::Stale));
    assert_eq!(part(9, 4, &[1, 2, 3, 4]), Err(Failure::Stale));
}

#[test]
fn self_test_accepts_only_its_echo() {
    let sent = encode(&SelfTest);
    let noticed = |index: usize| {
        let mut bytes = sent.clone();
        bytes[index] ^= 1;
        let Ok(message) = Message::parse(&bytes) else {
            return true;
        };
        SelfTest.decode(&message).is_err()
    };
    assert_eq!(decode(SelfTest, &sent), Ok(()));
    // Only the two bytes of padding behind each of six addresses may change.
    let unnoticed = (4..sent.len()).filter(|&index| !noticed(index)).count();
    assert_eq!(unnoticed, 12);
}

#[test]
fn uptime() {
    let ownership = reply(id::OWNERSHIP_RESP, |m| {
        m.put_bytes(1, &77_u64.to_le_bytes())
    });
    let heartbeat = reply(id::HEARTBEAT_RESP, |m| {
        m.put_bytes(0, &78_u64.to_le_bytes())
    });
    let silent = reply(id::HEARTBEAT_RESP, |_| Ok(()));
    let uptime = |bytes: &[u8]| decode_uptime(&Message::parse(bytes).unwrap());
    assert_eq!(uptime(&ownership), Ok(77));
    assert_eq!(uptime(&heartbeat), Ok(78));
    assert_eq!(uptime(&silent), Ok(0));
}

/// A log message with `count` entries, of which the header claims `claimed` beyond the newest.
fn logs(count: u32, claimed: u32) -> Result<Vec<(u64, u32, Vec<u8>)>, Failure> {
    let bytes = reply(id::LOG_MSG_REQ, |m| {
        m.put_u32(0, 1000)?;
        m.put_bytes(1, &5_u64.to_le_bytes())?;
        m.put_text(2, b"newest")?;
        m.put_u32(3, claimed)?;
        m.nest(4, |a| (0..count).try_for_each(|n| a.put_u32(0, n)))?;
        m.nest(5, |a| {
            (0..count).try_for_each(|n| a.put_bytes(1, &[n as u8]))
        })?;
        m.nest(6, |a| (0..count).try_for_each(|_| a.put_text(2, b"old")))
    });
    let mut out = Vec::new();
    decode_logs(&Message::parse(&bytes).unwrap(), |entry| {
        out.push((entry.index, entry.msec, entry.text.to_vec()));
    })?;
    Ok(out)
}

#[test]
fn log_entries() {
    assert_eq!(logs(0, 0), Ok(vec![(5, 1000, b"newest".to_vec())]));
    let many = logs(13, 13).unwrap();
    assert_eq!(many.len(), 14);
    assert_eq!(many[13], (12, 12, b"old".to_vec()));
    assert_eq!(logs(14, 14), Err(Failure::Mismatch));
    // More or fewer entries than claimed.
    assert_eq!(logs(3, 4), Err(Failure::Mismatch));
    assert!(logs(4, 3).is_err());
    assert_eq!(logs(0, u32::MAX), Err(Failure::Mismatch));
}
