//! # Checks of another host, from copies of its files
//!
//! With copies in `--procfs` and `--sysfs`, checks that query the running system are skipped:
//! this machine would answer. Files of different kernels are not compared.

use std::io;

use super::{Check, Finding, Host, State};
use crate::{
    host::system::{Missing, System, TreeKind},
    kernel::snp,
};

pub const CHECK: Check = Check {
    id: "one_host",
    title: "One host",
    needed: "`--procfs` and `--sysfs` come from the same host, collected at the same time. Checks that query the running system are then skipped (\"not this host\").",
    docs: "docs/doctor.md#from-copied-files",
    run: one_host,
};

/// Checks that query the kernel, the agent, the PSP or this process.
const LIVE: &[&str] = &[
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
    "node_labels",
    "pins",
    "map_room",
    "state_folder",
    "descriptors",
];

/// The file that a check reads: skipped if it was not collected.
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
    ("asids", "/sys/fs/cgroup"),
    ("mitigations", "/sys/firmware/sev/vulnerabilities"),
    ("gate_ftrace", "/proc/sys/kernel/ftrace_enabled"),
    ("gate_livepatch", "/sys/kernel"),
    ("gate_loaded", "/sys/module"),
    ("gate_protocol", "/sys/module"),
    ("gate_order", "/sys/module"),
    ("gate_weights", "/sys/module"),
    ("gate_unanswered", "/sys/module"),
    ("memory", "/proc/meminfo"),
];

/// Runs a check, if its file was collected.
pub fn run(check: &Check, host: &Host<'_>) -> Finding {
    if LIVE.contains(&check.id) {
        return Finding::skip("not this host: run it there");
    }
    let file = READ.iter().find(|(id, _)| *id == check.id);
    if let Some((_, path)) = file {
        // Some tools copy nothing of /proc, where files have size 0.
        let why = match host.system.is_empty(path) {
            Err(_) => Some("was not collected"),
            Ok(true) => Some("is empty"),
            Ok(false) => None,
        };
        if let Some(why) = why {
            return Finding::skip(format!("not this host, and {path} {why}"));
        }
    }
    match (check.run)(host) {
        // Needs root there.
        Finding { state: State::Skip, why, .. } => Finding::skip(format!("not this host: {why}")),
        finding => finding,
    }
}

fn one_host(host: &Host<'_>) -> Finding {
    const BOTH: &str = "collect both at the same time, as root, and give both --procfs and --sysfs";
    let only = |this: &str, other: &str| {
        let what = format!("{this} is a copy, {other} is this machine's");
        Finding::warn(format!("{what}: ignored"), BOTH)
    };
    match (host.system.kind(), &host.two_kernels) {
        (TreeKind::Here, _) => Finding::pass("this host"),
        (_, Some(why)) => Finding::fail(
            format!("/proc and /sys are from different kernels: {why}; /sys is ignored"),
            BOTH,
        ),
        (TreeKind::Collected, None) if host.kernel.is_empty() => {
            Finding::pass("copies; the kernel's release was not collected")
        }
        (TreeKind::Collected, None) => {
            Finding::pass(format!("copies from a host with Linux {}", host.kernel))
        }
        (TreeKind::OnlyProc, None) => only("/proc", "/sys"),
        (TreeKind::OnlySys, None) => only("/sys", "/proc"),
    }
}

/// How /proc and /sys differ in loaded modules and their sizes, if they do.
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
    // Built-in modules have no size.
    let unknown = |name: &String| size(name).is_some() && !listed.iter().any(|(it, _)| it == name);
    if let Some(name) = system.list("/sys/module").iter().find(|name| unknown(name)) {
        return Some(format!("{name} is in /sys/module, not in /proc/modules"));
    }
    // Some modules may not have been collected.
    let missing = |name: &&(String, String)| !system.exists(&format!("/sys/module/{}", name.0));
    let (name, _) = listed.iter().find(missing).filter(|_| sized.len() * 2 > listed.len())?;
    Some(format!("{name} is in /proc/modules, not in /sys/module"))
}

/// Loaded modules and their sizes; `None` if not collected.
fn modules(system: &System) -> Option<Vec<(String, String)>> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    Some(system.read("/proc/modules").ok()?.lines().filter_map(of_line).collect())
}

/// Why kvm_amd's parameters are unknown, of copies; if other modules' were collected, it has none.
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

/// A module without files below /sys/module.
pub fn module(system: &System, name: &str) -> Finding {
    let all = modules(system);
    let is_loaded = all.iter().flatten().any(|(listed, _)| listed == name);
    if let Some(Missing { what, fix }) = snp::of_no_use(system, name).filter(|_| !is_loaded) {
        return Finding::fail(format!("{name} is of no use here: {what}"), fix);
    }
    match all {
        Some(all) if all.iter().any(|(listed, _)| listed == name) => {
            Finding::pass("loaded, according to /proc/modules")
        }
        Some(_) => Finding::warn(
            format!("{name} is not loaded, or built in and not collected"),
            format!("`modprobe {name}`, if this is an AMD EPYC host"),
        ),
        None => {
            Finding::skip(format!("neither /sys/module/{name} nor /proc/modules was collected"))
        }
    }
}

#[cfg(test)]
pub fn ids() -> impl Iterator<Item = &'static str> {
    LIVE.iter().copied().chain(READ.iter().map(|(id, _)| *id))
}
