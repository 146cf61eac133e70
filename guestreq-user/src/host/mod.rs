//! # Which VM a process is
//!
//! From the VMM's command line and its cgroups alone: what QEMU, cloud-hypervisor and
//! Firecracker were started with, and the pod that they were put into. Anyone can start a
//! process with any arguments, so a name is a label, never a proof.

mod cgroup;
mod cmdline;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod kubevirt;
mod signals;

use std::{borrow::Cow, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::system::System;

pub use signals::kick_signal;

/// A VM's name, and what else its VMM says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The VM's own name, as it is, or the process' name where the command line has none.
    pub name: String,
    /// Whether the name is the VM's own.
    pub named: bool,
    pub uuid: String,
    /// qemu, cloud-hypervisor, firecracker, or the process' name.
    pub vmm: String,
    /// Its pod's, where the VM's name tells: KubeVirt's does.
    pub namespace: String,
    /// The pod that it runs in, where its cgroups tell.
    pub pod_uid: String,
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

/// Looks at a process; `None` once it is gone. That it cannot be looked at, for want of descriptors
/// say, does not mean that it is.
pub fn identify(system: &System, pid: u32) -> io::Result<Option<Identity>> {
    of_folder(&system.process(pid))
}

/// The pod that a process is in by now: Kata moves its VMMs after it has started them.
pub fn pod_uid(system: &System, pid: u32) -> Option<String> {
    cgroup::pod_uid(&system.process(pid))
}

fn of_folder(process: &Path) -> io::Result<Option<Identity>> {
    let (Some(cmdline), Some(comm)) =
        (unless_gone(&process.join("cmdline"))?, unless_gone(&process.join("comm"))?)
    else {
        return Ok(None);
    };
    let mut identity = of_arguments(&cmdline, &comm);
    identity.pod_uid = cgroup::pod_uid(process).unwrap_or_default();
    Ok(Some(identity))
}

/// By what a process was started with, and its name.
fn of_arguments(cmdline: &[u8], comm: &[u8]) -> Identity {
    let comm = clean(String::from_utf8_lossy(comm).trim_end());
    let arguments: Vec<String> = cmdline
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let mut identity = cmdline::parse(&arguments, &comm);
    kubevirt::name(&mut identity, &arguments);
    identity
}

/// A file of a process; `None` once that is gone, or nobody may read it.
fn unless_gone(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
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
    let stat = unless_gone(&system.process(pid).join("stat"))?;
    Ok(stat.and_then(|stat| ticks_of(&stat)))
}

/// Whether a thread of that number runs, or has ended and was not waited for. The kernel is asked:
/// /proc may hide it (mount option hidepid).
pub fn thread_is_there(tid: u32) -> io::Result<bool> {
    // SAFETY: no memory is passed, and signal 0 is none.
    if unsafe { libc::syscall(libc::SYS_tkill, libc::c_long::from(tid), 0) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM) => Ok(true),
        // Elsewhere threads have other numbers, and nothing is known of the host's.
        Some(libc::ESRCH) if sees_all_processes() => Ok(false),
        _ => Err(error),
    }
}

/// Whether this process is in the host's own PID namespace (PROC_PID_INIT_INO in
/// include/linux/proc_ns.h).
fn sees_all_processes() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|it| it == Path::new("pid:[4026531836]"))
}

/// The name in parentheses may contain any bytes, spaces, parentheses and half a character included.
fn ticks_of(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let numbers = str::from_utf8(&stat[end + 1..]).ok()?;
    numbers.split_whitespace().nth(19)?.parse().ok()
}

/// When a process began, on the programs' clock (CLOCK_MONOTONIC), in ns; at most a tick early.
pub fn began_ns(ticks: u64) -> u64 {
    // SAFETY: no memory is passed.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    let since_boot = ticks.saturating_mul(1_000_000_000 / per_second.max(1));
    // Ticks go on while the host sleeps, that clock does not.
    let slept = clock_ns(libc::CLOCK_BOOTTIME).saturating_sub(clock_ns(libc::CLOCK_MONOTONIC));
    since_boot.saturating_sub(slept)
}

/// When something was, in seconds since 1970, that was then on the programs' clock (CLOCK_MONOTONIC).
pub fn unix_seconds(monotonic_ns: u64) -> u64 {
    let ago = clock_ns(libc::CLOCK_MONOTONIC).saturating_sub(monotonic_ns);
    clock_ns(libc::CLOCK_REALTIME).saturating_sub(ago) / 1_000_000_000
}

/// Now, in ns.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call, which cannot fail for clocks that every Linux has.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What may stand in a label: no more than [`MAX_LABEL`] characters, and none that changes a query
/// that has the label in it, as the dashboards' have: between backticks, as a regular expression,
/// the only one of Grafana's formats that no other character gets out of. Nor `$`: Grafana puts
/// times where it finds `$__range` and its like, in a name as well.
pub fn clean(name: &str) -> String {
    let keep = |c: char| if c.is_control() || matches!(c, '`' | '$') { '_' } else { c };
    name.chars().take(MAX_LABEL).map(keep).collect()
}

/// A VM's name as policy knows it.
fn exact(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests;
