// SPDX-License-Identifier: GPL-2.0

//! The control firmware of the adapter: bring-up, requests, ownership and heartbeat.
//!
//! [`mailbox`] moves messages, [`messages`] knows what they mean, this file knows when to send
//! which. Everything happens in process context under one mutex; the interrupt is threaded.
//!
//! The firmware is not trusted. Every answer is waited for with a time-out, every message is
//! checked by the TLV codec, and what does not make sense is dropped, counted, and logged as long
//! as there is little of it.
//!
//! Locks: `Fw::inner` is taken before the classifier's lock and never the other way round.

use kernel::{
    alloc::{
        KBox,
        KVec, //
    },
    device::{
        Bound,
        Device, //
    },
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        MutexGuard, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    completion::Completion,
    fbnic_csr::{
        intr::*,
        Csr, //
    },
    fbnic_dev::Fbnic,
    fbnic_irq::LostInterrupt,
    fbnic_tlv::{
        Message,
        TlvError,
        MAX_MESSAGE, //
    }, //
};

mod heartbeat;
mod log;
mod mailbox;
pub mod messages;
mod ring;
mod waiters;

use heartbeat::Heartbeat;
use log::Log;
use mailbox::{
    Mailbox,
    Received, //
};
use messages::{
    id,
    Call,
    CoredumpInfo,
    CoredumpRead,
    Failure,
    HeartbeatReq,
    HostCapReq,
    OwnershipReq,
    Request,
    SelfTest,
    SendLogs,
    SensorRead,
    Version, //
};
use waiters::{
    Refusal,
    Waiters,
    WAITERS, //
};

pub(crate) use log::Printable;
pub use messages::{
    Caps,
    LogEntry,
    MacSync,
    QsfpData,
    QsfpRead,
    Sensors, //
};

/// How long the firmware may take for anything, milliseconds.
const TIMEOUT_MS: u32 = 10_000;

/// How often the mailbox is looked at while there is no interrupt, milliseconds.
const POLL_MS: i64 = 20;

/// Messages handled before the interrupt thread lets go.
const BUDGET: usize = 64;

/// Messages that went wrong, in either direction, before those to come are not logged until the mailbox
/// is opened anew.
const LOGGED: u64 = 8;

/// Turns a codec error into an errno.
fn to_errno(error: TlvError) -> Error {
    match error {
        TlvError::Full => EMSGSIZE,
        TlvError::NotMessage
        | TlvError::Length
        | TlvError::Id
        | TlvError::Duplicate
        | TlvError::Value
        | TlvError::CannotIgnore
        | TlvError::Depth => EBADMSG,
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Tlv(error) => to_errno(error),
            Failure::Mismatch | Failure::Stale => EBADMSG,
            // Only a negative errno is taken over; the sign of others has no meaning here.
            Failure::Firmware(error) if (-4095..0).contains(&error) => Error::from_errno(error),
            Failure::Firmware(_) => EIO,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exists => EEXIST,
            Refusal::Full => EXFULL,
        }
    }
}

/// Why a request has no answer that can be used.
pub enum CallError {
    /// It was not sent.
    Unsent(Error),
    /// No answer came in time.
    TimedOut,
    /// The process that waited is to end.
    Killed,
    /// This is the answer, or what is wrong with it.
    Answer(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unsent(error) | CallError::Answer(error) => error,
            CallError::TimedOut => ETIMEDOUT,
            CallError::Killed => EINTR,
        }
    }
}

/// What messages from the firmware change.
struct State {
    caps: Option<Caps>,
    too_old: bool,
    /// The mailbox is about to be closed: nobody may begin to wait for an answer.
    ending: bool,
    waiters: Waiters<Result<KVec<u8>>>,
    heartbeat: Heartbeat,
    /// When the last sign of life was asked for.
    requested: Instant<Monotonic>,
    log: Log,
    /// Messages that went wrong, since probe.
    malformed: u64,
    /// Those of them since the mailbox was opened.
    news: u64,
    bmc_changed: bool,
}

type FwGuard<'a> = MutexGuard<'a, Inner>;

struct Inner {
    mailbox: Option<Mailbox>,
    state: State,
    buf: KBox<[u8; MAX_MESSAGE]>,
}

/// The firmware side of an adapter.
#[pin_data]
pub struct Fw {
    #[pin]
    inner: Mutex<Inner>,
    /// For those who have a place among the waiters, by place: told whenever there may be an answer.
    #[pin]
    answered: [Completion; WAITERS],
    /// For the one who waits in spite of all signals: told of what `answered` is told of.
    #[pin]
    served: Completion,
    lost: LostInterrupt,
}

impl Fw {
    /// Prepares everything; nothing is sent.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- new_mutex!(Inner {
                mailbox: None,
                state: State::new(),
                buf: KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?,
            }),
            answered <- pin_init::pin_init_array_from_fn(|_| Completion::new()),
            served <- Completion::new(),
            lost: LostInterrupt::new(),
        })
    }
}

impl State {
    fn new() -> Self {
        Self {
            caps: None,
            too_old: false,
            ending: false,
            waiters: Waiters::default(),
            heartbeat: Heartbeat::default(),
            requested: Instant::now(),
            log: Log::new(),
            malformed: 0,
            news: 0,
            bmc_changed: false,
        }
    }

    /// Takes in one message.
    fn handle(&mut self, dev: &Device, bytes: &[u8]) -> Result {
        let message = Message::parse(bytes).map_err(to_errno)?;
        match message.id() {
            id::FW_CAP_RESP => self.take_caps(dev, &message),
            id::OWNERSHIP_RESP | id::HEARTBEAT_RESP => {
                let uptime = messages::decode_uptime(&message).map_err(to_errno)?;
                self.heartbeat.beat(uptime);
                Ok(())
            }
            id::LOG_MSG_REQ => {
                let log = &mut self.log;
                messages::decode_logs(&message, |entry| log.push(entry)).map_err(Error::from)
            }
            reply => self.answer(reply, bytes),
        }
    }

    fn take_caps(&mut self, dev: &Device, message: &Message<'_>) -> Result {
        let before = self.caps.unwrap_or_default();
        let caps = Caps::decode(message, &before).map_err(to_errno)?;
        let version = caps.running.mgmt.version;
        if version < Version::MIN {
            if core::mem::replace(&mut self.too_old, true) {
                return Ok(());
            }
            let [major, minor, patch, build] = version.parts();
            dev_err!(
                dev,
                "firmware {}.{}.{}.{} is older than 0.10.6.0, which is required\n",
                major,
                minor,
                patch,
                build
            );
            return Ok(());
        }
        if caps.running.mgmt.commit().is_empty() && self.caps.is_none() {
            dev_warn!(dev, "firmware did not name its commit\n");
        }
        self.caps = Some(caps);
        self.bmc_changed = true;
        Ok(())
    }

    /// Counts a message that went wrong. Returns whether to log it.
    fn is_news(&mut self) -> bool {
        self.malformed = self.malformed.saturating_add(1);
        self.news = self.news.saturating_add(1);
        self.news <= LOGGED
    }

    /// The firmware could not read a message. Its sender need not wait for an answer `reply`.
    fn refused(&mut self, dev: &Device, reply: Option<u16>) {
        if self.is_news() {
            dev_warn!(dev, "firmware could not read a message\n");
        }
        if let Some(reply) = reply {
            self.waiters.answer(reply, Err(EIO));
        }
    }

    /// Hands an answer to the one who waits for it.
    fn answer(&mut self, reply: u16, bytes: &[u8]) -> Result {
        if !self.waiters.expects(reply) {
            return Err(ENOENT);
        }
        let mut copy = KVec::new();
        copy.extend_from_slice(bytes, GFP_KERNEL)?;
        self.waiters.answer(reply, Ok(copy));
        Ok(())
    }
}

impl Inner {
    fn send<R: Request>(&mut self, csr: &Csr, request: &R) -> Result {
        self.send_expecting(csr, request, None)
    }

    fn send_expecting<R: Request>(&mut self, csr: &Csr, request: &R, reply: Option<u16>) -> Result {
        let mailbox = self.mailbox.as_mut().ok_or(ENODEV)?;
        mailbox.send(csr, &mut self.buf[..], request, reply)
    }

    /// Handles what the firmware has done. Returns whether there may be more.
    fn poll(&mut self, csr: &Csr, dev: &Device) -> bool {
        let Self {
            mailbox: Some(mailbox),
            state,
            buf,
        } = self
        else {
            return false;
        };
        mailbox::take_event(csr);
        mailbox.reap_tx(csr, |reply| state.refused(dev, reply));
        for _ in 0..BUDGET {
            let outcome = match mailbox.receive(csr, &mut buf[..]) {
                Ok(None) => return false,
                Ok(Some(Received::Nothing)) => continue,
                Ok(Some(Received::Message(len))) => {
                    let bytes = buf.get(..len).unwrap_or_default();
                    state.handle(dev, bytes).map_err(|error| (error, bytes))
                }
                Err(error) => Err((error, &[][..])),
            };
            if let Err((error, bytes)) = outcome {
                if state.is_news() {
                    let start = bytes.get(..16).unwrap_or(bytes);
                    dev_warn!(
                        dev,
                        "unusable firmware message: {:?}: {:02x?}\n",
                        error,
                        start
                    );
                }
            }
        }
        true
    }

    /// Gives up a mailbox whose version is too old to talk to.
    fn check_version(&mut self) -> Result {
        if !self.state.too_old {
            return Ok(());
        }
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.close_tx();
        }
        Err(ENODEV)
    }

    fn errors(&self) -> u64 {
        self.mailbox.as_ref().map_or(0, Mailbox::errors)
    }
}

/// Whether less than the firmware's time has passed since `start`.
fn in_time(start: Instant<Monotonic>) -> bool {
    start.elapsed() < Delta::from_millis(i64::from(TIMEOUT_MS))
}

/// Bring-up and shutdown.
impl Fbnic {
    /// Makes the firmware forget what somebody else may have told it, and shuts the device's gates to
    /// memory, until [`Fbnic::fw_bring_up`].
    pub fn fw_forget(&self) {
        mailbox::forget(&self.csr);
    }

    /// Starts the mailbox and waits for the firmware's capabilities. Sleeps up to 10 s.
    ///
    /// The firmware's vector must be masked and stay so until [`Fbnic::fw_irq_enable`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENODEV` if the device is gone or the firmware too old; `ETIMEDOUT`. Nothing is
    /// left running after an error.
    pub fn fw_bring_up(&self, dev: &Device<Bound>) -> Result {
        let mailbox = Mailbox::new(&self.csr, dev)?;
        {
            let mut inner = self.fw.inner.lock();
            inner.state.caps = None;
            inner.state.too_old = false;
            inner.state.ending = false;
            inner.state.news = 0;
            inner.mailbox = Some(mailbox);
        }
        let outcome = self.fw_handshake(Instant::now());
        if outcome.is_err() {
            self.fw_stop_mailbox();
        }
        outcome
    }

    fn fw_handshake(&self, start: Instant<Monotonic>) -> Result {
        // Each reset makes the firmware raise its interrupt, should the first have been missed.
        loop {
            if let Some(mailbox) = &mut self.fw.inner.lock().mailbox {
                mailbox.knock(&self.csr);
            }
            if !self.csr.is_present() {
                return Err(ENODEV);
            }
            fsleep(Delta::from_millis(POLL_MS));
            if mailbox::take_event(&self.csr) {
                break;
            }
            if !in_time(start) {
                return Err(ETIMEDOUT);
            }
        }

        if let Some(mailbox) = &mut self.fw.inner.lock().mailbox {
            mailbox.open(&self.csr, self.params.relaxed_ordering)?;
        }
        let mut asked_after = None;
        loop {
            let mut inner = self.fw.inner.lock();
            // An error may have been that of the request or of its answer: ask again.
            let errors = inner.errors();
            if asked_after != Some(errors) {
                inner.send(&self.csr, &HostCapReq)?;
                asked_after = Some(errors);
            }
            drop(inner);
            fsleep(Delta::from_millis(POLL_MS));

            let mut inner = self.fw.inner.lock();
            inner.poll(&self.csr, self.dev());
            inner.check_version()?;
            if inner.state.caps.is_some() {
                return Ok(());
            }
            if !self.csr.is_present() {
                return Err(ENODEV);
            }
            if !in_time(start) {
                return Err(ETIMEDOUT);
            }
        }
    }

    /// Lets the firmware raise its vector. Its interrupt must have been requested.
    pub fn fw_irq_enable(&self) {
        self.csr.write32(intr_mask_clear(0), 1 << FW_VECTOR);
    }

    /// Masks the firmware's vector.
    pub fn fw_irq_disable(&self) {
        self.csr.write32(intr_mask_set(0), 1 << FW_VECTOR);
    }

    /// The body of the interrupt thread of the firmware's vector.
    pub fn fw_irq(&self) {
        self.fw_serve(&mut self.fw.inner.lock());
    }

    /// Handles what the firmware has done, tells those who wait, and lets it interrupt again.
    fn fw_serve(&self, inner: &mut FwGuard<'_>) {
        let more = inner.poll(&self.csr, self.dev());
        // If it has become too old to talk to, whoever still has something to say to it is refused.
        let _ = inner.check_version();
        // Firmware that is faster than we are must not keep us here, nor be forgotten.
        if more {
            self.csr.write32(intr_set(0), 1 << FW_VECTOR);
        }
        self.fw_tell_all();
        if inner.mailbox.is_some() {
            self.fw_irq_enable();
        }
    }

    /// To be called once a second while the mailbox is open: does what its interrupt would have done,
    /// had that not been lost. Process context.
    pub(crate) fn fw_recover_lost_interrupt(&self) {
        let masked = self.csr.read32(intr_mask(0)) & 1 << FW_VECTOR != 0;
        if self.fw.lost.look(masked && self.csr.is_present()) {
            self.fw_irq();
        }
    }

    /// Ends all requests, and refuses further ones until [`Fbnic::fw_bring_up`]. To be called before
    /// anything that has to wait for those who talk to the firmware, a dump of its memory for one.
    pub(crate) fn fw_end_requests(&self) {
        let mut inner = self.fw.inner.lock();
        inner.state.ending = true;
        inner.state.waiters.answer_all(|| Err(EPIPE));
        self.fw_tell_all();
    }

    /// Stops the mailbox. The vector must be masked and its handler not running.
    ///
    /// Whoever waits for an answer gets `EPIPE`. Messages already sent, such as the one that stops
    /// the logs, are given up to 10 s to be read.
    pub fn fw_shutdown(&self) {
        let start = Instant::<Monotonic>::now();
        loop {
            let mut inner = self.fw.inner.lock();
            inner.state.waiters.answer_all(|| Err(EPIPE));
            let Some(mailbox) = &mut inner.mailbox else {
                break;
            };
            mailbox.close_tx();
            mailbox.reap_tx(&self.csr, |_| ());
            if mailbox.tx_is_empty() || !self.csr.is_present() || !in_time(start) {
                break;
            }
            drop(inner);
            fsleep(Delta::from_millis(POLL_MS));
        }
        self.fw_stop_mailbox();
    }

    /// Resets the rings and frees their memory. Nothing else of the device is in use any more.
    fn fw_stop_mailbox(&self) {
        let mut inner = self.fw.inner.lock();
        inner.state.heartbeat.released();
        if let Some(mut mailbox) = inner.mailbox.take() {
            mailbox.stop(&self.csr);
            // It may not have heard of that.
            self.stop_dma();
        }
        self.fw_tell_all();
    }

    /// Lets everybody who waits look at what has changed. `inner` is locked.
    fn fw_tell_all(&self) {
        for answered in &self.fw.answered {
            answered.complete_all();
        }
        self.fw.served.complete_all();
    }
}

/// Requests.
impl Fbnic {
    /// What the firmware said last about itself. All zero before [`Fbnic::fw_bring_up`].
    pub fn fw_caps(&self) -> Caps {
        self.fw.inner.lock().state.caps.unwrap_or_default()
    }

    /// Sends a message that is not answered.
    pub(crate) fn fw_send<R: Request>(&self, request: &R) -> Result {
        self.fw.inner.lock().send(&self.csr, request)
    }

    /// Sends a request and waits for its answer, up to 10 s.
    ///
    /// Of all signals only one that ends the process ends that: the error of any other would reach
    /// programs that expect none, by way of netlink as well, which starts no call again.
    ///
    /// # Errors
    ///
    /// [`CallError::Unsent`] with `EEXIST` if the same request is under way, `EXFULL` if too many
    /// others are, `EBUSY` if the mailbox is full, `ENODEV` if it is closed. [`CallError::Answer`] with
    /// `EPIPE` if it was closed while waiting, `EIO` if the firmware could not read the request,
    /// `EBADMSG` if the answer makes no sense, or what the firmware answered.
    pub(crate) fn fw_call<C: Call>(&self, mut call: C) -> Result<C::Reply, CallError> {
        let index = self.fw_ask(&call).map_err(CallError::Unsent)?;
        let outcome = self.fw_wait(index, &mut call);
        self.fw.inner.lock().state.waiters.release(index);
        outcome
    }

    /// Sends a request. Returns the place of its answer, which is to be released.
    fn fw_ask<C: Call>(&self, call: &C) -> Result<usize> {
        let mut inner = self.fw.inner.lock();
        if inner.state.ending {
            return Err(ENODEV);
        }
        let index = inner.state.waiters.reserve(C::REPLY)?;
        inner
            .send_expecting(&self.csr, call, Some(C::REPLY))
            .inspect_err(|_| inner.state.waiters.release(index))?;
        Ok(index)
    }

    /// Waits until place `index` has an answer that belongs to `call`.
    fn fw_wait<C: Call>(&self, index: usize, call: &mut C) -> Result<C::Reply, CallError> {
        let answered = self.fw.answered.get(index).ok_or(CallError::TimedOut)?;
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            let mut inner = self.fw.inner.lock();
            if left == 0 {
                // The answer may be there and its interrupt lost. Without a network device nobody else
                // looks for that.
                self.fw_serve(&mut inner);
            }
            if let Some(answer) = inner.state.waiters.take(index) {
                let bytes = answer.map_err(CallError::Answer)?;
                let message = Message::parse(&bytes).map_err(|e| CallError::Answer(to_errno(e)))?;
                match call.decode(&message) {
                    // The answer to a question that somebody has given up: ours is still to come.
                    Err(Failure::Stale) => {}
                    outcome => return outcome.map_err(|e| CallError::Answer(e.into())),
                }
            }
            if left == 0 {
                return Err(CallError::TimedOut);
            }
            // What is answered from here on ends the wait, as that needs the lock, too.
            answered.reinit();
            drop(inner);
            left = answered
                .wait_killable_timeout(left)
                .map_err(|_| CallError::Killed)?;
        }
    }

    /// Reads temperature and voltage. Sleeps; see [`Fbnic::fw_call`] for errors.
    pub fn fw_sensors(&self) -> Result<Sensors, CallError> {
        self.fw_call(SensorRead)
    }

    /// Reads the memory of the transceiver module. Sleeps; see [`Fbnic::fw_call`] for errors.
    pub fn fw_qsfp_read(&self, read: QsfpRead) -> Result<QsfpData, CallError> {
        if !usize::try_from(read.length).is_ok_and(|length| length <= messages::QSFP_PAGE) {
            return Err(CallError::Unsent(EINVAL));
        }
        self.fw_call(read)
    }

    /// Makes the firmware keep a dump of its memory, unless it has one of a crash, and returns its
    /// size in bytes. Sleeps; see [`Fbnic::fw_call`] for errors.
    pub fn fw_coredump_create(&self) -> Result<u32, CallError> {
        self.fw_call(CoredumpInfo { create: true })
    }

    /// Fills `out` with the dump from byte `offset` on; at most [`messages::MAX_DATA`] bytes. Sleeps;
    /// see [`Fbnic::fw_call`] for errors.
    pub fn fw_coredump_read(&self, offset: u32, out: &mut [u8]) -> Result<(), CallError> {
        self.fw_call(CoredumpRead { offset, out })
    }

    /// Sends one message with every kind of attribute and checks that it comes back unchanged.
    pub fn fw_self_test(&self) -> Result<(), CallError> {
        self.fw_call(SelfTest)
    }

    /// Starts or stops the firmware's log messages, if it has any.
    pub fn fw_logs(&self, enable: bool) {
        let mut inner = self.fw.inner.lock();
        let version = inner.state.caps.unwrap_or_default().running.mgmt.version;
        if version < Version::MIN_LOG {
            if enable {
                dev_warn!(self.dev(), "firmware is too old to send its log\n");
            }
            return;
        }
        let request = SendLogs {
            enable,
            history: version >= Version::MIN_LOG_HISTORY && !inner.state.log.has_heard(),
        };
        if let Err(error) = inner.send(&self.csr, &request) {
            dev_warn!(self.dev(), "cannot switch firmware logs: {:?}\n", error);
        }
    }

    /// Adds what the driver has found out about the firmware to its log. Sleeps.
    pub(crate) fn fw_log_event(&self, text: &CStr) {
        let state = &mut self.fw.inner.lock().state;
        let uptime = state.heartbeat.uptime().unwrap_or(0);
        state
            .log
            .push_event(u32::try_from(uptime).unwrap_or(u32::MAX), text.to_bytes());
    }

    /// Calls `sink` for each kept log entry, the oldest first. `sink` must not use the firmware.
    pub fn fw_for_each_log(&self, sink: impl FnMut(LogEntry<'_>)) {
        self.fw.inner.lock().state.log.for_each(sink);
    }

    /// Messages in either direction that went wrong, since probe.
    pub(crate) fn fw_malformed(&self) -> u64 {
        self.fw.inner.lock().state.malformed
    }

    /// Whether the capabilities were (re)read since the last call.
    pub(crate) fn fw_take_bmc_changed(&self) -> bool {
        core::mem::take(&mut self.fw.inner.lock().state.bmc_changed)
    }

    /// Prints the mailbox, if there is one.
    pub(crate) fn fw_show_mailbox(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fw.inner.lock().mailbox {
            Some(mailbox) => mailbox.show(&self.csr, out),
            None => Ok(()),
        }
    }

    /// Milliseconds since the firmware started, as of its last sign of life. [`None`] while the
    /// interface is down, when there are none.
    pub(crate) fn fw_uptime(&self) -> Option<u64> {
        self.fw.inner.lock().state.heartbeat.uptime()
    }

    /// Whether messages can be sent.
    pub(crate) fn fw_is_open(&self) -> bool {
        let inner = self.fw.inner.lock();
        inner.mailbox.as_ref().is_some_and(Mailbox::is_open)
    }
}

/// What the periodic look at the firmware found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FwHealth {
    /// Nothing to report.
    Good,
    /// The firmware has crashed or was restarted, and has read what it had been sent: the port is to be
    /// taken again.
    Crashed,
}

/// Ownership of the port, and the firmware's health.
impl Fbnic {
    /// Takes the port and makes sure that the firmware has noticed. Sleeps up to 10 s.
    ///
    /// A signal does not end that: an interface that is about to come back, after a reset or a test,
    /// would stay down for it.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if it did not notice, `EPIPE` if the mailbox was closed, or those of sending.
    pub fn fw_take_ownership(&self) -> Result {
        self.fw_claim(&mut self.fw.inner.lock())?;
        self.fw_await_claim()
            .inspect_err(|_| self.fw_release_ownership())
    }

    /// Waits until a claim is answered, and asks for the first sign of life.
    fn fw_await_claim(&self) -> Result {
        let mut left = msecs_to_jiffies(TIMEOUT_MS);
        loop {
            let mut inner = self.fw.inner.lock();
            if left == 0 {
                // The answer may be there and its interrupt lost. Until the interface is back nobody else
                // looks for that.
                self.fw_serve(&mut inner);
            }
            if inner.mailbox.is_none() {
                return Err(EPIPE);
            }
            if inner.state.heartbeat.is_answered() {
                return self.fw_request_heartbeat(&mut inner);
            }
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            // What is served from here on ends the wait, as that needs the lock, too.
            self.fw.served.reinit();
            drop(inner);
            left = self.fw.served.wait_timeout(left);
        }
    }

    fn fw_claim(&self, inner: &mut Inner) -> Result {
        inner.send(&self.csr, &OwnershipReq { take: true })?;
        inner.state.heartbeat.claimed();
        inner.state.requested = Instant::now();
        Ok(())
    }

    fn fw_request_heartbeat(&self, inner: &mut Inner) -> Result {
        inner.send(&self.csr, &HeartbeatReq)?;
        inner.state.heartbeat.requested();
        inner.state.requested = Instant::now();
        Ok(())
    }

    /// Gives the port back.
    pub fn fw_release_ownership(&self) {
        let mut inner = self.fw.inner.lock();
        inner.state.heartbeat.released();
        // A closed mailbox has been told that the host is gone by the reset of its rings.
        let _ = inner.send(&self.csr, &OwnershipReq { take: false });
    }

    /// Once a second: asks for a sign of life every 10 s, and says whether there was a crash that the
    /// port was not taken again after.
    pub(crate) fn fw_check_health(&self) -> FwHealth {
        let mut inner = self.fw.inner.lock();
        // Firmware that is too old to talk to cannot be asked, nor be recovered.
        if inner.state.too_old {
            return FwHealth::Good;
        }
        self.fw_check_heartbeat(&mut inner);
        // After a crash the mailbox drains first: the new firmware still reads what was sent.
        let drained = inner.mailbox.as_ref().is_some_and(Mailbox::tx_is_empty);
        if inner.state.heartbeat.is_lost() && drained {
            FwHealth::Crashed
        } else {
            FwHealth::Good
        }
    }

    /// Takes the port again after a crash, unless somebody else has meanwhile. Process context.
    ///
    /// The firmware may throw away what it kept of the crash, which is to be fetched before.
    pub(crate) fn fw_recover(&self) {
        let mut inner = self.fw.inner.lock();
        if !inner.state.heartbeat.is_lost() {
            return;
        }
        if let Err(error) = self.fw_claim(&mut inner) {
            dev_err!(self.dev(), "firmware recovery failed: {:?}\n", error);
        }
    }

    fn fw_check_heartbeat(&self, inner: &mut Inner) {
        let elapsed = inner.state.requested.elapsed().as_millis();
        if !inner.state.heartbeat.is_due(elapsed) {
            return;
        }
        if inner.state.heartbeat.judge() {
            dev_warn!(self.dev(), "firmware stopped or was restarted\n");
        }
        if let Err(error) = self.fw_request_heartbeat(inner) {
            dev_warn!(
                self.dev(),
                "cannot ask firmware for a heartbeat: {:?}\n",
                error
            );
        }
    }
}
