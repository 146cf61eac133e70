//! # A stack for a process that shares memory

use std::io;
use std::ptr::NonNull;

use anyhow::{Context as _, Result};

pub struct Stack(NonNull<u8>);

impl Stack {
    const SIZE: usize = 256 << 10;

    pub fn new() -> Result<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), Self::SIZE, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("no stack for a process");
        }
        Ok(Self(NonNull::new(start.cast()).context("a stack at address 0")?))
    }

    pub fn top(&self) -> *mut libc::c_void {
        // SAFETY: the end of the mapping, where a stack begins.
        unsafe { self.0.as_ptr().add(Self::SIZE) }.cast()
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and only the process that it was
// made for uses it.
unsafe impl Send for Stack {}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; whoever stood on it has ended.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Self::SIZE) };
    }
}
