//! # Whether KVM can run SNP guests, and if not, why
//!
//! kvm_amd's parameter `sev_snp` shows whether (`sev_hardware_setup` in arch/x86/kvm/svm/sev.c).
//! Causes are mostly in the firmware's setup, and several may apply: each that is found is named
//! with its fix.

mod asids;
mod cpu;
mod firmware;
mod iommu;
mod kvm;
mod options;

use std::io;

pub use asids::Asids;
pub use firmware::{OLDEST as OLDEST_API, REFUSED, refusal};

use super::{log, release};
use crate::host::system::{Missing, System};

pub const PARAMETER: &str = "/sys/module/kvm_amd/parameters/sev_snp";

/// The fix if no cause is found.
const ALL: &str = "in the firmware's setup SMEE, SEV-SNP, SNP memory coverage (for the RMP) and an \
                   ASID space for SEV-ES; IOMMU on, and not in passthrough mode (no iommu=pt, \
                   iommu=off or amd_iommu=off on the kernel's command line); kvm_amd sev_snp=1; \
                   PSP firmware of API 1.51 or later; `dmesg | grep -i -e snp -e rmp -e ccp` says more";

/// Where the causes show.
struct Signs<'a> {
    system: &'a System,
    /// The kernel's log, empty if it may not be read.
    log: &'a str,
}

impl Signs<'_> {
    /// A parameter of kvm_amd; `None` if there is none of that name.
    fn parameter(&self, name: &str) -> Option<bool> {
        let value = self.system.read(&format!("/sys/module/kvm_amd/parameters/{name}")).ok()?;
        Some(is_on(&value))
    }

    fn log_has(&self, parts: &[&str]) -> Option<&str> {
        log::find(self.log, parts)
    }
}

/// Causes that can be fixed on a CPU with SNP.
const CAUSES: &[fn(&Signs<'_>) -> Option<Missing>] = &[
    options::switched_off,
    cpu::encryption_off,
    firmware::rmp,
    iommu::off_or_passthrough,
    iommu::without_snp,
    kvm::asids,
    kvm::others,
    firmware::refused,
    firmware::old,
];

/// Whether the loaded kvm_amd supports SNP, even if this host cannot run SNP guests.
pub fn is_known(system: &System) -> bool {
    system.exists(PARAMETER)
}

/// Whether KVM can run SNP guests, given that kvm_amd is loaded. The kernel's log is read only to
/// explain why not, and may be empty.
pub fn sev_snp<L: AsRef<str>>(system: &System, log: impl FnOnce() -> L) -> Result<(), Missing> {
    match system.read(PARAMETER) {
        Ok(value) if is_on(&value) => Ok(()),
        Ok(value) if value.is_empty() => Err(Missing::new(PARAMETER, "it is empty: look at it")),
        Ok(value) => Err(cannot(&value, &Signs { system, log: log().as_ref() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(release::kvm_amd_without_snp(system))
        }
        Err(error) => Err(Missing::new(PARAMETER, error.to_string())),
    }
}

/// What contradicts `sev_snp=Y`: SNP guests are SEV-ES guests.
pub fn contradiction(system: &System) -> Option<Missing> {
    let signs = Signs { system, log: "" };
    (signs.parameter("sev_es") == Some(false)).then(|| {
        Missing::new(
            "sev_snp is Y, but sev_es is N, without which no SNP guest starts",
            format!("{}; {ALL}", kvm::ASIDS),
        )
    })
}

/// Why loading an AMD module is useless, by /proc/cpuinfo.
pub fn of_no_use(system: &System, module: &str) -> Option<Missing> {
    cpu::of_no_use(&Signs { system, log: "" }, module)
}

fn cannot(value: &str, signs: &Signs<'_>) -> Missing {
    let what = format!("{PARAMETER} is {value}, so that this host cannot run SNP guests");
    if let Some(Missing { what: why, fix }) = cpu::unfit(signs) {
        return Missing::new(format!("{what}: {why}"), fix);
    }
    let causes: Vec<Missing> = CAUSES.iter().filter_map(|cause| cause(signs)).collect();
    if causes.is_empty() {
        let why = firmware::hint(signs).map(|line| format!(": the kernel's log has \"{line}\""));
        return Missing::new(format!("{what}{}", why.unwrap_or_default()), ALL);
    }
    let join = |part: fn(&Missing) -> &str| causes.iter().map(part).collect::<Vec<_>>().join("; ");
    let (why, fix) = (join(|cause| &cause.what), join(|cause| &cause.fix));
    Missing::new(format!("{what}: {why}"), format!("{fix}; if it stays {value}: {ALL}"))
}

/// As the kernel shows an enabled parameter, and as it accepts one.
fn is_on(value: &str) -> bool {
    value == "Y" || value.parse::<u32>().is_ok_and(|number| number != 0)
}
