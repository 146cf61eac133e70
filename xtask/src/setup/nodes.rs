//! # Kubernetes nodes: containerd of two suites, each with its suite's runc, CNI plugins and libraries

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use super::libraries::{self, LOADER};
use crate::progress;

/// Names, by containerd's version, and suites.
const NODES: &[(&str, &str)] = &[("containerd-1.7", "trixie"), ("containerd-2", "forky")];

const PACKAGES: &[&str] =
    &["containerd", "runc", "containernetworking-plugins", "libseccomp2", "libc6"];

const PROGRAMS: &[&str] = &[
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/runc",
    "usr/lib/cni/ptp",
    "usr/lib/cni/host-local",
    "usr/lib/cni/loopback",
];

/// Files of all nodes: their paths in the guest and here.
pub fn files(cache: &Cache, apt: &Apt) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for (name, suite) in NODES {
        let tree = cache.once(name, |part| {
            progress::step("fetch", &format!("containerd of {suite}"), || fetch(apt, suite, part))
        })?;
        below(&tree, &tree, &format!("nodes/{name}"), &mut files)?;
    }
    Ok(files)
}

fn fetch(apt: &Apt, suite: &str, part: &Path) -> Result<()> {
    let tree = part.join("tree");
    fs::create_dir(&tree)?;
    let packages: Vec<_> = PACKAGES.iter().map(|package| format!("{package}/{suite}")).collect();
    apt.unpack(&packages, &tree)?;
    let mut files = vec![LOADER.to_owned()];
    for program in PROGRAMS {
        files.push((*program).to_owned());
        let libraries = libraries::of(program, &tree)?;
        files.extend(libraries.iter().map(|name| format!("{}/{name}", libraries::FOLDER)));
    }
    for file in files {
        let to = part.join(&file);
        fs::create_dir_all(to.parent().unwrap_or(part))?;
        // A link is followed.
        fs::copy(tree.join(&file), to).with_context(|| file.clone())?;
    }
    super::cache::remove(&tree)
}

/// Lists the files below a folder of `tree`, and where `prefix` is the tree in the guest.
fn below(
    folder: &Path,
    tree: &Path,
    prefix: &str,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, tree, prefix, files)?;
        } else {
            let name = path.strip_prefix(tree)?.display().to_string();
            files.push((format!("{prefix}/{name}"), path));
        }
    }
    Ok(())
}
