//! # The SNP host

mod capacity;
mod mitigations;

use std::time::Duration;

use capacity::capacity;
use guestreq_common::command::SNP_DOWNLOAD_FIRMWARE_EX;
use mitigations::mitigations;

use super::{
    Check, Finding, Host, collected,
    platform::{PSP_TIMEOUT, Platform, Silence},
};
use crate::{
    host::system::Missing,
    kernel::{self, snp},
    text::command_name,
};

const HOST: &str = "README.md#on-a-real-snp-host";

pub const CHECKS: &[Check] = &[
    Check {
        id: "kvm_amd",
        title: "kvm_amd",
        needed: "KVM for AMD: `modprobe kvm_amd`, with SVM enabled in the firmware's setup. SNP needs an AMD EPYC 7003 or later, and a kvm_amd with SEV, which Debian's cloud kernels lack.",
        docs: HOST,
        run: |host| module(host, "kvm_amd"),
    },
    Check {
        id: "sev_snp",
        title: "SEV-SNP in KVM",
        needed: "kvm_amd's `sev_snp` is Y if KVM can run SNP guests. That needs, in the firmware's setup, SMEE, SEV-SNP, SNP memory coverage for the RMP, and a \"SEV-ES ASID space limit\" above 1; an enabled IOMMU, not in passthrough mode (no `iommu=pt`); `kvm_amd sev_snp=1`; firmware with API 1.51. The cause is derived from /proc/cmdline, modprobe.d, /proc/cpuinfo, the IOMMU in /sys, misc.capacity and the kernel's log.",
        docs: HOST,
        run: sev_snp,
    },
    Check {
        id: "ccp",
        title: "ccp",
        needed: "The PSP's driver, where requests are counted: `modprobe ccp`. A kernel without it, such as Debian's cloud kernels, cannot host SNP guests.",
        docs: HOST,
        run: |host| module(host, "ccp"),
    },
    Check {
        id: "dev_sev",
        title: "/dev/sev",
        needed: "ccp creates it if SMEE and SEV are enabled in the firmware's setup and the PSP accepts ccp's first command; otherwise update the firmware.",
        docs: HOST,
        run: dev_sev,
    },
    Check {
        id: "psp",
        title: "PSP",
        needed: "It answers a status command, which waits in the queue, within 5 s. If it hangs and no firmware update is running, power the host off and on.",
        docs: HOST,
        run: psp,
    },
    Check {
        id: "firmware",
        title: "PSP firmware",
        needed: "SNP firmware of API 1.51 or later, initialised: update the host's firmware (or linux-firmware's amd/ files).",
        docs: HOST,
        run: firmware,
    },
    Check {
        id: "mitigations",
        title: "Mitigations",
        needed: "Each mitigation that the firmware supports is verified, if kernel and firmware report that (/sys/firmware/sev/vulnerabilities). AMD's Security Bulletins explain each bit and what to do before writing it.",
        docs: HOST,
        run: mitigations,
    },
    Check {
        id: "asids",
        title: "SNP capacity",
        needed: "Each SNP guest occupies an ASID, as do SEV-ES guests; when none is free, no further one starts (EBUSY). Warns at 90 %. The misc cgroup controller counts them (misc.capacity and misc.current of the host's root cgroup); unknown without it.",
        docs: "docs/runbooks/GuestreqAsidsNearlyExhausted.md#what-to-do",
        run: capacity,
    },
];

fn module(host: &Host<'_>, name: &str) -> Finding {
    match kernel::module(&host.system, name) {
        Ok(presence) => Finding::pass(presence.word()),
        Err(_) if host.system.is_collected() => collected::module(&host.system, name),
        Err(Missing { what, fix }) => Finding::fail(what, fix),
    }
}

fn sev_snp(host: &Host<'_>) -> Finding {
    if let Err(missing) = kernel::module(&host.system, "kvm_amd") {
        return Finding::skip(missing.what);
    }
    if let Some(unknown) = collected::parameters(&host.system) {
        return Finding::skip(unknown);
    }
    match (host.sev_snp(), snp::contradiction(&host.system)) {
        (Err(Missing { what, fix }), _) => Finding::fail(what, fix),
        (Ok(()), Some(Missing { what, fix })) => Finding::warn(what, fix),
        (Ok(()), None) => Finding::pass("sev_snp is Y"),
    }
}

fn dev_sev(host: &Host<'_>) -> Finding {
    if let Err(missing) = kernel::module(&host.system, "ccp") {
        return Finding::skip(missing.what);
    }
    if host.system.exists("/dev/sev") {
        return Finding::pass("present");
    }
    // Copied links may dangle.
    let known = host.system.list("/sys/class/misc").iter().any(|name| name == "sev");
    if known && host.system.is_collected() {
        return Finding::pass("ccp has created it");
    }
    if known {
        return Finding::skip("the host has it, this container does not need it");
    }
    const NONE: &str = "ccp has not created /dev/sev";
    match snp::refusal(&host.log) {
        Some(line) => Finding::fail(
            format!("{NONE}: the PSP refused its first commands, the kernel's log has \"{line}\""),
            snp::REFUSED,
        ),
        None => Finding::fail(
            format!("{NONE}: SEV is off, or the PSP refused ccp's first command"),
            format!(
                "see `dmesg | grep ccp`: enable SMEE and SEV in the firmware's setup; or, \
                 after \"failed to get status\", {}",
                snp::REFUSED
            ),
        ),
    }
}

/// Why the PSP is not queried, if so.
fn not_queried(host: &Host<'_>) -> Option<Finding> {
    if kernel::module(&host.system, "kvm_amd").is_err() || host.sev_snp().is_err() {
        // Some kernels would initialise it for the query.
        return Some(Finding::skip("KVM does not use the PSP: a query might change its state"));
    }
    if !host.system.exists("/dev/sev") {
        return Some(Finding::skip("no /dev/sev here"));
    }
    None
}

fn psp(host: &Host<'_>) -> Finding {
    let holder = host.agent().and_then(|agent| agent.holder.as_ref());
    if let Some(holder) = holder.filter(|holder| holder.seconds > PSP_TIMEOUT.as_secs_f64()) {
        return held(&holder.command, holder.seconds);
    }
    if let Some(not_queried) = not_queried(host) {
        return not_queried;
    }
    let error = match host.platform() {
        Ok(status) => {
            return Finding::pass(format!("answers; {} SNP guests", status.guests));
        }
        Err(Silence::TimedOut) => {
            return hangs(format!("did not answer within {} s", PSP_TIMEOUT.as_secs()));
        }
        Err(Silence::Error(error)) => error,
    };
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Finding::hidden("/dev/sev"),
        Some(libc::EBUSY) => Finding::fail(
            "ccp no longer uses it: a command timed out, or a firmware update failed",
            "if `dmesg | grep ccp` asks to roll back, load the previous firmware; else power the host \
             off and on: until then no guest request is answered",
        ),
        Some(libc::ENOTTY | libc::EINVAL) => {
            Finding::skip(format!("ccp does not report its status ({error})"))
        }
        _ => {
            Finding::fail(format!("does not report its status ({error})"), "see `dmesg | grep ccp`")
        }
    }
}

/// ccp may wait for a firmware update until its timeout, 100 s by default.
const UPDATE: Duration = Duration::from_secs(120);

fn held(command: &str, seconds: f64) -> Finding {
    let what = format!("{command} has been running for {seconds:.0} s");
    let updates = command == command_name(SNP_DOWNLOAD_FIRMWARE_EX);
    if !updates || seconds > UPDATE.as_secs_f64() {
        return hangs(what);
    }
    Finding::warn(
        format!("{what}: firmware update"),
        "wait up to ccp's timeout, 100 s by default, then check again",
    )
}

fn hangs(what: String) -> Finding {
    Finding::fail(
        format!("{what}: it hangs, or its queue is long"),
        "see `guestreq psp`; if it hangs without a firmware update, power the host off and on",
    )
}

fn firmware(host: &Host<'_>) -> Finding {
    if let Some(not_queried) = not_queried(host) {
        return not_queried;
    }
    // The answer is cached: a PSP that hangs is not queried twice.
    if psp(host).state != super::State::Pass {
        return Finding::skip("the PSP did not answer");
    }
    let Ok(Platform { api_major, api_minor, state, build, .. }) = *host.platform() else {
        return Finding::skip("the PSP did not answer");
    };
    let version = format!("API {api_major}.{api_minor}, build {build}");
    let oldest = snp::OLDEST_API;
    if (u32::from(api_major), u32::from(api_minor)) < oldest {
        let least = format!("{}.{}", oldest.0, oldest.1);
        return Finding::fail(
            format!("{version}: Linux needs {least} or later"),
            "update the host's firmware",
        );
    }
    if state == 0 {
        return Finding::fail(
            format!("{version}, not initialised for SNP"),
            "see `dmesg | grep -i -e sev -e ccp`; enable SEV-SNP and the IOMMU in the firmware's setup",
        );
    }
    Finding::pass(version)
}
