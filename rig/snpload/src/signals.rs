//! # Signals
//!
//! SIGTERM and SIGINT stop the work in good order. A process that imitates a VMM handles that VMM's
//! kick signal by doing nothing. A VM may also kill itself during a request.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::values::Vmm;

static STOP: AtomicBool = AtomicBool::new(false);
static IN_FLIGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn stop(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

extern "C" fn kick(_: libc::c_int) {}

pub fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> Result<()> {
    // SAFETY: sigaction is plain data, for which zeros are a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // no SA_RESTART: KVM_RUN and poll() must return
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: a valid action, and handlers that touch nothing but an atomic.
    let ret = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    if ret < 0 {
        return Err(io::Error::last_os_error()).context("sigaction");
    }
    Ok(())
}

/// Handles a signal that only ends system calls.
pub fn handle_by_doing_nothing(signal: libc::c_int) -> Result<()> {
    handle(signal, kick)
}

/// Call it before creating threads, which inherit the mask.
pub fn set_up(vmm: Option<Vmm>) -> Result<()> {
    handle(libc::SIGTERM, stop)?;
    handle(libc::SIGINT, stop)?;
    handle_kicks(vmm)
}

/// SIGRTMIN of glibc and of musl.
const SIGRTMIN: [libc::c_int; 2] = [34, 35];

/// QEMU kicks vCPUs with SIGUSR1, the others with SIGRTMIN. An unknown VMM handles neither, and a
/// kick kills it.
fn handle_kicks(vmm: Option<Vmm>) -> Result<()> {
    let signals: &[libc::c_int] = match vmm {
        None => &[],
        Some(Vmm::Qemu | Vmm::Kvm) => &[libc::SIGUSR1],
        Some(Vmm::CloudHypervisor | Vmm::Firecracker) => &SIGRTMIN,
    };
    signals.iter().try_for_each(|signal| handle(*signal, kick))?;
    unblock_kicks()
}

/// The parent may have blocked them, and a blocked kick has no effect.
fn unblock_kicks() -> Result<()> {
    // SAFETY: sigset_t is plain data, which sigemptyset() fills in; the other calls
    // take it as it is.
    let errno = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [&[libc::SIGUSR1][..], &SIGRTMIN].concat() {
            libc::sigaddset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut())
    };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno)).context("pthread_sigmask");
    }
    Ok(())
}

pub fn with_request_in_flight<T>(request: impl FnOnce() -> T) -> T {
    IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
    let result = request();
    IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    result
}

/// Kills this process during the first request after this time.
pub fn die_after(ms: u64) {
    let due = Instant::now() + Duration::from_millis(ms);
    std::thread::spawn(move || {
        sleep(due.saturating_duration_since(Instant::now()));
        while IN_FLIGHT.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_micros(100));
        }
        // SAFETY: kill() takes no memory of ours.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
}

/// Waits until standard input ends or a stop signal arrives. Input other than a pipe, socket or
/// terminal, such as /dev/null, never ends.
pub fn hold() {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat() fills in the stat, and is believed only if it says so.
    let mode = unsafe {
        if libc::fstat(libc::STDIN_FILENO, stat.as_mut_ptr()) == 0 {
            stat.assume_init().st_mode & libc::S_IFMT
        } else {
            0
        }
    };
    // SAFETY: isatty() takes no memory of ours.
    let terminal = unsafe { libc::isatty(libc::STDIN_FILENO) } == 1;
    let ends = mode == libc::S_IFIFO || mode == libc::S_IFSOCK || terminal;
    while !stopping() {
        if !ends {
            sleep(Duration::from_millis(200));
        } else if input_ended() {
            return;
        }
    }
}

/// Waits for at most 200 ms.
fn input_ended() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, which outlives the call.
    if unsafe { libc::poll(&mut poll, 1, 200) } <= 0 {
        return false;
    }
    let mut sink = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be.
    unsafe { libc::read(libc::STDIN_FILENO, sink.as_mut_ptr().cast(), sink.len()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal set in /proc, with a bit for each signal from 1.
    fn set(status: &str, key: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    // One test, since handlers belong to the whole process.
    #[test]
    fn a_vmm_handles_its_own_kick_and_no_thread_blocks_it() {
        let status = || {
            let read = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
            std::thread::spawn(read).join().unwrap()
        };
        let (usr1, rtmin) = (1 << (libc::SIGUSR1 - 1), 1 << 33 | 1 << 34);
        let before = set(&status(), "SigCgt");
        handle_kicks(None).unwrap();
        assert_eq!(set(&status(), "SigCgt"), before, "a stranger handles none");
        handle_kicks(Some(Vmm::Firecracker)).unwrap();
        assert_eq!(set(&status(), "SigCgt") & (usr1 | rtmin), rtmin);
        handle_kicks(Some(Vmm::Qemu)).unwrap();
        assert_eq!(set(&status(), "SigCgt") & usr1, usr1);
        assert_eq!(set(&status(), "SigBlk") & (usr1 | rtmin), 0);
    }
}
