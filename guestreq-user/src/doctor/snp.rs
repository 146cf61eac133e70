//! # The SNP host

mod mitigations;

use std::time::Duration;

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
        needed: "KVM on AMD, through which guests ask: `modprobe kvm_amd`, with SVM on in the firmware's setup. A CPU of Intel's, or an AMD one before EPYC 7003, is none for SNP. A kernel that has it without SEV, as Debian's cloud flavours, cannot host SNP guests.",
        docs: HOST,
        look: |host| module(host, "kvm_amd"),
    },
    Check {
        id: "sev_snp",
        title: "SEV-SNP in KVM",
        needed: "kvm_amd's `sev_snp` is Y where KVM can run SNP guests. Why not is told by /proc/cmdline and modprobe.d, /proc/cpuinfo, the IOMMU in /sys, misc.capacity and the kernel's log, where they show it: in the firmware's setup SMEE, SEV-SNP, SNP memory coverage for the RMP, and a \"SEV-ES ASID space limit\" above 1; the IOMMU on and not in passthrough mode (no `iommu=pt`); `kvm_amd sev_snp=1`; firmware of API 1.51.",
        docs: HOST,
        look: sev_snp,
    },
    Check {
        id: "ccp",
        title: "ccp",
        needed: "The PSP's driver, on which requests are counted: `modprobe ccp`. A kernel without it, as Debian's cloud flavours, cannot host SNP guests.",
        docs: HOST,
        look: |host| module(host, "ccp"),
    },
    Check {
        id: "dev_sev",
        title: "/dev/sev",
        needed: "ccp makes it where a PSP knows SEV, which SMEE and SEV in the firmware's setup decide, and answers ccp's first command: one that refuses it wants newer firmware.",
        docs: HOST,
        look: dev_sev,
    },
    Check {
        id: "psp",
        title: "PSP",
        needed: "It answers a status command within 5 s, which waits its turn behind the others. One that hangs while nobody updates its firmware needs the host to be powered off and on.",
        docs: HOST,
        look: psp,
    },
    Check {
        id: "firmware",
        title: "PSP firmware",
        needed: "SNP firmware of API 1.51 or later, initialised: update the host's firmware (or linux-firmware's amd/ files).",
        docs: HOST,
        look: firmware,
    },
    Check {
        id: "mitigations",
        title: "Mitigations",
        needed: "Where kernel and firmware tell (/sys/firmware/sev/vulnerabilities): each mitigation that the firmware supports is verified. What a bit means, and what has to be done before it is written, is in AMD's Security Bulletins.",
        docs: HOST,
        look: mitigations,
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
        return Finding::pass("is there");
    }
    // Copies of links may lead nowhere.
    let known = host.system.list("/sys/class/misc").iter().any(|name| name == "sev");
    if known && host.system.is_collected() {
        return Finding::pass("ccp has made it");
    }
    if known {
        return Finding::skip("the host has it, this container has not, and needs it for nothing");
    }
    const NONE: &str = "ccp has made no /dev/sev";
    match snp::refusal(&host.log) {
        Some(line) => Finding::fail(
            format!("{NONE}: the PSP refused its first commands, the kernel's log has \"{line}\""),
            snp::REFUSED,
        ),
        None => Finding::fail(
            format!("{NONE}: SEV is off, or the PSP refused ccp's first command"),
            format!(
                "`dmesg | grep ccp` says which: enable SMEE and SEV in the firmware's setup; or, \
                 after \"failed to get status\", {}",
                snp::REFUSED
            ),
        ),
    }
}

/// Why the PSP is not asked.
fn unasked(host: &Host<'_>) -> Option<Finding> {
    if kernel::module(&host.system, "kvm_amd").is_err() || host.sev_snp().is_err() {
        // Some kernels would initialise it for the question.
        return Some(Finding::skip("KVM does not use the PSP: asking might change its state"));
    }
    if !host.system.exists("/dev/sev") {
        return Some(Finding::skip("no /dev/sev here to ask it through"));
    }
    None
}

fn psp(host: &Host<'_>) -> Finding {
    let holder = host.agent().and_then(|agent| agent.holder.as_ref());
    if let Some(holder) = holder.filter(|holder| holder.seconds > PSP_TIMEOUT.as_secs_f64()) {
        return held(&holder.command, holder.seconds);
    }
    if let Some(unasked) = unasked(host) {
        return unasked;
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
            "ccp has given it up, as it did not answer a command in time, or did not bear an update of \
             its firmware",
            "if `dmesg | grep ccp` asks to roll back, load the firmware that it had; else power the host \
             off and on: no guest request is answered before",
        ),
        Some(libc::ENOTTY | libc::EINVAL) => {
            Finding::skip(format!("ccp does not tell its status ({error})"))
        }
        _ => Finding::fail(
            format!("does not tell its status ({error})"),
            "`dmesg | grep ccp` says why",
        ),
    }
}

/// An update that ccp waits for in vain, and that may have succeeded all the same, takes its
/// time-out: 100 s, unless it was told otherwise.
const UPDATE: Duration = Duration::from_secs(120);

fn held(command: &str, seconds: f64) -> Finding {
    let what = format!("{command} has held it for {seconds:.0} s");
    let updates = command == command_name(SNP_DOWNLOAD_FIRMWARE_EX);
    if !updates || seconds > UPDATE.as_secs_f64() {
        return hangs(what);
    }
    Finding::warn(
        format!("{what}: its firmware is being updated"),
        "wait: that may take until ccp's time-out, 100 s by default; then look again",
    )
}

fn hangs(what: String) -> Finding {
    Finding::fail(
        format!("{what}: it hangs, or its queue is that long"),
        "`guestreq psp` tells who has it; one that hangs, and not for an update of its firmware, needs \
         the host powered off and on",
    )
}

fn firmware(host: &Host<'_>) -> Finding {
    if let Some(unasked) = unasked(host) {
        return unasked;
    }
    // Not asked again by a PSP that hangs: the answer is remembered.
    if psp(host).state != super::State::Pass {
        return Finding::skip("the PSP has not told");
    }
    let Ok(Platform { api_major, api_minor, state, build, .. }) = *host.platform() else {
        return Finding::skip("the PSP has not told");
    };
    let version = format!("API {api_major}.{api_minor}, build {build}");
    let oldest = snp::OLDEST_API;
    if (u32::from(api_major), u32::from(api_minor)) < oldest {
        let least = format!("{}.{}", oldest.0, oldest.1);
        return Finding::fail(
            format!("{version}: Linux wants {least} or later"),
            "update the host's firmware",
        );
    }
    if state == 0 {
        return Finding::fail(
            format!("{version}, not initialised for SNP"),
            "`dmesg | grep -i -e sev -e ccp` says why; enable SEV-SNP and the IOMMU in the firmware's setup",
        );
    }
    Finding::pass(version)
}
