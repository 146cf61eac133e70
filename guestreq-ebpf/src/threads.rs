//! # Requests in flight, by thread
//!
//! A request is its thread's until the PSP takes it.

use guestreq_common::{
    event::{Event, EventKind},
    host::Loss,
    message::Summary,
    outcome::Outcome,
    request::{Abandoned, Thread},
    units::{GuestContext, PidTgid},
    vm::VmRef,
};

use crate::{atomic, kernel, maps, vms};

/// Ways of the set-associative thread table.
const WAYS: u32 = 4;

/// The current thread's record, if it is in the first way, as nearly all are.
#[inline(always)]
pub fn find_fast(thread: PidTgid) -> Option<&'static mut Thread> {
    let record = maps::thread(thread.tid(), 0)?;
    (record.tid == thread.tid() && record.tgid == thread.tgid()).then_some(record)
}

/// The record with the current thread's tid, if any.
#[inline(always)]
pub fn find(thread: PidTgid) -> Option<&'static mut Thread> {
    let tid = thread.tid();
    for way in 0..WAYS {
        let record = maps::thread(tid, way)?;
        if record.tid == tid {
            return Some(record);
        }
    }
    None
}

/// The current thread's record, made if there is none.
#[inline(always)]
pub fn find_or_make(thread: PidTgid) -> Option<&'static mut Thread> {
    let tgid = thread.tgid();
    let record = match find(thread) {
        Some(record) => record,
        None => make(thread.tid())?,
    };
    if record.tgid != tgid {
        // New, or the owner's exit was missed and the tid was reused.
        record.belongs_to(tgid);
    }
    Some(record)
}

/// The record of the current thread, whose request goes from KVM to the PSP. Where there is a gate,
/// none is made: the gate asked or will ask when there was no room, and a later record would not
/// know the decision.
#[inline(always)]
pub fn find_for_psp(thread: PidTgid) -> Option<&'static mut Thread> {
    if has_gate() { find_own(thread) } else { find_or_make(thread) }
}

/// The current thread's record, and not that of an earlier owner of its tid.
#[inline(always)]
pub fn find_own(thread: PidTgid) -> Option<&'static mut Thread> {
    find(thread).filter(|record| record.tgid == thread.tgid())
}

/// Whether the current thread has a record.
#[inline(always)]
pub fn is_known(thread: PidTgid) -> bool {
    find_own(thread).is_some()
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

/// Frees the record of an exiting thread.
#[inline(always)]
pub fn free(record: &mut Thread) {
    record.tgid = 0;
    // Last: from here on another thread may take it.
    record.tid = 0;
    if let Some(host) = maps::host() {
        atomic::decrement(&mut host.threads);
    }
}

/// Whether an exiting thread is its process' last. The first thread may exit before others: the
/// process keeps its pid.
#[inline(always)]
pub fn is_last(task: u64) -> bool {
    let Some((signal_of_task, live_of_signal)) = maps::signal_of_task() else { return false };
    // `do_exit` in kernel/exit.c has already subtracted this thread, before it closes files.
    let live = |signal: u64| kernel::read::<u32>(signal.wrapping_add(live_of_signal));
    kernel::read(task.wrapping_add(signal_of_task)).and_then(live) == Some(0)
}

/// Counts a request that failed on the host. Atomically, as hooks outside `sev_cmd_mutex` do it, too.
#[inline(always)]
pub fn count_host_error(vm: VmRef, row: u8) {
    if let Some(host) = maps::host() {
        atomic::add(host.totals.message(row).results.cell(Outcome::HOST_ERROR), 1);
    }
    if let Some(vm) = maps::vm(vm) {
        atomic::add(vm.requests(row).cell(Outcome::HOST_ERROR), 1);
    }
}

/// Counts and reports a request that failed on the host. `ret`: what KVM_RUN returned.
#[inline(always)]
pub fn count_failed(thread: &Thread, abandoned: &Abandoned, ret: i32) {
    let message = &abandoned.message;
    let vm = if abandoned.queued { vms::find(thread.context) } else { thread.vm };
    // Before the header is read the guest context is unknown: take the VM that the thread ran last,
    // or that its process launched.
    let runs = maps::vm(vm).is_some_and(|vm| !vm.context.is_none());
    let vm = if runs { vm } else { vms::launched_by(thread.tgid) };
    maps::report(Event {
        time: kernel::now(),
        seqno: message.seqno,
        tgid: thread.tgid,
        vm,
        ret,
        kind: EventKind::HostError as u8,
        message_type: message.message_type,
        vmpck: message.vmpck,
        outcome: Outcome::HOST_ERROR,
        ..Event::default()
    });
    count_host_error(vm, message.row);
    if let Some(vm) = maps::vm(vm) {
        vm.last_request = kernel::now();
    }
    no_longer_queued(abandoned);
}

/// Counts a request whose end was missed. The kernel skips programs now and then, so it may have
/// been answered: it only counts as lost.
#[inline(always)]
pub fn count_unmatched(thread: &Thread, abandoned: &Abandoned) {
    if !abandoned.is_refused_elsewhere(has_gate()) {
        maps::count_loss(Loss::RequestUnmatched, 1);
        if abandoned.queued
            && let Some(vm) = maps::vm(vms::find(thread.context))
        {
            // If it succeeded, its number is used: the next one would look like a gap.
            vm.counters.forget(abandoned.message.vmpck);
        }
    }
    no_longer_queued(abandoned);
}

#[inline(always)]
fn has_gate() -> bool {
    maps::host().is_some_and(|host| host.enforcement.has_gate())
}

#[inline(always)]
fn no_longer_queued(abandoned: &Abandoned) {
    if abandoned.queued
        && let Some(host) = maps::host()
    {
        atomic::add(&mut host.dequeued, 1);
    }
}

/// The current thread's request queues for the PSP: KVM hands it to ccp, or the gate asks about it,
/// whichever is first.
#[inline(always)]
pub fn queue(thread: &mut Thread, context: GuestContext, message: Summary) {
    if thread.queues(context, &message) {
        return;
    }
    if thread.is_queued()
        && let Some(unmatched) = thread.abandon()
    {
        count_unmatched(thread, &unmatched);
    }
    thread.queue(kernel::now(), context, message);
    if let Some(host) = maps::host() {
        atomic::add(&mut host.queued, 1);
    }
}
