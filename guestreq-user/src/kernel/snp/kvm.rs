//! # Causes in kvm_amd (`sev_hardware_setup` in arch/x86/kvm/svm/sev.c)

use super::{Signs, asids, cpu::Cpu, options::setting};
use crate::{host::system::Missing, kernel::is_built_in};

pub const ASIDS: &str = "in the firmware's setup an \"SEV-ES ASID space limit\" (Dell: \"minimum SEV \
                         non-ES ASID\") of more than 1, as 100";

/// ASIDs below the setup's limit are for SEV-ES and SNP guests; by default there are none.
pub fn asids(signs: &Signs<'_>) -> Option<Missing> {
    let capacity = asids::root(signs.system)
        .and_then(|root| signs.system.read(&format!("{root}/misc.capacity")).ok());
    // None is not listed, as a rule.
    let listed = |text: &String, name: &str| {
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name) && words.next().is_some_and(|number| number != "0")
        })
    };
    let none = match capacity {
        Some(text) if listed(&text, "sev") => !listed(&text, "sev_es"),
        _ => {
            let cpu_may = Cpu::of(signs).is_none_or(|cpu| cpu.has("sev_es"));
            let is_wanted = !super::options::is_off(signs, "sev_es");
            let sev_alone =
                signs.parameter("sev") == Some(true) && signs.parameter("sev_es") == Some(false);
            (sev_alone && cpu_may && is_wanted)
                || signs.log_has(&["SEV-ES", "(ASIDs 0 - 0)"]).is_some()
        }
    };
    none.then(|| Missing::new("there are no ASIDs for SEV-ES and SNP guests", ASIDS))
}

pub fn others(signs: &Signs<'_>) -> Option<Missing> {
    let off = |what: &str, fix: String| Some(Missing::new(what, fix));
    let cpu_may = Cpu::of(signs).is_some_and(|cpu| cpu.has("sev"));
    let is_off = super::options::is_off(signs, "sev");
    if signs.parameter("sev") == Some(false) && cpu_may && !is_off {
        let fix = match is_built_in(signs.system, "kvm_amd") {
            true => {
                "see `dmesg | grep -i -e sev -e ccp`: built in, it needs ccp to start before it"
            }
            false => {
                "load kvm_amd with sev=1 (`grep -r kvm_amd /etc/modprobe.d` shows what disables \
                 it), and after ccp"
            }
        };
        return off("kvm_amd runs without SEV altogether, although the CPU has it", fix.to_owned());
    }
    if signs.parameter("npt") == Some(false) {
        return off("kvm_amd runs without nested paging (npt)", setting(signs, "kvm_amd", "npt=1"));
    }
    if signs.parameter("lbrv") == Some(false) {
        return off(
            "kvm_amd runs without lbrv, which SEV-ES needs",
            setting(signs, "kvm_amd", "lbrv=1"),
        );
    }
    let mmio_caching = signs.system.read("/sys/module/kvm/parameters/mmio_caching");
    if mmio_caching.is_ok_and(|value| !super::is_on(&value)) {
        let fix = setting(signs, "kvm", "mmio_caching=1");
        return off("kvm runs without mmio_caching, which SEV-ES needs", fix);
    }
    None
}
