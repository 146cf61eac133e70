use std::{
    fs::{File, OpenOptions},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::*;
use crate::host::Identity;

const VM: VmRef = VmRef { slot: 0, generation: 1 };

fn lookup(pid: u32) -> Lookup {
    Lookup { pid, vm: VM, began_by: u64::MAX }
}

fn known(name: &str) -> Known {
    let identity = Identity::called(name);
    Known { identity, evidence: Vec::new(), pid: 7, started: Some(7) }
}

/// A file that blocks its reader until somebody writes.
struct Pipe {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Pipe {
    fn new() -> Pipe {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cmdline");
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that ends, and that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        Pipe { _folder: folder, path }
    }

    fn reader(&self) -> impl FnOnce(Lookup) -> io::Result<Option<Known>> + Send + use<> {
        let path = self.path.clone();
        move |_| read(&path)
    }

    /// Lets the reader come to its end.
    fn answer(&self) -> File {
        OpenOptions::new().write(true).open(&self.path).unwrap()
    }
}

fn read(path: &Path) -> io::Result<Option<Known>> {
    Ok(Some(known(&std::fs::read_to_string(path)?)))
}

/// However busy this machine is.
fn answer_of(
    processes: &mut Processes,
    lookup: Lookup,
    read: impl FnOnce(Lookup) -> io::Result<Option<Known>> + Send + 'static,
) -> Option<Known> {
    let mut answer = processes.look_up_by(lookup, read);
    loop {
        match answer {
            Some(answer) => return answer.unwrap(),
            None => answer = processes.look_up_by(lookup, |_| unreachable!()),
        }
    }
}

/// Row 1 of the second review.
#[test]
fn a_stuck_process_blocks_nobody_and_its_late_answer_is_taken() {
    use std::io::Write as _;

    let wake = Arc::new(Notify::new());
    let mut processes = Processes::new(Arc::clone(&wake));
    let stuck = Pipe::new();
    assert!(processes.look_up_by(lookup(7), stuck.reader()).is_none());
    assert!(processes.unread_reason(&lookup(7)).contains("/proc/7"));
    // Nor is it asked twice, for this VM or another.
    let other = Lookup { vm: VmRef { slot: 1, ..VM }, ..lookup(7) };
    for again in [lookup(7), other] {
        assert!(processes.look_up_by(again, |_| unreachable!()).is_none());
    }
    // Others are still read.
    assert_eq!(
        answer_of(&mut processes, lookup(8), |_| Ok(Some(known("web")))),
        Some(known("web"))
    );

    stuck.answer().write_all(b"late").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The other answer's notice may be the one that is kept: then the next one is waited for.
    let late = runtime.block_on(async {
        loop {
            wake.notified().await;
            if let Some(late) = processes.look_up_by(lookup(7), |_| unreachable!()) {
                return late;
            }
        }
    });
    assert_eq!(late.unwrap(), Some(known("late")));
    assert!(!processes.lookups.is_any_open(|_| true));
}

#[test]
fn beyond_the_limit_of_blocked_lookups_a_process_is_unread_at_once() {
    let mut processes = Processes::default();
    let stuck = Pipe::new();
    for pid in 0..MAX_LOOKUPS as u32 {
        assert!(processes.look_up_by(lookup(pid), stuck.reader()).is_none());
    }
    let one_more = lookup(MAX_LOOKUPS as u32);
    assert!(processes.look_up_by(one_more, |_| unreachable!()).is_none());
    assert!(processes.unread_reason(&one_more).contains("256 other processes"));
    // It is looked up once a thread is free.
    while processes.lookups.is_any_open(|_| true) {
        let mut writer = OpenOptions::new();
        writer.write(true).custom_flags(libc::O_NONBLOCK);
        drop(writer.open(&stuck.path));
    }
    assert_eq!(answer_of(&mut processes, one_more, |_| Ok(Some(known("web")))), Some(known("web")));
}

#[test]
fn a_dropped_answer_is_not_given_to_the_slot_s_next_vm() {
    let mut processes = Processes::default();
    let stuck = Pipe::new();
    assert!(processes.look_up_by(lookup(7), stuck.reader()).is_none());
    drop(stuck.answer());
    while processes.lookups.is_any_open(|_| true) {
        std::thread::yield_now();
    }
    processes.keep(|_| false);
    // The slot's next VM, by a process of the same number.
    let next = Lookup { vm: VmRef { generation: 2, ..VM }, ..lookup(7) };
    assert_eq!(answer_of(&mut processes, next, |_| Ok(Some(known("new")))), Some(known("new")));
}

/// However many processes answer too late, in turn.
#[test]
fn the_loop_waits_for_a_part_of_each_second_at_most() {
    let mut waits = Waits::default();
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        waits.wait(begin, |moment| waited += moment);
        assert!(waits.left <= WAIT_BUDGET);
    }
    let long_ago = begin.checked_sub(WAIT_BUDGET).unwrap();
    let mut waits = Waits { left: WAIT_BUDGET, since: Some(long_ago) };
    waits.wait(long_ago, |_| ());
    assert_eq!(waits.wait(begin, |timeout| timeout), Duration::ZERO, "it is used up");
    let next_second = long_ago + Duration::from_secs(1);
    assert_eq!(waits.wait(next_second, |timeout| timeout), ANSWER_TIMEOUT);
}

#[test]
fn a_lookup_thread_holds_no_files_of_the_agent() {
    let file = tempfile::tempfile().unwrap();
    let mut processes = Processes::default();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let is_open = move || {
        // SAFETY: no memory is passed.
        unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
    };
    let seen = answer_of(&mut processes, lookup(7), move |_| Ok(is_open().then(|| known("open"))));
    assert_eq!(seen, None, "its reader could keep it open");
    assert!(is_open());
}

#[test]
fn our_own_process_is_read() {
    let mut processes = Processes::default();
    let own = lookup(std::process::id());
    let known = answer_of(&mut processes, own, read_known).expect("it exited");
    assert!(known.started.is_some());
    assert_eq!(answer_of(&mut processes, lookup(u32::MAX), read_known), None);
    let too_late = Lookup { began_by: 0, vm: VmRef { slot: 1, ..VM }, ..own };
    assert_eq!(answer_of(&mut processes, too_late, read_known), None);
}
