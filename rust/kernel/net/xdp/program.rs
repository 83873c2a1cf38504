// SPDX-License-Identifier: GPL-2.0

//! XDP programs, and the place of the one that a device runs.
//!
//! A poll looks at the place once and runs what it finds for all of its frames. It does so under RCU,
//! whose grace period a program that was taken away waits for before it is freed.

use crate::{bindings, net::napi::PollContext};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering}, //
};
use kernel::sync::rcu;

/// Returns whether a program takes frames in several pieces.
///
/// # Safety
///
/// `prog` must be a valid program.
#[inline]
unsafe fn has_frags(prog: *const bindings::bpf_prog) -> bool {
    // SAFETY: By the requirements of this function. The field does not change once the program is
    // loaded.
    unsafe { (*(*prog).aux).xdp_has_frags }
}

/// An XDP program.
///
/// # Invariants
///
/// The pointer is a valid program, of which this value owns a reference.
pub struct Program(NonNull<bindings::bpf_prog>);

// SAFETY: A program may be used and given back anywhere.
unsafe impl Send for Program {}
// SAFETY: As above.
unsafe impl Sync for Program {}

impl Program {
    /// Takes a reference to a program that somebody else keeps alive meanwhile.
    ///
    /// # Safety
    ///
    /// `prog` must be a valid program.
    pub(in crate::net) unsafe fn get(prog: NonNull<bindings::bpf_prog>) -> Self {
        // SAFETY: By the requirements of this function.
        unsafe { bindings::bpf_prog_inc(prog.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self(prog)
    }

    /// Returns whether the program takes frames in several pieces.
    pub fn has_frags(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { has_frags(self.0.as_ptr()) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Polls that still run the program are waited for.
        unsafe { bindings::bpf_prog_put(self.0.as_ptr()) };
    }
}

/// The place of the program that the receive queues of a device run.
///
/// # Invariants
///
/// The pointer is null or a valid program, of which this value owns a reference.
pub struct Slot(AtomicPtr<bindings::bpf_prog>);

impl Slot {
    /// Returns a place without a program.
    pub const fn new() -> Self {
        // INVARIANT: There is no program.
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts another program, or none, in its place, and returns the one that was there.
    ///
    /// Polls that have begun go on with the one they found.
    pub fn replace(&self, program: Option<Program>) -> Option<Program> {
        let new = program.map_or(ptr::null_mut(), |program| {
            core::mem::ManuallyDrop::new(program).0.as_ptr()
        });
        // INVARIANT: The reference of `program` moves here, and ours to the result.
        NonNull::new(self.0.swap(new, Ordering::AcqRel)).map(Program)
    }

    /// Returns whether there is a program, and it takes no frames in several pieces.
    pub fn wants_one_piece(&self) -> bool {
        let _guard = rcu::read_lock();
        let prog = self.0.load(Ordering::Acquire);
        // SAFETY: By the type invariant, and it is not freed before the guard is dropped.
        !prog.is_null() && unsafe { !has_frags(prog) }
    }

    /// Returns the program for the frames of this poll.
    #[inline(always)]
    pub fn running<'a>(&self, _poll: &'a PollContext<'_>) -> Option<Running<'a>> {
        // INVARIANT: By the type invariant it is a valid program. Bottom halves are off as long as
        // the poll function runs, which is a read side of RCU, so it is not freed before.
        NonNull::new(self.0.load(Ordering::Acquire)).map(|prog| Running(prog, PhantomData))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.replace(None);
    }
}

/// The program for the frames of one poll.
///
/// # Invariants
///
/// The pointer is a valid program during `'a`, and bottom halves are off.
#[derive(Clone, Copy)]
pub struct Running<'a>(
    NonNull<bindings::bpf_prog>,
    PhantomData<&'a PollContext<'a>>,
);

impl Running<'_> {
    /// Returns whether the program takes frames in several pieces.
    #[inline(always)]
    pub fn has_frags(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { has_frags(self.0.as_ptr()) }
    }

    /// Runs the program and returns its verdict, an `XDP_*` value or anything else.
    ///
    /// # Safety
    ///
    /// `buff` must describe a frame whose memory nobody else uses, of a queue that is registered.
    #[inline(always)]
    pub(super) unsafe fn run(self, buff: *mut bindings::xdp_buff) -> u32 {
        let prog = self.0.as_ptr();
        #[cfg(all(CONFIG_BPF_JIT, not(CONFIG_CFI)))]
        // SAFETY: Nobody else writes to the keys than the kernel, at any time, hence the volatile
        // reads.
        unsafe {
            let stats = (&raw const bindings::bpf_stats_enabled_key.key.enabled.counter);
            let redirect = (&raw const bindings::bpf_master_redirect_enabled_key
                .key
                .enabled
                .counter);
            if stats.read_volatile() == 0 && redirect.read_volatile() == 0 {
                // Calling it from here saves a call out of line for each frame.
                return bindings::bpf_dispatcher_xdp_func(
                    buff.cast_const().cast(),
                    (&raw const (*prog).__bindgen_anon_2).cast(),
                    (*prog).bpf_func,
                );
            }
        }
        // SAFETY: By the type invariant and the requirement of this function.
        unsafe { bindings::bpf_prog_run_xdp(prog, buff) }
    }

    /// Tells who watches that the program failed or gave a verdict that is none.
    ///
    /// # Safety
    ///
    /// `dev` must be a valid network device.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn report(self, dev: *mut bindings::net_device, act: u32) {
        let prog = self.0.as_ptr();
        // SAFETY: By the type invariant and the requirement of this function.
        unsafe {
            if act != bindings::xdp_action_XDP_ABORTED {
                bindings::bpf_warn_invalid_xdp_action(dev, prog, act);
            }
            bindings::trace_xdp_exception(dev, prog, act);
        }
    }
}
