//! # Leaving KVM_RUN during a request
//!
//! A signal during a request ends KVM_RUN before the guest continues: another thread runs the vCPU
//! next, with the same request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Entered;
use crate::signals;

/// The first delay is shorter than most requests. Up to 6.12 KVM waits tens of ms for RCU when
/// another thread runs a vCPU: a signal during that time hits no request.
const PAUSES: [u64; 6] = [700, 1_400, 2_800, 5_600, 11_200, 22_400];

/// Repeatedly signals the thread that runs the vCPU.
pub struct Kicks {
    target: Arc<Target>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Target {
    thread: AtomicI32,
    over: AtomicBool,
}

impl Kicks {
    pub fn start() -> Result<Self> {
        signals::handle_by_doing_nothing(libc::SIGUSR2)?;
        let target = Arc::new(Target::default());
        let aimed = target.clone();
        let work = move || {
            for pause in PAUSES.into_iter().cycle() {
                if aimed.over.load(Ordering::Relaxed) {
                    break;
                }
                let thread = aimed.thread.load(Ordering::Relaxed);
                if thread != 0 {
                    // SAFETY: no memory is passed. One that has gone has no handler to run.
                    unsafe { libc::syscall(libc::SYS_tkill, thread, libc::SIGUSR2) };
                }
                sleep(Duration::from_micros(pause));
            }
        };
        let thread = Builder::new().name("kicks".into()).stack_size(128 << 10).spawn(work);
        Ok(Self { target, thread: Some(thread.context("no thread that signals")?) })
    }

    /// Signals the calling thread while it works.
    pub fn aim_while(&self, work: &mut (dyn FnMut() -> Entered + Send)) -> Entered {
        self.target.thread.store(thread_id(), Ordering::Relaxed);
        let result = work();
        self.target.thread.store(0, Ordering::Relaxed);
        result
    }
}

impl Drop for Kicks {
    fn drop(&mut self) {
        self.target.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The calling thread's id.
pub fn thread_id() -> libc::pid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targeted_thread_is_woken_from_a_sleep() {
        let kicks = Kicks::start().unwrap();
        let mut sleep = || {
            let long = libc::timespec { tv_sec: 60, tv_nsec: 0 };
            // SAFETY: one time, which outlives the call.
            match unsafe { libc::nanosleep(&long, std::ptr::null_mut()) } {
                0 => Ok(0),
                _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
            }
        };
        assert_eq!(kicks.aim_while(&mut sleep), Err(libc::EINTR));
    }
}
