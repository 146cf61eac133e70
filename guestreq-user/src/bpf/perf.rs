//! # Whether perf_event_open(2) is allowed
//!
//! Kprobes are attached through it. It depends on capabilities, kernel.perf_event_paranoid, LSMs,
//! seccomp and the distribution's kernel, so it is tried with a type of event that no kernel has.

use std::io;

/// The kernel's `struct perf_event_attr`, its first version.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    rest: [u64; 7],
}

/// Fails only if it is not permitted.
pub fn probe() -> io::Result<()> {
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes { kind: u32::MAX, size, rest: [0; 7] };
    // Of this thread, on any CPU, in no group, without flags.
    let (this, any, none) = (0, -1, -1);
    // SAFETY: the structure outlives the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, this, any, none, 0)
    };
    if answer >= 0 {
        let error = format!("the kernel opened an event of type {}", u32::MAX);
        return Err(io::Error::other(error));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_the_kernel_s_first() {
        assert_eq!(size_of::<Attributes>(), 64);
    }
}
