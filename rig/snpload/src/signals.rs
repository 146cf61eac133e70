//! # Signals
//!
//! SIGTERM and SIGINT end the work in good order. The signals by which VMMs take
//! a vCPU out of KVM_RUN are handled as they do it: by doing nothing. And this is
//! where a VM kills itself in the middle of a request.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cli::Vmm;

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
    // no SA_RESTART: KVM_RUN and poll() are to return
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: a valid action, and handlers that touch nothing but an atomic.
    let ret = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
    if ret < 0 {
        return Err(io::Error::last_os_error()).context("sigaction");
    }
    Ok(())
}

/// QEMU kicks a vCPU with SIGUSR1, the others with SIGRTMIN: one that its VMM
/// does not handle kills the VMM.
pub fn set_up(vmm: Option<Vmm>) -> Result<()> {
    handle(libc::SIGTERM, stop)?;
    handle(libc::SIGINT, stop)?;
    if matches!(vmm, None | Some(Vmm::Qemu)) {
        handle(libc::SIGUSR1, kick)?;
    }
    if vmm != Some(Vmm::Qemu) {
        handle(libc::SIGRTMIN(), kick)?;
    }
    Ok(())
}

pub fn with_request_in_flight<T>(request: impl FnOnce() -> T) -> T {
    IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
    let result = request();
    IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    result
}

/// Kills this process after that time, at the next moment a request is in flight.
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

/// Waits until standard input ends or a signal says stop. Input that is neither
/// pipe, socket nor terminal, such as /dev/null, never ends.
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

/// Looks for at most a fifth of a second.
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
