//! # The records in kernel memory
//!
//! Host and VM records are arrays that the kernel lets us map. Reading them is
//! no system call, so that a scrape neither takes long nor, as bpf(2) on a map
//! would, switches kprobe programs off on its CPU while it runs.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{Ebpf, maps::Map};
use guestreq_common::{
    host::Host,
    vm::{Life, Vm},
};

/// Records are read and written in words.
const WORD: usize = mem::size_of::<u64>();

/// What consists of integers, has no padding at its end and may be read word by word.
///
/// # Safety
///
/// Every bit pattern must be a value, and size and alignment multiples of a word's.
unsafe trait Record {}
// SAFETY: integers in repr(C), 8-aligned; the kernel's side uses the same type.
unsafe impl Record for Host {}
// SAFETY: as for Host.
unsafe impl Record for Vm {}

/// An array map, mapped.
struct Mapped<T> {
    start: NonNull<AtomicU64>,
    bytes: usize,
    len: usize,
    records: PhantomData<T>,
}

// SAFETY: the mapping is shared memory that is only touched atomically.
unsafe impl<T> Send for Mapped<T> {}

impl<T: Record> Mapped<T> {
    fn new(ebpf: &Ebpf, name: &str, len: usize) -> Result<Mapped<T>> {
        let Some(Map::Array(map)) = ebpf.map(name) else {
            bail!("the eBPF object has no array {name}")
        };
        let bytes = (len * mem::size_of::<T>()).next_multiple_of(4096);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).with_context(|| format!("mmap of {name}"));
        }
        let start = NonNull::new(start.cast()).context("mmap at address 0")?;
        Ok(Mapped { start, bytes, len, records: PhantomData })
    }

    /// The words of one record.
    fn words(&self, index: usize) -> Option<&[AtomicU64]> {
        if index >= self.len {
            return None;
        }
        let words = mem::size_of::<T>() / WORD;
        // SAFETY: within the mapping, which lives as long as self; the kernel writes it, too, which
        // is what atomics are for.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(index * words), words) })
    }

    /// A copy of one record. Fields may be from moments that differ by microseconds.
    fn read(&self, index: usize) -> Option<Box<T>> {
        let words = self.words(index)?;
        let mut copy = Box::<T>::new_uninit();
        let target = copy.as_mut_ptr().cast::<u64>();
        for (i, word) in words.iter().enumerate() {
            // SAFETY: as many words as the record has.
            unsafe { target.add(i).write(word.load(Ordering::Relaxed)) };
        }
        // SAFETY: all words are written, and every bit pattern is a value.
        Some(unsafe { copy.assume_init() })
    }

    /// One word of a record, by its offset in bytes.
    fn word(&self, index: usize, offset: usize) -> Option<&AtomicU64> {
        self.words(index)?.get(offset / WORD)
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: what `new` mapped; nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// All records of the running programs.
pub struct Records {
    host: Mapped<Host>,
    vms: Mapped<Vm>,
}

impl Records {
    pub fn new(ebpf: &Ebpf, max_vms: u32) -> Result<Records> {
        Ok(Records {
            host: Mapped::new(ebpf, "HOST", 1)?,
            vms: Mapped::new(ebpf, "VMS", max_vms as usize)?,
        })
    }

    pub fn host(&self) -> Result<Box<Host>> {
        self.host.read(0).context("the host's record")
    }

    pub fn max_vms(&self) -> usize {
        self.vms.len
    }

    /// A slot's generation and life, without copying the record.
    pub fn peek(&self, slot: usize) -> Option<(u32, u32)> {
        let word = self.vms.word(slot, mem::offset_of!(Vm, generation))?.load(Ordering::Acquire);
        Some((word as u32, (word >> 32) as u32))
    }

    pub fn vm(&self, slot: usize) -> Option<Box<Vm>> {
        self.vms.read(slot)
    }

    /// Clears a slot for its next VM, under a new generation, so that what a late
    /// request of the old one brings is not counted for the new one.
    pub fn clear_vm(&self, slot: usize) {
        let (Some(words), Some((generation, _))) = (self.vms.words(slot), self.peek(slot)) else {
            return;
        };
        let next = u64::from(generation.wrapping_add(1).max(1));
        for (i, word) in words.iter().enumerate() {
            word.store(if i == 0 { next } else { 0 }, Ordering::Release);
        }
    }

    /// Notes when a VM's process began.
    pub fn set_started(&self, slot: usize, ticks: u64) {
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, started)) {
            word.store(ticks, Ordering::Relaxed);
        }
    }

    /// Ends a VM whose end no program saw.
    pub fn end_vm(&self, slot: usize, generation: u32, now: u64) {
        let Some(exited) = self.vms.word(slot, mem::offset_of!(Vm, exited)) else { return };
        exited.store(now, Ordering::Relaxed);
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, generation)) {
            let ended = u64::from(generation) | u64::from(Life::Exited as u32) << 32;
            word.store(ended, Ordering::Release);
        }
    }

    /// From how long on a request is told as slow.
    pub fn set_slow(&self, ns: u64) {
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, slow_ns)) {
            word.store(ns, Ordering::Relaxed);
        }
    }
}

/// Now, on the programs' clock (CLOCK_MONOTONIC), in ns.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
