// SPDX-License-Identifier: GPL-2.0
//! The fbnic NIC as a state machine, without sockets to the hypervisor and without arguments.
//!
//! # Threads
//!
//! | thread | does | takes |
//! |---|---|---|
//! | bus (one per device, the caller of [`Device`]'s methods) | register access, configuration space, mailbox | nothing for BAR0 reads and doorbells (the clock and the mailbox have short locks of their own); the core lock for queue control, DMA windows, reset |
//! | worker (one per device, [`Device::run_worker`]) | queues, cable, moderation | the core lock, for one bounded round at a time |
//!
//! The core lock ([`device::Device`]) protects the DMA windows and the queues, and is held while the firmware uses DMA. So
//! once a write to a queue control register, an unmap or a reset has returned, nothing
//! touches the memory behind it any more. [`hw::Hw`] holds what both threads use without it.
//!
//! # Modules
//!
//! | module | guide | what |
//! |---|---|---|
//! | [`device`] | 1, 18 | life cycle, PCI, the worker |
//! | [`bus`] | 2, 3 | which register does what |
//! | [`csr`] | 2, 12 | register storage, counters |
//! | [`intr`], [`moderation`] | 4 | interrupts |
//! | [`dma`] | 5 | bus-master gates |
//! | [`queue`], [`rpc`] | 6 to 10 | queues, frames, classification |
//! | [`mac`] | 11 | link |
//! | [`ptp`] | 13 | clock |
//! | [`fw`] | 14 to 17 | mailbox and firmware |
//! | [`stats`] | | what the guest did, for benchmarks |
//! | [`fault`] | | what goes wrong on purpose |
//!
//! # What it does not implement
//!
//! No traffic through a management controller: frames for it are counted and dropped. Pause
//! frames are neither sent nor obeyed.

pub mod bus;
pub mod csr;
pub mod device;
pub mod dma;
pub mod fault;
pub mod fw;
pub mod hw;
pub mod intr;
pub mod mac;
pub mod moderation;
pub mod ptp;
pub mod queue;
pub mod rpc;
pub mod stats;
pub mod wake;

pub use device::{Config, Device};
