// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

/// Fills `bytes` with random numbers of cryptographic quality. May be called from any context.
pub fn fill_bytes(bytes: &mut [u8]) {
    // SAFETY: The pointer is valid for writing `len` bytes, to which any value may be written.
    unsafe { kernel::bindings::get_random_bytes(bytes.as_mut_ptr().cast(), bytes.len()) };
}
