//! # Whether the kernel accepts the module's version magic
//!
//! `same_magic` in kernel/module/version.c compares all of it, but not the release if the module
//! has symbol versions (CONFIG_MODVERSIONS), which are compared instead. So modules of earlier
//! kernels load, which distributions link into weak-updates.

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
    /// Another release, with symbol versions.
    ByVersions,
    /// Likewise, but the kernel's options are unknown.
    Perhaps,
    Not,
    /// The kernel's own modules have other options.
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
                "built for {} ({ours}), this kernel's own modules have ({theirs})",
                info.release()
            )
        }
        _ => format!("built for {}, this kernel is {}", info.release(), host.kernel),
    };
    match (fit, is_loaded(host)) {
        (Fit::Same, _) => Finding::pass(info.release()),
        (Fit::ByVersions, _) => {
            Finding::pass(format!("{built}, which compares symbol versions (modversions)"))
        }
        (Fit::Perhaps, true) => Finding::pass(format!("{built}: with symbol versions, and loaded")),
        (Fit::Perhaps, false) => Finding::warn(
            format!("{built}: load it to see whether symbol versions match"),
            format!("`modprobe {MODULE}`"),
        ),
        (Fit::Not | Fit::Options(_), true) => Finding::warn(
            format!("loaded, but after the next boot {file} will not load: {built}"),
            FIX,
        ),
        (Fit::Not | Fit::Options(_), false) => {
            host.for_enforcing(Missing::new(format!("{file} was {built}"), FIX))
        }
    }
}

const FIX: &str = "`dkms install --force`, or `make -C gate` and `depmod`";

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

/// A module that came with the kernel, for its version magic.
fn of_the_kernel(host: &Host<'_>) -> Option<ModuleFile> {
    let own = |name| {
        let file = kernel::installed(&host.system, &host.kernel, name)?;
        let info = modinfo::read(host, &file).ok()?;
        (info.release() == host.kernel).then_some(info)
    };
    ["ccp", "kvm_amd", "kvm"].into_iter().find_map(own)
}
