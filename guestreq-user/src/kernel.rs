//! # What this kernel offers
//!
//! Everything the programs need of the running kernel, one function for each
//! condition: the agent's refusal and `guestreq doctor` are the same code.

pub mod bpf_syscall;
pub mod log;
mod modules;
mod permitted;
mod release;
pub mod snp;
mod symbols;
mod types;

use anyhow::{Context as _, Result};
pub use modules::module;
pub use permitted::{bpf, is_filtered, paranoid, perf_events};
pub use release::{built_with_sev, installed, is_new_enough, version};
pub use snp::sev_snp;
pub use symbols::{DATA, Symbols};
pub use types::{FILE as BTF, Types};

use crate::host::system::{self, Missing, System};

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
    bpf(system, bpf_syscall::probe())?;
    lockdown(system)?;
    for name in MODULES {
        module(system, name)?;
    }
    // Where the log may not be read, less is said.
    sev_snp(system, || log::read().unwrap_or_default())?;
    if let Err(missing) = undisturbed(mask) {
        ::log::warn!("{missing}");
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
        Ok(lsms) if lsms.is_empty() => Ok(()),
        Ok(lsms) if !lsms.split(',').any(|lsm| lsm.trim() == "bpf") => Err(Missing::new(
            "this kernel runs no BPF LSM programs",
            format!("boot with lsm={lsms},bpf on the kernel's command line"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
