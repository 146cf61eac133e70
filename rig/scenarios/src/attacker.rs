//! # The attacker
//!
//! An unprivileged process that knows the gate's protocol and sends its ioctl to every file it can
//! open, with various pointers. It prints each answer; a scenario compares them with and without
//! the gate.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::{
    gate::{ASK, Question},
    units::GuestContext,
};

const NOBODY: u32 = 65_534;

/// Runs the attacker and returns the answers.
pub fn transcript() -> Result<String> {
    let mut command = Command::new("/bin/scenarios");
    let output = nobody(command.arg("attack")).output().context("the attacker")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the attacker: {}", stderr.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command as nobody.
pub fn nobody(command: &mut Command) -> &mut Command {
    command.uid(NOBODY).gid(NOBODY)
}

/// The hidden command `attack`.
pub fn attack() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    ensure!(status.contains("CapEff:\t0000000000000000\n"), "the attacker has capabilities");
    let questions = questions();
    for (name, file) in files() {
        match file {
            Err(error) => println!("{}", line(name, "open", Err(error))),
            Ok(file) => {
                for (pointer, address) in pointers(&questions) {
                    println!("{}", line(name, pointer, ask(&file, address)));
                }
            }
        }
    }
    Ok(())
}

/// Files that any process may open or create.
fn files() -> Vec<(&'static str, io::Result<OwnedFd>)> {
    let open = |path: &str| File::open(path).map(OwnedFd::from);
    vec![
        ("null", open("/dev/null")),
        ("zero", open("/dev/zero")),
        ("kvm", open("/dev/kvm")),
        ("sev", open("/dev/sev")),
        ("executable", open("/proc/self/exe")),
        ("directory", open("/")),
        ("regular", temporary()),
        ("pipe", io::pipe().map(|(reader, _)| reader.into())),
        ("socket", UnixStream::pair().map(|(socket, _)| socket.into())),
        // SAFETY: no memory is passed.
        ("eventfd", new_fd(unsafe { libc::eventfd(0, 0) })),
        // SAFETY: as above.
        ("epoll", new_fd(unsafe { libc::epoll_create1(0) })),
        // SAFETY: the name is a constant.
        ("memfd", new_fd(unsafe { libc::memfd_create(c"question".as_ptr(), 0) })),
    ]
}

fn temporary() -> io::Result<OwnedFd> {
    let path = format!("/tmp/attacker-{}", std::process::id());
    let file = File::create(&path)?;
    fs::remove_file(path)?;
    Ok(file.into())
}

fn new_fd(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An export and a self-test, each with cookies that an attacker would guess.
fn questions() -> Vec<(&'static str, Question)> {
    let mut header = [0; 0x60];
    header[0x20] = 1;
    header[0x30..0x35].copy_from_slice(&[1, 1, 0x60, 0, 7]);
    let question =
        |cookie, nonce| Question { cookie, nonce, context: GuestContext(0x1000), header };
    vec![
        ("cookie-0", question(0, 0)),
        ("cookie-1", question(1, 0)),
        ("cookie-ones", question(u64::MAX, 0)),
        ("self-test-0", question(0, 1)),
        ("self-test-ones", question(u64::MAX, u64::MAX)),
    ]
}

fn pointers(questions: &[(&'static str, Question)]) -> Vec<(&'static str, u64)> {
    let mut pointers = vec![
        ("null", 0),
        ("unaligned", 1),
        ("unmapped", 0x1000),
        ("user-end", 0x7fff_ffff_f000),
        ("non-canonical", 0x8000_0000_0000_0000),
        ("poison", 0xdead_0000_0000_0100),
        ("direct-map", 0xffff_8880_0000_0000),
        ("kernel-text", 0xffff_ffff_8100_0000),
        ("last-page", 0xffff_ffff_ffff_f000),
        ("ones", u64::MAX),
    ];
    pointers.extend(questions.iter().map(|(name, it)| (*name, &raw const *it as u64)));
    pointers
}

fn ask(file: &OwnedFd, pointer: u64) -> io::Result<i32> {
    // SAFETY: the kernel only reads what _IOW points to, and checks that it may.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(ASK), pointer) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// `FILE POINTER -> ERRNO`, or the return value.
fn line(file: &str, pointer: &str, result: io::Result<i32>) -> String {
    match result {
        Ok(value) => format!("{file} {pointer} -> returned {value}"),
        Err(error) => format!("{file} {pointer} -> {}", error.raw_os_error().unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pointer_has_its_own_name() {
        let questions = questions();
        let pointers = pointers(&questions);
        let mut names: Vec<_> = pointers.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), pointers.len());
    }

    #[test]
    fn lines_do_not_depend_on_addresses() {
        assert_eq!(
            line("null", "unaligned", Err(io::Error::from_raw_os_error(25))),
            "null unaligned -> 25"
        );
        assert_eq!(line("kvm", "null", Ok(3)), "kvm null -> returned 3");
    }
}
