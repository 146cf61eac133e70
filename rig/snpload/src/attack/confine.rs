//! # A VMM that confines itself
//!
//! Any thread may restrict itself with Landlock. From then on this security module answers before
//! later ones for what the thread does.

use std::io;

use anyhow::{Context as _, Result, ensure};

/// All file rights that Landlock handles since Linux 6.10, including ioctls on devices.
static EVERYTHING: u64 = (1 << 16) - 1;

/// Denies this thread all files, and ioctls on devices that it opens from now on.
pub fn confine() -> Result<()> {
    let ruleset = call(libc::SYS_landlock_create_ruleset, &raw const EVERYTHING as u64, 8)
        .context("landlock_create_ruleset")?;
    // SAFETY: no memory is passed.
    let ret = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    ensure!(ret == 0, "PR_SET_NO_NEW_PRIVS: {}", io::Error::last_os_error());
    call(libc::SYS_landlock_restrict_self, ruleset as u64, 0).context("landlock_restrict_self")?;
    // SAFETY: a descriptor of our own, which nobody else knows.
    unsafe { libc::close(ruleset as i32) };
    Ok(())
}

fn call(number: libc::c_long, first: u64, second: u64) -> Result<libc::c_long> {
    // SAFETY: the one call that reads memory is given the attributes, and their size.
    let ret = unsafe { libc::syscall(number, first, second, 0) };
    if ret < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(ret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_thread_opens_nothing_and_others_do() {
        let open = || std::fs::File::open("/dev/null").is_ok();
        let thread = std::thread::spawn(move || (confine(), open()));
        let (confined, opened) = thread.join().unwrap();
        match confined {
            // The kernel has no Landlock.
            Err(error) => assert!(format!("{error:#}").contains("landlock_create_ruleset")),
            Ok(()) => assert!(!opened),
        }
        assert!(open());
    }
}
