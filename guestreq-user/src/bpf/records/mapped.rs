//! # Arrays in kernel memory, mapped

use std::{
    io,
    marker::PhantomData,
    mem::{self, MaybeUninit},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, maps::Map};
use guestreq_common::{
    host::Host,
    launch::{EndedLaunch, Launch},
    request::Thread,
    vm::Vm,
};

use super::WORD;

/// A record of integers, without padding at its end, that may be read word by word.
///
/// # Safety
///
/// Every bit pattern must be a value, and size and alignment multiples of a word's.
pub unsafe trait Record {}
// SAFETY: integers in repr(C), 8-aligned; the kernel's side uses the same type.
unsafe impl Record for Host {}
// SAFETY: as for Host.
unsafe impl Record for Vm {}
// SAFETY: as for Host.
unsafe impl Record for Thread {}
// SAFETY: as for Host.
unsafe impl Record for EndedLaunch {}
// SAFETY: as for Host.
unsafe impl Record for Launch {}

/// An array map, mapped.
pub struct Mapped<T> {
    start: NonNull<AtomicU64>,
    bytes: usize,
    pub len: usize,
    records: PhantomData<T>,
}

// SAFETY: the mapping is shared memory that is only touched atomically.
unsafe impl<T> Send for Mapped<T> {}

impl<T: Record> Mapped<T> {
    pub fn new(ebpf: &Ebpf, name: &str) -> Result<Mapped<T>> {
        let Some(Map::Array(map)) = ebpf.map(name) else {
            bail!("the eBPF object has no array {name}")
        };
        let len = map.info().with_context(|| format!("length of {name}"))?.max_entries() as usize;
        Mapped::over(map.fd().as_fd(), len).with_context(|| format!("mmap of {name}"))
    }

    pub fn over(map: BorrowedFd<'_>, len: usize) -> Result<Mapped<T>> {
        let bytes = (len * mem::size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        let start = NonNull::new(start.cast()).context("mmap at address 0")?;
        Ok(Mapped { start, bytes, len, records: PhantomData })
    }

    /// The words of one record.
    pub fn words(&self, index: usize) -> Option<&[AtomicU64]> {
        if index >= self.len {
            return None;
        }
        let words = mem::size_of::<T>() / WORD;
        // SAFETY: within the mapping, which lives as long as self; the kernel writes it, too, which
        // is what atomics are for.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(index * words), words) })
    }

    /// A copy of one record. Fields may differ by microseconds in age.
    pub fn read(&self, index: usize) -> Option<Box<T>> {
        let mut copy = Box::<T>::new_uninit();
        copy_words(self.words(index)?, &mut copy);
        // SAFETY: all words are written, and every bit pattern is a value.
        Some(unsafe { copy.assume_init() })
    }

    /// A copy of a part of one record, by its offset in bytes.
    pub fn field<P: Record>(&self, index: usize, offset: usize) -> Option<P> {
        let first = offset / WORD;
        let words = self.words(index)?.get(first..first + mem::size_of::<P>() / WORD)?;
        let mut copy = MaybeUninit::uninit();
        copy_words(words, &mut copy);
        // SAFETY: all words are written, and every bit pattern is a value.
        Some(unsafe { copy.assume_init() })
    }

    /// Writes a record, for tests.
    #[cfg(test)]
    pub fn write(&self, index: usize, record: &T) {
        let source = ptr::from_ref(record).cast::<u64>();
        for (i, word) in self.words(index).unwrap().iter().enumerate() {
            // SAFETY: as many words as the record has.
            word.store(unsafe { source.add(i).read() }, Ordering::Relaxed);
        }
    }

    /// One word of a record, by its offset in bytes.
    pub fn word(&self, index: usize, offset: usize) -> Option<&AtomicU64> {
        self.words(index)?.get(offset / WORD)
    }
}

/// Copies the words of a record.
fn copy_words<P: Record>(words: &[AtomicU64], copy: &mut MaybeUninit<P>) {
    let target = copy.as_mut_ptr().cast::<u64>();
    for (i, word) in words.iter().enumerate().take(mem::size_of::<P>() / WORD) {
        // SAFETY: at most as many words as the record has.
        unsafe { target.add(i).write(word.load(Ordering::Relaxed)) };
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
