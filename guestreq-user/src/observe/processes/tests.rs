use std::{
    fs::{File, OpenOptions},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::*;
use crate::host::Identity;

const VM: VmRef = VmRef { slot: 0, generation: 1 };

fn look(pid: u32) -> Lookup {
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
fn ask(
    processes: &mut Processes,
    look: Lookup,
    read: impl FnOnce(Lookup) -> io::Result<Option<Known>> + Send + 'static,
) -> Option<Known> {
    let mut answer = processes.look_by(look, read);
    loop {
        match answer {
            Some(answer) => return answer.unwrap(),
            None => answer = processes.look_by(look, |_| unreachable!()),
        }
    }
}

/// Row 1 of the second review.
#[test]
fn a_process_that_does_not_answer_holds_nobody_up_and_is_taken_when_it_does() {
    use std::io::Write as _;

    let wake = Arc::new(Notify::new());
    let mut processes = Processes::new(Arc::clone(&wake));
    let stuck = Pipe::new();
    assert!(processes.look_by(look(7), stuck.reader()).is_none());
    assert!(processes.why(&look(7)).contains("/proc/7"));
    // Nor is it asked twice, for this VM or another.
    let other = Lookup { vm: VmRef { slot: 1, ..VM }, ..look(7) };
    for again in [look(7), other] {
        assert!(processes.look_by(again, |_| unreachable!()).is_none());
    }
    // Others are read as ever.
    assert_eq!(ask(&mut processes, look(8), |_| Ok(Some(known("web")))), Some(known("web")));

    stuck.answer().write_all(b"late").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The other answer's notice may be the one that is kept: then the next one is waited for.
    let late = runtime.block_on(async {
        loop {
            wake.notified().await;
            if let Some(late) = processes.look_by(look(7), |_| unreachable!()) {
                return late;
            }
        }
    });
    assert_eq!(late.unwrap(), Some(known("late")));
    assert!(!processes.looks.is_any_open(|_| true));
}

#[test]
fn so_many_readers_wait_and_the_next_process_is_unread_at_once() {
    let mut processes = Processes::default();
    let stuck = Pipe::new();
    for pid in 0..MOST_LOOKS as u32 {
        assert!(processes.look_by(look(pid), stuck.reader()).is_none());
    }
    let one_more = look(MOST_LOOKS as u32);
    assert!(processes.look_by(one_more, |_| unreachable!()).is_none());
    assert!(processes.why(&one_more).contains("256 other processes"));
    // It is asked as soon as there is room.
    while processes.looks.is_any_open(|_| true) {
        let mut writer = OpenOptions::new();
        writer.write(true).custom_flags(libc::O_NONBLOCK);
        drop(writer.open(&stuck.path));
    }
    assert_eq!(ask(&mut processes, one_more, |_| Ok(Some(known("web")))), Some(known("web")));
}

#[test]
fn an_answer_that_nobody_wants_any_more_is_another_vm_s() {
    let mut processes = Processes::default();
    let stuck = Pipe::new();
    assert!(processes.look_by(look(7), stuck.reader()).is_none());
    drop(stuck.answer());
    while processes.looks.is_any_open(|_| true) {
        std::thread::yield_now();
    }
    processes.keep(|_| false);
    // The slot's next VM, by a process of the same number.
    let next = Lookup { vm: VmRef { generation: 2, ..VM }, ..look(7) };
    assert_eq!(ask(&mut processes, next, |_| Ok(Some(known("new")))), Some(known("new")));
}

/// However many processes answer too late, in turn.
#[test]
fn the_loop_waits_for_a_part_of_each_second_only() {
    let mut waits = Waits::default();
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        waits.wait(begin, |moment| waited += moment);
        assert!(waits.left <= WAITS);
    }
    let long_ago = begin.checked_sub(WAITS).unwrap();
    let mut waits = Waits { left: WAITS, since: Some(long_ago) };
    waits.wait(long_ago, |_| ());
    assert_eq!(waits.wait(begin, |moment| moment), Duration::ZERO, "it is used up");
    let next_second = long_ago + Duration::from_secs(1);
    assert_eq!(waits.wait(next_second, |moment| moment), MOMENT);
}

#[test]
fn a_reader_holds_none_of_the_agent_s_files() {
    let file = tempfile::tempfile().unwrap();
    let mut processes = Processes::default();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let is_open = move || {
        // SAFETY: no memory is passed.
        unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
    };
    let seen = ask(&mut processes, look(7), move |_| Ok(is_open().then(|| known("open"))));
    assert_eq!(seen, None, "its reader could keep it open");
    assert!(is_open());
}

#[test]
fn ourselves_are_read() {
    let mut processes = Processes::default();
    let own = look(std::process::id());
    let known = ask(&mut processes, own, look_at).expect("it is gone");
    assert!(known.started.is_some());
    assert_eq!(ask(&mut processes, look(u32::MAX), look_at), None);
    let too_late = Lookup { began_by: 0, vm: VmRef { slot: 1, ..VM }, ..own };
    assert_eq!(ask(&mut processes, too_late, look_at), None);
}
