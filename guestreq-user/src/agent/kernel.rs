//! # What this kernel offers
//!
//! Everything the programs need of the running kernel, one function for each
//! condition: the agent's refusal and `guestreq doctor` are the same code.

mod modules;
mod symbols;
mod types;

use std::io;

use anyhow::{Context as _, Result};
use log::warn;
pub use modules::{installed, is_new_enough, module, version};
pub use symbols::{DATA, Symbols};
pub use types::{FILE as BTF, Types};

use crate::system::{self, Missing, System};

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_NICE: u64 = 1 << 23;
const CAP_SYSLOG: u64 = 1 << 34;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Modules that SNP guests need.
pub const MODULES: [&str; 2] = ["kvm_amd", "ccp"];

/// Refuses where the programs cannot load or would see nothing, in the order in
/// which an operator would mend it.
pub fn check() -> Result<()> {
    let system = system::host();
    let mask = effective_capabilities(system)?;
    capabilities(mask)?;
    bpf(super::bpf::probe())?;
    lockdown(system)?;
    for name in MODULES {
        module(system, name)?;
    }
    sev_snp(system)?;
    if let Err(missing) = undisturbed(mask) {
        warn!("{missing}");
    }
    Ok(())
}

/// Those that this process has.
pub fn effective_capabilities(system: &System) -> Result<u64> {
    let status = system.read("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Ok(line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

pub fn capabilities(mask: u64) -> Result<(), Missing> {
    // CAP_SYS_ADMIN stands for BPF and PERFMON, but not for SYSLOG.
    let missing: Vec<&str> = [
        (CAP_BPF | CAP_SYS_ADMIN, "CAP_BPF"),
        (CAP_PERFMON | CAP_SYS_ADMIN, "CAP_PERFMON"),
        (CAP_SYSLOG, "CAP_SYSLOG"),
    ]
    .iter()
    .filter(|(any, _)| mask & any == 0)
    .map(|(_, name)| *name)
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let fix = format!("run as root, or grant {}", missing.join(", "));
    Err(Missing::new("not permitted to watch the kernel", fix))
}

/// What it does without, and what that costs.
pub fn undisturbed(mask: u64) -> Result<(), Missing> {
    if mask & CAP_SYS_NICE != 0 {
        return Ok(());
    }
    Err(Missing::new(
        "a request may be missed, and counted as such, while a VM comes or goes on its CPU",
        "grant CAP_SYS_NICE",
    ))
}

/// Whether kprobes may be attached. Debian and Ubuntu have values above 2, at which their kernels ask
/// for CAP_SYS_ADMIN, and not for CAP_PERFMON as others do.
pub fn perf_events(system: &System, mask: u64) -> Result<(), Missing> {
    const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
    let level = system.read(PARANOID).ok().and_then(|level| level.parse::<i32>().ok());
    match level {
        Some(level) if level > 2 && mask & CAP_SYS_ADMIN == 0 => Err(Missing::new(
            format!(
                "kernel.perf_event_paranoid is {level}, at which Debian's and Ubuntu's kernels \
                 keep kprobes from who has no CAP_SYS_ADMIN"
            ),
            "`sysctl kernel.perf_event_paranoid=2` on the host, or grant CAP_SYS_ADMIN",
        )),
        _ => Ok(()),
    }
}

/// What bpf(2) answered when it was asked for something harmless.
pub fn bpf(answer: io::Result<()>) -> Result<(), Missing> {
    let Err(error) = answer else { return Ok(()) };
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) => Missing::new(
            "this kernel has no BPF",
            "it needs CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS",
        ),
        Some(libc::EPERM) => Missing::new(
            "bpf(2) is refused though the capabilities are there",
            "a seccomp profile or kernel.unprivileged_bpf_disabled stands in the way",
        ),
        _ => Missing::new("bpf(2) does not work", error.to_string()),
    })
}

/// What LSM programs are checked against.
pub fn btf(system: &System) -> Result<(), Missing> {
    if system.exists(BTF) { Ok(()) } else { Err(no_btf()) }
}

pub fn no_btf() -> Missing {
    Missing::new("the kernel has no BTF", "it needs CONFIG_DEBUG_INFO_BTF")
}

/// Without securityfs it cannot be told.
pub fn lockdown(system: &System) -> Result<(), Missing> {
    match system.read("/sys/kernel/security/lockdown") {
        Ok(levels) if levels.contains("[confidentiality]") => Err(Missing::new(
            "the kernel is locked down (confidentiality), which keeps BPF programs from reading \
             kernel memory",
            "boot with lockdown=integrity or none",
        )),
        _ => Ok(()),
    }
}

/// Whether BPF LSM programs run. Without securityfs it cannot be told; trying it can.
pub fn lsm(system: &System) -> Result<(), Missing> {
    match system.read("/sys/kernel/security/lsm") {
        Ok(lsms) if !lsms.split(',').any(|lsm| lsm == "bpf") => Err(Missing::new(
            "this kernel runs no BPF LSM programs",
            format!("boot with lsm={lsms},bpf on the kernel's command line"),
        )),
        _ => Ok(()),
    }
}

/// Whether KVM can run SNP guests; of a kvm_amd that is loaded.
pub fn sev_snp(system: &System) -> Result<(), Missing> {
    const PARAMETER: &str = "/sys/module/kvm_amd/parameters/sev_snp";
    match system.read(PARAMETER) {
        Ok(value) if value == "Y" || value == "1" => Ok(()),
        Ok(value) => Err(Missing::new(
            format!("{PARAMETER} is {value}, so that this host cannot run SNP guests"),
            "enable SEV-SNP in the firmware's setup, IOMMU on, kvm_amd sev_snp=1",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(modules::kvm_amd_without_snp(system))
        }
        Err(error) => Err(Missing::new(PARAMETER, error.to_string())),
    }
}

#[cfg(test)]
mod tests;
