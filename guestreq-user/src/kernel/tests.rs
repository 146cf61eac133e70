use std::fs;

use super::*;

fn write(system: &System, path: &str, text: &str) {
    let path = system.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn capabilities_name_what_is_missing() {
    assert!(capabilities(u64::MAX).is_ok());
    assert!(capabilities(CAP_BPF | CAP_PERFMON | CAP_SYSLOG).is_ok());
    assert!(capabilities(CAP_SYS_ADMIN | CAP_SYSLOG).is_ok());
    let message = capabilities(CAP_BPF).unwrap_err().to_string();
    assert!(message.ends_with("grant CAP_PERFMON, CAP_SYSLOG"), "{message}");
}

#[test]
fn cap_sys_nice_is_optional() {
    let all = CAP_BPF | CAP_PERFMON | CAP_SYSLOG;
    assert!(capabilities(all).is_ok());
    assert!(realtime_priority(all).unwrap_err().to_string().ends_with("grant CAP_SYS_NICE"));
    assert!(realtime_priority(all | CAP_SYS_NICE).is_ok());
}

#[test]
fn the_error_of_perf_event_open_shows_what_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let write = |path: &str, text: &str| write(&system, path, text);
    let message = |mask, errno| {
        let answer = Err(std::io::Error::from_raw_os_error(errno));
        perf_events(&system, mask, answer).unwrap_err().to_string()
    };
    const LEVEL: &str = "/proc/sys/kernel/perf_event_paranoid";
    for (level, expected) in [("-1\n", false), ("2\n", false), ("3\n", true), ("4\n", true)] {
        write(LEVEL, level);
        assert_eq!(message(CAP_PERFMON, libc::EACCES).contains("perf_event_paranoid=2"), expected);
        assert!(message(CAP_SYS_ADMIN, libc::EACCES).contains("SELinux"), "no level stops it");
        // Some kernels accept CAP_PERFMON at that level.
        assert!(perf_events(&system, CAP_PERFMON, Ok(())).is_ok());
    }
    assert!(
        message(u64::MAX, libc::EPERM).contains("a seccomp profile refuses perf_event_open(2)")
    );
    assert!(message(u64::MAX, libc::ENOSYS).contains("CONFIG_PERF_EVENTS"));
    write("/proc/self/status", "Seccomp:\t2\nSeccomp_filters:\t1\n");
    assert!(message(u64::MAX, libc::ENOSYS).contains("a seccomp profile refuses"));
}

#[test]
fn a_profile_that_hides_bpf_is_not_taken_for_a_kernel_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let message = |errno| {
        let answer = Err(std::io::Error::from_raw_os_error(errno));
        bpf(&system, answer).unwrap_err().to_string()
    };
    assert!(message(libc::ENOSYS).contains("this kernel has no BPF"));
    assert!(message(libc::EPERM).contains("unprivileged_bpf_disabled"));
    write(&system, "/proc/self/status", "Seccomp:\t2\n");
    assert!(message(libc::ENOSYS).contains("a seccomp profile hides it"));
    assert!(message(libc::EPERM).contains("a seccomp profile refuses bpf(2)"));
}

#[test]
fn files_decide_what_the_kernel_offers() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let write = |path: &str, text: &str| write(&system, path, text);
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

    assert!(lsm(&system).is_ok(), "unknown");
    write("/sys/kernel/security/lsm", "lockdown,yama,bpfish");
    let message = lsm(&system).unwrap_err().to_string();
    assert!(message.contains("lsm=lockdown,yama,bpfish,bpf on the kernel's"), "{message}");
    write("/sys/kernel/security/lsm", "lockdown,yama,bpf\n");
    assert!(lsm(&system).is_ok());
}

#[test]
fn modules_are_found_by_name_and_kvm_amd_by_its_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let missing = |name| module(&system, name).unwrap_err().to_string();
    assert!(
        missing("kvm_amd").starts_with("kvm_amd (KVM on AMD) is not loaded: `modprobe kvm_amd")
    );
    assert!(missing("ccp").starts_with("ccp (the secure"));
    fs::create_dir_all(system.path("/sys/module/kvm_amd/parameters")).unwrap();
    assert!(module(&system, "kvm_amd").is_ok());
    let snp = || sev_snp(&system, || "").map_err(|missing| missing.to_string());
    assert!(snp().unwrap_err().contains("6.11"));
    let parameter = system.path("/sys/module/kvm_amd/parameters/sev_snp");
    fs::write(&parameter, "N\n").unwrap();
    assert!(snp().unwrap_err().contains("cannot run SNP guests"));
    fs::write(&parameter, "Y\n").unwrap();
    assert!(snp().is_ok());
}
