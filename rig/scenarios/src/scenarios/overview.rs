//! # rig/groups.md: which groups run where, and why

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use super::{GROUPS, realtime};
use crate::scenario::{Group, Needs, Scenario};

/// What a group is about, and why it runs where it does.
const WHY: &[(&str, &str)] = &[
    (
        "observe",
        "counts, times, names, losses: hooks and types differ by kernel; tables and texts do not",
    ),
    (
        "launches",
        "launches as objects, modules that are reloaded; edge cases of the agent's alone once",
    ),
    (
        "hung_psp",
        "ccp's reaction to a PSP that hangs: a boot of its own, so on other kernels at night",
    ),
    ("missing_prerequisites", "boots without what the agent needs, likewise"),
    (
        "gate",
        "the gate's hook, tracers and live patches on the same function: the kernel's; forged requests to unload it once",
    ),
    ("order", "locks, timers and signals of the gate's order are the kernel's"),
    (
        "enforce",
        "decisions are made in functions of the kernel; limits over time once, as they take long",
    ),
    ("shares", "shares over 30 s: arithmetic of the programs, the same on each kernel"),
    ("overload", "many VMs over their limits: arithmetic, likewise"),
    ("verification", "what the self-test notices: LSMs, pins and probes differ by kernel"),
    ("no_lsm", "a boot without the BPF LSM: a list of the kernel's that the agent reads"),
    ("takeover", "links, pins and program arrays are the kernel's; steps of the agent alone once"),
    ("attack", "processes that share a VM: the kernel's mm and threads; full tables once"),
    ("interfaces", "files, requests, events, pods, packages, the terminal: the agent alone"),
    ("doctor", "what doctor and report find, also on broken hosts; on other kernels at night"),
    ("lockdown", "a boot that is locked down, on other kernels at night"),
    ("dashboards", "each query, with Prometheus: the agent alone"),
    ("faults", "full disks, lost memory, slow readers: the agent alone"),
    ("qemu", "a real VMM: KVM's exits and ioctls differ by kernel"),
    ("hostile", "guests at full speed, a quarter of a minute; longer with --minutes"),
    ("soak", "the demo's guests, likewise"),
    ("stress", "everything concurrently for about a minute, likewise"),
    (
        "daemonset",
        "the manifest's container under runc: capabilities and seccomp filters, the same on each kernel",
    ),
    (
        "containerd",
        "real containerds and podman, pods and probes: minutes of starting containers under emulation, so only at night",
    ),
    (
        "debian",
        "systemd, apt and DKMS on a complete host: takes over three minutes, so only at night",
    ),
    ("libvirt", "libvirtd and AppArmor on a complete host, likewise"),
    ("realtime", "a selection of the others for PREEMPT_RT, which locks and schedules differently"),
];

fn host(group: &Group) -> &'static str {
    match group.needs {
        Needs::Rig => "initramfs",
        Needs::Vmm => "initramfs with QEMU",
        Needs::Nodes => "initramfs with containerd",
        Needs::Debian => "Debian on a disk",
    }
}

fn page() -> String {
    let why: BTreeMap<_, _> = WHY.iter().copied().collect();
    let mut text = String::from(
        "# What runs where\n\n\
         Generated from scenarios/src/scenarios: `UPDATE_DOCS=1 cargo test -p scenarios`. `cargo xtask test`, on \
         every change, runs the first\ntwo columns: of a group, these many scenarios on each plain kernel of Debian 13 and \
         these on the newest only. At night `--long` runs all of\nthem on every kernel, PREEMPT_RT too (those on a Debian disk only on Debian 13's plain kernels), and \
         [built kernels](README.md#built-kernels) run the groups that are listed there, but for what takes minutes. \
         The third\ncolumn counts those for the night only: they take minutes, or tell a change little for what they cost.\n\n\
         | group | each kernel | newest only | night | host | what, and why there |\n|---|---|---|---|---|---|\n",
    );
    for group in GROUPS {
        let is_due = |scenario: &&Scenario| scenario.traits.every_change();
        let each = group.scenarios.iter().filter(is_due).count();
        let once = group.once.iter().filter(is_due).count();
        let all = group.all().count();
        let (each, once) = if group.long { (0, 0) } else { (each, once) };
        let night = all - each - once;
        let each = match () {
            () if group.name == realtime::GROUP.name => format!("PREEMPT_RT: {each}"),
            () => each.to_string(),
        };
        let why = why.get(group.name).unwrap_or_else(|| panic!("why does {} run?", group.name));
        let counts = format!("{each} | {once} | {night}");
        let _ = writeln!(text, "| `{}` | {counts} | {} | {why} |", group.name, host(group));
    }
    text
}

#[test]
fn the_overview_of_groups_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../groups.md");
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == page, "rig/groups.md is not current: UPDATE_DOCS=1 cargo test -p scenarios");
}
