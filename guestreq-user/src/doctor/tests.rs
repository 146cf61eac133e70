mod collected;
mod copies;
mod fake;
mod flavours;
mod hosts;
mod recorded;

use std::collections::BTreeSet;

use fake::{Fake, GATE, KALLSYMS_FILE as KALLSYMS, NOBODY, RELEASE, Silent};
use serde_json::json;

use super::{CHECKS, Checked, Report, State, platform::Platform};
use crate::{
    bpf::pins::{Found, Mounted},
    probes::{PROBES, ProbeKind},
};

/// The holder during a firmware update.
fn updating(seconds: f64) -> serde_json::Value {
    json!({"command": "snp_download_firmware_ex", "vm": null, "pid": 1, "seconds": seconds})
}

/// What breaks a host: the check that fails, its state and a part of its text.
type Broken = (&'static str, State, &'static str, fn(&mut Fake));

#[rustfmt::skip]
const BROKEN: &[Broken] = &[
    ("privileges", State::Warn, "run with sudo to see", |f| f.write("/proc/self/status", NOBODY)),
    ("privileges", State::Warn, "grant CAP_SYS_NICE", |f| f.edit("/proc/self/status", "1ffffffffff", "1ffff7fffff")),
    ("privileges", State::Fail, "grant CAP_SYSLOG", |f| f.edit("/proc/self/status", "1ffffffffff", "003ffffffff")),
    ("kernel_version", State::Fail, "Linux 6.11 or later", |f| {
        f.write("/proc/sys/kernel/osrelease", "6.8.0-1\n");
        f.remove("/sys/module/kvm_amd/parameters/sev_snp");
    }),
    ("kernel_version", State::Warn, "never tested", |f| f.write("/proc/sys/kernel/osrelease", "6.8.0-1\n")),
    ("bpf", State::Fail, "CONFIG_BPF_SYSCALL", |f| f.bpf = Some(libc::ENOSYS)),
    ("bpf", State::Fail, "seccomp", |f| f.bpf = Some(libc::EPERM)),
    ("seccomp", State::Fail, "refuses perf_event_open(2)", |f| {
        f.edit("/proc/self/status", "Seccomp:\t0", "Seccomp:\t2");
        f.perf = Some(libc::EPERM);
    }),
    ("btf", State::Fail, "CONFIG_DEBUG_INFO_BTF", |f| f.remove("/sys/kernel/btf/vmlinux")),
    ("lockdown", State::Fail, "lockdown=integrity", |f| f.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]")),
    ("lsm_bpf", State::Fail, "lsm=lockdown,yama,bpf on the kernel's command line", |f| f.write("/sys/kernel/security/lsm", "lockdown,yama\n")),
    ("lsm_bpf", State::Fail, "CONFIG_BPF_LSM", |f| f.edit(KALLSYMS, "bpf_lsm_file_ioctl", "x")),
    ("kernel_addresses", State::Fail, "kernel.kptr_restrict=1", |f| f.edit(KALLSYMS, "ffffffff8100000", "000000000000000")),
    ("kernel_addresses", State::Fail, "/proc/kallsyms", |f| f.remove(KALLSYMS)),
    ("kprobes", State::Fail, "echo 1 > /sys/kernel/debug/kprobes/enabled", |f| f.write("/sys/kernel/debug/kprobes/enabled", "0")),
    ("kprobes", State::Fail, "CONFIG_KPROBES", |f| f.edit(KALLSYMS, "register_kprobe", "x")),
    ("symbol_sev_do_cmd_locked", State::Fail, "nothing can be counted", |f| f.edit(KALLSYMS, "__sev_do_cmd_locked", "x")),
    ("symbol_sev_issue_cmd_external_user", State::Warn, "unavailable: the time in the PSP's queue", |f| f.edit(KALLSYMS, "sev_issue_cmd_external_user", "x")),
    ("symbol_snp_handle_guest_req", State::Warn, "unavailable: the exact moment", |f| f.edit(KALLSYMS, "snp_handle_guest_req", "x")),
    ("symbol_snp_handle_guest_req", State::Warn, "only snp_handle_guest_req.isra.0", |f| f.edit(KALLSYMS, "snp_handle_guest_req", "snp_handle_guest_req.isra.0")),
    ("tracepoints", State::Warn, "no kvm_vmgexit_exit; unavailable: the answers to guests", |f| f.edit(KALLSYMS, "kvm_vmgexit_exit", "x")),
    ("tracepoints", State::Fail, "nothing can be counted", |f| f.edit(KALLSYMS, "sched_process_exit", "x")),
    ("kprobes", State::Warn, "perf_event_paranoid=2", |f| {
        f.edit("/proc/self/status", "1ffffffffff", "1ffffdfffff");
        f.write("/proc/sys/kernel/perf_event_paranoid", "3\n");
    }),
    ("bpffs", State::Fail, "mount -t bpf bpf /sys/fs/bpf", |f| f.bpffs = Mounted::Nothing),
    ("bpffs", State::Fail, "without `readOnly`", |f| f.bpffs = Mounted::ReadOnly),
    ("bpf_stats", State::Warn, "kernel.bpf_stats_enabled=0", |f| f.write("/proc/sys/kernel/bpf_stats_enabled", "1\n")),
    ("kvm_amd", State::Fail, "modprobe kvm_amd", |f| f.remove("/sys/module/kvm_amd")),
    ("sev_snp", State::Fail, "cannot run SNP guests", |f| f.write("/sys/module/kvm_amd/parameters/sev_snp", "N\n")),
    ("ccp", State::Fail, "modprobe ccp", |f| f.remove("/sys/module/ccp")),
    ("dev_sev", State::Fail, "enable SMEE and SEV in the firmware's setup", |f| f.remove("/dev/sev")),
    ("psp", State::Fail, "did not answer within 5 s", |f| f.platform = Err(None)),
    ("psp", State::Fail, "no longer uses it", |f| f.platform = Err(Some(libc::EBUSY))),
    ("psp", State::Fail, "dmesg", |f| f.platform = Err(Some(libc::EIO))),
    ("psp", State::Fail, "snp_guest_request has been running for 42 s", |f| f.agent_says("/holder/seconds", json!(42.0))),
    ("psp", State::Warn, "for 42 s: firmware update", |f| f.agent_says("/holder", updating(42.0))),
    ("psp", State::Fail, "snp_download_firmware_ex has been running for 130 s: it hangs", |f| f.agent_says("/holder", updating(130.0))),
    ("firmware", State::Fail, "1.51 or later", |f| f.platform = Ok(Platform::of((1, 50), 1))),
    ("firmware", State::Fail, "not initialised", |f| f.platform = Ok(Platform::of((1, 55), 0))),
    ("asids", State::Warn, "460 of 509 ASIDs in use: soon no SNP guest can start", |f| f.write("/sys/fs/cgroup/misc.current", "sev_es 460\n")),
    ("mitigations", State::Warn, "echo 0x2 > ", |f| f.write("/sys/firmware/sev/vulnerabilities/verified_mitigations", "0x1\n")),
    ("gate_installed", State::Warn, "not after the next boot", |f| f.remove("/lib/modules/6.12.9-amd64")),
    ("gate_installed", State::Fail, "only for 6.11.1: install this kernel's headers, then `dkms install guestreq-gate/", |f| {
        f.remove("/sys/module/guestreq_gate");
        f.remove("/lib/modules/6.12.9-amd64");
        f.write("/lib/modules/6.11.1/modules.dep", "extra/guestreq-gate.ko.xz:\n");
    }),
    ("gate_vermagic", State::Fail, "was built for 6.12.8-amd64, this kernel is 6.12.9-amd64", |f| {
        f.remove("/sys/module/guestreq_gate");
        f.edit(GATE, "6.12.9", "6.12.8");
    }),
    ("gate_signed", State::Fail, "mokutil --import", |f| {
        f.remove("/sys/module/guestreq_gate");
        f.write("/sys/module/module/parameters/sig_enforce", "Y\n");
    }),
    ("gate_signed", State::Fail, "not signed, and the kernel is locked down", |f| {
        f.remove("/sys/module/guestreq_gate");
        f.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    }),
    ("gate_signed", State::Warn, "load it to see whether the key is trusted", |f| {
        f.remove("/sys/module/guestreq_gate");
        f.edit(GATE, "end", "~Module signature appended~\n");
        f.write("/sys/module/module/parameters/sig_enforce", "Y\n");
    }),
    ("gate_ftrace", State::Fail, "kernel.ftrace_enabled=1", |f| f.write("/proc/sys/kernel/ftrace_enabled", "0\n")),
    ("gate_livepatch", State::Fail, "klp_1 patches sev_issue_cmd_external_user", |f| f.write("/sys/kernel/livepatch/klp_1/ccp/sev_issue_cmd_external_user,1/x", "")),
    ("gate_loaded", State::Fail, "`modprobe guestreq_gate`", |f| f.remove("/sys/module/guestreq_gate")),
    ("gate_protocol", State::Fail, "the gate is newer: upgrade guestreq", |f| {
        f.write("/sys/module/guestreq_gate/parameters/protocol", "3\n");
        f.write("/sys/module/guestreq_gate/parameters/protocol_newest", "4\n");
    }),
    ("gate_protocol", State::Fail, "the gate is older: upgrade it", |f| {
        f.remove("/sys/module/guestreq_gate/parameters/protocol_newest");
        f.write("/sys/module/guestreq_gate/parameters/protocol", "0\n");
    }),
    ("gate_order", State::Warn, "off (depth=0): requests reach the PSP in the order of arrival", |f| f.write("/sys/module/guestreq_gate/parameters/depth", "0\n")),
    ("gate_order", State::Warn, "the agent needs CAP_SYS_ADMIN", |f| f.config = Ok("order = \"off\"".to_owned())),
    ("gate_order", State::Warn, "the loaded gate has no order", |f| {
        f.remove("/sys/module/guestreq_gate/parameters/depth");
        f.remove("/sys/module/guestreq_gate/parameters/launch_share");
    }),
    ("gate_weights", State::Warn, "the gate's order is off (depth=0)", |f| {
        f.config = Ok("weight = 4".to_owned());
        f.write("/sys/module/guestreq_gate/parameters/depth", "0\n");
    }),
    ("gate_weights", State::Warn, "no effect with backend vcpu", |f| {
        f.config = Ok("backend = \"vcpu\"\nweight = 4".to_owned());
        f.agent = Err(Silent::Nobody);
    }),
    ("gate_weights", State::Warn, "speaks protocol 1, which has no weights", |f| {
        f.config = Ok("weight = 4".to_owned());
        f.remove("/sys/module/guestreq_gate/parameters/protocol_newest");
    }),
    ("gate_unanswered", State::Fail, "every guest request is denied", |f| {
        f.write("/sys/module/guestreq_gate/parameters/closed", "Y\n");
        f.agent = Err(Silent::Nobody);
        f.pins = || Found::Nothing;
    }),
    ("gate_unanswered", State::Fail, "backend vcpu does not answer it", |f| {
        f.write("/sys/module/guestreq_gate/parameters/closed", "Y\n");
        f.agent_says("/enforcement/backend", json!("vcpu"));
    }),
    ("gate_unanswered", State::Fail, "no program of guestreq answers", |f| {
        f.write("/sys/module/guestreq_gate/parameters/closed", "Y\n");
        f.agent = Err(Silent::Nobody);
        f.known_gate = 7;
    }),
    ("config", State::Fail, "line 3, column 1: unknown field", |f| f.config = Err("/etc/c: line 3, column 1: unknown field".to_owned())),
    ("config", State::Fail, "overrides.json cannot be read", |f| f.write("/state/overrides.json", "{")),
    ("agent_running", State::Warn, "sudo guestreq agent", |f| f.agent = Err(Silent::Nobody)),
    ("agent_running", State::Fail, "restart the agent", |f| f.agent = Err(Silent::Invalid)),
    ("agent_version", State::Warn, "restart the agent", |f| f.agent_says("/version", json!("0.0.9"))),
    ("agent_ready", State::Fail, "not attached", |f| f.agent_says("/reason", json!("kprobe: not attached"))),
    ("enforcement", State::Fail, "NOT ENFORCED: no gate", |f| {
        f.agent_says("/enforcement/verified", json!(false));
        f.agent_says("/enforcement/reason", json!("no gate"));
    }),
    ("bypassed", State::Warn, "3 requests bypassed enforcement", |f| f.agent_says("/enforcement/bypassed", json!(3))),
    ("vms_unread", State::Warn, "2 VMs without a name", |f| f.agent_says("/unread_vms", json!(2))),
    ("node_labels", State::Warn, "/x/guestreq cannot be written: no such folder: create", |f| {
        f.agent_says("/feature_file", json!({"path": "/x/guestreq", "error": "no such folder"}));
    }),
    ("pins", State::Warn, "guestreq detach", |f| f.agent = Err(Silent::Nobody)),
    ("pins", State::Warn, "would not survive it", |f| f.pins = || Found::Nothing),
    ("pins", State::Fail, "from another version: schema 1", |f| f.pins = || Found::Foreign("schema 1".to_owned())),
    ("pins", State::Fail, "nothing is enforced: start the agent", |f| {
        f.agent = Err(Silent::Nobody);
        f.config = Ok("mode = \"enforce\"".to_owned());
        f.known_gate = 7;
    }),
    ("map_room", State::Fail, "raise max_vms", |f| f.agent_says("/maps/0/entries", json!(1024))),
    ("map_room", State::Warn, "nearly full: 1000 of 1024 vms", |f| f.agent_says("/maps/0/entries", json!(1000))),
    ("memory", State::Fail, "a smaller max_vms", |f| {
        f.agent = Err(Silent::Nobody);
        f.write("/proc/meminfo", "MemAvailable: 9000 kB\n");
    }),
    ("state_folder", State::Fail, "free some space", |f| f.free = 1 << 20),
    ("descriptors", State::Fail, "LimitNOFILE=1024", |f| f.edit("/proc/77/limits", "1024", "64")),
];

fn find<'a>(report: &'a Report, id: &str) -> &'a Checked {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}"))
}

fn says(check: &Checked) -> String {
    format!("{}: {}", check.why, check.fix.as_deref().unwrap_or("-"))
}

fn ids() -> BTreeSet<&'static str> {
    let ids: Vec<_> = CHECKS.iter().flat_map(|(_, checks)| checks.iter()).map(|c| c.id).collect();
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id is used twice");
    unique
}

#[test]
fn on_a_ready_host_every_check_passes() {
    let report = Fake::ready().examine();
    for check in &report.checks {
        assert_eq!(check.state, State::Pass, "{}: {}", check.id, says(check));
        assert_eq!(check.fix, None, "{}", check.id);
    }
    let passed: BTreeSet<_> = report.checks.iter().map(|check| check.id).collect();
    assert_eq!(passed, ids());
    assert_eq!((report.passed, report.failed), (ids().len(), 0));
    assert_eq!(report.kernel, RELEASE);
}

#[test]
fn every_check_reports_what_is_broken_and_how_to_fix_it() {
    for (id, state, part, breaks) in BROKEN {
        let mut fake = Fake::ready();
        breaks(&mut fake);
        let report = fake.examine();
        let check = find(&report, id);
        assert_eq!(check.state, *state, "{id}: {}", says(check));
        assert!(says(check).contains(part), "{id}: {} has no {part}", says(check));
        assert!(check.fix.is_some(), "{id} has no fix");
        assert_eq!(report.failed > 0, report.checks.iter().any(|c| c.state == State::Fail));
    }
    let mut broken: BTreeSet<_> = BROKEN.iter().map(|(id, ..)| *id).collect();
    // Broken in `collected`.
    broken.insert("one_host");
    assert_eq!(broken, ids(), "every check is broken by some test");
}

#[test]
fn an_unknown_state_does_not_pass() {
    let fake = Fake::ready();
    fake.remove("/sys/kernel/security");
    let report = fake.examine();
    let check = find(&report, "gate_signed");
    assert_eq!(check.state, State::Skip, "{}", says(check));
    let mut fake = Fake::ready();
    fake.config = Err("line 1: no".to_owned());
    let report = fake.examine();
    let check = find(&report, "memory");
    assert_eq!(check.state, State::Skip, "unknown for how many VMs: {}", says(check));
}

#[test]
fn what_only_enforcement_needs_is_a_warning_if_nothing_is_enforced() {
    for id in ["lsm_bpf", "bpffs", "btf", "gate_loaded", "gate_vermagic", "gate_livepatch"] {
        for (_, _, part, breaks) in BROKEN.iter().filter(|broken| broken.0 == id) {
            let mut fake = Fake::ready();
            fake.agent_says("/enforcement/mode", json!("audit"));
            breaks(&mut fake);
            let report = fake.examine();
            let check = find(&report, id);
            assert_eq!(check.state, State::Warn, "{id}: {}", says(check));
            assert!(says(check).contains("only enforcement needs it"), "{id}: {}", says(check));
            assert!(check.fix.as_ref().unwrap().contains(part) || says(check).contains(part));
        }
    }
}

/// Row 9 of the second review.
#[test]
fn bypasses_are_not_known_while_the_agent_does_not_observe() {
    let mut fake = Fake::ready();
    fake.agent_says("/enforcement/bypassed", json!(null));
    let report = fake.examine();
    let check = find(&report, "bypassed");
    assert_eq!(check.state, State::Skip, "{}", says(check));
}

#[test]
fn in_a_container_what_only_the_host_has_is_skipped() {
    let fake = Fake::ready();
    fake.remove("/dev/sev");
    fake.write("/sys/class/misc/sev/dev", "10:124\n");
    fake.remove("/lib/modules");
    let report = fake.examine();
    for id in ["dev_sev", "psp", "gate_installed", "gate_vermagic", "gate_signed"] {
        assert_eq!(find(&report, id).state, State::Skip, "{id}: {}", says(find(&report, id)));
    }
    assert_eq!((report.failed, report.warned), (0, 0));
}

#[test]
fn without_an_agent_the_configuration_says_what_is_needed() {
    let mut fake = Fake::ready();
    fake.agent = Err(Silent::Nobody);
    fake.remove("/sys/module/guestreq_gate");
    assert_eq!(find(&fake.examine(), "gate_loaded").state, State::Warn);
    fake.config = Ok("mode = \"enforce\"".to_owned());
    assert_eq!(find(&fake.examine(), "gate_loaded").state, State::Fail);
    fake.config = Ok("mode = \"enforce\"\nbackend = \"vcpu\"".to_owned());
    let report = fake.examine();
    for (_, checks) in CHECKS.iter().filter(|(group, _)| *group == super::Group::Gate) {
        for check in checks.iter().filter(|check| check.id != "gate_weights") {
            assert_eq!(find(&report, check.id).state, State::Skip, "{}", check.id);
        }
    }
    assert!(find(&report, "gate_loaded").why.contains("backend vcpu needs no gate"));
    assert_eq!(find(&report, "gate_weights").why, "no policy sets a weight");
}

/// A loaded gate orders requests, whoever enforces.
#[test]
fn the_order_is_checked_with_every_backend() {
    for backend in ["vcpu", "none"] {
        let mut fake = Fake::ready();
        fake.agent = Err(Silent::Nobody);
        fake.config = Ok(format!("backend = {backend:?}"));
        let on = fake.examine();
        assert_eq!(find(&on, "gate_order").state, State::Pass, "{}", says(find(&on, "gate_order")));
        assert_eq!(find(&on, "gate_loaded").state, State::Skip);
        fake.write("/sys/module/guestreq_gate/parameters/depth", "0\n");
        let off = fake.examine();
        assert_eq!(find(&off, "gate_order").state, State::Warn, "{backend}");
        fake.remove("/sys/module/guestreq_gate");
        assert_eq!(find(&fake.examine(), "gate_order").why, "the gate is not loaded");
    }
}

#[test]
fn the_order_passes_on_or_off_as_configured() {
    let why = |config: &str, depth: &str, share: &str| {
        let mut fake = Fake::ready();
        fake.config = Ok(config.to_owned());
        fake.write("/sys/module/guestreq_gate/parameters/depth", depth);
        fake.write("/sys/module/guestreq_gate/parameters/launch_share", share);
        let report = fake.examine();
        let check = find(&report, "gate_order");
        assert_eq!(check.state, State::Pass, "{}", says(check));
        check.why.clone()
    };
    assert_eq!(why("order = \"off\"", "0\n", "75\n"), "off, as configured");
    let on = why("order = \"on\"", "4\n", "60\n");
    assert_eq!(on, "on, depth 4; launches may hold requests for 60 % of the PSP's time");
    assert_eq!(why("", "1\n", "0\n"), "on, depth 1; launches hold no requests");
}

#[test]
fn what_only_root_can_see_is_skipped() {
    let mut fake = Fake::ready();
    fake.write("/proc/self/status", NOBODY);
    fake.agent = Err(Silent::Forbidden);
    fake.bpf = Some(libc::EPERM);
    fake.platform = Err(Some(libc::EACCES));
    fake.edit(KALLSYMS, "ffffffff8100000", "000000000000000");
    fake.remove("/sys/kernel/debug");
    fake.remove("/sys/module/guestreq_gate/parameters/closed");
    let report = fake.examine();
    for id in
        ["bpf", "kernel_addresses", "kprobes", "psp", "gate_unanswered", "agent_running", "pins"]
    {
        let check = find(&report, id);
        assert_eq!(check.state, State::Skip, "{id}: {}", says(check));
        assert_eq!(check.fix.as_deref(), Some("run with sudo to see"), "{id}");
    }
    assert_eq!(report.failed, 0, "{report:?}");
    // But what not even root sees fails.
    fake.write("/proc/sys/kernel/kptr_restrict", "2\n");
    assert_eq!(find(&fake.examine(), "kernel_addresses").state, State::Fail);
}

/// It can read `closed`, but not which gate programs are bound to.
#[test]
fn root_without_capabilities_cannot_tell_whether_a_closed_gate_is_answered() {
    let mut fake = Fake::ready();
    fake.write("/proc/self/status", NOBODY);
    fake.write("/sys/module/guestreq_gate/parameters/closed", "Y\n");
    fake.remove("/sys/module/guestreq_gate/parameters/file");
    fake.agent = Err(Silent::Nobody);
    let report = fake.examine();
    assert_eq!(find(&report, "gate_unanswered").state, State::Skip, "{report:?}");
}

#[test]
fn a_compressed_gate_is_read_by_modinfo() {
    let mut fake = Fake::ready();
    let index = format!("/lib/modules/{RELEASE}/modules.dep");
    fake.write(&index, "updates/dkms/guestreq_gate.ko.xz:\n");
    assert_eq!(find(&fake.examine(), "gate_vermagic").state, State::Skip, "no modinfo here");
    fake.modinfo = Some(
        "version:        0.1.0\nvermagic:       6.12.9-amd64 SMP\nsig_id: PKCS#7\n".to_owned(),
    );
    let report = fake.examine();
    assert_eq!(find(&report, "gate_vermagic").state, State::Pass);
    assert!(find(&report, "gate_signed").why.starts_with("signed"));
    fake.remove("/sys/module/guestreq_gate");
    fake.modinfo = Some("vermagic:       6.12.1 SMP\n".to_owned());
    assert_eq!(find(&fake.examine(), "gate_vermagic").state, State::Fail);
}

#[test]
fn every_function_that_is_probed_has_a_check() {
    for probe in PROBES.iter().filter(|probe| matches!(probe.kind, ProbeKind::Kprobe)) {
        let id = format!("symbol_{}", probe.target.trim_start_matches('_'));
        assert!(ids().contains(id.as_str()), "no check for {}", probe.target);
    }
}

#[test]
fn random_bytes_in_files_do_not_panic() {
    let mut fake = Fake::ready();
    for path in [KALLSYMS, "/proc/meminfo", GATE, "/proc/self/status", "/proc/77/limits"] {
        std::fs::write(fake.path(path), b"\xff\0\n vermagic=\0vermagic=\xfe:,[\n").unwrap();
    }
    fake.write("/proc/sys/kernel/osrelease", "\u{1b}[31m.99999999999999999999\n");
    fake.pins = || Found::Nothing;
    assert_eq!(fake.examine().checks.len(), ids().len());
}
