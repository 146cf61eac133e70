//! # Processes that share memory
//!
//! `clone()` with CLONE_VM and without CLONE_THREAD creates a process with its own pid that shares
//! memory and files, so KVM accepts it. The creating thread waits, as with posix_spawn(), because
//! both use the same per-thread data of the C library.

use std::arch::asm;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{fork::wait_for, stack::Stack};

const SHARING: libc::c_int = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;

/// A process's work and its result.
struct Job<'a, W, T> {
    work: Option<W>,
    result: Option<T>,
    done: &'a AtomicBool,
    /// It keeps running while this process does; 0: it exits at once.
    stays_with: u32,
}

/// Does the work in a process that then exits.
pub fn sharing<T>(work: impl FnOnce() -> T) -> Result<T> {
    let (stack, done) = (Stack::new()?, AtomicBool::new(false));
    let mut job = Job { work: Some(work), result: None, done: &done, stays_with: 0 };
    let pid = start(&stack, &raw mut job)?;
    let status = wait_for(pid)?;
    ensure!(status == 0, "a process that shares memory ended with status {status:#x}");
    job.result.context("a process that shares memory left no result")
}

/// Does the work in a process that keeps running.
pub fn parked<T>(work: impl FnOnce() -> T) -> Result<(Parked, T)> {
    let (stack, done) = (Stack::new()?, AtomicBool::new(false));
    let mut job = Job { work: Some(work), result: None, done: &done, stays_with: process_id() };
    let pid = start(&stack, &raw mut job)?;
    let parked = Parked { pid, _stack: stack };
    while !done.load(Ordering::Acquire) {
        ensure!(parked.runs()?, "a process that was to stay has ended");
        std::thread::sleep(Duration::from_micros(200));
    }
    let result = job.result.context("a process that stays left no result")?;
    Ok((parked, result))
}

/// A process that runs until this is dropped, and at most a second longer than its parent.
pub struct Parked {
    pid: libc::pid_t,
    _stack: Stack,
}

impl Parked {
    /// Does not reap it: until this is dropped its pid is not reused.
    fn runs(&self) -> Result<bool> {
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: siginfo is plain data, for which zeros are a valid value, and outlives the call.
        // Where nobody has ended its pid stays 0.
        let (ret, pid) = unsafe {
            let mut info = std::mem::zeroed::<libc::siginfo_t>();
            let ret = libc::waitid(libc::P_PID, self.pid as libc::id_t, &mut info, how);
            (ret, info.si_pid())
        };
        if ret < 0 {
            return Err(io::Error::last_os_error()).context("waitid");
        }
        Ok(pid == 0)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // SAFETY: no memory is passed; the child is not waited for yet, so its number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let _ = wait_for(self.pid);
    }
}

fn start<W: FnOnce() -> T, T>(stack: &Stack, job: *mut Job<W, T>) -> Result<libc::pid_t> {
    // SAFETY: the stack is as large as `top` says, and the job outlives the process's use of it: the
    // caller waits until it is done. Until then this thread touches nothing that it shares with it.
    let pid = unsafe { libc::clone(run::<W, T>, stack.top(), SHARING, job.cast()) };
    if pid < 0 {
        return Err(io::Error::last_os_error()).context("clone");
    }
    Ok(pid)
}

extern "C" fn run<W: FnOnce() -> T, T>(job: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `start` passes a Job of these types, which nobody else uses until it is done.
    let job = unsafe { &mut *job.cast::<Job<W, T>>() };
    job.result = job.work.take().map(|work| work());
    let stays_with = job.stays_with;
    job.done.store(true, Ordering::Release);
    // From here on this process may use neither the job nor the per-thread data.
    if stays_with != 0 {
        stay(stays_with);
    }
    0
}

/// Sleeps while the parent runs, with system calls only.
fn stay(parent: u32) {
    let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    while system_call(libc::SYS_getppid, 0) == i64::from(parent) {
        system_call(libc::SYS_nanosleep, &raw const second as u64);
    }
}

/// A system call with up to one argument, without the C library's errno.
fn system_call(number: libc::c_long, argument: u64) -> i64 {
    let mut result = number;
    // SAFETY: only calls that write no memory: `getppid`, `getpid`, `gettid`, and `nanosleep`
    // without a second pointer.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") argument,
            in("rsi") 0u64,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// This process's pid, without the C library's cache.
pub fn process_id() -> u32 {
    system_call(libc::SYS_getpid, 0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_writes_shared_memory() {
        let mut words = vec!["one".to_owned()];
        let (pid, len) = sharing(|| {
            words.push("two".to_owned());
            (process_id(), words.len())
        })
        .unwrap();
        assert_eq!((len, words.len()), (2, 2));
        assert_ne!(pid, process_id());
    }

    #[test]
    fn a_parked_process_runs_until_it_is_dropped() {
        let (parked, pid) = parked(process_id).unwrap();
        let path = format!("/proc/{pid}/stat");
        assert!(parked.runs().unwrap() && std::fs::exists(&path).unwrap());
        drop(parked);
        assert!(!std::fs::exists(&path).unwrap());
    }
}
