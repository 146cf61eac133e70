//! # Identifying a VM by its process
//!
//! By the VMM's command line, names and cgroups: the arguments of QEMU, cloud-hypervisor and
//! Firecracker, and their pod. Anyone can start a process with any arguments, so a name is a label,
//! never a proof.

mod arguments;
mod cgroup;
mod clock;
mod cmdline;
mod evidence;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod kubevirt;
pub mod record;
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

/// A VM's identity and its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    pub identity: Identity,
    pub evidence: Vec<Evidence>,
}

impl Identity {
    /// `namespace/name`, or the name if it has no namespace.
    pub fn full_name(&self) -> Cow<'_, str> {
        match self.namespace.as_str() {
            "" => Cow::Borrowed(&self.name),
            namespace => Cow::Owned(format!("{namespace}/{}", self.name)),
        }
    }

    /// A VM of which only the name is known.
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
/// Longer labels are cut.
const MAX_LABEL: usize = 128;
/// Of files other than cmdline; each hierarchy's cgroup path may have 4096 bytes.
const MAX_FILE: u64 = 256 << 10;

/// Identifies a process; `None` if it exited or is not readable. Fails only for want of memory or
/// descriptors, which does not mean that it exited.
pub fn identify(system: &System, pid: u32) -> io::Result<Option<Identified>> {
    of_folder(&system.process(pid))
}

/// A process' current pod and its source: Kata moves its VMMs after starting them.
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
    // Needs ptrace permission, unlike the rest, so it is optional.
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

/// Identifies by arguments, name and program's file.
fn of_parts(cmdline: impl BufRead, comm: &[u8], exe: Option<&str>) -> io::Result<Identified> {
    let comm = clean(String::from_utf8_lossy(comm).trim_end());
    cmdline::parse(cmdline, &comm, exe)
}

/// Reads a bounded part of a process' file.
fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The result of a read; `None` if the process exited or is not readable.
fn unless_gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_shortage(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether an error is temporary and unrelated to the process.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

/// The start of a process in the kernel's ticks since boot (field 22 of /proc/PID/stat); `None` if
/// it exited.
pub fn start_ticks(system: &System, pid: u32) -> io::Result<Option<u64>> {
    let stat = unless_gone(read_some(&system.process(pid).join("stat")))?;
    Ok(stat.and_then(|stat| ticks_of(&stat)))
}

/// The name in parentheses may contain any bytes: spaces, parentheses, incomplete characters.
fn ticks_of(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let numbers = str::from_utf8(&stat[end + 1..]).ok()?;
    numbers.split_whitespace().nth(19)?.parse().ok()
}

/// Makes a name safe as a label: at most [`MAX_LABEL`] characters, and none that changes a query.
/// The dashboards quote labels as regular expressions in backticks, Grafana's only format that no
/// other character can escape. Nor `$`, as Grafana expands `$__range` and the like even in names.
pub fn clean(name: &str) -> String {
    let keep = |c: char| if c.is_control() || matches!(c, '`' | '$') { '_' } else { c };
    name.chars().take(MAX_LABEL).map(keep).collect()
}

/// A VM's label, unless another VM has it: its name, or its process' name and pid.
pub fn label(identity: &Identity, pid: u32) -> String {
    match identity.named {
        true => clean(&identity.full_name()),
        false => format!("{}-{pid}", identity.name),
    }
}

/// A VM's name for policy.
fn exact(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// Identifies by name and arguments, for tests elsewhere.
#[cfg(test)]
pub fn of_process(comm: &str, cmdline: &[String]) -> Identity {
    let line: String = cmdline.iter().map(|one| format!("{one}\0")).collect();
    of_parts(line.as_bytes(), comm.as_bytes(), None).unwrap().identity
}

#[cfg(test)]
mod tests;
