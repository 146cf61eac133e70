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
        needed: "The agent loads BPF programs and reads kernel addresses: run it as root, or with CAP_BPF, CAP_PERFMON and CAP_SYSLOG, and CAP_SYS_NICE so that no request is missed while a VM comes or goes.",
        docs: HOST,
        look: privileges,
    },
    Check {
        id: "kernel_version",
        title: "Kernel version",
        needed: "Linux hosts SNP guests from 6.11 on. An older one whose kvm_amd has `sev_snp` is a distribution's own, which brought it back, or AMD's, and not tested: a newer kernel. Whether that kvm_amd can run them says `sev_snp`.",
        docs: HOST,
        look: version,
    },
    Check {
        id: "bpf",
        title: "bpf(2)",
        needed: "All programs are loaded by it: a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, no seccomp profile that refuses it.",
        docs: HOST,
        look: bpf,
    },
    Check {
        id: "seccomp",
        title: "seccomp",
        needed: "In a container the profile lets bpf(2) and perf_event_open(2) through, which are tried. containerd's default does where CAP_BPF and CAP_PERFMON are granted; CRI-O's refuses perf_event_open(2): the profile of deploy/kubernetes/localhost.",
        docs: SECCOMP,
        look: seccomp,
    },
    Check {
        id: "btf",
        title: "BTF",
        needed: "The kernel's types, against which the LSM program is checked: a kernel with CONFIG_DEBUG_INFO_BTF.",
        docs: HOST,
        look: btf,
    },
    Check {
        id: "lockdown",
        title: "Lockdown",
        needed: "lockdown=confidentiality keeps BPF from reading kernel memory: boot with integrity or none.",
        docs: LSM,
        look: |host| match host.system.read("/sys/kernel/security/lockdown") {
            Ok(levels) if !levels.contains('[') => {
                Finding::skip(format!("/sys/kernel/security/lockdown does not say: {levels:?}"))
            }
            Ok(levels) => Finding::of(kernel::lockdown(&host.system), || levels),
            Err(_) => Finding::skip(
                "no /sys/kernel/security/lockdown: built without, or securityfs is not mounted",
            ),
        },
    },
    Check {
        id: "lsm_bpf",
        title: "BPF among the LSMs",
        needed: "The program that decides is an LSM program: boot with `lsm=` and the list of /sys/kernel/security/lsm with `,bpf` at its end. Counting does without.",
        docs: LSM,
        look: lsm,
    },
    Check {
        id: "kernel_addresses",
        title: "Kernel addresses",
        needed: "Two of the kernel's variables are read at their addresses: `sysctl kernel.kptr_restrict=1`.",
        docs: HOST,
        look: addresses,
    },
    Check {
        id: "kprobes",
        title: "Kprobes",
        needed: "Requests are counted on kprobes: a kernel with CONFIG_KPROBES, and `echo 1 > /sys/kernel/debug/kprobes/enabled`. Whether perf_event_open(2) is allowed is tried: without CAP_SYS_ADMIN most of Debian's and Ubuntu's kernels want `sysctl kernel.perf_event_paranoid=2`, too.",
        docs: HOOKS,
        look: kprobes,
    },
    Check {
        id: "symbol_sev_do_cmd_locked",
        title: "__sev_do_cmd_locked",
        needed: "Every command to the PSP goes through it; without it nothing can be counted: a kernel in which it is not inlined.",
        docs: HOOKS,
        look: |host| symbol(host, "__sev_do_cmd_locked"),
    },
    Check {
        id: "symbol_sev_issue_cmd_external_user",
        title: "sev_issue_cmd_external_user",
        needed: "The moment at which a request begins to wait for the PSP; without it that time counts as `vm_lock`. The gate stands in front of it.",
        docs: HOOKS,
        look: |host| symbol(host, "sev_issue_cmd_external_user"),
    },
    Check {
        id: "symbol_snp_handle_guest_req",
        title: "snp_handle_guest_req",
        needed: "The moment at which KVM wants the VM's lock. Some compilers inline it: the VMGEXIT's moment is then taken, at the price of a program at every VMGEXIT.",
        docs: HOOKS,
        look: |host| symbol(host, "snp_handle_guest_req"),
    },
    Check {
        id: "tracepoints",
        title: "Tracepoints",
        needed: "The ends of threads, host errors and what guests are told: a kernel with these tracepoints.",
        docs: HOOKS,
        look: tracepoints,
    },
    Check {
        id: "bpffs",
        title: "BPF file system",
        needed: "What is enforced is pinned there, so that it outlives the agent: `mount -t bpf bpf /sys/fs/bpf`.",
        docs: "docs/enforcement.md#without-an-agent",
        look: |host| match pins::file_system(host.live.bpffs()) {
            Ok(()) => Finding::pass("mounted at /sys/fs/bpf"),
            Err(missing) => host.for_enforcing(missing),
        },
    },
    Check {
        id: "bpf_stats",
        title: "BPF statistics",
        needed: "They time every BPF program of the host, at a cost of their own: `sysctl kernel.bpf_stats_enabled=0` when nobody measures.",
        docs: "docs/metrics.md#metrics",
        look: |host| match host.system.read("/proc/sys/kernel/bpf_stats_enabled").as_deref() {
            Ok("0") => Finding::pass(
                "off: programs cost nothing extra, guestreq_program_runs_total is absent",
            ),
            Ok("1") => Finding::warn(
                "on: every BPF program of this host is timed, which costs more than it does",
                "`sysctl kernel.bpf_stats_enabled=0`, unless somebody measures",
            ),
            _ => Finding::skip("this kernel does not say"),
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
            Ok(()) => Finding::pass("enough to run the agent"),
            Err(missing) => Finding::warn(missing.what, missing.fix),
        },
        // Root that lacks them is in a container that takes them away.
        Err(missing) if is_root => Finding::fail(missing.what, missing.fix),
        Err(_) => Finding::warn(
            "this user may not run the agent, and does not see everything here",
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
        Ok(_) => return Finding::skip("/sys/kernel/security/lsm is empty, and never should be"),
        Err(_) => {
            return Finding::skip("no /sys/kernel/security/lsm: securityfs is not mounted");
        }
    };
    if host.symbols.as_ref().is_ok_and(|symbols| !symbols.has("bpf_lsm_file_ioctl")) {
        let fix = "another kernel: it needs CONFIG_BPF_LSM";
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
