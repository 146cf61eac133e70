//! # The PSP's status
//!
//! A process that waits for the PSP cannot be interrupted or killed. So a child sends the command,
//! and is abandoned if the PSP does not answer.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _},
    mem,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

/// A working PSP answers in milliseconds, behind a queue in a second or two.
pub const PSP_TIMEOUT: Duration = Duration::from_secs(5);

/// `struct sev_user_data_snp_status` of linux/psp-sev.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Platform {
    pub api_major: u8,
    pub api_minor: u8,
    /// 0: not initialised; 1: initialised for SNP.
    pub state: u8,
    flags: u8,
    pub build: u32,
    more_flags: u32,
    pub guests: u32,
    tcb_versions: [u64; 2],
}

#[cfg(test)]
impl Platform {
    pub fn of(api: (u8, u8), state: u8) -> Platform {
        Platform { api_major: api.0, api_minor: api.1, state, ..Platform::default() }
    }
}

/// Why there is no status.
#[derive(Debug)]
pub enum Silence {
    Error(io::Error),
    /// Longer than [`PSP_TIMEOUT`].
    TimedOut,
}

/// `SNP_PLATFORM_STATUS` of the ioctl(2) `SEV_ISSUE_CMD`.
const SNP_PLATFORM_STATUS: u32 = 9;
const SEV_ISSUE_CMD: u32 = 3 << 30 | (size_of::<Issue>() as u32) << 16 | (b'S' as u32) << 8;

/// `struct sev_issue_cmd`
#[repr(C, packed)]
struct Issue {
    command: u32,
    data: u64,
    error: u32,
}

/// What the child reports.
#[repr(C)]
#[derive(Clone, Copy)]
struct Answer {
    errno: i32,
    status: Platform,
}

const SIZE: usize = size_of::<Answer>();

pub fn ask(device: &Path) -> Result<Platform, Silence> {
    ask_with(device, PSP_TIMEOUT, issue)
}

fn ask_with(
    device: &Path,
    timeout: Duration,
    query: fn(&CString) -> Answer,
) -> Result<Platform, Silence> {
    let device = CString::new(device.as_os_str().as_bytes()).map_err(io::Error::from)?;
    let (read, write) = pipe()?;
    // SAFETY: the child makes only async-signal-safe calls, and ends by _exit(2).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error().into()),
        0 => child(&device, write.as_raw_fd(), query),
        child => {
            drop(write);
            let answer = wait_for(read, timeout);
            // A child still in the kernel is adopted by init later.
            // SAFETY: our child; the status is not needed.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) };
            answer
        }
    }
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Silence {
        Silence::Error(error)
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made them for us.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into())
}

fn child(device: &CString, to: RawFd, query: fn(&CString) -> Answer) -> ! {
    // SAFETY: numbers, and an answer that outlives the call.
    unsafe {
        // Readers of our output must not wait for this process.
        for fd in 0..3 {
            libc::close(fd);
        }
        let answer = query(device);
        libc::write(to, (&raw const answer).cast(), SIZE);
        libc::_exit(0)
    }
}

fn issue(device: &CString) -> Answer {
    let mut answer = Answer { errno: 0, status: Platform::default() };
    let data = &raw mut answer.status as u64;
    let mut issue = Issue { command: SNP_PLATFORM_STATUS, data, error: 0 };
    // SAFETY: structures of the kernel's layout, that outlive the call.
    unsafe {
        let fd = libc::open(device.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if fd < 0 || libc::ioctl(fd, u64::from(SEV_ISSUE_CMD) as _, &raw mut issue) != 0 {
            answer.errno = *libc::__errno_location();
        }
    }
    answer
}

fn wait_for(answer: OwnedFd, timeout: Duration) -> Result<Platform, Silence> {
    let mut poll = libc::pollfd { fd: answer.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, that outlives the call.
    match unsafe { libc::poll(&mut poll, 1, timeout.as_millis() as i32) } {
        -1 => return Err(io::Error::last_os_error().into()),
        0 => return Err(Silence::TimedOut),
        _ => {}
    }
    let mut bytes = [0; SIZE];
    File::from(answer).read_exact(&mut bytes)?;
    // SAFETY: integers only, for which any bits are a value.
    let Answer { errno, status } = unsafe { mem::transmute::<[u8; SIZE], Answer>(bytes) };
    match errno {
        0 => Ok(status),
        errno => Err(io::Error::from_raw_os_error(errno).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_the_kernel_s() {
        assert_eq!(size_of::<Platform>(), 32);
        assert_eq!(SEV_ISSUE_CMD, 0xc010_5300);
    }

    #[test]
    fn an_answer_an_error_and_a_timeout_are_distinguished() {
        let ask = |timeout, query| ask_with(Path::new("/"), timeout, query);
        let status = Platform::of((1, 55), 1);
        fn answers(_: &CString) -> Answer {
            let status = Platform::of((1, 55), 1);
            Answer { errno: 0, status }
        }
        assert_eq!(ask(PSP_TIMEOUT, answers).unwrap(), status);
        // A folder does not support the ioctl.
        let Err(Silence::Error(error)) = ask(PSP_TIMEOUT, issue) else { panic!("an answer of /") };
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        fn hangs(_: &CString) -> Answer {
            // SAFETY: a number.
            unsafe { libc::sleep(1) };
            Answer { errno: 0, status: Platform::default() }
        }
        let hung = ask(Duration::from_millis(50), hangs);
        assert!(matches!(hung, Err(Silence::TimedOut)), "{hung:?}");
    }
}
