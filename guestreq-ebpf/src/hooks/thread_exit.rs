//! # raw_tracepoint/sched_process_exit
//!
//! `(struct task_struct *)`, in the exiting thread. A thread takes its record
//! with it: a number that is used again inherits nothing. A VM goes on without the process
//! that launched it; it ends when its guest context is decommissioned.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::{hook::tracepoint, request::NO_VM};

use crate::{entry, kernel, maps, threads, vms};

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn on_thread_exit(ctx: RawTracePointContext) -> i32 {
    entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::THREAD_EXIT);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exit(ctx: RawTracePointContext) -> i32 {
    let thread = kernel::thread();
    if let Some(record) = threads::find(thread) {
        if let Some(unmatched) = record.abandon() {
            threads::count_unmatched(record, &unmatched);
        }
        threads::free(record);
    }
    let tgid = (thread >> 32) as u32;
    if vms::of_process(tgid).slot != NO_VM && is_last(ctx.arg(0)) {
        // Its number may become another's before the VM ends.
        let _ = maps::VM_OF_PROCESS.remove(tgid);
    }
    0
}

/// Whether a thread that exits is its process' last. Its first may exit before the others: the
/// process then goes on under that one's number.
#[inline(always)]
fn is_last(task: u64) -> bool {
    let Some((signal_of_task, live_of_signal)) = maps::signal_of_task() else { return false };
    // `do_exit` in kernel/exit.c has counted this thread out already.
    let live = |signal: u64| kernel::read::<u32>(signal.wrapping_add(live_of_signal));
    kernel::read(task.wrapping_add(signal_of_task)).and_then(live) == Some(0)
}
