//! # raw_tracepoint/sched_process_exit
//!
//! `(struct task_struct *)`, in the exiting thread. Frees its record, so that a reused tid inherits
//! nothing. A VM survives the process that launched it, until its guest context is decommissioned.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::tail_calls::tracepoint;

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
    let tgid = thread.tgid();
    let launched = vms::launched_by(tgid);
    if !launched.is_none() && threads::is_last(ctx.arg(0)) {
        if let Some(vm) = maps::vm(launched) {
            // `command_end` cannot know it if another process ends the VM.
            vm.launch.process_exited = 1;
        }
        // The pid may be reused before the VM ends.
        let _ = maps::VM_OF_PROCESS.remove(tgid);
    }
    0
}
