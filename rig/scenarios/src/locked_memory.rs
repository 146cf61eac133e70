//! # Locked process memory
//!
//! A helper process holds another process' mmap lock through snpsim, as a stuck driver does:
//! reading that process' arguments blocks while the helper runs.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    process::{Child, Command},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    children,
    host::{Firmware, wait_until},
};

/// `_IO('S', 2)`
const SNPSIM_HOLD_MEMORY: u64 = (b'S' as u64) << 8 | 2;
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A process' mmap lock, held until dropped.
pub struct LockedMemory(Child);

impl LockedMemory {
    pub fn hold(pid: u32) -> Result<LockedMemory> {
        Firmware::set("hold_memory", 1)?;
        let mut holder = Command::new("/bin/scenarios");
        let holder = holder.args(["hold-memory", &pid.to_string()]).spawn();
        let locked = LockedMemory(holder.context("the process that holds the memory")?);
        wait_until("the memory is locked", LOCK_TIMEOUT, || Ok(is_locked(pid)))?;
        Ok(locked)
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        children::kill(&mut self.0, "the process that holds the memory");
    }
}

/// The hidden command `hold-memory`: returns when snpsim's `hold_memory` is cleared.
pub fn hold(pid: &str) -> Result<()> {
    let device = File::open("/dev/snpsim").context("/dev/snpsim")?;
    let number: libc::c_ulong = pid.parse().context("a pid")?;
    // SAFETY: no memory is passed.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), SNPSIM_HOLD_MEMORY as _, number) };
    ensure!(ret == 0, "holding the memory of {pid}: {}", io::Error::last_os_error());
    Ok(())
}

/// Whether reading its arguments blocks; the thread that tries stays blocked.
fn is_locked(pid: u32) -> bool {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(fs::read(format!("/proc/{pid}/cmdline"))));
    matches!(receiver.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout))
}
