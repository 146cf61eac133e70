//! # The installed module

use super::{
    is_loaded,
    modinfo::{self, ModuleFile},
};
use crate::{
    doctor::{Finding, Host},
    enforce::gate::MODULE,
    host::system::Missing,
    kernel,
};

pub fn installed(host: &Host<'_>) -> Finding {
    if let Some(hidden) = hidden(host) {
        return hidden;
    }
    let release = &host.kernel;
    if let Some(file) = modinfo::installed(host, release) {
        return Finding::pass(file);
    }
    let elsewhere = modinfo::elsewhere(host);
    let others = match elsewhere.as_slice() {
        [] => String::new(),
        others => format!(", only for {}", others.join(", ")),
    };
    // gcc does not have the options of a kernel that clang compiled.
    let compiler = kernel::clang(&host.system).map_or_else(String::new, |version| {
        format!(" and clang, lld and llvm, best of version {version}, which compiled this kernel")
    });
    let fix = format!(
        "install this kernel's headers{compiler}, then `dkms install guestreq-gate/{} -k {release}`",
        env!("CARGO_PKG_VERSION")
    );
    let what = format!("not installed for {release}{others}");
    if is_loaded(host) {
        return Finding::warn(format!("{what}: loaded, but not after the next boot"), fix);
    }
    host.for_enforcing(Missing::new(what, fix))
}

/// Containers do not see the host's modules.
fn hidden(host: &Host<'_>) -> Option<Finding> {
    let seen = host.system.exists("/lib/modules");
    (!seen).then(|| Finding::skip("no /lib/modules here (container?): run on the host"))
}

/// The installed file, or why it cannot be checked.
pub fn file(host: &Host<'_>) -> Result<(String, ModuleFile), Finding> {
    if let Some(hidden) = hidden(host) {
        return Err(hidden);
    }
    let Some(file) = modinfo::installed(host, &host.kernel) else {
        return Err(Finding::skip("not installed for this kernel"));
    };
    match modinfo::read(host, &file) {
        Ok(info) => Ok((file, info)),
        Err(error) => Err(Finding::skip(format!("{error:#}"))),
    }
}

/// Why the kernel loads only signed modules, if it does.
fn wants_signatures(host: &Host<'_>) -> Option<&'static str> {
    let parameter = host.system.read("/sys/module/module/parameters/sig_enforce");
    if parameter.is_ok_and(|value| value == "Y") {
        return Some("module.sig_enforce is on");
    }
    let lockdown = host.system.read("/sys/kernel/security/lockdown").unwrap_or_default();
    let locked = lockdown.contains('[') && !lockdown.contains("[none]");
    locked.then_some("the kernel is locked down (Secure Boot)")
}

pub fn signed(host: &Host<'_>) -> Finding {
    let wants = wants_signatures(host);
    match (file(host), wants) {
        (_, Some(why)) if is_loaded(host) => {
            Finding::pass(format!("loaded, although {why}: its signature is trusted"))
        }
        (Err(finding), _) => finding,
        (Ok((_, info)), Some(why)) if !info.signed => host.for_enforcing(Missing::new(
            format!("not signed, and {why}"),
            "sign it, and enroll the key: `mokutil --import /var/lib/dkms/mok.pub`, reboot",
        )),
        (Ok(_), Some(why)) => Finding::warn(
            format!("signed, and {why}: load it to see whether the key is trusted"),
            format!("`modprobe {MODULE}`; if the key is rejected, enroll it (mokutil)"),
        ),
        // Without securityfs lockdown is unknown.
        (Ok(_), None) if !host.system.exists("/sys/kernel/security/lsm") => Finding::skip(
            "unknown whether this kernel requires signatures: /sys/kernel/security is not mounted",
        ),
        (Ok((_, info)), None) => Finding::pass(format!(
            "{}; this kernel does not require it",
            if info.signed { "signed" } else { "not signed" }
        )),
    }
}
