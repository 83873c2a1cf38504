// SPDX-License-Identifier: GPL-2.0
//! What the emulated NIC knows about packets, free of any device state.
//!
//! | module | purpose |
//! |---|---|
//! | [`parse`] | finds the headers of a received frame as the receive parser does |
//! | [`checksum`] | internet checksum arithmetic |
//! | [`toeplitz`] | the RSS hash |
//! | [`lso`] | cuts a large send into segments, and completes checksums on transmit |
//!
//! Every function takes bytes from a guest or from the cable, so none trusts a
//! length found in them: access is by `get`, arithmetic is checked, and nothing
//! panics on any input.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod lso;
pub mod parse;
pub mod toeplitz;

pub use parse::{parse, Parsed};
