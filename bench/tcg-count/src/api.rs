// SPDX-License-Identifier: GPL-2.0
//! The part of QEMU's plugin interface that this plugin uses, in version 7 of it.
//!
//! QEMU refuses a plugin whose [`VERSION`] it does not speak, so these declarations are only ever
//! used against a QEMU that agrees with them. Debian ships no header for the interface, and no
//! published crate covers version 7, in which every callback got an argument with user data.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the interface that is declared here.
pub const VERSION: c_int = 7;

/// QEMU's name for this plugin, handed back to it in registrations.
pub type Id = u64;

/// A block of guest code under translation. Valid during the translation callback only.
#[repr(C)]
pub struct Tb {
    _opaque: [u8; 0],
}

/// One guest instruction of a [`Tb`]. Valid during the translation callback only.
#[repr(C)]
pub struct Insn {
    _opaque: [u8; 0],
}

/// Memory with one element per vCPU, which generated code can add to without a lock.
#[repr(C)]
pub struct Scoreboard {
    _opaque: [u8; 0],
}

/// A 64-bit number in each element of a [`Scoreboard`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct U64 {
    /// The scoreboard.
    pub score: *mut Scoreboard,
    /// Offset of the number in an element, in bytes.
    pub offset: usize,
}

/// `QEMU_PLUGIN_INLINE_ADD_U64`: the only inline operation used here.
pub const INLINE_ADD_U64: c_int = 0;
/// `QEMU_PLUGIN_MEM_R`: reads of memory.
pub const MEM_R: c_int = 1;
/// `QEMU_PLUGIN_CB_NO_REGS`: the callback does not look at guest registers.
pub const CB_NO_REGS: c_int = 0;

/// Called when a block is translated.
pub type TransCb = unsafe extern "C" fn(tb: *mut Tb, user: *mut c_void);
/// Called when an instruction is executed.
pub type ExecCb = unsafe extern "C" fn(vcpu: c_uint, user: *mut c_void);
/// Called after an access to memory at virtual address `vaddr`; `info` tells of its kind.
pub type MemCb = unsafe extern "C" fn(vcpu: c_uint, info: u32, vaddr: u64, user: *mut c_void);

/// Where in the machine an access went. Valid during the callback only.
#[repr(C)]
pub struct Hwaddr {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    /// Registers a callback for every translation from now on.
    #[link_name = "qemu_plugin_register_vcpu_tb_trans_cb"]
    pub fn register_tb_trans_cb(id: Id, cb: TransCb, user: *mut c_void);

    /// Number of instructions in a block.
    #[link_name = "qemu_plugin_tb_n_insns"]
    pub fn tb_n_insns(tb: *const Tb) -> usize;

    /// Instruction `index` of a block; null beyond its end.
    #[link_name = "qemu_plugin_tb_get_insn"]
    pub fn tb_get_insn(tb: *const Tb, index: usize) -> *mut Insn;

    /// Virtual address of an instruction in the guest.
    #[link_name = "qemu_plugin_insn_vaddr"]
    pub fn insn_vaddr(insn: *const Insn) -> u64;

    /// Copies at most `len` bytes of the instruction and returns how many.
    #[link_name = "qemu_plugin_insn_data"]
    pub fn insn_data(insn: *const Insn, dest: *mut c_void, len: usize) -> usize;

    /// Has generated code apply `op` with `imm` to `entry` of its vCPU before the instruction.
    #[link_name = "qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu"]
    pub fn register_insn_exec_inline(insn: *mut Insn, op: c_int, entry: U64, imm: u64);

    /// Has generated code call `cb` before the instruction.
    #[link_name = "qemu_plugin_register_vcpu_insn_exec_cb"]
    pub fn register_insn_exec_cb(insn: *mut Insn, cb: ExecCb, flags: c_int, user: *mut c_void);

    /// Has generated code call `cb` after each access of kind `rw` that the instruction makes.
    #[link_name = "qemu_plugin_register_vcpu_mem_cb"]
    pub fn register_mem_cb(insn: *mut Insn, cb: MemCb, flags: c_int, rw: c_int, user: *mut c_void);

    /// Finds where an access went; null when it is not known.
    #[link_name = "qemu_plugin_get_hwaddr"]
    pub fn get_hwaddr(info: u32, vaddr: u64) -> *const Hwaddr;

    /// Whether that is a device rather than memory.
    #[link_name = "qemu_plugin_hwaddr_is_io"]
    pub fn hwaddr_is_io(place: *const Hwaddr) -> bool;

    /// Allocates a zeroed scoreboard with elements of `size` bytes.
    #[link_name = "qemu_plugin_scoreboard_new"]
    pub fn scoreboard_new(size: usize) -> *mut Scoreboard;

    /// Sum of a number over all vCPUs.
    #[link_name = "qemu_plugin_u64_sum"]
    pub fn u64_sum(entry: U64) -> u64;

    /// Prints a line to QEMU's log.
    #[link_name = "qemu_plugin_outs"]
    pub fn outs(text: *const c_char);
}
