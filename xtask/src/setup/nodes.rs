//! # Programs of Kubernetes nodes: containerd of two suites, each with its suite's runc, network plugins
//! and libraries; and podman

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::{Cache, digest};
use super::libraries::{self, LOADER};
use crate::progress;

/// Files of some of a suite's packages.
struct Tree {
    /// The folder in the guest.
    name: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// Their libraries are added.
    programs: &'static [&'static str],
    data: &'static [&'static str],
}

const CONTAINERD: Tree = Tree {
    name: "",
    suite: "",
    packages: &["containerd", "runc", "containernetworking-plugins", "libseccomp2", "libc6"],
    programs: &[
        "usr/bin/containerd",
        "usr/bin/containerd-shim-runc-v2",
        "usr/bin/ctr",
        "usr/sbin/runc",
        "usr/lib/cni/ptp",
        "usr/lib/cni/host-local",
        "usr/lib/cni/loopback",
    ],
    data: &[],
};

const TREES: &[Tree] = &[
    Tree { name: "containerd-1.7", suite: "trixie", ..CONTAINERD },
    Tree { name: "containerd-2", suite: "forky", ..CONTAINERD },
    Tree {
        name: "podman",
        suite: "trixie",
        packages: &[
            "podman",
            "crun",
            "conmon",
            "netavark",
            "golang-github-containers-common",
            "libacl1",
            "libassuan9",
            "libatomic1",
            "libattr1",
            "libaudit1",
            "libbsd0",
            "libbz2-1.0",
            "libc6",
            "libcap-ng0",
            "libcap2",
            "libcrypt1",
            "libgcc-s1",
            "libglib2.0-0t64",
            "libgpg-error0",
            "libgpgme11t64",
            "libmd0",
            "libpam0g",
            "libpcre2-8-0",
            "libseccomp2",
            "libselinux1",
            "libsemanage2",
            "libsepol2",
            "libsqlite3-0",
            "libsubid5",
            "libsystemd0",
            "libyajl2",
        ],
        programs: &[
            "usr/bin/podman",
            "usr/bin/crun",
            "usr/bin/conmon",
            // podman looks for it even if pods have the host's network.
            "usr/lib/podman/netavark",
        ],
        data: &["usr/share/containers/containers.conf", "usr/share/containers/seccomp.json"],
    },
];

/// Files of all nodes: their paths in the guest and here.
pub fn files(cache: &Cache, apt: &Apt) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for tree in TREES {
        let lists = [tree.packages, tree.programs, tree.data].concat();
        let key = digest(lists.iter().chain(&[tree.suite]));
        let folder = cache.once(format!("{}-{key}", tree.name), |part| {
            let what = format!("{} of {}", tree.name, tree.suite);
            progress::step("fetch", &what, || tree.fetch(apt, part))
        })?;
        below(&folder, &folder, &format!("nodes/{}", tree.name), &mut files)?;
    }
    Ok(files)
}

impl Tree {
    fn fetch(&self, apt: &Apt, part: &Path) -> Result<()> {
        let tree = part.join("tree");
        fs::create_dir(&tree)?;
        let packages: Vec<_> =
            self.packages.iter().map(|package| format!("{package}/{}", self.suite)).collect();
        apt.unpack(&packages, &tree)?;
        let mut files = vec![LOADER.to_owned()];
        files.extend(self.data.iter().map(|file| (*file).to_owned()));
        for program in self.programs {
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
