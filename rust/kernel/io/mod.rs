// SPDX-License-Identifier: GPL-2.0

//! I/O memory abstractions that the `kernel` crate does not have yet.
//!
//! - [`detachable`]: a PCI BAR mapping that can be cut off at run time without a lock.
//! - [`registers`]: lets any 32-bit register accessor serve the typed
//!   [`register!`](kernel::io::register!) interface.

pub mod detachable;
pub mod registers;
