//! # Whether a thread exists
//!
//! By tkill(2): /proc may hide threads (mount option hidepid).

use std::{fs, io, path::Path};

/// Whether a thread with that tid exists, zombies included.
pub fn thread_exists(tid: u32) -> io::Result<bool> {
    // SAFETY: no memory is passed, and signal 0 is none.
    let sent = match unsafe { libc::syscall(libc::SYS_tkill, libc::c_long::from(tid), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    was_found(sent, sees_all_processes)
}

/// Interprets tkill(2)'s result. In another PID namespace than the host's, tids differ and the
/// result is unknown.
fn was_found(sent: io::Result<()>, sees_all: impl FnOnce() -> bool) -> io::Result<bool> {
    let Err(error) = sent else { return Ok(true) };
    match error.raw_os_error() {
        Some(libc::EPERM) => Ok(true),
        Some(libc::ESRCH) if sees_all() => Ok(false),
        _ => Err(error),
    }
}

/// Whether this process is in the host's own PID namespace (PROC_PID_INIT_INO in
/// include/linux/proc_ns.h).
fn sees_all_processes() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|it| is_host_namespace(&it))
}

fn is_host_namespace(namespace: &Path) -> bool {
    namespace == Path::new("pid:[4026531836]")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_thread_of_ours_is_there_and_one_without_a_number_is_an_error() {
        // SAFETY: no memory is passed.
        let own = unsafe { libc::gettid() };
        assert!(thread_exists(own.unsigned_abs()).unwrap());
        assert_eq!(thread_exists(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn only_who_sees_all_processes_knows_that_one_is_gone() {
        let sent = |errno| Err(io::Error::from_raw_os_error(errno));
        assert!(was_found(Ok(()), || false).unwrap());
        assert!(was_found(sent(libc::EPERM), || false).unwrap(), "another user's is there");
        assert!(!was_found(sent(libc::ESRCH), || true).unwrap());
        assert!(was_found(sent(libc::ESRCH), || false).is_err(), "a container's own numbers");
        assert!(was_found(sent(libc::EAGAIN), || true).is_err());
    }

    #[test]
    fn the_host_s_namespace_has_one_number() {
        assert!(is_host_namespace(Path::new("pid:[4026531836]")));
        assert!(!is_host_namespace(Path::new("pid:[4026532281]")));
        let number = fs::metadata("/proc/self/ns/pid").unwrap().ino();
        assert_eq!(sees_all_processes(), number == 0xEFFF_FFFC);
    }
}
