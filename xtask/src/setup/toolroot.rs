//! # The toolroot: one Debian 13 chroot with the compiler and the QEMU that the rig uses
//!
//! The same on every host. Kernel headers of several versions are unpacked into it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::{Cache, digest};
use super::mirrors::{KEYRING, Mirrors};
use crate::{process, progress};

pub const SUITE: &str = "trixie";
pub const SECURITY: &str = "trixie-security";
const PACKAGES: &[&str] = &[
    // Kernel modules. objtool and fixdep, of the kbuild packages, need libelf.
    "gcc-14",
    "libc6-dev",
    "libelf1t64",
    "make",
    // Kernels and modules come compressed.
    "xz-utils",
    "zstd",
    // The guest's machine and shell.
    "qemu-system-x86",
    "busybox-static",
];
/// For building kernels, beside their compiler, in a chroot of its own: only the few that build one
/// need it.
const KERNEL_PACKAGES: &[&str] = &[
    "libc6-dev",
    "make",
    "bc",
    "bison",
    "flex",
    "perl",
    "python3-minimal",
    "xz-utils",
    // objtool
    "libelf-dev",
    // BTF
    "pahole",
    // It checks modules for these kernels.
    "sparse",
];
pub const OPTIONS: &[&str] = &[
    "--variant=apt",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// The path of a command's working directory in the toolroot.
pub const WORK: &str = "/mnt";
/// The path of the other directory that a command sees.
pub const BESIDE: &str = "/srv";

pub struct Toolroot {
    pub path: PathBuf,
}

impl Toolroot {
    pub fn open(cache: &Cache) -> Result<Self> {
        Self::with(cache, PACKAGES)
    }

    /// The toolroot for building kernels, and modules for these, with a compiler's packages.
    pub fn for_kernels(cache: &Cache, compiler: &[&str]) -> Result<Self> {
        Self::with(cache, &[compiler, KERNEL_PACKAGES].concat())
    }

    fn with(cache: &Cache, packages: &[&str]) -> Result<Self> {
        let key = digest(packages.iter().chain(OPTIONS).chain(&[SUITE]));
        let path = cache.once(format!("toolroot-{key}"), |part| {
            progress::step("toolroot", &packages.join(" "), || {
                install(packages, &[SUITE, SECURITY], part, &cache.log("toolroot.log"))
                    .context("cannot make the chroot of tools")
            })
        })?;
        Ok(Self { path })
    }

    /// A command that runs in the toolroot, and sees `work` as [`WORK`].
    pub fn command(&self, work: &Path, program: &str) -> Command {
        self.enter(&[(work, WORK)], program)
    }

    /// The same, and sees `beside` as [`BESIDE`].
    pub fn command_beside(&self, work: &Path, beside: &Path, program: &str) -> Command {
        self.enter(&[(work, WORK), (beside, BESIDE)], program)
    }

    fn enter(&self, mounts: &[(&Path, &str)], program: &str) -> Command {
        const ENTER: &str = r#"mount -t proc proc "$0/proc" || exit
            root=$0
            while [ "$1" != -- ]; do
                mount --bind "$1" "$root$2" || exit
                shift 2
            done
            shift && exec chroot "$root" "$@""#;
        let mut command = process::contained("sh");
        command.args(["-c", ENTER]).arg(&self.path);
        for (from, to) in mounts {
            command.arg(from).arg(to);
        }
        command.args(["--", program]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command
    }
}

/// Installs Debian 13 with these packages from these suites in an empty folder.
pub fn install(packages: &[&str], suites: &[&str], folder: &Path, log: &Path) -> Result<()> {
    let sources = Mirrors::of_this_machine()?.sources(suites);
    let mut make = process::contained("mmdebstrap");
    make.args(OPTIONS).arg(format!("--include={}", packages.join(",")));
    make.arg(format!("--keyring={KEYRING}")).arg(SUITE).arg(folder);
    process::logged(make.args(sources.lines()), log)
}
