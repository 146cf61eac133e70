//! # Modules that SNP guests need, and whether this kernel has them
//!
//! A missing module may only have to be loaded, or may not exist: Debian's cloud kernels have no
//! ccp and a kvm_amd without SEV. They cannot host SNP guests, so `modprobe` must not be suggested.

use super::{
    release::{Offer, built_with_sev, no_host, offer, release},
    snp,
};
use crate::host::system::{Missing, System};

/// How a kernel has a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Loaded,
    BuiltIn,
}

impl Presence {
    pub fn word(self) -> &'static str {
        match self {
            Presence::Loaded => "loaded",
            Presence::BuiltIn => "built in",
        }
    }
}

/// A module of [`super::MODULES`].
pub fn module(system: &System, name: &str) -> Result<Presence, Missing> {
    if is_built_in(system, name) {
        return Ok(Presence::BuiltIn);
    }
    if system.exists(&format!("/sys/module/{name}")) {
        return Ok(Presence::Loaded);
    }
    let release = release(system);
    let offer = offer(system, &release, name);
    let what = if name == "ccp" { "the secure processor's driver" } else { "KVM on AMD" };
    if let Some(Missing { what: why, fix }) = snp::of_no_use(system, name) {
        return Err(Missing::new(format!("{name} ({what}) is of no use here: {why}"), fix));
    }
    match (built_with_sev(system, &release), offer) {
        (Some(false), _) => Err(no_host(&release)),
        (Some(true), Offer::NotThere) => Err(Missing::new(
            format!("{name} ({what}) is not installed for {release}, which was built with it"),
            "install the package with the rest of this kernel's modules, as Ubuntu's \
             linux-modules-extra",
        )),
        (None, Offer::NotThere) => Err(no_host(&release)),
        _ => Err(Missing::new(
            format!("{name} ({what}) is not loaded"),
            format!("`modprobe {name}`, if this is an AMD EPYC host"),
        )),
    }
}

/// Whether a module of this kernel is part of it: neither loaded nor removed, and its options only
/// on the kernel's command line.
pub fn is_built_in(system: &System, name: &str) -> bool {
    if offer(system, &release(system), name) == Offer::BuiltIn {
        return true;
    }
    // Its folder in sysfs has no more than parameters and a version. Copies may lack the rest of
    // other modules', too.
    let has = |module: &str, file: &str| system.exists(&format!("/sys/module/{module}/{file}"));
    let size_is_collected =
        || system.list("/sys/module").iter().any(|module| has(module, "coresize"));
    has(name, "")
        && !has(name, "initstate")
        && !has(name, "coresize")
        && (!system.is_collected() || size_is_collected())
}
