//! # What the CPU lacks or has disabled
//!
//! The kernel clears flags of features disabled in the firmware's setup (`early_detect_mem_encrypt`
//! and `bsp_determine_snp` in arch/x86/kernel/cpu/amd.c).

use super::Signs;
use crate::host::system::Missing;

/// Zen 3: EPYC 7003.
const FIRST_FAMILY: u32 = 0x19;

pub struct Cpu {
    vendor: String,
    family: Option<u32>,
    flags: Vec<String>,
}

impl Cpu {
    /// The first one.
    pub fn of(signs: &Signs<'_>) -> Option<Cpu> {
        let text = signs.system.read("/proc/cpuinfo").ok()?;
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        Some(Cpu {
            vendor: field("vendor_id")?,
            family: field("cpu family").and_then(|family| family.parse().ok()),
            flags: field("flags")?.split_whitespace().map(str::to_owned).collect(),
        })
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|it| it == flag)
    }
}

pub fn unfit(signs: &Signs<'_>) -> Option<Missing> {
    const FIX: &str = "an AMD EPYC 7003 (Milan) or later";
    let cpu = Cpu::of(signs)?;
    if cpu.vendor != "AuthenticAMD" {
        return Some(Missing::new(format!("its CPU is {}, which has no SNP", cpu.vendor), FIX));
    }
    if cpu.has("hypervisor") {
        let what = "it is a virtual machine itself, which has no PSP";
        return Some(Missing::new(what, "look at the machine that it runs on"));
    }
    let family = cpu.family.filter(|family| *family < FIRST_FAMILY)?;
    Some(Missing::new(format!("its CPU, of family {family}, has no SNP"), FIX))
}

/// Why loading an AMD module is useless; `None` if unknown.
///
/// A VM with SVM may have more, as in some clouds.
pub fn of_no_use(signs: &Signs<'_>, module: &str) -> Option<Missing> {
    let cpu = Cpu::of(signs)?;
    match (cpu.has("svm"), cpu.has("hypervisor")) {
        (true, true) => None,
        (false, false) if module == "kvm_amd" => unfit(signs).or_else(|| {
            let what = "its CPU's virtualisation is off, /proc/cpuinfo has no svm";
            Some(Missing::new(what, "SVM in the firmware's setup"))
        }),
        _ => unfit(signs),
    }
}

pub fn encryption_off(signs: &Signs<'_>) -> Option<Missing> {
    let cpu = Cpu::of(signs)?;
    match (cpu.has("sme"), cpu.has("sev")) {
        (_, true) => None,
        (false, false) => Some(Missing::new(
            "memory encryption is off, /proc/cpuinfo has neither sme nor sev",
            "SMEE in the firmware's setup, which is another setting than TSME; if it is on, \
             another CPU: Ryzen has no SEV",
        )),
        (true, false) => Some(Missing::new(
            "SEV is off, /proc/cpuinfo has sme but not sev",
            "SEV in the firmware's setup; if it is on, another CPU: Ryzen has no SEV",
        )),
    }
}
