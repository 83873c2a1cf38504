// SPDX-License-Identifier: GPL-2.0
//! What the firmware does on each message (guide, sections 16 and 17).

use std::collections::VecDeque;

use fbnic_defs::fw::msg;

use super::qsfp;
use super::tlv::{Builder, Message, TlvError};
use super::FwConfig;

/// Bytes of the core dump, as Meta's mock firmware has it.
const COREDUMP_SIZE: u32 = 0x2000;
/// Most data bytes in one message.
const MAX_DATA: u32 = 3584;
/// Bytes the firmware asks for at a time when it is being flashed.
const UPGRADE_CHUNK: u32 = 2048;
/// Lines the log keeps: a host that flips ownership for days must not fill the memory.
const LOG_LINES: usize = 256;
/// Largest image taken: the flash of the emulated board.
const UPGRADE_MAX: u32 = 64 << 20;

// Error numbers in messages are negative errno values of Linux.
const ENOENT: i32 = -2;
const EIO: i32 = -5;
const EBUSY: i32 = -16;
const EINVAL: i32 = -22;

type Answers = Vec<Vec<u8>>;

/// Attributes each message may have; others with "cannot ignore" set refuse the message.
pub(super) fn known_attribute(id: u16, attr: u16) -> bool {
    match id {
        msg::TEST => attr <= 11,
        msg::OWNERSHIP_REQ | msg::COREDUMP_GET_INFO_REQ => attr == 0,
        msg::COREDUMP_READ_REQ => attr <= 1,
        msg::FW_START_UPGRADE_REQ => (1..=2).contains(&attr),
        msg::FW_WRITE_CHUNK_RESP | msg::QSFP_READ_REQ => attr <= 3,
        msg::LOG_SEND_LOGS_REQ | msg::RPC_MAC_SYNC_REQ => attr <= 2,
        _ => false,
    }
}

/// An image on its way into the flash.
struct Upgrade {
    section: u32,
    length: u32,
    offset: u32,
}

/// A line of the firmware's log.
struct LogLine {
    /// Lines before it since the firmware was made.
    index: u64,
    msec: u64,
    text: String,
}

/// What the host has told the firmware since it was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// The port is the host's.
    pub owned: bool,
    /// Unicast addresses of the host, as far as it has told them.
    pub unicast: Vec<[u8; 6]>,
    /// Its multicast addresses, broadcast left out.
    pub multicast: Vec<[u8; 6]>,
    /// What else it receives: 1 everything, 2 all multicast, 4 broadcast.
    pub rx_flags: u32,
}

/// The firmware's state behind the mailbox.
pub(super) struct Commands {
    config: FwConfig,
    host: HostState,
    coredump: bool,
    upgrade: Option<Upgrade>,
    logging: bool,
    log: VecDeque<LogLine>,
    /// Index of the first line the host has not been sent.
    log_next: u64,
}

impl Commands {
    /// Firmware that has just booted.
    pub fn new(config: FwConfig) -> Self {
        let started = LogLine {
            index: 0,
            msec: 0,
            text: "control firmware started".into(),
        };
        Self {
            config,
            host: HostState::default(),
            coredump: false,
            upgrade: None,
            logging: false,
            log: VecDeque::from([started]),
            log_next: 0,
        }
    }

    /// What the firmware announces.
    pub fn config(&mut self) -> &mut FwConfig {
        &mut self.config
    }

    /// The host function was reset: nobody owns the port or waits for anything.
    pub fn host_reset(&mut self) {
        self.host = HostState::default();
        self.upgrade = None;
        self.logging = false;
    }

    /// What the host has told so far.
    pub fn host(&self) -> &HostState {
        &self.host
    }

    /// Acts on `message` at `uptime` milliseconds after boot; the messages to send in return, with
    /// lines of the log as far as there is `room` for messages.
    pub fn answer(
        &mut self,
        message: &Message<'_>,
        uptime: u64,
        room: usize,
    ) -> Result<Answers, TlvError> {
        let mut answers = match message.id() {
            msg::HOST_CAP_REQ => vec![self.capabilities()?],
            msg::OWNERSHIP_REQ => self.ownership(message, uptime)?,
            msg::HEARTBEAT_REQ => {
                vec![Builder::new(msg::HEARTBEAT_RESP).u64(0, uptime).finish()?]
            }
            msg::COREDUMP_GET_INFO_REQ => vec![self.coredump_info(message)?],
            msg::COREDUMP_READ_REQ => vec![self.coredump_read(message)?],
            msg::FW_START_UPGRADE_REQ => self.upgrade_start(message, uptime)?,
            msg::FW_WRITE_CHUNK_RESP => self.upgrade_chunk(message, uptime)?,
            msg::QSFP_READ_REQ => vec![qsfp_read(message)?],
            // What Meta's mock firmware reports: 30 degrees Celsius and 0.75 V.
            msg::TSENE_READ_REQ => {
                vec![Builder::new(msg::TSENE_READ_RESP)
                    .s32(0, 30_000)
                    .s32(1, 750)
                    .finish()?]
            }
            msg::LOG_SEND_LOGS_REQ => self.log_control(message)?,
            msg::RPC_MAC_SYNC_REQ => self.mac_sync(message)?,
            other => {
                log::warn!("firmware: unknown message {other:#x}");
                Vec::new()
            }
        };
        let room = room.saturating_sub(answers.len());
        answers.extend(self.new_log_lines(room)?);
        Ok(answers)
    }

    fn capabilities(&self) -> Result<Vec<u8>, TlvError> {
        let config = &self.config;
        let mut cap = Builder::new(msg::FW_CAP_RESP)
            .u32(0x00, config.version)
            .flag(0x01, !config.bmc_macs.is_empty());
        if !config.bmc_macs.is_empty() {
            cap = cap.array(0x03, |array| {
                config
                    .bmc_macs
                    .iter()
                    .take(4)
                    .fold(array, |array, mac| array.data(0x02, mac))
            });
        }
        cap.u32(0x04, config.version)
            .u32(0x05, 1)
            .string(0x06, &config.commit)
            .u32(0x08, 0)
            .u32(0x0a, config.link_speed)
            .u32(0x0b, config.link_fec)
            .string(0x0c, "emulated")
            .u32(0x0d, config.version)
            .u32(0x0e, config.version)
            .string(0x0f, "emulated")
            .string(0x10, "emulated")
            .u32(0x11, config.version)
            .string(0x12, "emulated")
            .u32(0x15, 0)
            .finish()
    }

    fn ownership(&mut self, message: &Message<'_>, uptime: u64) -> Result<Answers, TlvError> {
        let take = message.flag(0)?;
        if take != self.host.owned {
            self.host.owned = take;
            let what = if take {
                "host took the port"
            } else {
                "host released the port"
            };
            self.note(uptime, what.into());
        }
        Ok(vec![Builder::new(msg::OWNERSHIP_RESP)
            .u64(1, uptime)
            .finish()?])
    }

    fn coredump_info(&mut self, message: &Message<'_>) -> Result<Vec<u8>, TlvError> {
        self.coredump |= message.flag(0)?;
        let info = Builder::new(msg::COREDUMP_GET_INFO_RESP);
        if self.coredump {
            info.flag(0, true).u32(1, COREDUMP_SIZE).finish()
        } else {
            info.s32(2, ENOENT).finish()
        }
    }

    fn coredump_read(&self, message: &Message<'_>) -> Result<Vec<u8>, TlvError> {
        let offset = message.u32(0)?.unwrap_or(0);
        let length = message.u32(1)?.unwrap_or(0);
        let answer = Builder::new(msg::COREDUMP_READ_RESP)
            .u32(0, offset)
            .u32(1, length);
        let end = offset.checked_add(length);
        if !self.coredump {
            answer.s32(3, ENOENT).finish()
        } else if length == 0 || length > MAX_DATA || end.is_none_or(|end| end > COREDUMP_SIZE) {
            answer.s32(3, EINVAL).finish()
        } else {
            let data: Vec<u8> = (offset..offset.saturating_add(length))
                .map(coredump_byte)
                .collect();
            answer.data(2, &data).finish()
        }
    }

    fn upgrade_start(&mut self, message: &Message<'_>, uptime: u64) -> Result<Answers, TlvError> {
        let section = message.u32(1)?.unwrap_or(u32::MAX);
        let length = message.u32(2)?.unwrap_or(0);
        let error = if self.upgrade.is_some() {
            EBUSY
        } else if !matches!(section, 0 | 1 | 3) || length == 0 || length > UPGRADE_MAX {
            EINVAL
        } else {
            0
        };
        let started = Builder::new(msg::FW_START_UPGRADE_RESP)
            .s32(0, error)
            .finish()?;
        if error != 0 {
            return Ok(vec![started]);
        }
        self.note(
            uptime,
            format!("flashing section {section}, {length} bytes"),
        );
        let upgrade = Upgrade {
            section,
            length,
            offset: 0,
        };
        let request = upgrade.request()?;
        self.upgrade = Some(upgrade);
        Ok(vec![started, request])
    }

    fn upgrade_chunk(&mut self, message: &Message<'_>, uptime: u64) -> Result<Answers, TlvError> {
        let Some(mut upgrade) = self.upgrade.take() else {
            return Ok(Vec::new());
        };
        if message.bytes(3).is_some() {
            self.note(uptime, "flashing aborted by the host".into());
            return Ok(Vec::new());
        }
        let offset = message.u32(0)?.unwrap_or(0);
        let length = message.u32(1)?.unwrap_or(0);
        let data = message.bytes(2).map_or(0, <[u8]>::len);
        if offset != upgrade.offset || length != upgrade.chunk() || data != length as usize {
            self.note(
                uptime,
                "flashing failed: the host sent another piece".into(),
            );
            return Ok(vec![Builder::new(msg::FW_FINISH_UPGRADE_REQ)
                .s32(0, EIO)
                .finish()?]);
        }
        upgrade.offset = upgrade.offset.saturating_add(length);
        if upgrade.offset < upgrade.length {
            let request = upgrade.request()?;
            self.upgrade = Some(upgrade);
            return Ok(vec![request]);
        }
        self.note(uptime, format!("section {} flashed", upgrade.section));
        let done = Builder::new(msg::FW_FINISH_UPGRADE_REQ)
            .s32(0, 0)
            .finish()?;
        Ok(vec![self.capabilities()?, done])
    }

    fn log_control(&mut self, message: &Message<'_>) -> Result<Answers, TlvError> {
        self.logging = message.flag(0)?;
        if self.logging && message.flag(2)? {
            self.log_next = 0;
        } else {
            self.log_next = self.log_end();
        }
        Ok(Vec::new())
    }

    fn mac_sync(&mut self, message: &Message<'_>) -> Result<Answers, TlvError> {
        let (uc, mc) = (message.mac_array(1)?, message.mac_array(2)?);
        let flags = message.u32(0)?.unwrap_or(0);
        log::debug!("firmware: host addresses {uc:02x?}, {mc:02x?}, flags {flags:#x}");
        self.host = HostState {
            owned: self.host.owned,
            unicast: uc,
            multicast: mc,
            rx_flags: flags,
        };
        Ok(Vec::new())
    }

    fn note(&mut self, msec: u64, text: String) {
        log::info!("firmware: {text}");
        let index = self.log_end();
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(LogLine { index, msec, text });
    }

    /// The index of the next line.
    fn log_end(&self) -> u64 {
        self.log.back().map_or(0, |line| line.index + 1)
    }

    /// Messages with the log lines the host has not seen, at most `room`; the others stay for a
    /// later call.
    pub fn new_log_lines(&mut self, room: usize) -> Result<Answers, TlvError> {
        if !self.logging {
            return Ok(Vec::new());
        }
        let next = self.log_next;
        let lines = self.log.iter().filter(|line| line.index >= next).take(room);
        let mut messages = Vec::new();
        for line in lines {
            let message = Builder::new(msg::LOG_MSG_REQ)
                .u32(0, line.msec as u32) // Milliseconds wrap as the firmware's do.
                .u64(1, line.index)
                .string(2, &line.text)
                .u32(3, 0);
            messages.push(message.finish()?);
            self.log_next = line.index + 1;
        }
        Ok(messages)
    }
}

impl Upgrade {
    /// Length of the piece at `offset`.
    fn chunk(&self) -> u32 {
        self.length.saturating_sub(self.offset).min(UPGRADE_CHUNK)
    }

    fn request(&self) -> Result<Vec<u8>, TlvError> {
        Builder::new(msg::FW_WRITE_CHUNK_REQ)
            .u32(0, self.offset)
            .u32(1, self.chunk())
            .finish()
    }
}

/// The core dump: a marker at both ends, a ramp between them.
fn coredump_byte(at: u32) -> u8 {
    const MARK: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
    let from_end = COREDUMP_SIZE.saturating_sub(4);
    let index = if at < 4 {
        Some(at)
    } else {
        at.checked_sub(from_end)
    };
    match index.and_then(|i| MARK.get(i as usize)) {
        Some(byte) => *byte,
        None => at as u8,
    }
}

fn qsfp_read(message: &Message<'_>) -> Result<Vec<u8>, TlvError> {
    let [bank, page, offset, length] = [0, 1, 2, 3].map(|id| message.u32(id));
    let (bank, page) = (bank?.unwrap_or(0), page?.unwrap_or(0));
    let (offset, length) = (offset?.unwrap_or(0), length?.unwrap_or(0));
    let answer = Builder::new(msg::QSFP_READ_RESP)
        .u32(0, bank)
        .u32(1, page)
        .u32(2, offset)
        .u32(3, length);
    match qsfp::read(bank, page, offset, length) {
        Some(data) => answer.data(5, &data).finish(),
        None => answer.s32(4, EINVAL).finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tlv::Message;
    use super::*;

    fn ask(commands: &mut Commands, request: Builder) -> Vec<(u16, Vec<u8>)> {
        let bytes = request.finish().unwrap();
        let message = Message::parse(&bytes, known_attribute).unwrap();
        let answers = commands.answer(&message, 77, usize::MAX).unwrap();
        answers
            .into_iter()
            .map(|a| (Message::parse(&a, known_attribute).unwrap().id(), a))
            .collect()
    }

    fn attr(bytes: &[u8], id: u16) -> Option<u32> {
        Message::parse(bytes, known_attribute)
            .unwrap()
            .u32(id)
            .unwrap()
    }

    #[test]
    fn capabilities_name_version_and_link() {
        let mut commands = Commands::new(FwConfig::default());
        let answers = ask(&mut commands, Builder::new(msg::HOST_CAP_REQ));
        let [(msg::FW_CAP_RESP, cap)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(attr(cap, 0x00), Some(0x1907_1902));
        assert_eq!((attr(cap, 0x0a), attr(cap, 0x0b)), (Some(4), Some(2)));
    }

    #[test]
    fn a_bmc_brings_its_addresses() {
        let config = FwConfig {
            bmc_macs: vec![[2; 6]; 6],
            ..FwConfig::default()
        };
        let answers = ask(&mut Commands::new(config), Builder::new(msg::HOST_CAP_REQ));
        let cap = Message::parse(&answers[0].1, known_attribute).unwrap();
        assert_eq!(cap.flag(0x01), Ok(true));
        assert_eq!(cap.mac_array(0x03).unwrap().len(), 4);
    }

    #[test]
    fn heartbeat_and_ownership_tell_the_uptime() {
        let mut commands = Commands::new(FwConfig::default());
        let beat = ask(&mut commands, Builder::new(msg::HEARTBEAT_REQ));
        assert_eq!(beat[0].0, msg::HEARTBEAT_RESP);
        let owner = ask(
            &mut commands,
            Builder::new(msg::OWNERSHIP_REQ).flag(0, true),
        );
        assert_eq!(owner[0].0, msg::OWNERSHIP_RESP);
        assert!(commands.host().owned);
    }

    #[test]
    fn an_image_is_asked_for_piece_by_piece() {
        let mut commands = Commands::new(FwConfig::default());
        let start = Builder::new(msg::FW_START_UPGRADE_REQ)
            .u32(1, 1)
            .u32(2, 5000);
        let mut answers = ask(&mut commands, start);
        assert_eq!(answers[0].0, msg::FW_START_UPGRADE_RESP);
        let mut got = 0;
        while let Some((msg::FW_WRITE_CHUNK_REQ, chunk)) = answers.last() {
            let (offset, length) = (attr(chunk, 0).unwrap(), attr(chunk, 1).unwrap());
            assert_eq!(offset, got);
            got += length;
            let data = vec![0; length as usize];
            let reply = Builder::new(msg::FW_WRITE_CHUNK_RESP);
            answers = ask(
                &mut commands,
                reply.u32(0, offset).u32(1, length).data(2, &data),
            );
        }
        assert_eq!(got, 5000);
        let ids: Vec<u16> = answers.iter().map(|a| a.0).collect();
        assert_eq!(ids, [msg::FW_CAP_RESP, msg::FW_FINISH_UPGRADE_REQ]);
    }

    #[test]
    fn upgrades_out_of_order_fail() {
        let mut commands = Commands::new(FwConfig::default());
        let start = || {
            Builder::new(msg::FW_START_UPGRADE_REQ)
                .u32(1, 1)
                .u32(2, 5000)
        };
        ask(&mut commands, start());
        let second = ask(&mut commands, start());
        assert_eq!(attr(&second[0].1, 0), Some(EBUSY as u32));
        let wrong = Builder::new(msg::FW_WRITE_CHUNK_RESP)
            .u32(0, 1)
            .u32(1, 2048);
        let end = ask(&mut commands, wrong.data(2, &[0; 2048]));
        assert_eq!(attr(&end[0].1, 0), Some(EIO as u32));
    }

    #[test]
    fn the_core_dump_has_its_marks() {
        let mut commands = Commands::new(FwConfig::default());
        let info = ask(&mut commands, Builder::new(msg::COREDUMP_GET_INFO_REQ));
        assert_eq!(attr(&info[0].1, 2), Some(ENOENT as u32));
        ask(
            &mut commands,
            Builder::new(msg::COREDUMP_GET_INFO_REQ).flag(0, true),
        );
        let read = |commands: &mut Commands, offset, length| {
            let request = Builder::new(msg::COREDUMP_READ_REQ)
                .u32(0, offset)
                .u32(1, length);
            let answer = ask(commands, request).remove(0).1;
            let message = Message::parse(&answer, known_attribute).unwrap();
            message.bytes(2).map(<[u8]>::to_vec)
        };
        assert_eq!(
            read(&mut commands, 0, 4),
            Some(vec![0xde, 0xad, 0xbe, 0xef])
        );
        assert_eq!(
            read(&mut commands, 0x1ffc, 4),
            Some(vec![0xde, 0xad, 0xbe, 0xef])
        );
        assert_eq!(read(&mut commands, 0x1ffd, 4), None);
        assert_eq!(read(&mut commands, u32::MAX, 4), None);
    }

    #[test]
    fn what_the_host_tells_is_kept_until_it_is_reset() {
        let mut commands = Commands::new(FwConfig::default());
        let mac = [2, 0, 0, 0, 0, 9];
        let sync = Builder::new(msg::RPC_MAC_SYNC_REQ)
            .array(1, |array| array.data(3, &mac))
            .u32(0, 4);
        assert!(ask(&mut commands, sync).is_empty());
        let told = HostState {
            unicast: vec![mac],
            rx_flags: 4,
            ..HostState::default()
        };
        assert_eq!(commands.host(), &told);
        commands.host_reset();
        assert_eq!(commands.host(), &HostState::default());
    }

    #[test]
    fn log_lines_come_once() {
        let mut commands = Commands::new(FwConfig::default());
        let on = Builder::new(msg::LOG_SEND_LOGS_REQ)
            .flag(0, true)
            .u32(1, 1)
            .flag(2, true);
        assert_eq!(ask(&mut commands, on).len(), 1);
        let owner = ask(
            &mut commands,
            Builder::new(msg::OWNERSHIP_REQ).flag(0, true),
        );
        assert_eq!(owner.len(), 2);
        let again = ask(
            &mut commands,
            Builder::new(msg::OWNERSHIP_REQ).flag(0, true),
        );
        assert_eq!(again.len(), 1);
    }
}
