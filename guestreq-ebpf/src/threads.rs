//! # Which VM a thread belongs to
//!
//! A thread belongs to one process for life, so its record remembers the VM's
//! slot: the table of processes is consulted once per vCPU thread.

use aya_ebpf::{EbpfContext, bindings::BPF_NOEXIST};
use aya_log_ebpf::warn;
use guestreq_common::{
    event::{self, Event},
    host::Loss,
    outcome::HOST_ERROR,
    request::{Abandoned, NO_VM, Thread},
    vm::Life,
};

use crate::{atomic, kernel, maps};

/// Places where a thread's record may be.
const WAYS: u32 = 4;

/// The record of the current thread where nearly all are: in the first of its places. Whether its
/// VM has its slot still is for the caller to see, once a request.
#[inline(always)]
pub fn known(thread: u64) -> Option<&'static mut Thread> {
    let record = maps::thread(thread as u32, 0)?;
    (record.tid == thread as u32 && record.tgid == (thread >> 32) as u32).then_some(record)
}

/// The record of the current thread, if it ever asked for something.
#[inline(always)]
pub fn find(thread: u64) -> Option<&'static mut Thread> {
    let tid = thread as u32;
    for way in 0..WAYS {
        let record = maps::thread(tid, way)?;
        if record.tid == tid {
            return Some(record);
        }
    }
    None
}

/// The record of the current thread, made if there is none, and its VM looked for if need be.
#[inline(always)]
pub fn find_or_make<C: EbpfContext>(ctx: &C, thread: u64) -> Option<&'static mut Thread> {
    let record = record(thread)?;
    if maps::vm(record.vm, record.generation).is_none() {
        (record.vm, record.generation) = vm_of_process(ctx, (thread >> 32) as u32, true);
    }
    Some(record)
}

/// The record of the current thread, made if there is none. Its VM is not known if it is new, if the
/// table of VMs was full, or if its VM's record was given away: the process had the number of one
/// that ended unseen.
#[inline(always)]
pub fn record(thread: u64) -> Option<&'static mut Thread> {
    let tgid = (thread >> 32) as u32;
    let record = match find(thread) {
        Some(record) => record,
        None => make(thread as u32)?,
    };
    if record.tgid != tgid {
        // New, or its owner's exit was missed and the number is another's now.
        record.belongs_to(tgid);
    }
    Some(record)
}

#[inline(always)]
fn make(tid: u32) -> Option<&'static mut Thread> {
    for way in 0..WAYS {
        let record = maps::thread(tid, way)?;
        if atomic::take(&mut record.tid, tid) {
            record.tgid = 0;
            if let Some(host) = maps::host() {
                atomic::add(&mut host.threads, 1);
            }
            return Some(record);
        }
    }
    maps::count_loss(Loss::ThreadTableFull, 1);
    None
}

/// Frees the record of a thread that ends.
#[inline(always)]
pub fn free(record: &mut Thread) {
    record.tgid = 0;
    // Last: from here on it is whoever's takes it.
    record.tid = 0;
    if let Some(host) = maps::host() {
        atomic::decrement(&mut host.threads);
    }
}

/// The slot and generation of a process' VM; `NO_VM` if it has none and shall not
/// get one, or if there is no room.
#[inline(always)]
pub fn vm_of_process<C: EbpfContext>(ctx: &C, tgid: u32, make: bool) -> (u32, u32) {
    // SAFETY: the value is copied at once; an entry that is replaced meanwhile gives the old or
    // the new slot, and the generation tells a stale one.
    if let Some(&slot) = unsafe { maps::VM_OF_PROCESS.get(tgid) } {
        return (slot, maps::slot(slot).map_or(0, |vm| vm.generation));
    }
    if !make {
        return (NO_VM, 0);
    }
    let Some((slot, vm)) = maps::take_slot(tgid) else {
        maps::count_loss(Loss::VmTableFull, 1);
        return (NO_VM, 0);
    };
    if maps::VM_OF_PROCESS.insert(tgid, slot, BPF_NOEXIST.into()).is_err() {
        // Another vCPU of the same process was faster, or the table is full.
        maps::give_slot_back(slot, vm);
        // SAFETY: as above.
        return match unsafe { maps::VM_OF_PROCESS.get(tgid) } {
            Some(&slot) => (slot, maps::slot(slot).map_or(0, |vm| vm.generation)),
            None => {
                warn!(ctx, "no room for process {} among the VMs", tgid);
                maps::count_loss(Loss::VmTableFull, 1);
                (NO_VM, 0)
            }
        };
    }
    vm.tgid = tgid;
    vm.first_seen = kernel::now();
    // Last: the agent reads the record once it sees life in it.
    vm.life = Life::Running as u32;
    maps::tell(Event {
        time: vm.first_seen,
        tgid,
        vm: slot,
        generation: vm.generation,
        kind: event::Kind::NewVm as u8,
        ..Event::default()
    });
    (slot, vm.generation)
}

/// Counts a request that ended without the PSP. Hooks outside `sev_cmd_mutex` do
/// that too, hence atomically.
#[inline(always)]
pub fn count_host_error(vm: u32, generation: u32, kind: u8) {
    if let Some(host) = maps::host() {
        atomic::add(host.message(kind).results.cell(HOST_ERROR), 1);
    }
    if let Some(vm) = maps::vm(vm, generation) {
        atomic::add(vm.requests(kind).cell(HOST_ERROR), 1);
    }
}

/// Counts and tells what [`Thread::abandon`] and [`Thread::want_lock`] found open. `ret`: what
/// KVM_RUN returned, where it is known.
#[inline(always)]
pub fn count_abandoned(thread: &Thread, abandoned: Option<Abandoned>, ret: i32) {
    let Some(abandoned) = abandoned else { return };
    let message = &abandoned.message;
    maps::tell(Event {
        time: kernel::now(),
        seqno: message.seqno,
        tgid: thread.tgid,
        vm: thread.vm,
        generation: thread.generation,
        ret,
        kind: event::Kind::HostError as u8,
        message_type: message.message_type,
        vmpck: message.vmpck,
        outcome: HOST_ERROR,
        ..Event::default()
    });
    count_host_error(thread.vm, thread.generation, message.kind);
    if abandoned.queued
        && let Some(host) = maps::host()
    {
        atomic::add(&mut host.dequeued, 1);
    }
}
