//! # The records in kernel memory
//!
//! Host, VM and thread records are mapped arrays. Reading them needs no system call: a scrape is
//! fast and, unlike bpf(2) on a map, does not disable kprobe programs on its CPU.

mod launches;
mod mapped;
mod pinned;
mod threads;

use std::{mem, sync::atomic::Ordering};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use guestreq_common::{
    SCHEMA,
    host::{EnforcementRecord, Host, HostTotals, Loss},
    launch::EndedLaunch,
    policy::{Backend, Limiter, Policy, Rules},
    request::Thread,
    vm::{Life, SlotState, Vm, VmRef},
    waiting::{LostCause, WaitingMessages, lost_bit},
};
use mapped::Mapped;
pub use pinned::{known_gate, signature};

use crate::{bpf::kernel_constants::KernelConstants, host};

/// Records are read and written in words.
const WORD: usize = mem::size_of::<u64>();

/// All records of the running programs.
pub struct Records {
    host: Mapped<Host>,
    vms: Mapped<Vm>,
    threads: Mapped<Thread>,
    launches: Mapped<EndedLaunch>,
}

#[cfg(test)]
impl Records {
    /// Over files instead of maps, for tests.
    pub fn over(
        [host, vms, threads, launches]: [std::os::fd::BorrowedFd<'_>; 4],
        [max_vms, max_threads]: [usize; 2],
    ) -> Result<Records> {
        Ok(Records {
            host: Mapped::over(host, 1)?,
            vms: Mapped::over(vms, max_vms)?,
            threads: Mapped::over(threads, max_threads)?,
            launches: Mapped::over(launches, guestreq_common::launch::HISTORY as usize)?,
        })
    }
}

impl Records {
    pub fn new(ebpf: &Ebpf) -> Result<Records> {
        Ok(Records {
            host: Mapped::new(ebpf, "HOST")?,
            vms: Mapped::new(ebpf, "VMS")?,
            threads: Mapped::new(ebpf, "THREADS")?,
            launches: Mapped::new(ebpf, "LAUNCHES")?,
        })
    }

    pub fn host(&self) -> Result<Box<Host>> {
        self.host.read(0).context("the host's record")
    }

    /// Requests that passed though they should not have.
    pub fn bypassed(&self) -> u64 {
        let offset = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, bypassed);
        self.host.word(0, offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    pub fn max_vms(&self) -> usize {
        self.vms.len
    }

    /// A slot's VM and state, without copying the record.
    pub fn peek(&self, slot: usize) -> Option<(VmRef, SlotState)> {
        let word = self.vms.word(slot, mem::offset_of!(Vm, generation))?;
        let state = SlotState(word.load(Ordering::Acquire));
        Some((VmRef::new(slot, state.generation()), state))
    }

    pub fn vm(&self, slot: usize) -> Option<Box<Vm>> {
        self.vms.read(slot)
    }

    /// Every slot that may hold a VM, with its VM and state.
    pub fn slots(&self) -> impl Iterator<Item = (VmRef, SlotState)> {
        let states = (0..self.max_vms())
            .map_while(move |slot| Some((self.peek(slot)?, self.peek(slot + 1))));
        // Slots are handed out from the bottom: beyond one that no VM ever had, none has another.
        // One more is looked at, as two vCPUs may race for a slot.
        states
            .take_while(|((_, state), next)| {
                let (_, next) = next.unwrap_or_default();
                [*state, next] != [SlotState::default(); 2]
            })
            .map(|(slot, _)| slot)
    }

    /// Clears a slot and increments its generation, so that a late request of the old VM is not
    /// counted for the next one. The slot is not free yet.
    pub fn clear_vm(&self, slot: usize) {
        let (Some(words), Some((vm, _))) = (self.vms.words(slot), self.peek(slot)) else {
            return;
        };
        let clearing = SlotState::new(vm.generation.wrapping_add(1).max(1), Life::Clearing);
        for (i, word) in words.iter().enumerate() {
            word.store(if i == 0 { clearing.0 } else { 0 }, Ordering::Release);
        }
    }

    /// Marks a cleared slot free, unless a VM has taken it already.
    pub fn set_free(&self, slot: usize) {
        let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, generation)) else { return };
        let old = SlotState(word.load(Ordering::Acquire));
        if old.is(Life::Clearing) {
            let free = SlotState::new(old.generation(), Life::Free);
            // A program may have taken it since: then life is no longer ours to write.
            let _ = word.compare_exchange(old.0, free.0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Writes the start of a VM's process.
    pub fn set_started(&self, slot: usize, ticks: u64) {
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, started)) {
            word.store(ticks, Ordering::Relaxed);
        }
    }

    /// Writes a VM's own policy. If the rate differs from the one applied so far (the default's for
    /// a new VM), its state is reset; what a VM owes of PSP time means the same under any share. The
    /// policy applies when this returns.
    pub fn set_policy(&self, slot: usize, policy: Policy) {
        let word = |offset| self.vms.word(slot, mem::offset_of!(Vm, policy) + offset);
        let (Some(rules), Some(rate), Some(share)) = (
            word(mem::offset_of!(Policy, rules)),
            word(mem::offset_of!(Policy, rate)),
            word(mem::offset_of!(Policy, share)),
        ) else {
            return;
        };
        let has_own = Rules::from_bits(rules.load(Ordering::Acquire)).generation()
            == policy.rules().generation();
        let before = if has_own {
            rate.load(Ordering::Acquire)
        } else {
            let default =
                mem::offset_of!(EnforcementRecord, policy) + mem::offset_of!(Policy, rate);
            self.enforcement(default)
        };
        if before != policy.rate {
            // The old rate's state means nothing to the new one. Reset it before writing the
            // rate, or requests that the new one has admitted would be forgotten.
            let state = mem::offset_of!(Vm, limiter) + mem::offset_of!(Limiter, rate);
            if let Some(state) = self.vms.word(slot, state) {
                state.store(0, Ordering::Release);
            }
        }
        rate.store(policy.rate, Ordering::Release);
        share.store(policy.share, Ordering::Release);
        // Last: its generation says that the whole policy is this VM's.
        rules.store(policy.rules, Ordering::Release);
    }

    /// Marks a VMPCK of the VM in a slot as lost to BUSY, and counts it. Returns false if it was
    /// marked already.
    pub fn mark_vmpck_lost(&self, slot: usize, vmpck: u8) -> bool {
        let waiting = mem::offset_of!(Vm, limiter) + mem::offset_of!(Limiter, waiting);
        let lost = waiting + mem::offset_of!(WaitingMessages, lost);
        // `lost` is the upper half of its word; `waits` is the lower.
        let Some(word) = self.vms.word(slot, lost) else { return false };
        let bit = u64::from(lost_bit(vmpck, LostCause::Busy)) << (8 * (lost % WORD));
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return false;
        }
        let count = waiting + mem::offset_of!(WaitingMessages, losses);
        if let Some(count) = self.vms.word(slot, count + LostCause::Busy as usize * WORD) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Remembers which marks of lost VMPCKs were reported, for a later agent, too.
    pub fn set_reported_lost(&self, slot: usize, marks: u32) {
        let waiting = mem::offset_of!(Vm, limiter) + mem::offset_of!(Limiter, waiting);
        // `reserved` is the other half of its word.
        if let Some(word) =
            self.vms.word(slot, waiting + mem::offset_of!(WaitingMessages, reported))
        {
            word.store(u64::from(marks), Ordering::Relaxed);
        }
    }

    /// Sets the signal that kicks a VM's vCPUs.
    pub fn set_kick(&self, slot: usize, signal: u64) {
        if let Some(word) = self.vms.word(slot, mem::offset_of!(Vm, kick)) {
            word.store(signal, Ordering::Release);
        }
    }

    pub fn has_kick(&self, slot: usize) -> bool {
        let word = self.vms.word(slot, mem::offset_of!(Vm, kick));
        word.is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Writes the policy of VMs without their own, and whether new VMs wait for their own.
    pub fn set_default_policy(&self, policy: Policy, waits: bool) {
        let offset = mem::offset_of!(EnforcementRecord, policy);
        self.set_enforcement(mem::offset_of!(EnforcementRecord, waits), u64::from(waits));
        self.set_enforcement(offset + mem::offset_of!(Policy, rate), policy.rate);
        self.set_enforcement(offset + mem::offset_of!(Policy, share), policy.share);
        self.set_enforcement(offset + mem::offset_of!(Policy, rules), policy.rules);
    }

    /// Whether new VMs wait for their own policy.
    pub fn new_vms_wait(&self) -> bool {
        self.enforcement(mem::offset_of!(EnforcementRecord, waits)) != 0
    }

    pub fn set_backend(&self, backend: Backend) {
        self.set_enforcement(mem::offset_of!(EnforcementRecord, backend), backend as u64);
    }

    /// Writes one word of the host's enforcement state.
    pub fn set_enforcement(&self, offset: usize, value: u64) {
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, enforcement) + offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Whether these maps are new.
    pub fn are_new(&self) -> bool {
        let word = self.host.word(0, mem::offset_of!(Host, schema));
        word.is_some_and(|word| word.load(Ordering::Acquire) == 0)
    }

    /// Marks new records as this version's.
    pub fn sign(&self, words: &KernelConstants) {
        for (offset, value) in [
            (mem::offset_of!(Host, page_offset), words.page_offset),
            (mem::offset_of!(Host, encryption_mask), words.encryption_mask),
            (mem::offset_of!(Host, signal_of_task), words.offsets()),
        ] {
            if let Some(word) = self.host.word(0, offset) {
                word.store(value, Ordering::Relaxed);
            }
        }
        // Last: it says that the others are written.
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, schema)) {
            word.store(u64::from(SCHEMA), Ordering::Release);
        }
    }

    /// Reads one word of the host's enforcement state.
    pub fn enforcement(&self, offset: usize) -> u64 {
        let word = self.host.word(0, mem::offset_of!(Host, enforcement) + offset);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Whether the programs report every request.
    pub fn set_report_all(&self, all: bool) {
        if let Some(word) = self.host.word(0, mem::offset_of!(Host, report_all)) {
            word.store(u64::from(all), Ordering::Release);
        }
    }

    /// The count of this loss.
    pub fn lost(&self, loss: Loss) -> u64 {
        let lost = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, lost);
        let offset = lost + loss as usize * WORD;
        self.host.word(0, offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Sets the duration from which requests are reported as slow.
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

#[cfg(test)]
pub mod tests;
