// SPDX-License-Identifier: GPL-2.0
//! Fuzz targets for everything that reads bytes of the guest, of the cable or of a socket.
//!
//! They are the tests of this crate, `tests/targets.rs`. `cargo test` runs each with some thousand
//! random inputs. With `cargo install cargo-bolero`, a nightly compiler and clang,
//! `cargo bolero test -p fuzz --test targets frame` runs one under libFuzzer for as long as told,
//! and keeps what it finds as a test case.
