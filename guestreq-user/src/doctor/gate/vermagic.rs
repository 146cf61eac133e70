//! # Whether the kernel takes the module for one of its own
//!
//! `same_magic` in kernel/module/version.c compares all of the version magic; but not the release,
//! where the module has its symbols' versions (CONFIG_MODVERSIONS), which are compared instead. So
//! a module of an earlier kernel loads, which distributions link into weak-updates.

use super::{
    is_loaded,
    modinfo::{self, ModuleFile},
    module::file,
};
use crate::{
    doctor::{Finding, Host},
    enforce::gate::MODULE,
    host::system::Missing,
    kernel,
};

enum Fit {
    Same,
    /// Another release, and symbols' versions.
    ByVersions,
    /// The same, of a kernel of which nothing tells whether it compares them.
    Perhaps,
    Not,
    /// Those of the kernel's own modules are others.
    Options(ModuleFile),
}

pub fn vermagic(host: &Host<'_>) -> Finding {
    let (file, info) = match file(host) {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let fit = fit(host, &info);
    let built = match &fit {
        Fit::Options(own) => {
            let [ours, theirs] = [&info, own].map(ModuleFile::options);
            format!(
                "built for {} ({ours}), this kernel's own modules for ({theirs})",
                info.release()
            )
        }
        _ => format!("built for {}, this kernel is {}", info.release(), host.kernel),
    };
    match (fit, is_loaded(host)) {
        (Fit::Same, _) => Finding::pass(info.release()),
        (Fit::ByVersions, _) => {
            Finding::pass(format!("{built}, which compares its symbols' versions (modversions)"))
        }
        (Fit::Perhaps, true) => {
            Finding::pass(format!("{built}: with symbols' versions, and loaded"))
        }
        (Fit::Perhaps, false) => Finding::warn(
            format!(
                "{built}: whether its symbols' versions are this kernel's shows when it is loaded"
            ),
            format!("`modprobe {MODULE}`"),
        ),
        (Fit::Not | Fit::Options(_), true) => Finding::warn(
            format!("it is loaded, but {file}, {built}, would not be at the next boot"),
            MEND,
        ),
        (Fit::Not | Fit::Options(_), false) => {
            host.for_enforcing(Missing::new(format!("{file} was {built}"), MEND))
        }
    }
}

const MEND: &str = "`dkms install --force`, or `make -C gate` and `depmod`";

fn fit(host: &Host<'_>, info: &ModuleFile) -> Fit {
    let same = info.release() == host.kernel;
    if !same && !info.options().split(' ').any(|option| option == "modversions") {
        return Fit::Not;
    }
    match (of_the_kernel(host), same) {
        (Some(own), _) if own.options() != info.options() => Fit::Options(own),
        (_, true) => Fit::Same,
        (Some(_), false) => Fit::ByVersions,
        (None, false) => Fit::Perhaps,
    }
}

/// A module that came with the kernel says what its version magic is.
fn of_the_kernel(host: &Host<'_>) -> Option<ModuleFile> {
    let own = |name| {
        let file = kernel::installed(&host.system, &host.kernel, name)?;
        let info = modinfo::read(host, &file).ok()?;
        (info.release() == host.kernel).then_some(info)
    };
    ["ccp", "kvm_amd", "kvm"].into_iter().find_map(own)
}
