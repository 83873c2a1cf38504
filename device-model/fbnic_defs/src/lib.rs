// SPDX-License-Identifier: GPL-2.0
//! Register numbers, field layouts and descriptor formats of the fbnic NIC.
//!
//! Layouts only, no behaviour. A register is named by its *dword index* into BAR0
//! (byte address = 4 x index), as in the device programming guide whose section
//! numbers the module documentation quotes. All registers are 32-bit little-endian.
//! Nothing here is shared with the driver, so that a wrong constant on one side
//! cannot hide behind the same wrong constant on the other.

pub mod csr;
pub mod desc;
pub mod fw;
