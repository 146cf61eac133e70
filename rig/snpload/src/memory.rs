//! # Guest memory
//!
//! Anonymous shared memory that is a guest's RAM from address 0. KVM and a hostile guest's threads
//! write to it while a vCPU runs, so each word is accessed atomically.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

pub struct GuestMemory {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and all access
// goes through atomic words and bytes.
unsafe impl Send for GuestMemory {}
// SAFETY: as above.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    pub fn new(size: usize) -> Result<Self> {
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("no memory for the guest");
        }
        let start = NonNull::new(start.cast()).context("guest memory at address 0")?;
        Ok(Self { start, size })
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn host_address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    fn range(&self, gpa: u64, len: usize) -> Result<*mut u8> {
        let end = usize::try_from(gpa)?.checked_add(len).context("guest address overflow")?;
        ensure!(end <= self.size, "guest address {gpa:#x} is outside its memory");
        // SAFETY: the offset was just found to be inside the mapping.
        Ok(unsafe { self.start.as_ptr().add(gpa as usize) })
    }

    /// Whole words, which other threads may write at the same time.
    pub fn write(&self, gpa: u64, bytes: &[u8]) -> Result<()> {
        self.range(gpa, bytes.len())?;
        ensure!(bytes.len().is_multiple_of(8), "{} bytes are no words", bytes.len());
        for (at, word) in (gpa..).step_by(8).zip(bytes.as_chunks().0) {
            self.word(at)?.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        Ok(())
    }

    /// A word that several threads use.
    pub fn word(&self, gpa: u64) -> Result<&AtomicU64> {
        ensure!(gpa.is_multiple_of(8), "guest address {gpa:#x} is no word's");
        let at = self.range(gpa, 8)?;
        // SAFETY: range() checked that the word is inside the mapping, which lives as long as
        // `self`; mapping and address are aligned. Other threads of ours access it atomically.
        Ok(unsafe { AtomicU64::from_ptr(at.cast()) })
    }

    /// A byte that several threads use; it may be copied to while no other thread uses it.
    pub fn byte(&self, gpa: u64) -> Result<&AtomicU8> {
        let at = self.range(gpa, 1)?;
        // SAFETY: range() checked that the byte is inside the mapping, which lives as
        // long as `self`; a byte is always aligned. Other threads of ours access it
        // atomically as long as it is shared, and what KVM does is its own affair.
        Ok(unsafe { AtomicU8::from_ptr(at) })
    }

    pub fn read_u64(&self, gpa: u64) -> Result<u64> {
        Ok(u64::from_le(self.word(gpa)?.load(Ordering::Relaxed)))
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing refers to any more: the VM that
        // uses it is closed first.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_memory_is_read_within_bounds() {
        let memory = GuestMemory::new(0x2000).unwrap();
        memory.write(0x1ff8, &7u64.to_le_bytes()).unwrap();
        assert_eq!(memory.read_u64(0x1ff8).unwrap(), 7);
        assert!(memory.read_u64(0x1ff9).is_err() && memory.read_u64(0x2000).is_err());
        assert!(memory.write(u64::MAX - 7, &[0; 8]).is_err());
        assert!(memory.write(0, &[0; 5]).is_err());

        memory.byte(0x1ff8).unwrap().store(9, Ordering::Relaxed);
        assert_eq!(memory.read_u64(0x1ff8).unwrap(), 9);
        assert!(memory.byte(0x2000).is_err());
    }
}
