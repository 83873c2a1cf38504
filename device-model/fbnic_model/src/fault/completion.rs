// SPDX-License-Identifier: GPL-2.0
//! What becomes of a completion on its way into its ring.

use fbnic_defs::desc::{rcd_type, RcdAl, RcdMeta, Tcd};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::spec::{Fault, RcdField, RcdKind, TcdField};
use super::{Faults, Hook};
use crate::moderation::CqKind;

/// What a fault does to one completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distortion {
    /// This is written instead.
    Replace(u64),
    /// Nothing is written.
    Omit,
    /// It is written twice.
    Twice,
    /// It is written after the next one.
    HoldBack,
    /// It is written with the wrong DONE.
    WrongPhase,
}

impl Faults {
    /// What a fault does to `descriptor` on its way into a ring of `queue`.
    pub(crate) fn distort(&self, kind: CqKind, queue: u32, descriptor: u64) -> Option<Distortion> {
        self.strike(Hook::Completion, |fault, rng| match kind {
            CqKind::Rx => distort_rcd(fault, queue, descriptor, rng),
            CqKind::Tx => distort_tcd(fault, queue, descriptor, rng),
        })
    }

    /// Whether a queue that has just been disabled writes one more completion.
    pub(crate) fn completes_after_disable(&self) -> bool {
        self.strike(Hook::Completion, |fault, _| match fault {
            Fault::RcdAfterDisable {} => Some(()),
            _ => None,
        })
        .is_some()
    }
}

/// Whether a fault with the selector `only` concerns `queue`.
fn at(only: Option<u32>, queue: u32) -> bool {
    only.is_none_or(|only| only == queue)
}

/// Whether a fault with the selector `only` concerns a receive completion.
fn of(only: Option<RcdKind>, descriptor: u64) -> bool {
    let kind = match RcdAl::from_bits(descriptor).kind() {
        rcd_type::HDR_AL => RcdKind::Header,
        rcd_type::PAY_AL => RcdKind::Payload,
        rcd_type::OPT_META => RcdKind::OptMeta,
        _ => RcdKind::Meta,
    };
    only.is_none_or(|only| only == kind)
}

fn distort_rcd(
    fault: &Fault,
    on: u32,
    descriptor: u64,
    rng: &mut ChaCha8Rng,
) -> Option<Distortion> {
    match *fault {
        Fault::Rcd {
            kind,
            field,
            value,
            queue,
        } if at(queue, on) && of(kind, descriptor) => {
            let value = value.unwrap_or_else(|| rng.random());
            Some(Distortion::Replace(with_rcd(descriptor, field, value)))
        }
        Fault::RcdOmitted { kind, queue } if at(queue, on) && of(kind, descriptor) => {
            Some(Distortion::Omit)
        }
        Fault::RcdDuplicated { kind, queue } if at(queue, on) && of(kind, descriptor) => {
            Some(Distortion::Twice)
        }
        Fault::RcdSwapped { queue } if at(queue, on) => Some(Distortion::HoldBack),
        Fault::RcdPhase { queue } if at(queue, on) => Some(Distortion::WrongPhase),
        _ => None,
    }
}

fn distort_tcd(
    fault: &Fault,
    on: u32,
    descriptor: u64,
    rng: &mut ChaCha8Rng,
) -> Option<Distortion> {
    match *fault {
        Fault::Tcd {
            field,
            value,
            queue,
        } if at(queue, on) => {
            let value = value.unwrap_or_else(|| rng.random());
            Some(Distortion::Replace(with_tcd(descriptor, field, value)))
        }
        Fault::TcdOmitted { queue } if at(queue, on) => Some(Distortion::Omit),
        Fault::TcdDuplicated { queue } if at(queue, on) => Some(Distortion::Twice),
        Fault::TcdPhase { queue } if at(queue, on) => Some(Distortion::WrongPhase),
        _ => None,
    }
}

/// `descriptor` with `value` in `field`, as far as the field has room for it.
fn with_rcd(descriptor: u64, field: RcdField, value: u64) -> u64 {
    let piece = RcdAl::from_bits(descriptor);
    // CAST: each field takes the low bits of the value.
    match field {
        RcdField::Buffer => piece.with_buff_id(value as u16).into_bits(),
        RcdField::Offset => piece.with_off(value as u16 & 0xfff).into_bits(),
        RcdField::Length => piece.with_len(value as u16 & 0x1fff).into_bits(),
        RcdField::Type => piece.with_kind(value as u8 & 3).into_bits(),
        RcdField::Error => RcdMeta::from_bits(descriptor)
            .with_err_mac_eop(value & 1 != 0)
            .with_err_truncated(value & 2 != 0)
            .with_err_parser(value & 4 != 0)
            .into_bits(),
        RcdField::Any => value,
    }
}

/// `descriptor` with `value` in `field`, as far as the field has room for it.
fn with_tcd(descriptor: u64, field: TcdField, value: u64) -> u64 {
    let tcd = Tcd::from_bits(descriptor);
    // CAST: each field takes the low bits of the value.
    match field {
        TcdField::Head => tcd
            .with_head0(value as u16)
            .with_head1((value >> 16) as u16)
            .into_bits(),
        TcdField::Type => tcd.with_kind(value as u8 & 3).into_bits(),
        TcdField::Any => value,
    }
}
