//! # What this kernel offers
//!
//! Everything the programs need to know of the running kernel, and the one line
//! that says what is missing where they cannot run.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

/// The kernel's data that the programs need, by name.
pub struct Symbols(HashMap<String, u64>);

/// The ones worth keeping of some 200,000.
const WANTED: [&str; 2] = ["page_offset_base", "sme_me_mask"];

impl Symbols {
    pub fn read() -> Result<Symbols> {
        let file = fs::File::open("/proc/kallsyms").context("/proc/kallsyms")?;
        Symbols::parse(BufReader::new(file)).context("/proc/kallsyms")
    }

    /// Line by line, and no further than the last one that is wanted: there are some 200,000.
    fn parse(mut text: impl BufRead) -> io::Result<Symbols> {
        let mut found = HashMap::new();
        let mut line = Vec::new();
        while found.len() < WANTED.len() && text.read_until(b'\n', &mut line)? != 0 {
            if let Some((name, address)) = symbol(&line) {
                found.insert(name.to_owned(), address);
            }
            line.clear();
        }
        Ok(Symbols(found))
    }

    /// An address; zeros mean that the kernel hides them.
    pub fn address(&self, name: &str) -> Result<u64> {
        match self.0.get(name) {
            Some(0) => bail!(
                "the kernel hides its addresses (kernel.kptr_restrict): \
                 `sysctl kernel.kptr_restrict=1` shows them to root"
            ),
            Some(address) => Ok(*address),
            None => {
                bail!("/proc/kallsyms has no {name}: is this an x86-64 kernel with KALLSYMS_ALL?")
            }
        }
    }
}

/// `ffffffff829ca6a8 D page_offset_base`, and `\t[module]` where it is a module's.
fn symbol(line: &[u8]) -> Option<(&'static str, u64)> {
    let line = line.trim_ascii_end();
    let name = *WANTED.iter().find(|name| line.ends_with(name.as_bytes()))?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    (words.nth(1)? == name).then_some((name, address))
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYSLOG: u64 = 1 << 34;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Refuses where the programs cannot load or would see nothing, in the order in
/// which an operator would mend it.
pub fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    check_capabilities(effective_capabilities(&status))?;
    check_bpf()?;
    if let Ok(lockdown) = fs::read_to_string("/sys/kernel/security/lockdown") {
        check_lockdown(&lockdown)?;
    }
    check_modules(Path::new("/sys/module"))
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn check_capabilities(mask: u64) -> Result<()> {
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
    if !missing.is_empty() {
        bail!("not permitted to watch the kernel: run as root, or grant {}", missing.join(", "));
    }
    Ok(())
}

/// Asks bpf(2) for something harmless.
fn check_bpf() -> Result<()> {
    match super::bpf::probe() {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            bail!("this kernel has no BPF: it needs CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS")
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            bail!(
                "bpf(2) is refused though the capabilities are there: \
                 a seccomp profile or kernel.unprivileged_bpf_disabled stands in the way"
            )
        }
        Err(error) => Err(error).context("bpf(2)"),
    }
}

fn check_lockdown(lockdown: &str) -> Result<()> {
    if lockdown.contains("[confidentiality]") {
        bail!(
            "the kernel is locked down (confidentiality), which keeps BPF programs from reading \
             kernel memory: boot with lockdown=integrity or none"
        );
    }
    Ok(())
}

fn check_modules(modules: &Path) -> Result<()> {
    for (module, what) in [("kvm_amd", "KVM on AMD"), ("ccp", "the secure processor's driver")] {
        if !modules.join(module).exists() {
            bail!(
                "{module} ({what}) is not loaded: `modprobe {module}`, if this is an AMD EPYC host"
            );
        }
    }
    let parameter = modules.join("kvm_amd/parameters/sev_snp");
    match fs::read_to_string(&parameter) {
        Ok(value) if value.trim() == "Y" || value.trim() == "1" => Ok(()),
        Ok(value) => bail!(
            "{} is {}: this host cannot run SNP guests (enable SEV-SNP in the firmware's setup, \
             IOMMU on, kvm_amd sev_snp=1)",
            parameter.display(),
            value.trim()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("this kernel's kvm_amd knows no SNP: it needs Linux 6.11 or later")
        }
        Err(error) => Err(error).with_context(|| format!("{}", parameter.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_their_whole_name() {
        let symbols = Symbols::parse(
            &b"ffffffffa0001000 D sme_me_mask\n\
             ffffffffa0002000 t sme_me_mask.cold\t[kvm_amd]\n\
             0000000000000000 D page_offset_base\n"[..],
        )
        .unwrap();
        assert_eq!(symbols.address("sme_me_mask").unwrap(), 0xffff_ffff_a000_1000);
        assert!(symbols.address("page_offset_base").unwrap_err().to_string().contains("kptr"));
        assert!(Symbols::parse(&b""[..]).unwrap().address("sme_me_mask").is_err());
    }

    #[test]
    fn capabilities_name_what_is_missing() {
        assert!(check_capabilities(u64::MAX).is_ok());
        assert!(check_capabilities(CAP_BPF | CAP_PERFMON | CAP_SYSLOG).is_ok());
        assert!(check_capabilities(CAP_SYS_ADMIN | CAP_SYSLOG).is_ok());
        let message = check_capabilities(CAP_BPF).unwrap_err().to_string();
        assert!(message.ends_with("grant CAP_PERFMON, CAP_SYSLOG"), "{message}");
        assert_eq!(
            effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            0x1ff_ffff_ffff
        );
    }

    #[test]
    fn lockdown_refuses_only_confidentiality() {
        assert!(check_lockdown("[none] integrity confidentiality\n").is_ok());
        assert!(check_lockdown("none [integrity] confidentiality\n").is_ok());
        assert!(check_lockdown("none integrity [confidentiality]\n").is_err());
    }

    #[test]
    fn modules_are_checked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let check = || check_modules(folder.path()).map_err(|error| error.to_string());
        assert!(check().unwrap_err().starts_with("kvm_amd"));
        fs::create_dir_all(folder.path().join("kvm_amd/parameters")).unwrap();
        assert!(check().unwrap_err().starts_with("ccp"));
        fs::create_dir(folder.path().join("ccp")).unwrap();
        assert!(check().unwrap_err().contains("6.11"));
        let parameter = folder.path().join("kvm_amd/parameters/sev_snp");
        fs::write(&parameter, "N\n").unwrap();
        assert!(check().unwrap_err().contains("cannot run SNP guests"));
        fs::write(&parameter, "Y\n").unwrap();
        assert!(check().is_ok());
    }
}
