//! # Calls during which no probe may fire
//!
//! While bpf(2) accesses an element of a map, the kernel skips programs on kprobes of that CPU
//! (`bpf_disable_instrumentation`). A vCPU thread scheduled there would be missed, so this thread
//! gets real-time priority meanwhile.

use std::mem;

/// Until dropped, no thread of an ordinary scheduling class preempts this one.
pub struct RealtimeGuard(Option<(i32, libc::sched_param)>);

impl RealtimeGuard {
    /// Without permission nothing changes: hits may be missed, and are counted as missed.
    pub fn begin() -> RealtimeGuard {
        // SAFETY: integers, for which zeros are a value.
        let mut before: libc::sched_param = unsafe { mem::zeroed() };
        let urgent = libc::sched_param { sched_priority: 1 };
        // SAFETY: this thread; the structures outlive the calls.
        unsafe {
            let policy = libc::sched_getscheduler(0);
            let known = policy >= 0 && libc::sched_getparam(0, &mut before) == 0;
            // Never lowers the priority.
            let ordinary = known && policy == libc::SCHED_OTHER;
            let done = ordinary && libc::sched_setscheduler(0, libc::SCHED_FIFO, &urgent) == 0;
            RealtimeGuard(done.then_some((policy, before)))
        }
    }
}

impl Drop for RealtimeGuard {
    fn drop(&mut self) {
        if let Some((policy, parameters)) = &self.0 {
            // SAFETY: as above.
            unsafe { libc::sched_setscheduler(0, *policy, parameters) };
        }
    }
}
