//! Copies that are incomplete, empty or not files.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::{
    collected::look,
    fake::{Fake, KALLSYMS_FILE as KALLSYMS},
    find, says,
};
use crate::doctor::State;

/// Some tools copy empty files from /proc; unreadable files are empty, too.
#[test]
fn an_empty_copy_counts_as_not_collected() {
    const PARAMETER: &str = "/sys/module/kvm_amd/parameters/sev_snp";
    let fake = Fake::ready();
    for path in [
        KALLSYMS,
        "/sys/kernel/security/lsm",
        "/sys/kernel/security/lockdown",
        "/proc/sys/kernel/bpf_stats_enabled",
        "/proc/sys/kernel/ftrace_enabled",
        "/sys/module/guestreq_gate/parameters/protocol",
        PARAMETER,
    ] {
        fake.write(path, "");
    }
    fake.remove("/sys/kernel/btf");
    let report = look(fake.collected(true, true));
    assert_eq!((report.failed, report.warned), (0, 0), "{report:?}");
    for id in ["sev_snp", "kernel_addresses", "kprobes", "lsm_bpf", "btf", "gate_protocol"] {
        assert_eq!(find(&report, id).state, State::Skip, "{id}: {}", says(find(&report, id)));
    }
    fake.remove(PARAMETER);
    fs::create_dir(fake.path(PARAMETER)).unwrap();
    fs::write(fake.path(KALLSYMS), [0xff; 99]).unwrap();
    assert_eq!(look(fake.collected(true, true)).failed, 0);
}

#[test]
fn missing_parameters_count_only_if_others_were_collected() {
    let fake = Fake::ready();
    fake.write("/proc/sys/kernel/osrelease", "5.14.0-503.el9\n");
    fake.remove("/sys/module/kvm_amd/parameters/sev_snp");
    let states = |fake: &Fake| {
        let report = look(fake.collected(true, true));
        ["kernel_version", "sev_snp"].map(|id| find(&report, id).state)
    };
    assert_eq!(states(&fake), [State::Fail; 2], "others' were collected");
    for module in ["kvm_amd", "module", "guestreq_gate"] {
        fake.remove(&format!("/sys/module/{module}/parameters"));
    }
    assert_eq!(states(&fake), [State::Skip; 2]);
}

#[test]
fn a_dangling_link_counts_as_present() {
    let fake = Fake::ready();
    fake.write("/sys/class/misc/kvm/dev", "10:232\n");
    let state = || find(&look(fake.collected(true, true)), "dev_sev").state;
    assert_eq!(state(), State::Fail);
    let link = fake.path("/sys/class/misc/sev");
    symlink("../../devices/virtual/misc/sev", link).unwrap();
    assert_eq!(state(), State::Pass);
}

#[test]
fn a_pipe_among_copies_does_not_block() {
    let fake = Fake::ready();
    for path in ["/proc/meminfo", KALLSYMS] {
        fake.remove(path);
        let made = Command::new("mkfifo").arg(fake.path(path)).status();
        assert!(made.unwrap().success());
    }
    let report = look(fake.collected(true, true));
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(find(&report, "memory").state, State::Skip);
}

#[test]
fn cpu_limits_are_reported_for_copies_too() {
    let fake = Fake::ready();
    fake.remove("/sys/module/kvm_amd");
    fake.write("/proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\n");
    let report = look(fake.collected(true, true));
    let check = find(&report, "kvm_amd");
    assert!(check.state == State::Fail && says(check).contains("GenuineIntel"), "{}", says(check));
}
