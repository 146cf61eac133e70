//! # Threads' requests on their way
//!
//! A request is one thread's until the PSP takes it.

use guestreq_common::{
    event::{self, Event},
    host::Loss,
    message::Summary,
    outcome::HOST_ERROR,
    request::{Abandoned, State, Thread},
    vm::VmRef,
};

use crate::{atomic, kernel, maps, vms};

/// Places where a thread's record may be.
const WAYS: u32 = 4;

/// The record of the current thread where nearly all are: in the first of its places.
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

/// The record of the current thread, made if there is none.
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

/// The record of the current thread whose request is on its way from KVM to the PSP. With a gate none
/// is made: where there is none, the gate asks or has asked while there was no room, and a record that
/// is made after that would not know what was decided.
#[inline(always)]
pub fn waiting(thread: u64) -> Option<&'static mut Thread> {
    if has_gate() { own(thread) } else { record(thread) }
}

/// The record of the current thread, and not of one that had its number and ended unseen.
#[inline(always)]
pub fn own(thread: u64) -> Option<&'static mut Thread> {
    find(thread).filter(|record| record.tgid == (thread >> 32) as u32)
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

/// Counts a request that ended without the PSP. Hooks outside `sev_cmd_mutex` do
/// that too, hence atomically.
#[inline(always)]
pub fn count_host_error(vm: VmRef, kind: u8) {
    if let Some(host) = maps::host() {
        atomic::add(host.message(kind).results.cell(HOST_ERROR), 1);
    }
    if let Some(vm) = maps::vm(vm) {
        atomic::add(vm.requests(kind).cell(HOST_ERROR), 1);
    }
}

/// Counts and tells a request that failed on the host. `ret`: what KVM_RUN returned.
#[inline(always)]
pub fn count_failed(thread: &Thread, abandoned: &Abandoned, ret: i32) {
    let message = &abandoned.message;
    let vm = if abandoned.queued { vms::find(thread.context) } else { thread.ran() };
    // Before its header was read nothing tells its guest context: the VM that its thread ran
    // last, or its process launched.
    let runs = maps::vm(vm).is_some_and(|vm| vm.context != 0);
    let vm = if runs { vm } else { vms::of_process(thread.tgid) };
    maps::tell(Event {
        time: kernel::now(),
        seqno: message.seqno,
        tgid: thread.tgid,
        vm: vm.slot,
        generation: vm.generation,
        ret,
        kind: event::Kind::HostError as u8,
        message_type: message.message_type,
        vmpck: message.vmpck,
        outcome: HOST_ERROR,
        ..Event::default()
    });
    count_host_error(vm, message.kind);
    if let Some(vm) = maps::vm(vm) {
        vm.last_request = kernel::now();
    }
    no_longer_queued(abandoned);
}

/// Counts a request whose end was not seen. The kernel skips programs now and then, so that it may
/// have been answered: nothing is said of it but that it was lost.
#[inline(always)]
pub fn count_unmatched(thread: &Thread, abandoned: &Abandoned) {
    if !abandoned.is_refused_elsewhere(has_gate()) {
        maps::count_loss(Loss::RequestUnmatched, 1);
        if abandoned.queued
            && let Some(vm) = maps::vm(vms::find(thread.context))
        {
            // If it succeeded, its number was used: the next one's would seem to leave it out.
            vm.counters.forget(abandoned.message.vmpck);
        }
    }
    no_longer_queued(abandoned);
}

#[inline(always)]
fn has_gate() -> bool {
    maps::host().is_some_and(|host| host.enforcement.gate_file != 0)
}

#[inline(always)]
fn no_longer_queued(abandoned: &Abandoned) {
    if abandoned.queued
        && let Some(host) = maps::host()
    {
        atomic::add(&mut host.dequeued, 1);
    }
}

/// The current thread's request is on its way to the PSP: KVM hands it to ccp, or the gate asks
/// about it. Whichever comes first begins to wait.
#[inline(always)]
pub fn queue(thread: &mut Thread, context: u64, message: Summary) {
    if thread.queues(context, &message) {
        return;
    }
    if thread.state == State::Queued as u32
        && let Some(unmatched) = thread.abandon()
    {
        count_unmatched(thread, &unmatched);
    }
    thread.queue(kernel::now(), context, message);
    if let Some(host) = maps::host() {
        atomic::add(&mut host.queued, 1);
    }
}
