// SPDX-License-Identifier: GPL-2.0

//! Bindings to the kernel's network, PCI and PHY interfaces.
//!
//! The `bindings` crate of the kernel knows `net_device`, `napi_struct`, `page_pool` and their
//! neighbours only as opaque types. This crate has them whole. Whatever bindgen was told to leave
//! out (see `bindgen_parameters`) resolves to the kernel's own type through the glob import, so
//! `device`, `pci_dev` and the like are one type in both worlds.
//!
//! Only the abstractions below `rust/kernel` may use this crate; a driver may not.

// Nothing in here is written by hand, so the lints for hand-written code do not apply.
#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    ambiguous_glob_reexports,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unknown_lints,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

pub use kernel::bindings::*;

// The kernel passes these as `usize` and `isize`, not as the integer types C has for them.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!(concat!(
    env!("FBNIC_BINDINGS_DIR"),
    "/bindings_generated.rs"
));
