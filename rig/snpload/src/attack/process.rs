//! # Processes that share memory
//!
//! `clone()` with CLONE_VM and without CLONE_THREAD makes a process with a number of its own whose
//! memory and files are its parent's: to KVM one of the VM's. The thread that makes it waits, and
//! lends it what only one of both may use at a time, as posix_spawn() does: the C library's
//! per-thread data.

use std::arch::asm;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Entered;

const SHARING: libc::c_int = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;

/// What a process has to do, and what came of it.
struct Job<'a, W, T> {
    work: Option<W>,
    result: Option<T>,
    done: &'a AtomicBool,
    /// The process that it stays as long as; 0 if it is to end at once.
    stays_with: u32,
}

/// A process's stack.
struct Stack(NonNull<u8>);

impl Stack {
    const SIZE: usize = 256 << 10;

    fn new() -> Result<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), Self::SIZE, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("no stack for a process");
        }
        Ok(Self(NonNull::new(start.cast()).context("a stack at address 0")?))
    }

    fn top(&self) -> *mut libc::c_void {
        // SAFETY: the end of the mapping, where a stack begins.
        unsafe { self.0.as_ptr().add(Self::SIZE) }.cast()
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and only the process that it was
// made for uses it.
unsafe impl Send for Stack {}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; whoever stood on it has ended.
        unsafe { libc::munmap(self.0.as_ptr().cast(), Self::SIZE) };
    }
}

/// Does the work in a process that then ends.
pub fn sharing<T>(work: impl FnOnce() -> T) -> Result<T> {
    let (stack, done) = (Stack::new()?, AtomicBool::new(false));
    let mut job = Job { work: Some(work), result: None, done: &done, stays_with: 0 };
    let pid = start(&stack, &raw mut job)?;
    let status = wait_for(pid)?;
    ensure!(status == 0, "a process that shares memory ended with status {status:#x}");
    job.result.context("a process that shares memory left no result")
}

/// Does the work in a process that stays.
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

/// A process that stays until this is dropped, and at most a second longer than its parent.
pub struct Parked {
    pid: libc::pid_t,
    _stack: Stack,
}

impl Parked {
    /// Asks without an end to the waiting: until it is dropped its number is its own.
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
    // From here on neither the job nor the maker's per-thread data are ours.
    if stays_with != 0 {
        stay(stays_with);
    }
    0
}

/// Sleeps as long as the parent lives, with nothing but system calls.
fn stay(parent: u32) {
    let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    while system_call(libc::SYS_getppid, 0) == i64::from(parent) {
        system_call(libc::SYS_nanosleep, &raw const second as u64);
    }
}

/// One of at most one argument, without the C library's errno.
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

/// This process's number, whatever the C library remembers.
pub fn process_id() -> u32 {
    system_call(libc::SYS_getpid, 0) as u32
}

fn wait_for(pid: libc::pid_t) -> Result<libc::c_int> {
    loop {
        let mut status = 0;
        // SAFETY: one status, which outlives the call.
        if unsafe { libc::waitpid(pid, &mut status, 0) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context("waitpid");
        }
    }
}

/// Has a process with memory of its own try it. It can tell an errno, or that there was none.
pub fn forked(work: impl FnOnce() -> Entered) -> Result<Entered> {
    // SAFETY: the child does nothing but the work, which is a system call, and ends.
    let pid = unsafe { libc::fork() };
    match pid {
        ..0 => Err(io::Error::last_os_error()).context("fork"),
        0 => {
            let code = work().err().unwrap_or(0);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) }
        }
        _ => {
            let status = wait_for(pid)?;
            ensure!(libc::WIFEXITED(status), "a forked process ended with status {status:#x}");
            match libc::WEXITSTATUS(status) {
                0 => Ok(Ok(0)),
                errno => Ok(Err(errno)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_does_is_done_here_too() {
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
    fn a_parked_process_stays_until_it_is_let_go() {
        let (parked, pid) = parked(process_id).unwrap();
        let path = format!("/proc/{pid}/stat");
        assert!(parked.runs().unwrap() && std::fs::exists(&path).unwrap());
        drop(parked);
        assert!(!std::fs::exists(&path).unwrap());
    }

    #[test]
    fn a_forked_process_tells_its_errno() {
        assert_eq!(forked(|| Err(libc::EIO)).unwrap(), Err(libc::EIO));
        assert_eq!(forked(|| Ok(5)).unwrap(), Ok(0));
    }
}
