//! # 32-bit system calls
//!
//! A 64-bit process can make 32-bit system calls, which the kernel treats like a 32-bit VMM's, with
//! other LSM hooks.

use std::arch::asm;
use std::os::fd::RawFd;

/// ioctl's number for 32-bit processes.
const IOCTL: u64 = 54;
/// `_IO(KVMIO, 0x80)`
const KVM_RUN: u64 = 0xae80;

/// KVM_RUN; fails with its errno.
pub fn kvm_run(fd: RawFd) -> Result<(), i32> {
    let mut result = IOCTL;
    // SAFETY: the call reads and writes no memory of ours but the vCPU's mapped struct kvm_run,
    // as every KVM_RUN does. rbx carries the descriptor and is put back, as the compiler uses it.
    unsafe {
        asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) fd as u64 => _,
            inout("rax") result,
            in("rcx") KVM_RUN,
            in("rdx") 0u64,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result as i32 {
        0 => Ok(()),
        error => Err(-error),
    }
}
