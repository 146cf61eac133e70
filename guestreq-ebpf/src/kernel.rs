//! # Reading the kernel

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel,
};
use guestreq_common::{
    ghcb,
    message::{HEADER_OFFSET, Header, Summary},
    tail_calls::RDONLY_CAST,
    units::{GuestContext, MonotonicNs, PhysAddr, PidTgid},
};

use crate::maps;

#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read; only types for
    // which every bit pattern is a value are read here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A word of kernel memory, read without a call; 0 where it cannot be read. For hooks that mostly
/// run for others.
///
/// `bpf_rdonly_cast` (kernel/bpf/helpers.c, since Linux 6.2) turns an address into a typed kernel
/// pointer. The verifier replaces its call by a move, and the JIT adds loads through such pointers to
/// the exception table. aya does not support kernel functions, so the agent patches in the number
/// of this one for [`RDONLY_CAST`]. On kernels without BTF it patches nothing, and the helper is
/// called.
#[inline(always)]
pub fn word(address: u64) -> u64 {
    let registers = maps::registers_type();
    if registers == 0 {
        return read(address).unwrap_or(0);
    }
    // SAFETY: calls the kernel's function, whose address in a program is its number; the verifier
    // knows what it takes and returns.
    let cast: extern "C" fn(u64, u32) -> *const u64 =
        unsafe { core::mem::transmute(RDONLY_CAST as usize) };
    // SAFETY: the JIT makes 0 of what cannot be read.
    unsafe { cast(address, registers).read_volatile() }
}

#[inline(always)]
pub fn now() -> MonotonicNs {
    // SAFETY: no arguments.
    MonotonicNs(unsafe { bpf_ktime_get_ns() })
}

/// The current thread.
#[inline(always)]
pub fn thread() -> PidTgid {
    PidTgid(bpf_get_current_pid_tgid())
}

/// The current thread's `struct task_struct`.
#[inline(always)]
pub fn task() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_task() }
}

/// The first fields of `struct sev_data_snp_guest_request`.
#[repr(C)]
pub struct GuestRequest {
    pub context: GuestContext,
    pub request: PhysAddr,
}

/// A guest request's context and message, read from KVM's own copy of the message as the PSP will
/// read it: the guest could still change anything earlier.
#[inline(always)]
pub fn guest_request(data: u64) -> Option<(GuestContext, Summary)> {
    let request: GuestRequest = read(data)?;
    let header: Header = read(maps::direct_map(request.request).wrapping_add(HEADER_OFFSET))?;
    Some((request.context, Summary::of(&header)))
}

/// For a VMGEXIT that is a guest request, whether it is an extended one.
#[inline(always)]
pub fn vmgexit_request(ghcb: u64) -> Option<bool> {
    ghcb::request(word(ghcb.wrapping_add(ghcb::SW_EXIT_CODE)))
}
