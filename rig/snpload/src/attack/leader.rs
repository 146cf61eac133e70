//! # Without a main thread
//!
//! A process survives its main thread's exit(2) while it has others. The main thread stays as a
//! zombie without memory: /proc/PID/cmdline is empty.

use std::fs;
use std::process::exit;
use std::thread::Builder;

use anyhow::{Context as _, Result};

use super::cue::Cue;

/// Does the process's work in another thread and ends the main thread at the cue.
pub fn leave(cue: &Cue, work: impl FnOnce() -> i32 + Send + 'static) -> Result<()> {
    let thread = Builder::new().name("heir".into());
    thread.spawn(move || exit(work())).context("cannot start a thread")?;
    cue.wait();
    // SAFETY: ends this thread alone, which owns nothing that others use: it has only waited.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}

/// Whether the main thread has exited.
pub fn has_left() -> Result<bool> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    Ok(stat.rsplit_once(')').is_some_and(|(_, after)| after.trim_start().starts_with('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_main_thread_has_not_left() {
        assert!(!has_left().unwrap());
    }
}
