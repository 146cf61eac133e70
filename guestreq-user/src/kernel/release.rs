//! # Build options and modules of the running kernel

use crate::host::system::{Missing, System};

/// The first that hosts SNP guests.
const FIRST_HOST: (u32, u32) = (6, 11);

/// How the running kernel offers a module, by its files.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer {
    BuiltIn,
    Loadable,
    NotThere,
    /// Unknown, as in a container without the host's files.
    Unknown,
}

/// Why a loaded kvm_amd has no `sev_snp`.
pub fn kvm_amd_without_snp(system: &System) -> Missing {
    let release = release(system);
    match built_with_sev(system, &release) {
        Some(false) => no_host(&release),
        _ => Missing::new("this kernel's kvm_amd knows no SNP", "it needs Linux 6.11 or later"),
    }
}

pub fn no_host(release: &str) -> Missing {
    Missing::new(
        format!(
            "this kernel, {release}, cannot host SNP guests: it was built without SEV in KVM, or \
             without ccp"
        ),
        "boot one with CONFIG_KVM_AMD_SEV and CONFIG_CRYPTO_DEV_SP_PSP: on Debian \
         linux-image-amd64, and not linux-image-cloud-amd64",
    )
}

pub fn release(system: &System) -> String {
    system.read("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Major and minor number, by which kernels are compared.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The version of clang that compiled the running kernel, if it did; see linux_proc_banner in
/// init/version-timestamp.c.
pub fn clang(system: &System) -> Option<u32> {
    let banner = system.read("/proc/version").ok()?;
    let (_, version) = banner.split_once("clang version ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether a kernel of this version can be built to host SNP guests.
pub fn is_new_enough(version: (u32, u32)) -> bool {
    version >= FIRST_HOST
}

/// Whether KVM was built to run SEV guests, which includes ccp (arch/x86/kvm/Kconfig); `None` if
/// unknown.
pub fn built_with_sev(system: &System, release: &str) -> Option<bool> {
    // /proc/config.gz would need a decompressor: the rest of this shows nearly as much.
    let paths = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    if let Some(config) = paths.iter().find_map(|path| system.read(path).ok()) {
        return Some(config.lines().any(|line| line == "CONFIG_KVM_AMD_SEV=y"));
    }
    // The parameter is declared where the code is.
    let kvm_amd_without = system.exists("/sys/module/kvm_amd")
        && !system.exists("/sys/module/kvm_amd/parameters/sev_snp")
        && version(release).is_some_and(is_new_enough);
    let without = kvm_amd_without || offer(system, release, "ccp") == Offer::NotThere;
    without.then_some(false)
}

pub fn offer(system: &System, release: &str, name: &str) -> Offer {
    let list = |list| listed(system, release, list, name);
    match (list("modules.builtin"), list("modules.dep")) {
        (Some(Some(_)), _) => Offer::BuiltIn,
        (_, Some(Some(_))) => Offer::Loadable,
        (Some(None), Some(None)) => Offer::NotThere,
        _ => Offer::Unknown,
    }
}

/// A module's file by depmod's lists.
pub fn installed(system: &System, release: &str, name: &str) -> Option<String> {
    listed(system, release, "modules.dep", name)?
}

/// A module's file in one of depmod's lists; `None` if the list does not exist.
fn listed(system: &System, release: &str, list: &str, name: &str) -> Option<Option<String>> {
    let folder = format!("/lib/modules/{release}");
    let text = system.read(&format!("{folder}/{list}")).ok()?;
    let mut files = text.lines().filter_map(|line| line.split(':').next());
    let found = files.find(|file| {
        let file = file.rsplit('/').next().unwrap_or_default();
        file.split('.').next().map(|file| file.replace('-', "_")).as_deref() == Some(name)
    });
    let whole = |file: &str| match file.starts_with('/') {
        true => file.to_owned(),
        false => format!("{folder}/{file}"),
    };
    Some(found.map(whole))
}
