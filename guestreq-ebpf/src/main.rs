//! # guestreq's eBPF programs
//!
//! One file per hook in [`hooks`], each a thin function over guestreq-common. docs/architecture.md
//! draws a request's path through them.
//!
//! They only run in the kernel. They also compile for the host, as an empty program, so that editors
//! and `cargo check` work with a stable compiler.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// core::sync::atomic has no read-modify-write on this target; the intrinsic is the instruction.
#![cfg_attr(target_arch = "bpf", allow(internal_features), feature(core_intrinsics))]

mod atomic;
mod decision;
mod entry;
mod hooks;
mod kernel;
mod maps;
mod threads;
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
    // The verifier rejects endless loops: programs that load cannot panic.
    loop {}
}
