//! # What stands in for a Kubernetes node, from Debian 13
//!
//! kubectl renders the manifests; runc starts a pod's container in the rig as containerd and CRI-O
//! would have it started, under the seccomp profile that CRI-O calls RuntimeDefault.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use crate::say;

const SUITE: &str = "trixie";

/// Packages, and what is taken of them under which name.
const KUBECTL: &[(&str, &str, &str)] = &[("kubectl", "usr/bin/kubectl", "kubectl")];
const RUNTIME: &[(&str, &str, &str)] = &[
    ("runc", "usr/sbin/runc", "runc"),
    ("libseccomp2", "usr/lib/x86_64-linux-gnu/libseccomp.so.2", "libseccomp.so.2"),
    ("golang-github-containers-common", "usr/share/containers/seccomp.json", "seccomp.json"),
];

/// The path of kubectl, if it was fetched before.
pub fn cached_kubectl(cache: &Cache) -> Option<PathBuf> {
    Some(cache.path("kubectl").join("kubectl")).filter(|path| path.is_file())
}

pub fn kubectl(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    Ok(fetch(cache, apt, "kubectl", KUBECTL)?.join("kubectl"))
}

/// A folder with runc, libseccomp.so.2 and seccomp.json.
pub fn runtime(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    fetch(cache, apt, "runc", RUNTIME)
}

fn fetch(cache: &Cache, apt: &Apt, name: &str, files: &[(&str, &str, &str)]) -> Result<PathBuf> {
    cache.once(name, |part| {
        say::step("fetch", name, || {
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            // Not by version, as kernels are: looking a version up takes apt seconds for each.
            let packages: Vec<_> =
                files.iter().map(|(package, ..)| format!("{package}/{SUITE}")).collect();
            apt.unpack(&packages, &tree)?;
            for (_, from, to) in files {
                // A link is followed.
                fs::copy(tree.join(from), part.join(to)).with_context(|| (*from).to_owned())?;
            }
            super::cache::remove(&tree)
        })
    })
}
