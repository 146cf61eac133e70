//! # Reading the kernel

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel};
use guestreq_common::{
    hook::RDONLY_CAST,
    message::{HEADER_OFFSET, Header, Summary},
};

use crate::maps;

#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read; only types for
    // which every bit pattern is a value are read here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A word of kernel memory, without a call; 0 where none can be read. For hooks that run for much
/// that is not ours.
///
/// `bpf_rdonly_cast` (kernel/bpf/helpers.c, since Linux 6.2) makes an address a pointer of a type
/// of the kernel's. The verifier replaces its call by a move, and the JIT gives a load through
/// such a pointer an entry in the table of exceptions. aya knows no such functions: the agent
/// puts this one's number where [`RDONLY_CAST`] stands. Without the kernel's types it leaves
/// everything as it is, and the helper is called.
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
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The current thread: its process (tgid) in the high half, its own number in the low.
#[inline(always)]
pub fn thread() -> u64 {
    bpf_get_current_pid_tgid()
}

/// The first fields of `struct sev_data_snp_guest_request`.
#[repr(C)]
pub struct GuestRequest {
    pub context: u64,
    pub request: u64,
}

/// A guest request's context and message, from KVM's own copy of the message: what
/// the PSP will read. Anything earlier could still be changed by the guest.
#[inline(always)]
pub fn guest_request(data: u64) -> Option<(u64, Summary)> {
    let request: GuestRequest = read(data)?;
    let header: Header = read(maps::direct_map(request.request).wrapping_add(HEADER_OFFSET))?;
    Some((request.context, Summary::of(&header)))
}
