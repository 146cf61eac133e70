//! # raw_tracepoint/sched_process_exit
//!
//! `(struct task_struct *)`, in the exiting thread. A thread takes its record
//! with it, a process its VM: a number that is used again inherits nothing.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use guestreq_common::{hook::tracepoint, vm::Life};

use crate::{entry, kernel, maps, threads};

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn on_thread_exit(ctx: RawTracePointContext) -> i32 {
    entry::jump(&ctx, &maps::TRACEPOINTS, tracepoint::THREAD_EXIT);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn thread_exit(_ctx: RawTracePointContext) -> i32 {
    let thread = kernel::thread();
    if let Some(record) = threads::find(thread) {
        let abandoned = record.abandon();
        threads::count_abandoned(record, abandoned, 0);
        threads::free(record);
    }
    let tgid = (thread >> 32) as u32;
    if tgid == thread as u32 {
        process_exit(tgid);
    }
    0
}

#[inline(always)]
fn process_exit(tgid: u32) {
    // SAFETY: the value is copied at once.
    let Some(&slot) = (unsafe { maps::VM_OF_PROCESS.get(tgid) }) else { return };
    let _ = maps::VM_OF_PROCESS.remove(tgid);
    if let Some(vm) = maps::slot(slot) {
        vm.exited = kernel::now();
        vm.life = Life::Exited as u32;
    }
}
