//! # The records in kernel memory
//!
//! Host and VM records are arrays that the kernel lets us map. Reading them is
//! no system call, so that a scrape neither takes long nor, as bpf(2) on a map
//! would, switches kprobe programs off on its CPU while it runs.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{Ebpf, maps::Map};
use guestreq_common::{
    SCHEMA,
    host::{self as of_host, Enforcement, Host, Loss, Totals},
    policy::{Backend, Policy},
    vm::{Life, Vm},
};

use super::words::KernelWords;
use crate::host;

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
// SAFETY: a word itself.
unsafe impl Record for u64 {}

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
        Mapped::over(map.fd().as_fd(), len).with_context(|| format!("mmap of {name}"))
    }

    fn over(map: BorrowedFd<'_>, len: usize) -> Result<Mapped<T>> {
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

/// The schema that the pinned record of a host was made with, 0 if none was written yet; and
/// what it knows of the kernel, which holds for that schema only.
pub fn signature(map: BorrowedFd<'_>) -> Result<(u64, KernelWords)> {
    let word = |offset| word_of_host(map, offset);
    let words = KernelWords {
        page_offset: word(mem::offset_of!(Host, page_offset))?,
        encryption_mask: word(mem::offset_of!(Host, encryption_mask))?,
    };
    Ok((word(mem::offset_of!(Host, schema))?, words))
}

/// The file by which the programs of a pinned record know the gate; 0: they know none.
pub fn known_gate(map: BorrowedFd<'_>) -> Result<u64> {
    word_of_host(map, mem::offset_of!(Host, enforcement) + mem::offset_of!(Enforcement, gate_file))
}

/// The record of another version's programs, of which only the totals are known.
pub struct Foreign(Mapped<u64>);

impl Foreign {
    /// A host's record of so many bytes, if its totals can be read.
    pub fn new(map: BorrowedFd<'_>, bytes: usize) -> Result<Foreign> {
        let foreign = Foreign(Mapped::over(map, bytes / WORD)?);
        let [schema, layout] = [0, 1].map(|index| foreign.word(index).unwrap_or(0));
        ensure!(
            schema >= of_host::SIGNED_SINCE && layout == of_host::LAYOUT,
            "its totals are not laid out as this version's"
        );
        Ok(foreign)
    }

    /// What its programs count, by now, with what it had inherited itself.
    pub fn totals(&self) -> Box<Totals> {
        let len = self.len();
        let words = |from: usize| (from..).take(len).map_while(|index| self.word(index));
        let mut totals = Box::new(Totals::from_words(words(Self::FIRST)));
        totals.add(&Totals::from_words(words(Self::FIRST + len)));
        totals
    }

    /// How many commands its programs have seen begin, but not end.
    pub fn running(&self) -> u64 {
        self.word(Self::FIRST + 2 * self.len()).unwrap_or(0)
    }

    const FIRST: usize = of_host::OFFSET / WORD;

    /// Of its totals, in words; no longer than the record.
    fn len(&self) -> usize {
        let len = self.word(2).and_then(|words| usize::try_from(words).ok());
        len.unwrap_or(0).min(self.0.len)
    }

    fn word(&self, index: usize) -> Option<u64> {
        Some(self.0.words(index)?.first()?.load(Ordering::Acquire))
    }
}

fn word_of_host(map: BorrowedFd<'_>, offset: usize) -> Result<u64> {
    let host: Mapped<Host> = Mapped::over(map, 1)?;
    let word = host.word(0, offset).context("an empty record")?;
    Ok(word.load(Ordering::Acquire))
}

/// All records of the running programs.
pub struct Records {
    host: Mapped<Host>,
    vms: Mapped<Vm>,
}

#[cfg(test)]
impl Records {
    /// Over other memory than maps': of the host's record, and of so many VMs'.
    pub fn over(host: BorrowedFd<'_>, vms: BorrowedFd<'_>, max_vms: usize) -> Result<Records> {
        Ok(Records { host: Mapped::over(host, 1)?, vms: Mapped::over(vms, max_vms)? })
    }
}

impl Records {
    pub fn new(ebpf: &Ebpf, max_vms: u32) -> Result<Records> {
        Ok(Records {
            host: Mapped::new(ebpf, "HOST", 1)?,
            vms: Mapped::new(ebpf, "VMS", max_vms as usize)?,
        })
    }

    /// With what was counted before these records were made.
    pub fn host(&self) -> Result<Box<Host>> {
        let mut host = self.counted()?;
        let Host { totals, inherited, .. } = &mut *host;
        totals.add(inherited);
        Ok(host)
    }

    /// As the programs write it.
    pub fn counted(&self) -> Result<Box<Host>> {
        self.host.read(0).context("the host's record")
    }

    /// From now on these are shown with what another version had counted.
    pub fn set_inherited(&self, totals: &Totals) {
        let words = self.host.words(0).unwrap_or_default().iter();
        let inherited = words.skip(mem::offset_of!(Host, inherited) / WORD);
        for (word, value) in inherited.zip(totals.words()) {
            word.store(*value, Ordering::Release);
        }
    }

    /// Requests that passed though they should not have, as these records' programs count them.
    pub fn bypassed(&self) -> u64 {
        let offset = mem::offset_of!(Host, totals) + mem::offset_of!(Totals, bypassed);
        self.host.word(0, offset).map_or(0, |word| word.load(Ordering::Acquire))
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
    /// request of the old one brings is not counted for the new one. It is not free yet.
    pub fn clear_vm(&self, slot: usize) {
        let (Some(words), Some((generation, _))) = (self.vms.words(slot), self.peek(slot)) else {
            return;
        };
        let next = u64::from(generation.wrapping_add(1).max(1));
        let clearing = (Life::Clearing as u64) << 32;
        for (i, word) in words.iter().enumerate() {
            word.store(if i == 0 { next | clearing } else { 0 }, Ordering::Release);
        }
    }

    /// A slot that was cleared is among the free ones; unless it was taken already.
    pub fn set_free(&self, slot: usize) {
        let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, generation)) else { return };
        let old = word.load(Ordering::Acquire);
        if old >> 32 == Life::Clearing as u64 {
            let free = old & u64::from(u32::MAX);
            // A program may have taken it since: then life is no longer ours to write.
            let _ = word.compare_exchange(old, free, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Notes when a VM's process began.
    pub fn set_started(&self, slot: usize, ticks: u64) {
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, started)) {
            word.store(ticks, Ordering::Relaxed);
        }
    }

    /// Ends a VM whose end no program saw. Its record gets a generation of its own, which is
    /// returned: who has its process' number now is no longer taken for it.
    pub fn end_vm(&self, slot: usize, generation: u32, now: u64) -> u32 {
        let next = generation.wrapping_add(1).max(1);
        if let Some(exited) = self.vms.word(slot, mem::offset_of!(Vm, exited)) {
            exited.store(now, Ordering::Relaxed);
        }
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, generation)) {
            let ended = u64::from(next) | u64::from(Life::Exited as u32) << 32;
            word.store(ended, Ordering::Release);
        }
        next
    }

    /// Writes what a VM may ask for, as its policy of its own; its limit begins anew if it is
    /// another one. It holds when this returns: a request is decided by two words, each of
    /// which is there or not.
    pub fn set_policy(&self, slot: usize, policy: Policy) {
        let word = |offset| self.vms.word(slot, mem::offset_of!(Vm, policy) + offset);
        let (Some(rules), Some(limit)) =
            (word(mem::offset_of!(Policy, rules)), word(mem::offset_of!(Policy, limit)))
        else {
            return;
        };
        if limit.swap(policy.limit, Ordering::AcqRel) != policy.limit
            && let Some(limiter) = self.vms.word(slot, mem::offset_of!(Vm, limiter))
        {
            // What the old limit left says nothing about the new one.
            limiter.store(0, Ordering::Release);
        }
        // Last: the generation in it says that all of it is this VM's.
        rules.store(policy.rules, Ordering::Release);
    }

    /// The signal that takes its vCPUs out of the guest.
    pub fn set_kick(&self, slot: usize, signal: u64) {
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, kick)) {
            word.store(signal, Ordering::Release);
        }
    }

    pub fn has_kick(&self, slot: usize) -> bool {
        let word = self.vms.word(slot, mem::offset_of!(Vm, kick));
        word.is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Writes what holds for VMs that have no policy of their own, and whether new ones wait
    /// until they have.
    pub fn set_default_policy(&self, policy: Policy, waits: bool) {
        let offset = mem::offset_of!(Enforcement, policy);
        self.set_enforcement(mem::offset_of!(Enforcement, waits), u64::from(waits));
        self.set_enforcement(offset + mem::offset_of!(Policy, limit), policy.limit);
        self.set_enforcement(offset + mem::offset_of!(Policy, rules), policy.rules);
    }

    pub fn set_backend(&self, backend: Backend) {
        self.set_enforcement(mem::offset_of!(Enforcement, backend), backend as u64);
    }

    /// Writes one word of how decisions are carried out.
    pub fn set_enforcement(&self, offset: usize, value: u64) {
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, enforcement) + offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Whether these maps were made just now; marks them as this version's.
    pub fn are_new(&self) -> bool {
        let word = self.host.word(0, mem::offset_of!(Host, schema));
        word.is_some_and(|word| word.load(Ordering::Acquire) == 0)
    }

    /// Makes new records this version's.
    pub fn sign(&self, words: &KernelWords) {
        for (offset, value) in [
            (mem::offset_of!(Host, page_offset), words.page_offset),
            (mem::offset_of!(Host, encryption_mask), words.encryption_mask),
            (mem::offset_of!(Host, layout), of_host::LAYOUT),
            (mem::offset_of!(Host, words), of_host::WORDS as u64),
        ] {
            if let Some(word) = self.host.word(0, offset) {
                word.store(value, Ordering::Relaxed);
            }
        }
        // Last: it says that the others stand.
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, schema)) {
            word.store(u64::from(SCHEMA), Ordering::Release);
        }
    }

    /// One word of how decisions are carried out.
    pub fn enforcement(&self, offset: usize) -> u64 {
        let word = self.host.word(0, mem::offset_of!(Host, enforcement) + offset);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Whether every request is told one by one.
    pub fn set_tell_all(&self, all: bool) {
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, tell_all)) {
            word.store(u64::from(all), Ordering::Release);
        }
    }

    /// How often something was lost so, as these records' programs count it.
    pub fn lost(&self, loss: Loss) -> u64 {
        let lost = mem::offset_of!(Host, totals) + mem::offset_of!(Totals, lost);
        let offset = lost + loss as usize * WORD;
        self.host.word(0, offset).map_or(0, |word| word.load(Ordering::Acquire))
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
    host::clock_ns(libc::CLOCK_MONOTONIC)
}
