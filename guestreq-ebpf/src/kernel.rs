//! # Reading the kernel

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel};
use guestreq_common::message::{HEADER_OFFSET, Header};

use crate::maps;

#[inline(always)]
pub fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot be read; only types for
    // which every bit pattern is a value are read here.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
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

/// A guest request's context and header, from KVM's own copy of the message: what
/// the PSP will read. Anything earlier could still be changed by the guest.
#[inline(always)]
pub fn guest_request(data: u64) -> Option<(u64, Header)> {
    let request: GuestRequest = read(data)?;
    let header = read(maps::direct_map(request.request).wrapping_add(HEADER_OFFSET))?;
    Some((request.context, header))
}
