//! # Parts of a Kubernetes node, from Debian
//!
//! kubectl renders the manifests; runc starts a pod's container in the rig as containerd and CRI-O
//! would, with their RuntimeDefault seccomp profiles.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::{Cache, digest};
use super::seccomp;
use crate::progress;

const SUITE: &str = "trixie";

/// Packages, the files taken from them, and their new names.
type Files = &'static [(&'static str, &'static str, &'static str)];

const KUBECTL: Files = &[("kubectl", "usr/bin/kubectl", "kubectl")];
const RUNTIME: Files = &[
    ("runc", "usr/sbin/runc", "runc"),
    ("libseccomp2", "usr/lib/x86_64-linux-gnu/libseccomp.so.2", "libseccomp.so.2"),
];

/// Runtimes' default seccomp profiles: name, package and suite. CRI-O's is containers-common's;
/// containerd's is Go.
const PROFILES: &[(&str, &str, &str, &str)] = &[
    ("crio.json", "golang-github-containers-common", SUITE, "usr/share/containers/seccomp.json"),
    ("containerd-1.7.json", CONTAINERD, SUITE, "contrib/seccomp/seccomp_default.go"),
    ("containerd-2.json", CONTAINERD, "forky", "v2/contrib/seccomp/seccomp_default.go"),
];
const CONTAINERD: &str = "golang-github-containerd-containerd-dev";
const CONTAINERD_SOURCE: &str = "usr/share/gocode/src/github.com/containerd/containerd";

/// The path of kubectl, if it was fetched before.
pub fn cached_kubectl(cache: &Cache) -> Option<PathBuf> {
    Some(cache.path(key("kubectl", KUBECTL)).join("kubectl")).filter(|path| path.is_file())
}

pub fn kubectl(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    Ok(fetch(cache, apt, "kubectl", KUBECTL)?.join("kubectl"))
}

/// A folder with runc and libseccomp.so.2.
pub fn runtime(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    fetch(cache, apt, "runc", RUNTIME)
}

/// A folder with the profiles in containers-common's format.
pub fn profiles(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    // Another reader may read another profile.
    let key = digest([&format!("{PROFILES:?}"), CONTAINERD_SOURCE, include_str!("seccomp.rs")]);
    cache.once(format!("seccomp-{key}"), |part| {
        progress::step("fetch", "the container runtimes' seccomp profiles", || {
            let tree = part.join("tree");
            for (to, package, suite, from) in PROFILES {
                fs::create_dir(&tree)?;
                apt.unpack(&[format!("{package}/{suite}")], &tree)?;
                let read = |path: PathBuf| {
                    fs::read_to_string(&path).with_context(|| path.display().to_string())
                };
                let text = match from.strip_suffix(".go") {
                    None => read(tree.join(from))?,
                    Some(_) => seccomp::of_go(&read(tree.join(CONTAINERD_SOURCE).join(from))?)
                        .with_context(|| format!("{package}/{suite}"))?
                        .to_string(),
                };
                fs::write(part.join(to), text)?;
                super::cache::remove(&tree)?;
            }
            Ok(())
        })
    })
}

/// Named after its list, so that a changed list is fetched again.
fn key(name: &str, files: Files) -> String {
    format!("{name}-{}", digest([&format!("{files:?}"), SUITE]))
}

fn fetch(cache: &Cache, apt: &Apt, name: &str, files: Files) -> Result<PathBuf> {
    cache.once(key(name, files), |part| {
        progress::step("fetch", name, || {
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            // Not by version, unlike kernels: looking up a version takes apt seconds.
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
