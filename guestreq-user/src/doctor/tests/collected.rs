//! Checks of copied files.

use std::{io, path::Path};

use anyhow::Result;

use super::{
    fake::{Fake, KALLSYMS_FILE as KALLSYMS},
    find, says,
};
use crate::{
    bpf::pins::{Found, Mounted},
    config::Config,
    doctor::{
        CHECKS, Host, Report, State, collected, examine,
        live::{Asked, Live},
        platform::{Platform, Silence},
    },
    host::system::System,
};

/// Panics if this machine is queried.
pub struct NotQueried;

#[rustfmt::skip]
impl Live for NotQueried {
    fn config(&self) -> Result<Config> { panic!("asked for the configuration") }
    fn agent(&self, _: &Path) -> Asked { panic!("asked an agent") }
    fn bpf(&self) -> io::Result<()> { panic!("tried bpf(2)") }
    fn perf_event_open(&self) -> io::Result<()> { panic!("tried perf_event_open(2)") }
    fn kernel_log(&self) -> io::Result<String> { panic!("read this kernel's log") }
    fn bpffs(&self) -> Mounted { panic!("asked what is mounted") }
    fn pins(&self) -> Result<Found> { panic!("asked what is pinned") }
    fn known_gate(&self) -> Result<u64> { panic!("asked what is pinned") }
    fn platform(&self) -> Result<Platform, Silence> { panic!("asked the PSP") }
    fn modinfo(&self, file: &Path) -> Result<String> { panic!("read {}", file.display()) }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> { panic!("asked for this disk") }
}

pub fn look(system: System) -> Report {
    examine(&Host::new(system, &NotQueried))
}

#[test]
fn this_machine_does_not_stand_in_for_what_was_not_collected() {
    let fake = Fake::ready();
    let report = look(fake.collected(true, true));
    assert_eq!((report.failed, report.warned), (0, 0), "{report:?}");
    assert_eq!(report.kernel, super::RELEASE);
    for id in ["bpf", "psp", "agent_running", "pins", "gate_installed", "privileges", "seccomp"] {
        let check = find(&report, id);
        assert_eq!(check.state, State::Skip, "{id}: {}", says(check));
        assert!(check.why.starts_with("not this host"), "{id}: {}", says(check));
        assert_eq!(check.fix, None, "{id}");
    }
    for id in ["one_host", "kernel_version", "sev_snp", "lsm_bpf", "lockdown", "kernel_addresses"] {
        assert_eq!(find(&report, id).state, State::Pass, "{id}: {}", says(find(&report, id)));
    }
}

#[test]
fn problems_in_copies_are_reported() {
    let fake = Fake::ready();
    // As tar pads it.
    fake.write("/sys/module/kvm_amd/parameters/sev_snp", "N\n\0\0\0");
    fake.write("/proc/cmdline", "ro iommu=pt\n");
    fake.write("/proc/sys/kernel/perf_event_paranoid", "4\n");
    fake.write("/sys/kernel/security/lsm", "lockdown,capability,apparmor\n");
    fake.edit(KALLSYMS, "__sev_do_cmd_locked", "x");
    let report = look(fake.collected(true, true));
    for (id, state, part) in [
        ("sev_snp", State::Fail, "boot without iommu=pt"),
        ("kprobes", State::Warn, "perf_event_paranoid=2"),
        ("lsm_bpf", State::Warn, "lsm=lockdown,capability,apparmor,bpf"),
        ("symbol_sev_do_cmd_locked", State::Fail, "nothing can be counted"),
    ] {
        let check = find(&report, id);
        assert!(check.state == state && says(check).contains(part), "{id}: {}", says(check));
    }
}

#[test]
fn what_was_not_collected_is_not_reported_missing() {
    let fake = Fake::ready();
    for path in [KALLSYMS, "/proc/meminfo", "/sys/module", "/sys/kernel"] {
        fake.remove(path);
    }
    let report = look(fake.collected(true, true));
    assert_eq!((report.failed, report.warned), (0, 0), "{report:?}");
    let check = find(&report, "kvm_amd");
    assert!(says(check).contains("/sys/module was not collected"), "{}", says(check));
}

#[test]
fn a_missing_tree_is_not_taken_from_this_machine() {
    let fake = Fake::ready();
    for (proc, sys, whose) in
        [(true, false, "/sys is this machine's"), (false, true, "/proc is this")]
    {
        let report = look(fake.collected(proc, sys));
        let check = find(&report, "one_host");
        assert_eq!(check.state, State::Warn);
        assert!(says(check).contains(whose) && says(check).contains("ignored"), "{}", says(check));
        assert_eq!(report.failed, 0, "{report:?}");
        let of_sys = if sys { State::Pass } else { State::Skip };
        assert_eq!(find(&report, "sev_snp").state, of_sys);
        let of_proc = if proc { State::Pass } else { State::Skip };
        assert_eq!(find(&report, "symbol_sev_do_cmd_locked").state, of_proc);
    }
}

#[test]
fn files_of_different_kernels_are_detected() {
    const SIZE: &str = "/sys/module/ccp/coresize";
    const MODULES: &str = "ccp 163840 1 kvm_amd, Live 0x0000000000000000\n";
    let state = |fake: &Fake| find(&look(fake.collected(true, true)), "one_host").state;
    let fake = Fake::ready();
    fake.write("/proc/modules", MODULES);
    fake.write(SIZE, "163840\n");
    assert_eq!(state(&fake), State::Pass, "kvm_amd, without a size, is built in");
    let breaks: [(&str, &str, &str); 3] = [
        (SIZE, "155648\n", "163840 bytes in /proc, 155648 in /sys"),
        ("/sys/module/nvme/coresize", "4096\n", "nvme is in /sys/module, not"),
        (
            "/proc/modules",
            "ccp 163840 0 - Live 0x0\nnvme 1 0 - Live 0x0\n",
            "nvme is in /proc/modules, not",
        ),
    ];
    for (path, text, part) in breaks {
        let fake = Fake::ready();
        fake.write("/proc/modules", MODULES);
        fake.write(SIZE, "163840\n");
        if path == "/proc/modules" {
            fake.write("/sys/module/kvm/coresize", "4096\n");
            fake.write(path, &format!("{text}kvm 4096 0 - Live 0x0\n"));
        } else {
            fake.write(path, text);
        }
        let report = look(fake.collected(true, true));
        let check = find(&report, "one_host");
        assert_eq!(check.state, State::Fail, "{part}: {}", says(check));
        assert!(says(check).contains(part) && check.fix.is_some(), "{}", says(check));
        assert_eq!(find(&report, "sev_snp").state, State::Skip, "/sys is ignored");
        assert_eq!(find(&report, "symbol_sev_do_cmd_locked").state, State::Pass);
    }
}

#[test]
fn modules_may_be_missing_from_copies() {
    let fake = Fake::ready();
    fake.remove("/sys/module/ccp");
    let state = |fake: &Fake| {
        let report = look(fake.collected(true, true));
        assert_eq!(find(&report, "one_host").state, State::Pass);
        find(&report, "ccp").state
    };
    assert_eq!(state(&fake), State::Skip);
    fake.write("/proc/modules", "ccp 163840 1 kvm_amd, Live 0x0\nnvme 4096 0 - Live 0x0\n");
    assert_eq!(state(&fake), State::Pass);
    fake.write("/proc/modules", "nvme 4096 0 - Live 0x0\n");
    assert_eq!(state(&fake), State::Warn);
}

/// New checks belong in one of the two lists, unless copies cannot lack what they read.
#[test]
fn the_lists_name_existing_checks() {
    let all: Vec<_> = CHECKS.iter().flat_map(|(_, checks)| checks.iter()).map(|it| it.id).collect();
    assert!(collected::ids().all(|id| all.contains(&id)));
    let neither: Vec<_> =
        all.into_iter().filter(|id| !collected::ids().any(|listed| listed == *id)).collect();
    assert_eq!(neither, ["one_host"]);
}
