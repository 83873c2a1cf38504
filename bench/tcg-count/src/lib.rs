// SPDX-License-Identifier: GPL-2.0
//! QEMU TCG plugin that counts how often each instruction of the guest kernel is executed.
//!
//! Counting does not depend on time, so a figure from it means the same on a busy machine as on an
//! idle one. From the count of single instructions everything else follows: instructions of a
//! function are the sum over its addresses, calls of a function are the count of its first
//! instruction, calls from one function to another are the count of the call instruction, whose
//! target the report names. Of a module's instructions it is also counted how often they read a
//! device instead of memory.
//!
//! Load it with `-plugin libtcg_count.so,out=FILE`. With `from=0xADDRESS` only the kernel's
//! instructions from there on are counted, for instance those of modules. The guest marks the
//! region to count with the instruction that [`decode::marker_tag`] describes: tag 0 starts
//! counting afresh, any other tag appends a report (see [`slots::Slots::report`]) with what was
//! executed since the last marker. The marker only works in user space. While several vCPUs run,
//! the report may miss what another vCPU executes at that moment; with one vCPU it is exact.

mod api;
mod decode;
mod slots;

use std::ffi::{c_char, c_int, c_uint, c_void, CStr, CString};
use std::fs::File;
use std::io::BufWriter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use decode::MAX_INSN;
use slots::Slots;

/// First address of the kernel's image; modules follow it. Both end where the addresses do.
/// Counting begins here unless it is told otherwise.
const KERNEL: u64 = 0xffff_ffff_8000_0000;
/// Where the kernel puts modules, above itself.
const MODULES: u64 = 0xffff_ffff_a000_0000;
/// First address that user space cannot have.
const USER_END: u64 = 1 << 47;
/// Markers of this tag start afresh, others report.
const RESTART: u8 = 0;

/// Read by QEMU before anything else.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = api::VERSION;

/// All the plugin knows. Lives until QEMU ends, because translated code refers to it.
struct Plugin {
    /// One counter per slot in the element of each vCPU.
    counters: *mut api::Scoreboard,
    /// Reads of devices per slot. Rare, so all vCPUs share them.
    reads: Box<[AtomicU64]>,
    /// First address of the kernel that is counted.
    from: u64,
    state: Mutex<State>,
}

struct State {
    slots: Slots,
    out: BufWriter<File>,
}

impl Plugin {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic aborts the process, so the lock is never poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, slot: usize) -> api::U64 {
        api::U64 {
            score: self.counters,
            offset: slot * size_of::<u64>(),
        }
    }

    fn count(&self, slot: usize) -> u64 {
        // SAFETY: `counters` is a live scoreboard, and `slot` comes from `Slots`, which gives out
        // numbers below `MAX_SLOTS` only, so the counter lies within an element.
        unsafe { api::u64_sum(self.counter(slot)) }
    }

    fn device_reads(&self, slot: usize) -> u64 {
        self.reads
            .get(slot)
            .map_or(0, |reads| reads.load(Ordering::Relaxed))
    }

    /// Has the instruction counted, or watched for when it is a marker.
    ///
    /// # Safety
    ///
    /// `insn` is an instruction of the block that is being translated.
    unsafe fn instrument(&'static self, insn: *mut api::Insn, slots: &mut Slots) {
        // SAFETY: The caller hands over an instruction under translation.
        let address = unsafe { api::insn_vaddr(insn) };
        if (USER_END..self.from).contains(&address) {
            return;
        }
        let mut bytes = [0; MAX_INSN];
        // SAFETY: As above, and `bytes` has room for the length given.
        let len = unsafe { api::insn_data(insn, bytes.as_mut_ptr().cast(), MAX_INSN) };
        let bytes = bytes.get(..len).unwrap_or_default();
        if address < USER_END {
            if let Some(tag) = decode::marker_tag(bytes) {
                let user = std::ptr::without_provenance_mut(usize::from(tag));
                // SAFETY: As above. The callback does not follow the pointer, it is a number.
                unsafe { api::register_insn_exec_cb(insn, on_marker, api::CB_NO_REGS, user) };
            }
        } else if let Some(slot) = slots.slot(address, decode::branch_target(address, bytes)) {
            let counter = self.counter(slot);
            // SAFETY: As above, and the counter lies within an element of a live scoreboard,
            // since `Slots` gives out numbers below `MAX_SLOTS` only.
            unsafe { api::register_insn_exec_inline(insn, api::INLINE_ADD_U64, counter, 1) };
            if address >= MODULES {
                let user = std::ptr::without_provenance_mut(slot);
                // SAFETY: As above. The callback does not follow the pointer, it is a number.
                unsafe {
                    api::register_mem_cb(insn, on_read, api::CB_NO_REGS, api::MEM_R, user);
                }
            }
        }
    }

    fn mark(&self, tag: u8) {
        let State { slots, out } = &mut *self.state();
        if tag == RESTART {
            slots.restart(|slot| self.count(slot), |slot| self.device_reads(slot));
            return;
        }
        let counts = |slot| self.count(slot);
        let reads = |slot| self.device_reads(slot);
        if let Err(error) = slots.report(tag, counts, reads, out) {
            log(&format!("tcg-count: cannot write the report: {error}"));
        }
    }
}

// SAFETY: The scoreboard is only used through QEMU's functions, which any thread may call.
unsafe impl Send for Plugin {}
// SAFETY: As for `Send`; everything else is behind the lock.
unsafe impl Sync for Plugin {}

/// Set once by `qemu_plugin_install`.
static PLUGIN: std::sync::OnceLock<Plugin> = std::sync::OnceLock::new();

/// Called by QEMU for each block of guest code that it translates, on any vCPU's thread.
///
/// # Safety
///
/// `tb` is the block under translation.
unsafe extern "C" fn on_translation(tb: *mut api::Tb, _user: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let mut state = plugin.state();
    // SAFETY: QEMU passes a block that is valid during this call.
    let insns = unsafe { api::tb_n_insns(tb) };
    for index in 0..insns {
        // SAFETY: As above, and `index` is below the number of instructions.
        let insn = unsafe { api::tb_get_insn(tb, index) };
        if !insn.is_null() {
            // SAFETY: The instruction belongs to the block under translation.
            unsafe { plugin.instrument(insn, &mut state.slots) };
        }
    }
}

/// Called by QEMU before the guest executes a marker. `user` is the marker's tag.
unsafe extern "C" fn on_marker(_vcpu: c_uint, user: *mut c_void) {
    if let (Some(plugin), Ok(tag)) = (PLUGIN.get(), u8::try_from(user.addr())) {
        plugin.mark(tag);
    }
}

/// Called by QEMU after an instruction of a module has read. `user` is its slot.
///
/// # Safety
///
/// `info` and `vaddr` are those of an access that QEMU has just made on this vCPU.
unsafe extern "C" fn on_read(_vcpu: c_uint, info: u32, vaddr: u64, user: *mut c_void) {
    // SAFETY: The caller hands over what QEMU told it of the access.
    let place = unsafe { api::get_hwaddr(info, vaddr) };
    // SAFETY: What was just looked up is valid during this callback.
    if place.is_null() || !unsafe { api::hwaddr_is_io(place) } {
        return;
    }
    if let Some(reads) = PLUGIN.get().and_then(|p| p.reads.get(user.addr())) {
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

fn log(text: &str) {
    if let Ok(line) = CString::new(format!("{text}\n")) {
        // SAFETY: A string that ends with a zero byte and lives until the call returns.
        unsafe { api::outs(line.as_ptr()) };
    }
}

/// Finds the value of `NAME=` among the plugin's arguments.
fn value<'a>(mut arguments: impl Iterator<Item = &'a CStr>, name: &str) -> Option<&'a str> {
    arguments.find_map(|argument| {
        argument
            .to_str()
            .ok()?
            .strip_prefix(name)?
            .strip_prefix('=')
    })
}

/// Finds `out=FILE` among the plugin's arguments and creates the file.
fn open_output<'a>(arguments: impl Iterator<Item = &'a CStr>) -> Result<File, String> {
    let path = value(arguments, "out").ok_or("missing argument out=FILE")?;
    File::create(path).map_err(|error| format!("{path}: {error}"))
}

/// Finds `from=0xADDRESS` among the plugin's arguments.
fn first_address<'a>(arguments: impl Iterator<Item = &'a CStr>) -> Result<u64, String> {
    let Some(text) = value(arguments, "from") else {
        return Ok(KERNEL);
    };
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        Ok(address) if address >= USER_END => Ok(address),
        _ => Err(format!(
            "from={text}: not an address of the kernel in hexadecimal"
        )),
    }
}

/// Entry point, called by QEMU before the machine exists. Zero means success.
///
/// # Safety
///
/// `argv` holds `argc` pointers to strings that end with a zero byte. QEMU sees to that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: api::Id,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arguments = (0..count).map(|index| {
        // SAFETY: `index` is below `argc`, and QEMU keeps the strings as long as the plugin.
        unsafe { CStr::from_ptr(*argv.add(index)) }
    });
    let opened = first_address(arguments.clone())
        .and_then(|from| Ok((from, BufWriter::new(open_output(arguments)?))));
    let (from, out) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("tcg-count: {error}");
            return 1;
        }
    };
    // SAFETY: No requirement; QEMU aborts when there is no memory.
    let counters = unsafe { api::scoreboard_new(slots::MAX_SLOTS * size_of::<u64>()) };
    let state = Mutex::new(State {
        slots: Slots::default(),
        out,
    });
    if PLUGIN
        .set(Plugin {
            counters,
            reads: (0..slots::MAX_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            from,
            state,
        })
        .is_err()
    {
        eprintln!("tcg-count: may be loaded only once");
        return 1;
    }
    // SAFETY: The id is the one that QEMU gave, and the callback has the type of version 7.
    unsafe { api::register_tb_trans_cb(id, on_translation, std::ptr::null_mut()) };
    0
}
