// SPDX-License-Identifier: GPL-2.0

//! Interrupts of the NAPI contexts, and those of all kinds that get lost.

use kernel::{
    irq::Flags,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

use crate::{
    fbnic_txrx::NapiVector,
    irq::{
        Handler,
        IrqReturn,
        Registration, //
    },
    net::napi::Scheduler,
    pci::IrqVectors, //
};

/// Notices when the message of a vector was lost.
///
/// The device masks a vector as it sends the message, and who answers it unmasks it again. So nothing
/// comes any more from one whose message got lost. As a message may still be under way, or be being
/// answered, a vector counts as lost when it is masked at two looks in a row, a second apart.
pub struct LostInterrupt {
    was_masked: Atomic<bool>,
}

impl LostInterrupt {
    /// A vector nobody has looked at.
    pub fn new() -> Self {
        Self {
            was_masked: Atomic::new(false),
        }
    }

    /// Takes a look, at which the vector is masked or not. Returns whether it has to be answered as
    /// if its message had come. Any context, one caller at a time.
    pub fn look(&self, is_masked: bool) -> bool {
        let is_lost = is_masked && self.was_masked.load(Relaxed);
        // The answer unmasks the vector. If it is masked again, that is another message.
        self.was_masked.store(is_masked && !is_lost, Relaxed);
        is_lost
    }
}

/// Starts the poll of a NAPI context.
///
/// The device masks a vector when it raises it, and the end of the poll unmasks it, so there is
/// nothing to acknowledge here.
pub struct NapiInterrupt(Scheduler<NapiVector>);

impl Handler for NapiInterrupt {
    #[inline]
    fn handle(&self) -> IrqReturn {
        self.0.schedule_irqoff();
        IrqReturn::Handled
    }
}

/// The registered interrupt of a NAPI context.
pub type NapiIrq = Pin<KBox<Registration<NapiInterrupt>>>;

/// Registers the interrupt of NAPI context `napi`, which is entry `vector` of `vectors`.
///
/// Process context. The interrupt is named after the interface, `<netdev>-TxRx-<n>`.
///
/// # Errors
///
/// `ENOMEM`, `EINVAL` for a vector that was not allocated, or what `request_irq` returns.
pub fn request_napi_irq(
    vectors: &Arc<IrqVectors>,
    vector: u32,
    napi: u16,
    netdev: &CStr,
    scheduler: Scheduler<NapiVector>,
) -> Result<NapiIrq> {
    let name = CString::try_from_fmt(fmt!("{}-TxRx-{}", netdev, napi))?;
    Registration::new(
        vectors,
        vector,
        Flags::TRIGGER_NONE,
        &name,
        NapiInterrupt(scheduler),
    )
}
