//! # Whether the kernel hosts SNP guests

use std::path::Path;

use crate::{
    doctor::{Finding, Host, collected},
    kernel::{self, snp},
};

/// The release does not show backports; the parameter of kvm_amd does.
pub fn version(host: &Host<'_>) -> Finding {
    let release = &host.kernel;
    let Some(version) = kernel::version(release) else {
        return Finding::skip(format!("cannot parse the version {release:?}"));
    };
    if kernel::is_new_enough(version) {
        return Finding::pass(release.clone());
    }
    const FIX: &str = "Linux 6.11 or later";
    let no = || Finding::fail(format!("{release} does not host SNP guests"), FIX);
    let untested = |why: &str| Finding::warn(format!("{release} {why}, but was never tested"), FIX);
    if snp::is_known(&host.system) {
        return untested("has a kvm_amd with SNP");
    }
    if host.system.exists("/sys/module/kvm_amd") {
        if let Some(unknown) = collected::parameters(&host.system) {
            return Finding::skip(unknown);
        }
        return no();
    }
    match (parameter_of_file(host), kernel::built_with_sev(&host.system, release)) {
        (Some(true), _) => untested("has a kvm_amd with SNP, not loaded yet"),
        (Some(false), _) | (None, Some(false)) => no(),
        (None, _) if snp::of_no_use(&host.system, "kvm_amd").is_some() => {
            Finding::skip(format!("{release}: kvm_amd is of no use on this CPU"))
        }
        (None, _) => Finding::warn(
            format!(
                "{release} hosts SNP guests only if its distribution backported that: load kvm_amd \
                 to find out"
            ),
            format!("`modprobe kvm_amd`, if this is an AMD EPYC host; else {FIX}"),
        ),
    }
}

/// Whether kvm_amd's file has the parameter; `None` if unreadable.
fn parameter_of_file(host: &Host<'_>) -> Option<bool> {
    let file = kernel::installed(&host.system, &host.kernel, "kvm_amd")?;
    let file = host.system.path(&file);
    let text = host.live.modinfo(Path::new(&file)).ok()?;
    let mut parameters = text.lines().filter_map(|line| line.strip_prefix("parm:"));
    Some(parameters.any(|it| it.trim().split(':').next() == Some("sev_snp")))
}
