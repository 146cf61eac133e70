//! # The guest's initramfs

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::project;
use crate::setup::{Fixtures, Kernel, Rig};

/// Packages of the workspace whose binaries go to /bin.
const PROGRAMS: &[&str] = &["guestreq", "snpload", "scenarios"];

/// Names under which snpload imitates a VMM.
const MONITORS: &[&str] = &["qemu-system-x86_64", "cloud-hypervisor", "firecracker"];

const DIRECTORIES: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "lib",
    "lib/bpftrace",
    "lib/deb",
    "lib/kubelet",
    "lib/kubelet/seccomp",
    "lib/seccomp",
    "lib64",
    "modules",
    "opt",
    "opt/qemu",
    "opt/qemu/bin",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/libexec",
    "usr/lib/x86_64-linux-gnu",
    "usr/share",
    "usr/share/ovmf",
    "usr/share/qemu",
    "var",
];

/// promtool's libraries, and their paths in the guest.
const LIBRARIES: &[&str] = &["lib64/ld-linux-x86-64.so.2", "lib/libc.so.6"];

/// Writes the initramfs for `kernel`, with further files, to `path`.
pub fn write(
    rig: &Rig,
    further: &[(String, PathBuf)],
    kernel: &Kernel,
    modules: &[impl AsRef<Path>],
    path: &Path,
) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    let parents = further.iter().flat_map(|(name, _)| parents(name));
    for name in parents.chain(DIRECTORIES.iter().copied()).collect::<BTreeSet<_>>() {
        archive.directory(name)?;
    }
    let mut add = |name: &str, from: &Path| -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        Ok(archive.file(name, &content)?)
    };
    add("init", &project::root().join("rig/init"))?;
    add("bin/busybox", &rig.tools.path.join("usr/bin/busybox"))?;
    let libraries = rig.tools.path.join("usr/lib/x86_64-linux-gnu");
    for library in LIBRARIES.iter().map(Path::new) {
        add(&library.to_string_lossy(), &libraries.join(library.file_name().unwrap_or_default()))?;
    }
    if let Some(fixtures) = &rig.fixtures {
        add_for_scenarios(fixtures, &mut add)?;
    }
    for (name, from) in further {
        add(name, from)?;
    }
    for name in PROGRAMS {
        add(&format!("bin/{name}"), &project::static_binary(name))?;
    }
    if let Some(before) = &rig.before {
        add("bin/guestreq-before", before)?;
    }
    if let Some(folder) = &rig.bpftrace {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            add(&format!("lib/bpftrace/{}", name.display()), &entry.path())?;
        }
        let script = project::root().join("rig/bench/guest-requests.bt");
        add("lib/bpftrace/guest-requests.bt", &script)?;
    }
    let mut kernel_modules = Vec::new();
    for entry in fs::read_dir(kernel.dir.join("modules"))? {
        kernel_modules.push(entry?.path());
    }
    kernel_modules.sort();
    for module in
        kernel_modules.iter().map(|m| m.as_path()).chain(modules.iter().map(AsRef::as_ref))
    {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        add(&format!("modules/{name}"), module)?;
    }
    for name in MONITORS {
        archive.symlink(&format!("bin/{name}"), "snpload")?;
    }
    for (overlay, objects) in rig.fixtures.iter().flat_map(|fixtures| &fixtures.manifests) {
        archive.file(&format!("lib/{overlay}.json"), objects)?;
    }
    archive.finish().with_context(|| format!("cannot write {}", path.display()))
}

/// Container runtimes, other eBPF objects, maintainer scripts.
fn add_for_scenarios(
    fixtures: &Fixtures,
    add: &mut impl FnMut(&str, &Path) -> Result<()>,
) -> Result<()> {
    add("bin/promtool", &fixtures.prometheus.promtool())?;
    add("bin/runc", &fixtures.runtime.join("runc"))?;
    add("lib/libseccomp.so.2", &fixtures.runtime.join("libseccomp.so.2"))?;
    for entry in fs::read_dir(&fixtures.profiles)? {
        let entry = entry?;
        add(&format!("lib/seccomp/{}", entry.file_name().display()), &entry.path())?;
    }
    let own = project::root().join("deploy/kubernetes/localhost/guestreq.json");
    add("lib/kubelet/seccomp/guestreq.json", &own)?;
    for feature in project::OTHER_EBPF {
        add(&format!("lib/{feature}"), &project::other_ebpf_object(feature))?;
    }
    // Maintainer scripts, which packages/upgrade runs.
    for script in ["postinst", "prerm"] {
        let from = project::root().join("deploy/debian/guestreq").join(script);
        add(&format!("lib/deb/{script}"), &from)?;
    }
    Ok(())
}

/// The folders around a file.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(end, _)| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_folders_are_made_from_the_outermost() {
        let all: BTreeSet<_> = parents("nodes/a-b/usr/bin/x").collect();
        let all: Vec<_> = all.into_iter().collect();
        assert_eq!(all, ["nodes", "nodes/a-b", "nodes/a-b/usr", "nodes/a-b/usr/bin"]);
        assert_eq!(parents("init").count(), 0);
    }
}
