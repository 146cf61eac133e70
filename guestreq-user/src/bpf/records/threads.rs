//! # Threads whose exit was missed
//!
//! A program frees a thread's record at its exit. Since Linux 7.0 tracepoints can be preempted, and
//! the kernel skips a program on a CPU where it already runs: of threads that exit at the same time
//! one may be missed (`tracepoint_missed`). Its record would stay until its tid is reused, and its
//! queued request would count as waiting for ever.

use std::{
    io, mem,
    sync::atomic::{AtomicU64, Ordering},
};

use guestreq_common::{
    host::Host,
    request::{State, Thread},
};

use super::Records;

// One word has both numbers, so that they are read and freed at once.
const _: () = assert!(mem::offset_of!(Thread, tid).is_multiple_of(super::WORD));
const _: () = assert!(mem::offset_of!(Thread, tgid) == mem::offset_of!(Thread, tid) + 4);
const _: () = assert!(mem::offset_of!(Thread, state).is_multiple_of(super::WORD));

/// The owner of a record that is being freed: no thread has this tid, so that the next agent frees
/// it if this one dies.
const OURS: u64 = u32::MAX as u64;

impl Records {
    /// Frees the records of exited threads. Returns their number.
    ///
    /// `exists`: whether a thread with that tid exists. On an error its record stays.
    pub fn free_exited_threads(&self, exists: impl Fn(u32) -> io::Result<bool>) -> usize {
        let Some(count) = self.host.word(0, mem::offset_of!(Host, threads)) else { return 0 };
        if count.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let mut freed = 0;
        for index in 0..self.threads.len {
            let Some(owner) = self.threads.word(index, mem::offset_of!(Thread, tid)) else { break };
            let numbers = owner.load(Ordering::Acquire);
            let tid = numbers as u32;
            if tid == 0 || exists(tid).unwrap_or(true) {
                continue;
            }
            let Some(state) = self.threads.word(index, mem::offset_of!(Thread, state)) else {
                break;
            };
            // Unless its program freed it after all and another thread took it.
            if owner.compare_exchange(numbers, OURS, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.close(state);
                owner.store(0, Ordering::Release);
                count.fetch_sub(1, Ordering::AcqRel);
                freed += 1;
            }
        }
        freed
    }

    /// An exited thread's request no longer waits for the PSP.
    fn close(&self, state: &AtomicU64) {
        let was_queued = state.swap(0, Ordering::AcqRel) as u32 == State::Queued as u32;
        if was_queued && let Some(dequeued) = self.host.word(0, mem::offset_of!(Host, dequeued)) {
            dequeued.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::in_memory, *};

    fn word(records: &Records, index: usize, offset: usize) -> &AtomicU64 {
        records.threads.word(index, offset).unwrap()
    }

    fn of_host(records: &Records, offset: usize) -> u64 {
        records.host.word(0, offset).unwrap().load(Ordering::Relaxed)
    }

    #[test]
    fn an_exited_thread_leaves_no_record_and_no_queued_request() {
        let records = in_memory(1, 4);
        let tid = mem::offset_of!(Thread, tid);
        for (index, (number, state)) in
            [(7, State::Idle), (8, State::Queued), (9, State::WantsLock)].into_iter().enumerate()
        {
            word(&records, index, tid).store(number | 5 << 32, Ordering::Relaxed);
            word(&records, index, mem::offset_of!(Thread, state))
                .store(state as u64, Ordering::Relaxed);
        }
        let threads = mem::offset_of!(Host, threads);
        records.host.word(0, threads).unwrap().store(3, Ordering::Relaxed);

        let unknown = |_| Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(records.free_exited_threads(unknown), 0, "unknown");
        assert_eq!(records.free_exited_threads(|tid| Ok(tid == 7)), 2);
        assert_eq!(of_host(&records, threads), 1);
        assert_eq!(of_host(&records, mem::offset_of!(Host, dequeued)), 1);
        assert_eq!(word(&records, 0, tid).load(Ordering::Relaxed), 7 | 5 << 32);
        assert_eq!(records.free_exited_threads(|tid| Ok(tid == 7)), 0, "once");
    }
}
