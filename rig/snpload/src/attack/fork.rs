//! # A process with its own memory

use std::io;

use anyhow::{Context as _, Result, ensure};

use super::Entered;

/// Waits for a child and returns its status.
pub fn wait_for(pid: libc::pid_t) -> Result<libc::c_int> {
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

/// Does the work in a process with its own memory and returns its errno, if any.
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
    fn a_forked_process_returns_its_errno() {
        assert_eq!(forked(|| Err(libc::EIO)).unwrap(), Err(libc::EIO));
        assert_eq!(forked(|| Ok(5)).unwrap(), Ok(0));
    }
}
