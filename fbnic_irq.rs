// SPDX-License-Identifier: GPL-2.0

//! Interrupts of the NAPI contexts.

use kernel::{
    irq::Flags,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::Arc, //
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
