// SPDX-License-Identifier: GPL-2.0

//! The tests of `ethtool -t`.
//!
//! A result of 0 means passed. What else a result can be tells an engineer where to look: the number
//! of a register, or one of the codes below.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    irq::Flags,
    prelude::*,
    str::CStr,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use crate::{
    fbnic_csr::{
        intr::*,
        queue::*,
        Csr, //
    },
    fbnic_dev::Fbnic,
    fbnic_fw::CallError,
    fbnic_netdev::FbnicNet,
    irq::{
        Handler,
        IrqReturn,
        Registration, //
    },
    net::netdevice::Locked,
    pci::IrqVectors, //
};

/// Names of the tests in the order of their results.
pub(super) const NAMES: [&str; 3] = [
    "Register test (offline)",
    "MSI-X Interrupt test (offline)",
    "FW mailbox test (on/offline)",
];

/// Why the test of the interrupts failed.
mod msix {
    /// The handlers could not be registered.
    pub(super) const REQUEST: u64 = 10;
    /// A masked vector interrupted.
    pub(super) const MASK: u64 = 20;
    /// Unmasking a vector with its status set did not interrupt.
    pub(super) const UNMASK: u64 = 30;
    /// Unmasking a vector without status interrupted.
    pub(super) const CLEAR: u64 = 40;
    /// Setting the status of an unmasked vector did not interrupt.
    pub(super) const NO_INTERRUPT: u64 = 50;
    /// Interrupting did not clear the status or did not mask the vector.
    pub(super) const NO_CLEAR_OR_MASK: u64 = 60;
}

/// Why the test of the mailbox failed.
mod mailbox {
    /// The mailbox is not open.
    pub(super) const NO_FIRMWARE: u64 = 10;
    /// The message could not be sent.
    pub(super) const NO_XMIT: u64 = 30;
    /// Nothing came back.
    pub(super) const NO_MESSAGE: u64 = 40;
    /// What came back is not what was sent.
    pub(super) const PARSE: u64 = 50;
}

/// Runs the tests and returns whether all have passed. RTNL and netdev lock held.
pub(super) fn run(net: &FbnicNet, dev: &Locked<'_>, offline: bool, results: &mut [u64]) -> bool {
    let [registers, interrupts, firmware] = results else {
        return false;
    };
    *firmware = test_mailbox(net);
    *registers = 0;
    *interrupts = 0;

    let mut reopened = true;
    if offline {
        let was_up = dev.is_running();
        if was_up {
            dev.close();
        }
        *registers = test_registers(net.fbnic());
        *interrupts = test_interrupts(net, dev.name());
        if was_up {
            reopened = dev
                .open()
                .inspect_err(|err| {
                    dev_err!(dev.dma_device(), "cannot open after the test: {:?}\n", err)
                })
                .is_ok();
        }
    }
    reopened && [*registers, *interrupts, *firmware] == [0; 3]
}

fn test_mailbox(net: &FbnicNet) -> u64 {
    if !net.fbnic().fw_is_open() {
        return mailbox::NO_FIRMWARE;
    }
    match net.fbnic().fw_self_test() {
        Ok(()) => 0,
        Err(CallError::Unsent(_)) => mailbox::NO_XMIT,
        // Nobody sees the results of a process that is killed.
        Err(CallError::TimedOut | CallError::Killed) => mailbox::NO_MESSAGE,
        Err(CallError::Answer(_)) => mailbox::PARSE,
    }
}

/// A register of a queue: which of its bits may be written, and which then read back.
struct Pattern {
    register: usize,
    written: u32,
    read: u32,
}

const fn pattern(register: usize, written: u32, read: u32) -> Pattern {
    Pattern {
        register,
        written,
        read,
    }
}

/// Control: only resetting is harmless. Pointers: only the device sets them.
const fn control(register: usize) -> Pattern {
    pattern(register, QUEUE_CTL_RESET, QUEUE_CTL_RESET)
}

const fn pointers(register: usize) -> Pattern {
    pattern(register, u32::MAX, 0)
}

const fn size(register: usize) -> Pattern {
    pattern(register, u32::MAX, QUEUE_SIZE_MASK)
}

const fn low(register: usize) -> Pattern {
    pattern(register, u32::MAX, QUEUE_BAL_MASK)
}

const fn high(register: usize) -> Pattern {
    pattern(register, u32::MAX, u32::MAX)
}

/// The registers of a queue that hold what is written to them, or must not.
const PATTERNS: [Pattern; 29] = [
    control(TWQ0_CTL),
    pointers(TWQ0_PTRS),
    size(TWQ0_SIZE),
    low(TWQ0_BAL),
    high(TWQ0_BAH),
    control(TWQ1_CTL),
    pointers(TWQ1_PTRS),
    size(TWQ1_SIZE),
    low(TWQ1_BAL),
    high(TWQ1_BAH),
    control(TCQ_CTL),
    pointers(TCQ_PTRS),
    size(TCQ_SIZE),
    low(TCQ_BAL),
    high(TCQ_BAH),
    control(RCQ_CTL),
    pointers(RCQ_PTRS),
    size(RCQ_SIZE),
    low(RCQ_BAL),
    high(RCQ_BAH),
    control(BDQ_CTL),
    pointers(BDQ_HPQ_PTRS),
    size(BDQ_HPQ_SIZE),
    low(BDQ_HPQ_BAL),
    high(BDQ_HPQ_BAH),
    pointers(BDQ_PPQ_PTRS),
    size(BDQ_PPQ_SIZE),
    low(BDQ_PPQ_BAL),
    high(BDQ_PPQ_BAH),
];

/// Writes patterns of bits to the registers of all queues. Returns the number of the first register
/// that does not read as it should, counted in 32-bit registers, or 0.
fn test_registers(fbnic: &Fbnic) -> u64 {
    let csr = &fbnic.csr;
    for entry in PATTERNS {
        for queue in 0..QUEUE_COUNT {
            let offset = queue_base(queue) + entry.register;
            for bits in [u32::MAX, 0x5a5a_5a5a, 0xa5a5_a5a5, 0] {
                csr.write32(offset, bits & entry.written);
                let expected = bits & entry.written & entry.read;
                let received = csr.read32(offset);
                if received != expected {
                    let register = offset / size_of::<u32>();
                    dev_err!(
                        fbnic.dev(),
                        "register {register:#08x} failed its test, expected {expected:#010x} received {received:#010x}\n"
                    );
                    // CAST: Widening.
                    return register as u64;
                }
            }
        }
    }
    0
}

/// How long an interrupt that has to arrive is waited for, in units of 10 ms.
const LATEST: u32 = 100;

/// Remembers that a vector has interrupted.
struct Seen(AtomicBool);

impl Handler for Seen {
    fn handle(&self) -> IrqReturn {
        self.0.store(true, Ordering::Release);
        IrqReturn::Handled
    }
}

impl Seen {
    /// Gives an interrupt time to arrive; returns whether one has, and forgets it.
    fn take(&self) -> bool {
        fsleep(Delta::from_millis(10));
        self.0.swap(false, Ordering::AcqRel)
    }

    /// Returns whether an interrupt arrives, for which a busy machine may need a while, or does not, of
    /// which there is no better sign than a short silence.
    fn agrees(&self, wanted: bool) -> bool {
        let tries = if wanted { LATEST } else { 1 };
        (0..tries).any(|_| self.take()) == wanted
    }
}

type TestIrq = Pin<KBox<Registration<Seen>>>;

/// Tries setting, clearing, masking and unmasking of each vector that no one else uses.
fn test_interrupts(net: &FbnicNet, name: &CStr) -> u64 {
    let Some(vectors) = net.vectors() else {
        return msix::REQUEST;
    };
    let Ok(irqs) = request_all(&vectors, name) else {
        return msix::REQUEST;
    };
    let csr = &net.fbnic().csr;
    for (index, irq) in irqs.iter().enumerate() {
        let index = NAPI_VECTOR_FIRST + index;
        if let Err(code) = test_vector(csr, index, irq.handler()) {
            let (word, bit) = (index / 32, 1 << (index % 32));
            csr.write32(intr_mask_set(word), bit);
            csr.write32(intr_clear(word), bit);
            csr.flush();
            return code;
        }
    }
    0
}

fn request_all(vectors: &Arc<IrqVectors>, name: &CStr) -> Result<KVec<TestIrq>> {
    let mut irqs = KVec::new();
    // CAST: 2.
    for index in NAPI_VECTOR_FIRST as u32..vectors.len() {
        let seen = Seen(AtomicBool::new(false));
        let irq = Registration::new(vectors, index, Flags::TRIGGER_NONE, name, seen)?;
        irqs.push(irq, GFP_KERNEL)?;
    }
    Ok(irqs)
}

fn test_vector(csr: &Csr, index: usize, seen: &Seen) -> Result<(), u64> {
    let (word, bit) = (index / 32, 1 << (index % 32));
    let write = |register| {
        csr.write32(register, bit);
        csr.flush();
    };
    let expect = |wanted, code| seen.agrees(wanted).then_some(()).ok_or(code);

    write(intr_mask_set(word));
    write(intr_clear(word));
    write(intr_set(word));
    expect(false, msix::MASK)?;
    write(intr_mask_clear(word));
    expect(true, msix::UNMASK)?;
    write(intr_mask_clear(word));
    expect(false, msix::CLEAR)?;
    write(intr_set(word));
    expect(true, msix::NO_INTERRUPT)?;

    let pending = csr.read32(intr_status(word)) & bit != 0;
    let masked = csr.read32(intr_mask(word)) & bit != 0;
    (!pending && masked)
        .then_some(())
        .ok_or(msix::NO_CLEAR_OR_MASK)
}
