// SPDX-License-Identifier: GPL-2.0
//! What faults there are and when they strike, as the control socket and scripts spell them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A fault with the occasions it strikes at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// What goes wrong.
    pub fault: Fault,
    /// At which occasions; by default at all of them.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
}

/// Which of the occasions that concern a fault it strikes at. All conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Occasions that pass unharmed first.
    #[serde(skip_serializing_if = "is_zero")]
    pub after: u64,
    /// Strikes at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only each n-th occasion; 0 and 1 mean each.
    #[serde(skip_serializing_if = "is_zero")]
    pub every: u64,
    /// By chance, one in n; 0 and 1 mean always. The seed decides the outcome.
    #[serde(skip_serializing_if = "is_zero")]
    pub one_in: u64,
    /// Milliseconds after arming before which nothing happens.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_ms: u64,
    /// Milliseconds, after `delay_ms`, for which it may strike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl When {
    fn is_always(&self) -> bool {
        *self == Self::default()
    }

    /// Whether time alone can change the answer.
    pub(super) fn is_timed(&self) -> bool {
        self.delay_ms > 0 || self.for_ms.is_some()
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn yes() -> bool {
    true
}

fn one_millisecond() -> u64 {
    1000
}

fn eio() -> i32 {
    -5
}

/// Direction of a transfer as the device sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From host memory.
    Read,
    /// To host memory.
    Write,
}

/// Kind of a receive completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RcdKind {
    /// Place of the header.
    Header,
    /// Place of a piece of payload.
    Payload,
    /// Time stamp and action.
    OptMeta,
    /// What closes a packet.
    Meta,
}

/// What of a receive completion is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RcdField {
    /// The buffer's identifier.
    Buffer,
    /// Where in the fragment the bytes start.
    Offset,
    /// How many bytes there are.
    Length,
    /// The kind of completion.
    Type,
    /// The error bits of META.
    Error,
    /// Every bit but DONE.
    Any,
}

/// What of a transmit completion is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TcdField {
    /// The work rings' heads.
    Head,
    /// The kind of completion.
    Type,
    /// Every bit but DONE.
    Any,
}

/// How a firmware message is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mangling {
    /// It ends in the middle of its attributes.
    Truncated,
    /// Its last attribute claims to be longer than the message.
    Oversized,
    /// Its identifier is that of no message.
    WrongId,
    /// Its content lies within arrays within arrays.
    Nested,
    /// Its first attribute comes twice.
    Duplicate,
    /// Random bits are flipped.
    Random,
}

/// What of a completed mailbox descriptor is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailboxField {
    /// Length of the message.
    Length,
    /// Where the message is said to be.
    Address,
    /// The mark of a message's last descriptor, which is missing.
    Eom,
    /// FW_ERR is set, and there is no message.
    Error,
}

/// What goes wrong. A missing selector means all, a missing value a random one.
///
/// Registers are named by their dword index in BAR0, those of the firmware window by their dword
/// index in BAR4, messages by the identifier of the host's request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The device is gone: its BARs read as ones and take no writes, it neither transfers nor
    /// interrupts. With `config`, configuration space reads as ones as well, because the link is down.
    /// As PCI Express wants it then, the device is in reset: it comes back as after power-on, while
    /// without `config` it goes on where it was.
    Unplugged {
        /// Whether configuration space is gone too.
        #[serde(default = "yes")]
        config: bool,
    },
    /// Registers read wrongly.
    CsrRead {
        /// First register.
        first: u32,
        /// Last register; `first` if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u32>,
        /// What they read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u32>,
        /// Which bits of `value` count; all if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<u32>,
    },
    /// Writes of registers get lost.
    CsrWriteLost {
        /// First register.
        first: u32,
        /// Last register; `first` if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u32>,
    },
    /// The firmware window reads wrongly.
    FwWindowRead {
        /// First dword.
        first: u32,
        /// Last dword; `first` if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u32>,
        /// What they read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u32>,
        /// Which bits of `value` count; all if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<u32>,
    },
    /// A dword of configuration space reads wrongly.
    ConfigRead {
        /// Byte offset, a multiple of 4.
        offset: u16,
        /// What it reads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u32>,
        /// Which bits of `value` count; all if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<u32>,
    },
    /// No queue ever reports that it is idle.
    NeverIdle {},
    /// MSI-X messages get lost.
    MsixLost {
        /// Vector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector: Option<u8>,
    },
    /// MSI-X messages without a cause, again and again.
    MsixStorm {
        /// Vector; random ones if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector: Option<u8>,
        /// Microseconds from one to the next.
        #[serde(default = "one_millisecond")]
        period_us: u64,
    },
    /// The link is down.
    LinkDown {},
    /// The link goes down and up.
    LinkFlap {
        /// Milliseconds it stays down and then up.
        period_ms: u64,
    },
    /// Host memory cannot be reached.
    DmaRefused {
        /// Direction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<Direction>,
    },
    /// A piece of a frame is written over the one before it.
    DmaMisplaced {},
    /// Pieces of frames are written after their completions.
    DmaLate {
        /// Milliseconds.
        ms: u64,
    },
    /// A receive completion has a wrong field.
    Rcd {
        /// Which completions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<RcdKind>,
        /// Which field.
        field: RcdField,
        /// Its value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u64>,
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A receive completion is missing.
    RcdOmitted {
        /// Which completions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<RcdKind>,
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A receive completion comes twice.
    RcdDuplicated {
        /// Which completions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<RcdKind>,
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A receive completion changes places with the next.
    RcdSwapped {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// DONE of a receive completion is wrong.
    RcdPhase {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A queue that has just been disabled writes one more completion.
    RcdAfterDisable {},
    /// Frames find no buffers.
    RxStall {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A transmit completion has a wrong field.
    Tcd {
        /// Which field.
        field: TcdField,
        /// Its value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u64>,
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A transmit completion is missing.
    TcdOmitted {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// A transmit completion comes twice.
    TcdDuplicated {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// DONE of a transmit completion is wrong.
    TcdPhase {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// Transmit descriptors are not fetched.
    TxStall {
        /// Queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<u32>,
    },
    /// The firmware does not look at its mailbox.
    FwDead {},
    /// The firmware takes requests and does not answer.
    FwSilent {
        /// Request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<u16>,
    },
    /// The firmware answers late.
    FwDelay {
        /// Request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<u16>,
        /// Milliseconds.
        ms: u64,
    },
    /// The firmware completes a request with FW_ERR and does not answer.
    FwRefused {
        /// Request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<u16>,
    },
    /// The answer carries its error attribute, where it has one, and nothing else.
    FwError {
        /// Request.
        message: u16,
        /// A negative error number.
        #[serde(default = "eio")]
        error: i32,
    },
    /// These bytes come instead of the answer.
    FwReplaced {
        /// Request.
        message: u16,
        /// The bytes in hexadecimal.
        hex: Hex,
    },
    /// The answer is no proper message.
    FwMangled {
        /// Request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<u16>,
        /// What is wrong with it.
        how: Mangling,
    },
    /// The descriptor that hands over a message is wrong.
    FwDescriptor {
        /// Which field.
        field: MailboxField,
        /// Its value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u64>,
    },
}

/// Something that happens once and at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// A reset of the slot that nobody announced: everything, configuration space as well.
    Reset {},
    /// The device resets itself: all that a function-level reset clears, but configuration space,
    /// which stays as the host left it.
    Flr {},
    /// The firmware crashes and starts anew. It has forgotten the host and what it was doing, but
    /// the mailbox's descriptors survive it.
    FwRestart {
        /// Whether the descriptors are lost as well.
        #[serde(default)]
        mailbox: bool,
        /// Whether the tables of the classifier, receive and transmit, are lost as well.
        #[serde(default)]
        tcam: bool,
    },
    /// The firmware announces something else from the next HOST_CAP_REQ on. The link takes a new
    /// speed and correction at once.
    Firmware {
        /// Running and stored version, such as "25.7.25.2".
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        /// Its commit string.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// Speed and lanes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link_speed: Option<LinkSpeed>,
        /// Error correction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fec: Option<LinkFec>,
    },
    /// The firmware sends these bytes as a message.
    FwSend {
        /// The bytes in hexadecimal.
        hex: Hex,
    },
    /// A register, counters included, takes a value without the host's doing.
    CsrWrite {
        /// The register's dword index in BAR0.
        csr: u32,
        /// Its value.
        value: u32,
    },
    /// One MSI-X message without a cause.
    Msix {
        /// Vector.
        vector: u8,
    },
    /// The model's own worker panics: to test that it recovers.
    WorkerPanic {},
}

/// Speed and lanes of the port, spelt as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkSpeed {
    /// 25 Gb/s on one lane.
    #[serde(rename = "25")]
    R1x25,
    /// 50 Gb/s on two lanes.
    #[serde(rename = "50r2")]
    R2x25,
    /// 50 Gb/s on one PAM4 lane.
    #[serde(rename = "50r1")]
    R1x50,
    /// 100 Gb/s on two PAM4 lanes.
    #[serde(rename = "100")]
    R2x50,
}

/// Forward error correction, spelt as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkFec {
    /// None.
    None,
    /// Reed-Solomon.
    Rs,
    /// Firecode.
    BaseR,
}

/// A firmware version, the major number in the highest byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub u32);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        let parts: [u8; 4] = parts
            .and_then(|parts| parts.try_into().ok())
            .ok_or("expected four numbers up to 255, such as 25.7.25.2")?;
        Ok(Self(u32::from_be_bytes(parts)))
    }
}

impl TryFrom<String> for Version {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version
            .0
            .to_be_bytes()
            .map(|part| part.to_string())
            .join(".")
    }
}

/// Bytes of a firmware message, written as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() % 2 != 0 || text.len() > 2 * fbnic_defs::fw::MAX_MSG {
            return Err("an even number of digits, for at most 4096 bytes");
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| match pair {
            // CAST: two digits make a byte.
            [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Self).ok_or("only hexadecimal digits")
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
        let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
        hex.0.iter().flat_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_and_write_alike() {
        for line in [
            r#"{"fault":{"msix_lost":{"vector":3}},"when":{"after":2,"times":1}}"#,
            r#"{"fault":{"never_idle":{}}}"#,
            r#"{"fault":{"fw_replaced":{"message":16,"hex":"00ff"}}}"#,
        ] {
            let arm: Arm = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&arm).unwrap(), line);
        }
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        for line in [
            r#"{"fault":{"msix_lots":{}}}"#,
            r#"{"fault":{"msix_lost":{"vectors":3}}}"#,
            r#"{"fault":{"msix_lost":{"vector":300}}}"#,
            r#"{"fault":{"never_idle":{}},"when":{"time":1}}"#,
            r#"{"fault":{"fw_replaced":{"message":16,"hex":"0g"}}}"#,
            r#"{"fault":{"fw_replaced":{"message":16,"hex":"é"}}}"#,
        ] {
            assert!(serde_json::from_str::<Arm>(line).is_err(), "{line}");
        }
    }
}
