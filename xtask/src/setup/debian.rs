//! # A complete Debian host's disk
//!
//! Debian 13 with systemd, DKMS, libvirt and the packages of one of the matrix's kernels, installed
//! by apt. Nothing of this project is in it: that is what scenarios install.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cache::{Cache, digest};
use super::kernels::Kernel;
use super::toolroot::{OPTIONS, SECURITY, SUITE, Toolroot, WORK, install};
use super::unpack;
use crate::{process, progress};

const PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "dbus",
    "initramfs-tools",
    "e2fsprogs",
    "apparmor",
    "dkms",
    // DKMS signs modules if it is there.
    "openssl",
    "gcc",
    "qemu-system-x86",
    "libvirt-daemon-system",
    "libvirt-clients",
];
/// What the initramfs loads to mount the disk.
const MODULES: &[&str] = &["virtio-pci", "virtio-blk", "crc32c-generic", "crc32c-intel", "ext4"];
/// ext4 asks for these by their algorithm's name. In later kernels they are functions, not modules.
const OF_6_12: &[&str] = &["crc32c-generic", "crc32c-intel"];
/// Of the tree, which mmdebstrap takes from this machine, or adds for itself.
const NOT_DEBIANS: &[&str] = &[
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/resolv.conf",
];
/// Without one, systemd would think that this is the first boot, and enable all units.
const MACHINE_ID: &str = "5e71c0de00000000000000000000d13b\n";
/// Free space for what scenarios install and build.
const SIZE: &str = "2G";

/// To be increased when a disk is made of the same packages in another way.
const REVISION: &str = "1";

/// The file system, in the folder of [`ensure`].
pub const DISK: &str = "disk.img";
/// Modules' names, in the order of loading. The modules are beside it.
pub const ORDER: &str = "order";

/// Whether Debian 13 has this kernel.
pub fn is_possible(kernel: &Kernel) -> bool {
    !kernel.is_realtime() && kernel.suites().iter().any(|suite| suite.starts_with(SUITE))
}

/// A folder with [`DISK`], and with the modules that mount it.
pub fn ensure(cache: &Cache, tools: &Toolroot, kernel: &Kernel) -> Result<PathBuf> {
    if !is_possible(kernel) {
        bail!("Debian 13 has no kernel {}", kernel.abi);
    }
    let abi = &kernel.abi;
    // A newer libvirt, QEMU and so on are not taken: the same default as on a host.
    let mut suites = vec![SUITE, SECURITY];
    suites.extend(kernel.suites().iter().filter(|suite| ![SUITE, SECURITY].contains(suite)));
    let kernel_packages = [format!("linux-image-{abi}"), format!("linux-headers-{abi}")];
    let mut packages = PACKAGES.to_vec();
    packages.extend(kernel_packages.iter().map(String::as_str));
    let base = suites.get(2).map(|suite| format!("linux-base/{suite}"));
    packages.extend(base.as_deref());
    let key =
        digest(packages.iter().chain(OPTIONS).chain(&suites).chain(MODULES).chain(&[REVISION]));
    cache.once(format!("debian-{abi}-{key}"), |part| {
        progress::step("install", &format!("a Debian host with Linux {abi}"), || {
            let tree = part.join("tree");
            install(&packages, &suites, &tree, &cache.log("debian.log"))
                .context("cannot install a Debian host")?;
            let exists = |name: &&str| abi.starts_with("6.12.") || !OF_6_12.contains(name);
            let modules: Vec<_> = MODULES.iter().copied().filter(exists).collect();
            let order = unpack::modules(tools, &tree.join("usr/lib/modules"), &modules, part)?;
            fs::write(part.join(ORDER), order.join("\n") + "\n")?;
            adjust(&tree)?;
            disk(&tree, part, &cache.log("mke2fs.log"))?;
            super::cache::remove(&tree)
        })
    })
}

fn adjust(tree: &Path) -> Result<()> {
    for file in NOT_DEBIANS {
        fs::remove_file(tree.join(file)).with_context(|| (*file).to_owned())?;
    }
    // The rig has its own, and they are large.
    for entry in fs::read_dir(tree.join("boot"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("initrd.img") {
            fs::remove_file(entry.path())?;
        }
    }
    fs::write(tree.join("etc/machine-id"), MACHINE_ID)?;
    fs::write(tree.join("etc/hostname"), "debian\n")?;
    Ok(())
}

/// Makes a file system of the tree, with its own tool.
fn disk(tree: &Path, part: &Path, log: &Path) -> Result<()> {
    let itself = Toolroot { path: tree.to_owned() };
    // The second view of the tree is without what is mounted in the first one.
    let mut make = itself.command_beside(part, tree, "mke2fs");
    make.args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", super::toolroot::BESIDE]);
    make.args([&format!("{WORK}/{DISK}"), SIZE]);
    process::logged(&mut make, log).context("cannot make the host's disk")
}
