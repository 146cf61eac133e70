//! # Kernel and BPF

mod hooks;
mod seccomp;
mod version;

use hooks::{kprobes, symbol, tracepoints};
use seccomp::seccomp;
use version::version;

use super::{Check, Finding, Host, collected};
use crate::{
    bpf::pins,
    host::system::Missing,
    kernel::{self, DATA},
};

const LSM: &str = "docs/enforcement.md#what-the-kernel-must-allow";
const HOOKS: &str = "docs/reference/hooks.md#hooks";
const HOST: &str = "README.md#on-a-real-snp-host";
const SECCOMP: &str = "docs/install.md#seccomp";

pub const CHECKS: &[Check] = &[
    collected::CHECK,
    Check {
        id: "privileges",
        title: "Privileges",
        needed: "The agent loads BPF programs and reads kernel addresses: run it as root, or with CAP_BPF, CAP_PERFMON, CAP_SYSLOG and, so that no request is missed while VMs start or exit, CAP_SYS_NICE.",
        docs: HOST,
        run: privileges,
    },
    Check {
        id: "kernel_version",
        title: "Kernel version",
        needed: "Linux hosts SNP guests since 6.11. Older kernels with SNP backported by a distribution or AMD are not tested. Whether kvm_amd can run SNP guests: see `sev_snp`.",
        docs: HOST,
        run: version,
    },
    Check {
        id: "bpf",
        title: "bpf(2)",
        needed: "Loads all programs: a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, and no seccomp profile that refuses it.",
        docs: HOST,
        run: bpf,
    },
    Check {
        id: "seccomp",
        title: "seccomp",
        needed: "A container's profile allows bpf(2) and perf_event_open(2); both are tried. containerd's default does if CAP_BPF and CAP_PERFMON are granted; CRI-O's refuses perf_event_open(2): use the profile of deploy/kubernetes/localhost.",
        docs: SECCOMP,
        run: seccomp,
    },
    Check {
        id: "btf",
        title: "BTF",
        needed: "The LSM program needs the kernel's types: a kernel with CONFIG_DEBUG_INFO_BTF.",
        docs: HOST,
        run: btf,
    },
    Check {
        id: "lockdown",
        title: "Lockdown",
        needed: "lockdown=confidentiality forbids BPF to read kernel memory: boot with integrity or none.",
        docs: LSM,
        run: |host| match host.system.read("/sys/kernel/security/lockdown") {
            Ok(levels) if !levels.contains('[') => Finding::skip(format!(
                "unexpected text in /sys/kernel/security/lockdown: {levels:?}"
            )),
            Ok(levels) => Finding::of(kernel::lockdown(&host.system), || levels),
            Err(_) => Finding::skip(
                "no /sys/kernel/security/lockdown: not built in, or securityfs is not mounted",
            ),
        },
    },
    Check {
        id: "lsm_bpf",
        title: "BPF among the LSMs",
        needed: "Enforcement uses an LSM program: boot with `lsm=` and the list in /sys/kernel/security/lsm followed by `,bpf`. Counting does not need it.",
        docs: LSM,
        run: lsm,
    },
    Check {
        id: "kernel_addresses",
        title: "Kernel addresses",
        needed: "Two kernel variables are read by address: `sysctl kernel.kptr_restrict=1`.",
        docs: HOST,
        run: addresses,
    },
    Check {
        id: "kprobes",
        title: "Kprobes",
        needed: "Requests are counted by kprobes: a kernel with CONFIG_KPROBES, and `echo 1 > /sys/kernel/debug/kprobes/enabled`. perf_event_open(2) is tried: without CAP_SYS_ADMIN most Debian and Ubuntu kernels also need `sysctl kernel.perf_event_paranoid=2`.",
        docs: HOOKS,
        run: kprobes,
    },
    Check {
        id: "symbol_sev_do_cmd_locked",
        title: "__sev_do_cmd_locked",
        needed: "Every command to the PSP passes it; without it nothing can be counted: a kernel that does not inline it.",
        docs: HOOKS,
        run: |host| symbol(host, "__sev_do_cmd_locked"),
    },
    Check {
        id: "symbol_sev_issue_cmd_external_user",
        title: "sev_issue_cmd_external_user",
        needed: "Here requests begin to wait for the PSP; without it that time counts as `vm_lock`. The gate hooks it.",
        docs: HOOKS,
        run: |host| symbol(host, "sev_issue_cmd_external_user"),
    },
    Check {
        id: "symbol_snp_handle_guest_req",
        title: "snp_handle_guest_req",
        needed: "Here KVM takes the VM's lock. If the compiler inlined it, the VMGEXIT's time is used instead, at the cost of a program run per VMGEXIT.",
        docs: HOOKS,
        run: |host| symbol(host, "snp_handle_guest_req"),
    },
    Check {
        id: "tracepoints",
        title: "Tracepoints",
        needed: "Thread exits, host errors and guests' answers: a kernel with these tracepoints.",
        docs: HOOKS,
        run: tracepoints,
    },
    Check {
        id: "bpffs",
        title: "BPF file system",
        needed: "Pins keep enforcement without an agent: `mount -t bpf bpf /sys/fs/bpf`.",
        docs: "docs/enforcement.md#without-an-agent",
        run: |host| match pins::file_system(host.live.bpffs()) {
            Ok(()) => Finding::pass("mounted at /sys/fs/bpf"),
            Err(missing) => host.for_enforcing(missing),
        },
    },
    Check {
        id: "bpf_stats",
        title: "BPF statistics",
        needed: "They slow down every BPF program of the host: `sysctl kernel.bpf_stats_enabled=0` unless measuring.",
        docs: "docs/metrics.md#metrics",
        run: |host| match host.system.read("/proc/sys/kernel/bpf_stats_enabled").as_deref() {
            Ok("0") => Finding::pass("off; guestreq_program_runs_total is absent"),
            Ok("1") => Finding::warn(
                "on: timing slows down every BPF program of this host",
                "`sysctl kernel.bpf_stats_enabled=0`, unless measuring",
            ),
            _ => Finding::skip("not reported by this kernel"),
        },
    },
];

fn privileges(host: &Host<'_>) -> Finding {
    let is_root = host.system.read("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| {
            let mut uids = line.strip_prefix("Uid:").unwrap_or_default().split_whitespace();
            uids.nth(1) == Some("0")
        })
    });
    match kernel::capabilities(host.capabilities) {
        Ok(()) => match kernel::realtime_priority(host.capabilities) {
            Ok(()) => Finding::pass("sufficient for the agent"),
            Err(missing) => Finding::warn(missing.what, missing.fix),
        },
        // Root without them is in a container.
        Err(missing) if is_root => Finding::fail(missing.what, missing.fix),
        Err(_) => Finding::warn(
            "this user may not run the agent, and cannot see everything",
            "run with sudo to see",
        ),
    }
}

fn bpf(host: &Host<'_>) -> Finding {
    let answer = host.live.bpf();
    if !host.is_privileged()
        && answer.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    {
        return Finding::hidden("whether bpf(2) works");
    }
    Finding::of(kernel::bpf(&host.system, answer), || "works".to_owned())
}

fn btf(host: &Host<'_>) -> Finding {
    match kernel::btf(&host.system) {
        Ok(()) => Finding::pass("/sys/kernel/btf/vmlinux"),
        Err(missing) => host.for_enforcing(missing),
    }
}

fn lsm(host: &Host<'_>) -> Finding {
    let lsms = match host.system.read("/sys/kernel/security/lsm") {
        Ok(lsms) if !lsms.is_empty() => lsms,
        Ok(_) => return Finding::skip("/sys/kernel/security/lsm is empty"),
        Err(_) => {
            return Finding::skip("no /sys/kernel/security/lsm: securityfs is not mounted");
        }
    };
    if host.symbols.as_ref().is_ok_and(|symbols| !symbols.has("bpf_lsm_file_ioctl")) {
        let fix = "a kernel with CONFIG_BPF_LSM";
        return host.for_enforcing(Missing::new("no BPF LSM in this kernel", fix));
    }
    match kernel::lsm(&host.system) {
        Ok(()) => Finding::pass(lsms),
        Err(missing) => host.for_enforcing(missing),
    }
}

fn addresses(host: &Host<'_>) -> Finding {
    let symbols = match &host.symbols {
        Ok(symbols) => symbols,
        Err(error) if host.system.is_collected() => return Finding::skip(format!("{error:#}")),
        Err(error) => return Finding::fail(format!("{error:#}"), "a kernel with CONFIG_KALLSYMS"),
    };
    let hidden_from_all =
        || host.system.read("/proc/sys/kernel/kptr_restrict").is_ok_and(|restrict| restrict == "2");
    for name in DATA {
        match symbols.address(name) {
            Ok(_) => {}
            Err(_) if symbols.has(name) && !host.is_privileged() && !hidden_from_all() => {
                return Finding::hidden("whether root sees kernel addresses");
            }
            Err(missing) => return Finding::fail(missing.what, missing.fix),
        }
    }
    Finding::pass("in /proc/kallsyms")
}
