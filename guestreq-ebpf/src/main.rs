//! # guestreq's eBPF programs
//!
//! One file per hook, in [`hooks`], each a thin function over guestreq-common.
//! A request's way through them is drawn in docs/architecture.md.

//!
//! They run in the kernel alone. That they compile for the host as well, as an empty program, is
//! for editors and for `cargo check` by a stable compiler.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// core::sync::atomic has no read-modify-write on this target; the intrinsic is the instruction.
#![cfg_attr(target_arch = "bpf", allow(internal_features), feature(core_intrinsics))]

mod atomic;
mod entry;
mod hooks;
mod kernel;
mod maps;
mod threads;
mod verdict;
mod verifier;
mod vms;

/// Some helpers are for GPL-compatible programs only.
// SAFETY: the section and its name are those that loaders look for; it holds a C string.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier refuses endless loops: that this loads proves that nothing here panics.
    loop {}
}
