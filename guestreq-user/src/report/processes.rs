//! # VMMs' processes
//!
//! Found in /proc, with or without an agent: how each was identified, and its cgroups. Reading a
//! command line may block as long as its memory is locked, so each is read in a thread.

use std::{
    fs, io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::reduced;
use crate::{
    host::{self, Evidence, Identified, Identity, Vmm, system::System},
    json,
};

/// The wait for one process, and for all that do not answer; those that do are not counted.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
const WAIT_BUDGET: Duration = Duration::from_secs(3);
/// Most that are listed.
pub const MOST: usize = 1000;
/// Of a process' cgroups.
const MAX_CGROUPS: usize = 8 << 10;
/// Enough to read a few files.
const STACK: usize = 256 << 10;

/// A VMM.
#[derive(Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    /// As its VM would be labelled.
    pub vm: String,
    pub identity: Identity,
    pub evidence: Vec<Evidence>,
    pub cgroups: Vec<String>,
}

/// VMMs, and why some are missing.
#[derive(Default)]
pub struct Processes {
    pub found: Vec<Process>,
    pub missing: Vec<String>,
}

impl Processes {
    pub fn json(&self) -> Value {
        // Strings and numbers, which are always JSON.
        let mut all = json::to_value(&self.found).unwrap_or_default();
        reduced::evidence(&mut all);
        all
    }
}

/// All known VMMs, and the processes of VMs that the agent knows.
pub fn find(system: &System, of_vms: &[u32]) -> Processes {
    find_by(system, of_vms, |system, pid| read(&system, pid))
}

fn find_by(
    system: &System,
    of_vms: &[u32],
    read: fn(System, u32) -> io::Result<Option<Process>>,
) -> Processes {
    let mut processes = Processes::default();
    let (mut silent, mut unread, mut left) = (Vec::new(), 0, WAIT_BUDGET);
    for pid in pids(system) {
        let is_vm = of_vms.contains(&pid);
        if !is_readable(system, pid) {
            continue;
        }
        if !is_vm && !may_be_vmm(system, pid) {
            continue;
        }
        if processes.found.len() == MOST {
            processes.missing.push(format!("there are more than {MOST}"));
            break;
        }
        if left.is_zero() {
            unread += 1;
            continue;
        }
        let (send, answer) = mpsc::channel();
        let copy = system.clone();
        let thread = thread::Builder::new().stack_size(STACK);
        let started = thread.spawn(move || drop(send.send(read(copy, pid))));
        let since = Instant::now();
        let answer = started.map(|_| answer.recv_timeout(ANSWER_TIMEOUT.min(left)));
        match answer {
            Ok(Ok(Ok(Some(process)))) if is_vm || Vmm::is_one(&process.identity.vmm) => {
                processes.found.push(process);
            }
            Ok(Err(_)) => {
                left = left.saturating_sub(since.elapsed());
                silent.push(pid.to_string());
            }
            Ok(Ok(Err(error))) | Err(error) => {
                processes.missing.push(format!("pid {pid}: {error}"))
            }
            // It is another program, has exited, or may not be read.
            Ok(Ok(Ok(_))) => {}
        }
    }
    if !silent.is_empty() {
        processes.missing.push(format!("these do not answer: pids {}", silent.join(", ")));
    }
    if unread > 0 {
        processes.missing.push(format!("{unread} more, as these did not answer"));
    }
    processes
}

fn pids(system: &System) -> Vec<u32> {
    let mut pids: Vec<u32> =
        system.list("/proc").iter().filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// Whether reading its files cannot block for ever, and reads none of this machine's: copies may have
/// pipes and links.
fn is_readable(system: &System, pid: u32) -> bool {
    let process = system.process(pid);
    let is_file = |name: &str| match fs::symlink_metadata(process.join(name)) {
        Ok(file) => file.is_file(),
        Err(_) => true,
    };
    !system.is_collected()
        || system.holds(&process) && ["comm", "cmdline", "cgroup"].iter().all(|it| is_file(it))
}

/// By its program or its name, which do not block; what its arguments say comes later.
fn may_be_vmm(system: &System, pid: u32) -> bool {
    let process = system.process(pid);
    let exe = fs::read_link(process.join("exe"));
    let is_program = exe.is_ok_and(|exe| Vmm::of_program(&exe.to_string_lossy()).is_some());
    is_program
        || fs::read_to_string(process.join("comm"))
            .is_ok_and(|comm| Vmm::of_comm(comm.trim_end()).is_some())
}

fn read(system: &System, pid: u32) -> io::Result<Option<Process>> {
    let Some(Identified { identity, evidence }) = host::identify(system, pid)? else {
        return Ok(None);
    };
    let vm = host::label(&identity, pid);
    let cgroups = fs::read(system.process(pid).join("cgroup")).unwrap_or_default();
    let cgroups = String::from_utf8_lossy(&cgroups[..cgroups.len().min(MAX_CGROUPS)]).into_owned();
    let cgroups = cgroups.lines().map(str::to_owned).collect();
    Ok(Some(Process { pid, vm, identity, evidence, cgroups }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(processes: &[(u32, &str, &str)]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().unwrap();
        for (pid, comm, cmdline) in processes {
            let process = folder.path().join(format!("proc/{pid}"));
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("comm"), format!("{comm}\n")).unwrap();
            fs::write(process.join("cmdline"), cmdline.replace(' ', "\0")).unwrap();
            fs::write(process.join("cgroup"), "0::/machine.slice/x.scope\n").unwrap();
        }
        let system = System::at(folder.path());
        (folder, system)
    }

    const THREE: [(u32, &str, &str); 4] = [
        (12, "qemu-system-x86", "/usr/bin/qemu-system-x86_64 -name web"),
        (7, "bash", "-bash -name kvm"),
        (9, "snpload", "/bin/snpload --vms 3"),
        (3, "qemu-img", "qemu-img convert"),
    ];

    #[test]
    fn vmms_and_the_agent_s_vms_are_found() {
        let (_folder, system) = host(&THREE);
        let labels = |of_vms: &[u32]| {
            let Processes { found, missing } = find(&system, of_vms);
            assert_eq!(missing, [""; 0]);
            found.into_iter().map(|process| process.vm).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[]), ["web"]);
        assert_eq!(labels(&[9, 4711]), ["snpload-9", "web"]);
        let process = &find(&system, &[]).found[0];
        assert_eq!((process.pid, process.cgroups.len()), (12, 1));
        assert!(process.evidence.iter().any(|it| it.text == "-name web"), "{process:?}");
    }

    #[test]
    fn a_process_that_does_not_answer_is_reported_and_not_waited_for() {
        let (_folder, system) = host(&THREE);
        let since = Instant::now();
        let Processes { found, missing } = find_by(&system, &[9], |system, pid| {
            if pid == 9 {
                thread::sleep(Duration::from_secs(20));
            }
            read(&system, pid)
        });
        assert!(since.elapsed() < Duration::from_secs(10));
        assert_eq!((found.len(), missing), (1, vec!["these do not answer: pids 9".to_owned()]));
    }

    /// The budget is for those that do not answer, of however many.
    #[test]
    fn many_that_answer_slowly_are_all_found_and_of_many_that_do_not_few_are_waited_for() {
        let all: Vec<_> = (1..=40).map(|pid| (pid, "qemu-system-x86", "qemu -name x")).collect();
        let (_folder, system) = host(&all);
        let Processes { found, missing } = find_by(&system, &[], |system, pid| {
            thread::sleep(Duration::from_millis(100));
            read(&system, pid)
        });
        assert_eq!((found.len(), missing), (40, Vec::new()));
        let Processes { found, missing } = find_by(&system, &[], |_, _| {
            thread::sleep(Duration::from_secs(60));
            Ok(None)
        });
        assert!(found.is_empty() && missing.len() == 2, "{missing:?}");
        assert!(missing[1].ends_with("more, as these did not answer"), "{missing:?}");
    }
}
