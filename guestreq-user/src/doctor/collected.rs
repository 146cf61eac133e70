//! # A host of which there are copies of files
//!
//! `--procfs` and `--sysfs` lead to what somebody collected of /proc and /sys. What is asked and not
//! read cannot be told then: this machine would answer. Nor can two files of two kernels be
//! compared.

use std::{fs, io};

use super::{Check, Finding, Host, State};
use crate::{
    host::system::{Kind, Missing, System},
    kernel::snp,
};

pub const CHECK: Check = Check {
    id: "one_host",
    title: "One host",
    needed: "What is looked at is one host's. With `--procfs` and `--sysfs` it may be one that is not here: then both are wanted, collected at the same time; what has to be asked is skipped, as the reason is \"not this host\".",
    docs: "docs/doctor.md#from-copied-files",
    look: one_host,
};

/// What is asked of the kernel, the agent, the PSP or this process, and of no file of /proc or /sys.
const ASKED: &[&str] = &[
    "privileges",
    "bpf",
    "seccomp",
    "bpffs",
    "psp",
    "firmware",
    "gate_installed",
    "gate_vermagic",
    "gate_signed",
    "config",
    "agent_running",
    "agent_version",
    "agent_ready",
    "enforcement",
    "bypassed",
    "vms_unread",
    "pins",
    "map_room",
    "state_folder",
    "descriptors",
];

/// What a check reads: where that was not collected, nothing is said to be missing.
const READ: &[(&str, &str)] = &[
    ("kernel_version", "/proc/sys/kernel/osrelease"),
    ("btf", "/sys/kernel/btf"),
    ("lockdown", "/sys/kernel/security/lockdown"),
    ("lsm_bpf", "/sys/kernel/security/lsm"),
    ("kernel_addresses", "/proc/kallsyms"),
    ("kprobes", "/proc/kallsyms"),
    ("symbol_sev_do_cmd_locked", "/proc/kallsyms"),
    ("symbol_sev_issue_cmd_external_user", "/proc/kallsyms"),
    ("symbol_snp_handle_guest_req", "/proc/kallsyms"),
    ("tracepoints", "/proc/kallsyms"),
    ("bpf_stats", "/proc/sys/kernel/bpf_stats_enabled"),
    ("kvm_amd", "/sys/module"),
    ("sev_snp", "/sys/module"),
    ("ccp", "/sys/module"),
    ("dev_sev", "/sys/class/misc"),
    ("mitigations", "/sys/firmware/sev/vulnerabilities"),
    ("gate_ftrace", "/proc/sys/kernel/ftrace_enabled"),
    ("gate_livepatch", "/sys/kernel"),
    ("gate_loaded", "/sys/module"),
    ("gate_protocol", "/sys/module"),
    ("gate_unanswered", "/sys/module"),
    ("memory", "/proc/meminfo"),
];

/// Looks, if what the check wants was collected.
pub fn look(check: &Check, host: &Host<'_>) -> Finding {
    if ASKED.contains(&check.id) {
        return Finding::skip("not this host: it would have to be asked there");
    }
    let wanted = READ.iter().find(|(id, _)| *id == check.id);
    if let Some((_, path)) = wanted {
        // Some tools copy as much of a file of /proc as its size says: nothing.
        let why = match fs::metadata(host.system.path(path)) {
            Err(_) => Some("was not collected"),
            Ok(found) if found.is_file() && found.len() == 0 => Some("is empty"),
            Ok(_) => None,
        };
        if let Some(why) = why {
            return Finding::skip(format!("not this host, and {path} {why}"));
        }
    }
    match (check.look)(host) {
        // What is for root to see there.
        Finding { state: State::Skip, why, .. } => Finding::skip(format!("not this host: {why}")),
        finding => finding,
    }
}

fn one_host(host: &Host<'_>) -> Finding {
    const BOTH: &str = "collect both at the same time, as root, and give both --procfs and --sysfs";
    let only = |this: &str, other: &str| {
        let what = format!("{this} is copies of a host's files, and {other} is this machine's");
        Finding::warn(format!("{what}: it was left out"), BOTH)
    };
    match (host.system.kind(), &host.two_kernels) {
        (Kind::Here, _) => Finding::pass("this one"),
        (_, Some(why)) => Finding::fail(
            format!("/proc and /sys are of two kernels: {why}; /sys was left out"),
            BOTH,
        ),
        (Kind::Collected, None) if host.kernel.is_empty() => {
            Finding::pass("copies of files of one whose release was not collected")
        }
        (Kind::Collected, None) => {
            Finding::pass(format!("copies of files of one that runs Linux {}", host.kernel))
        }
        (Kind::OnlyProc, None) => only("/proc", "/sys"),
        (Kind::OnlySys, None) => only("/sys", "/proc"),
    }
}

/// What shows that /proc and /sys were not collected of one running kernel: each lists the modules
/// that are loaded, and how large they are.
pub fn two_kernels(system: &System) -> Option<String> {
    let listed = modules(system)?;
    let size = |name: &str| {
        let size = system.read(&format!("/sys/module/{name}/coresize")).ok()?;
        size.parse::<u64>().is_ok().then_some(size)
    };
    let sized: Vec<_> =
        listed.iter().filter_map(|(name, of)| Some((name, of, size(name)?))).collect();
    if let Some((name, of, other)) = sized.iter().find(|(_, of, other)| *of != other) {
        return Some(format!("{name} has {of} bytes in /proc, {other} in /sys"));
    }
    // What is built in has no size.
    let unknown = |name: &String| size(name).is_some() && !listed.iter().any(|(it, _)| it == name);
    if let Some(name) = system.list("/sys/module").iter().find(|name| unknown(name)) {
        return Some(format!("/sys/module has {name}, /proc/modules has not"));
    }
    // Of some modules somebody may have collected nothing.
    let gone = |name: &&(String, String)| !system.exists(&format!("/sys/module/{}", name.0));
    let (name, _) = listed.iter().find(gone).filter(|_| sized.len() * 2 > listed.len())?;
    Some(format!("/proc/modules has {name}, /sys/module has not"))
}

/// Those that are loaded, and their sizes; `None`, where they were not collected.
fn modules(system: &System) -> Option<Vec<(String, String)>> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    Some(system.read("/proc/modules").ok()?.lines().filter_map(of_line).collect())
}

/// Why kvm_amd's parameters are not known, of copies; one that has none is known by others'.
pub fn parameters(system: &System) -> Option<String> {
    if !system.is_collected() {
        return None;
    }
    match system.read(snp::PARAMETER) {
        Ok(value) if value.is_empty() => Some(format!("{} is empty", snp::PARAMETER)),
        Ok(_) => None,
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(format!("{}: {error}", snp::PARAMETER))
        }
        Err(_) => {
            let have = |name: &String| system.exists(&format!("/sys/module/{name}/parameters"));
            let any = system.list("/sys/module").iter().any(have);
            (!any).then(|| "no module's parameters were collected".to_owned())
        }
    }
}

/// A module of which nothing was collected below /sys/module.
pub fn module(system: &System, name: &str) -> Finding {
    let all = modules(system);
    let is_loaded = all.iter().flatten().any(|(listed, _)| listed == name);
    if let Some(Missing { what, fix }) = snp::of_no_use(system, name).filter(|_| !is_loaded) {
        return Finding::fail(format!("{name} is of no use here: {what}"), fix);
    }
    match all {
        Some(all) if all.iter().any(|(listed, _)| listed == name) => {
            Finding::pass("loaded, as /proc/modules has it")
        }
        Some(_) => Finding::warn(
            format!("{name} is not loaded, or built in and was not collected"),
            format!("`modprobe {name}`, if this is an AMD EPYC host"),
        ),
        None => {
            Finding::skip(format!("neither /sys/module/{name} nor /proc/modules was collected"))
        }
    }
}

#[cfg(test)]
pub fn ids() -> impl Iterator<Item = &'static str> {
    ASKED.iter().copied().chain(READ.iter().map(|(id, _)| *id))
}
