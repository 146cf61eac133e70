//! # The toolroot: one Debian 13 chroot with the compiler and the QEMU that the rig uses
//!
//! The same on every host. Kernel headers of several versions are unpacked into it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache::{Cache, digest};
use super::mirrors::{KEYRING, Mirrors};
use crate::{process, progress};

const SUITE: &str = "trixie";
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
const OPTIONS: &[&str] = &[
    "--variant=apt",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// The path of a command's working directory in the toolroot.
pub const WORK: &str = "/mnt";

pub struct Toolroot {
    pub path: PathBuf,
}

impl Toolroot {
    pub fn open(cache: &Cache) -> Result<Self> {
        let key = digest(PACKAGES.iter().chain(OPTIONS).chain(&[SUITE]));
        let path = cache.once(format!("toolroot-{key}"), |part| {
            let sources = Mirrors::of_this_machine()?.sources(&[SUITE, "trixie-security"]);
            progress::step("toolroot", &PACKAGES.join(" "), || {
                let mut make = process::contained("mmdebstrap");
                make.args(OPTIONS).arg(format!("--include={}", PACKAGES.join(",")));
                make.arg(format!("--keyring={KEYRING}")).arg(SUITE).arg(part);
                make.args(sources.lines());
                process::logged(&mut make, &cache.log("toolroot.log"))
                    .context("cannot make the chroot of tools")
            })
        })?;
        Ok(Self { path })
    }

    /// A command that runs in the toolroot, and sees `work` as [`WORK`].
    pub fn command(&self, work: &Path, program: &str) -> Command {
        const ENTER: &str = r#"mount -t proc proc "$0/proc" && mount --bind "$1" "$0/mnt" &&
            root=$0 && shift && exec chroot "$root" "$@""#;
        let mut command = process::contained("sh");
        command.args(["-c", ENTER]).arg(&self.path).arg(work).arg(program);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command
    }
}
