//! # Which VM a process is
//!
//! From the VMM's command line, its names and its cgroups alone: what QEMU, cloud-hypervisor and
//! Firecracker were started with, and the pod that they were put into. Anyone can start a
//! process with any arguments, so a name is a label, never a proof.

mod arguments;
mod cgroup;
mod clock;
mod cmdline;
mod evidence;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod kubevirt;
mod signals;
pub mod system;
mod thread;
mod vmms;

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use crate::host::system::System;

pub use crate::wire::identity::{Evidence, EvidenceSource, Identity};
pub use clock::{began_ns, clock_ns, unix_seconds};
pub use signals::kick_signal;
pub use thread::thread_exists;
pub use vmms::Vmm;

/// Who a VM is, and what of its process tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    pub identity: Identity,
    pub evidence: Vec<Evidence>,
}

impl Identity {
    /// What people call it: `namespace/name` where it has a namespace.
    pub fn full_name(&self) -> Cow<'_, str> {
        match self.namespace.as_str() {
            "" => Cow::Borrowed(&self.name),
            namespace => Cow::Owned(format!("{namespace}/{}", self.name)),
        }
    }

    /// A VM of which only that is known.
    pub fn called(full_name: &str) -> Identity {
        let parts = full_name.split_once('/').filter(|(namespace, name)| {
            kubevirt::is_namespace(namespace) && kubevirt::is_name(name)
        });
        let (namespace, name) = parts.unwrap_or(("", full_name));
        let [namespace, name] = [namespace, name].map(str::to_owned);
        Identity { name, named: true, namespace, ..Identity::default() }
    }
}

/// Longer names are cut.
const MAX_NAME: usize = 4096;
/// The same where they become labels.
const MAX_LABEL: usize = 128;
/// Of files other than the arguments; each hierarchy's cgroup may have a path of 4096 bytes.
const MAX_FILE: u64 = 256 << 10;

/// Looks at a process; `None` once it is gone. That it cannot be looked at, for want of descriptors
/// say, does not mean that it is.
pub fn identify(system: &System, pid: u32) -> io::Result<Option<Identified>> {
    of_folder(&system.process(pid))
}

/// The pod that a process is in by now, and what tells it: Kata moves its VMMs after it has
/// started them.
pub fn pod_uid(system: &System, pid: u32) -> Option<(String, Evidence)> {
    pod_of_folder(&system.process(pid))
}

fn pod_of_folder(process: &Path) -> Option<(String, Evidence)> {
    let (uid, line) = cgroup::pod_uid(process)?;
    Some((uid, Evidence::new("pod_uid", EvidenceSource::Cgroup, &line)))
}

fn of_folder(process: &Path) -> io::Result<Option<Identified>> {
    let (Some(cmdline), Some(comm)) = (
        unless_gone(File::open(process.join("cmdline")))?,
        unless_gone(read_some(&process.join("comm")))?,
    ) else {
        return Ok(None);
    };
    // It takes ptrace's permission, which is one more than the rest does: without, the others tell.
    let exe = unless_gone(fs::read_link(process.join("exe")))?;
    let exe = exe.as_deref().map(|path| path.to_string_lossy());
    let Some(mut read) = unless_gone(of_parts(BufReader::new(cmdline), &comm, exe.as_deref()))?
    else {
        return Ok(None);
    };
    if let Some((uid, evidence)) = pod_of_folder(process) {
        read.identity.pod_uid = uid;
        read.evidence.push(evidence);
    }
    Ok(Some(read))
}

/// By what a process was started with, its name and its program's file.
fn of_parts(cmdline: impl BufRead, comm: &[u8], exe: Option<&str>) -> io::Result<Identified> {
    let comm = clean(String::from_utf8_lossy(comm).trim_end());
    cmdline::parse(cmdline, &comm, exe)
}

/// As much of a file of a process as a kernel writes, and as fits into memory whoever wrote it.
fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was read of a process; `None` once that is gone, or nobody may read it.
fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What says nothing of the process, and passes.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// The start of a process in the kernel's ticks since boot (field 22 of /proc/PID/stat);
/// `None` once it is gone.
pub fn start_ticks(system: &System, pid: u32) -> io::Result<Option<u64>> {
    let stat = unless_gone(read_some(&system.process(pid).join("stat")))?;
    Ok(stat.and_then(|stat| ticks_of(&stat)))
}

/// The name in parentheses may contain any bytes, spaces, parentheses and half a character included.
fn ticks_of(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let numbers = str::from_utf8(&stat[end + 1..]).ok()?;
    numbers.split_whitespace().nth(19)?.parse().ok()
}

/// What may stand in a label: no more than [`MAX_LABEL`] characters, and none that changes a query
/// that has the label in it, as the dashboards' have: between backticks, as a regular expression,
/// the only one of Grafana's formats that no other character gets out of. Nor `$`: Grafana puts
/// times where it finds `$__range` and its like, in a name as well.
pub fn clean(name: &str) -> String {
    let keep = |c: char| if c.is_control() || matches!(c, '`' | '$') { '_' } else { c };
    name.chars().take(MAX_LABEL).map(keep).collect()
}

/// The label that a VM gets if no other has it: its name, or that of its process and its number.
pub fn label(identity: &Identity, pid: u32) -> String {
    match identity.named {
        true => clean(&identity.full_name()),
        false => format!("{}-{pid}", identity.name),
    }
}

/// A VM's name as policy knows it.
fn exact(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// By what it was started with, for tests elsewhere.
#[cfg(test)]
pub fn of_process(comm: &str, cmdline: &[String]) -> Identity {
    let line: String = cmdline.iter().map(|one| format!("{one}\0")).collect();
    of_parts(line.as_bytes(), comm.as_bytes(), None).unwrap().identity
}

#[cfg(test)]
mod tests;
