//! # Kernel requirements
//!
//! One function for each condition, used by the agent's start and by `guestreq doctor`.

pub mod bpf_syscall;
pub mod log;
mod modules;
mod permitted;
mod release;
pub mod snp;
pub mod symbols;
mod types;

use anyhow::{Context as _, Result};
pub use modules::{is_built_in, module};
pub use permitted::{bpf, is_filtered, paranoid, perf_events};
pub use release::{built_with_sev, clang, installed, is_new_enough, version};
pub use snp::sev_snp;
pub use symbols::{DATA, Symbols};
pub use types::{FILE as BTF, LIVE_OF_SIGNAL, SIGNAL_OF_TASK, Types};

use crate::host::system::{self, Missing, System};

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_NICE: u64 = 1 << 23;
const CAP_SYSLOG: u64 = 1 << 34;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Modules that SNP guests need.
pub const MODULES: [&str; 2] = ["kvm_amd", "ccp"];

/// Fails if the programs cannot load or would see nothing. Checks in the order in which an operator
/// would fix it.
pub fn check() -> Result<()> {
    let system = system::host();
    let mask = effective_capabilities(system)?;
    capabilities(mask)?;
    bpf(system, bpf_syscall::probe())?;
    lockdown(system)?;
    for name in MODULES {
        module(system, name)?;
    }
    // Without the kernel's log the reason is less exact.
    sev_snp(system, || log::read().unwrap_or_default())?;
    if let Err(missing) = realtime_priority(mask) {
        ::log::warn!("{missing}");
    }
    Ok(())
}

/// The capabilities of this process.
pub fn effective_capabilities(system: &System) -> Result<u64> {
    let status = system.read("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Ok(line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

pub fn capabilities(mask: u64) -> Result<(), Missing> {
    // CAP_SYS_ADMIN implies BPF and PERFMON, but not SYSLOG.
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
    Err(Missing::new("missing capabilities", fix))
}

/// CAP_SYS_NICE, which is optional.
pub fn realtime_priority(mask: u64) -> Result<(), Missing> {
    if mask & CAP_SYS_NICE != 0 {
        return Ok(());
    }
    Err(Missing::new(
        "a request may be missed (and counted as missed) while a VM starts or exits on its CPU, \
         and busy vCPUs delay the agent",
        "grant CAP_SYS_NICE",
    ))
}

/// BTF, which LSM programs need.
pub fn btf(system: &System) -> Result<(), Missing> {
    if system.exists(BTF) { Ok(()) } else { Err(no_btf()) }
}

pub fn no_btf() -> Missing {
    Missing::new("the kernel has no BTF", "it needs CONFIG_DEBUG_INFO_BTF")
}

/// Passes without securityfs, as it is unknown then.
pub fn lockdown(system: &System) -> Result<(), Missing> {
    match system.read("/sys/kernel/security/lockdown") {
        Ok(levels) if levels.contains("[confidentiality]") => Err(Missing::new(
            "the kernel is locked down (confidentiality): BPF programs cannot read kernel memory",
            "boot with lockdown=integrity or none",
        )),
        _ => Ok(()),
    }
}

/// Whether BPF LSM programs run. Passes without securityfs: the self-test will show it.
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
