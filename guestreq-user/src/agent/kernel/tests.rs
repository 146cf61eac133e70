use std::fs;

use super::*;

#[test]
fn capabilities_name_what_is_missing() {
    assert!(capabilities(u64::MAX).is_ok());
    assert!(capabilities(CAP_BPF | CAP_PERFMON | CAP_SYSLOG).is_ok());
    assert!(capabilities(CAP_SYS_ADMIN | CAP_SYSLOG).is_ok());
    let message = capabilities(CAP_BPF).unwrap_err().to_string();
    assert!(message.ends_with("grant CAP_PERFMON, CAP_SYSLOG"), "{message}");
}

#[test]
fn what_is_less_than_needed_is_told_apart_from_what_is_lost_without() {
    let all = CAP_BPF | CAP_PERFMON | CAP_SYSLOG;
    assert!(capabilities(all).is_ok());
    assert!(undisturbed(all).unwrap_err().to_string().ends_with("grant CAP_SYS_NICE"));
    assert!(undisturbed(all | CAP_SYS_NICE).is_ok());
}

#[test]
fn a_kernel_that_asks_for_more_than_perfmon_is_told_by_its_sysctl() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let path = system.path("/proc/sys/kernel/perf_event_paranoid");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for (level, enough) in [("-1\n", true), ("2\n", true), ("3\n", false), ("4\n", false)] {
        fs::write(&path, level).unwrap();
        assert_eq!(perf_events(&system, CAP_PERFMON).is_ok(), enough, "{level}");
        assert!(perf_events(&system, CAP_SYS_ADMIN).is_ok(), "{level}");
    }
    fs::remove_file(&path).unwrap();
    assert!(perf_events(&system, CAP_PERFMON).is_ok(), "cannot be told");
}

#[test]
fn files_decide_what_the_kernel_offers() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let write = |path: &str, text: &str| {
        let path = system.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    assert_eq!(effective_capabilities(&system).unwrap(), 0x1ff_ffff_ffff);

    for (levels, runs) in [
        ("[none] integrity confidentiality\n", true),
        ("none [integrity] confidentiality\n", true),
        ("none integrity [confidentiality]\n", false),
    ] {
        write("/sys/kernel/security/lockdown", levels);
        assert_eq!(lockdown(&system).is_ok(), runs, "{levels}");
    }

    assert!(lsm(&system).is_ok(), "cannot be told");
    write("/sys/kernel/security/lsm", "lockdown,yama,bpfish");
    let message = lsm(&system).unwrap_err().to_string();
    assert!(message.contains("lsm=lockdown,yama,bpfish,bpf on the kernel's"), "{message}");
    write("/sys/kernel/security/lsm", "lockdown,yama,bpf\n");
    assert!(lsm(&system).is_ok());
}

#[test]
fn modules_are_told_by_name_and_kvm_amd_by_its_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let missing = |name| module(&system, name).unwrap_err().to_string();
    assert!(
        missing("kvm_amd").starts_with("kvm_amd (KVM on AMD) is not loaded: `modprobe kvm_amd")
    );
    assert!(missing("ccp").starts_with("ccp (the secure"));
    fs::create_dir_all(system.path("/sys/module/kvm_amd/parameters")).unwrap();
    assert!(module(&system, "kvm_amd").is_ok());
    let snp = || sev_snp(&system).map_err(|missing| missing.to_string());
    assert!(snp().unwrap_err().contains("6.11"));
    let parameter = system.path("/sys/module/kvm_amd/parameters/sev_snp");
    fs::write(&parameter, "N\n").unwrap();
    assert!(snp().unwrap_err().contains("cannot run SNP guests"));
    fs::write(&parameter, "Y\n").unwrap();
    assert!(snp().is_ok());
}
