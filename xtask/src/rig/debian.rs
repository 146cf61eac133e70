//! # A complete Debian host instead of an initramfs
//!
//! The initramfs fakes the hardware, mounts the disk and hands over to Debian's systemd.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::setup::debian::ORDER;
use crate::setup::{self, Kernel, Rig};
use crate::{package, project};

/// A disk, and packages of two builds to install on it.
pub struct Debian {
    /// The folder of the disk and the modules that mount it.
    pub folder: PathBuf,
    packages: Vec<(&'static str, PathBuf)>,
}

/// Units that only take time under emulation, or the console.
const MASKED: &[&str] = &[
    "getty.target",
    "serial-getty@ttyS0.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "logrotate.timer",
    "systemd-tmpfiles-clean.timer",
];

const DIRECTORIES: &[&str] =
    &["bin", "dev", "modules", "proc", "rig", "rig/old", "rig/new", "root", "run", "sys"];

/// The packages of two builds: their folders on the host and their versions.
const BUILDS: [(&str, &str); 2] =
    [("old", env!("CARGO_PKG_VERSION")), ("new", concat!(env!("CARGO_PKG_VERSION"), ".1"))];

impl Debian {
    pub fn prepare(rig: &Rig, kernel: &Kernel) -> Result<Self> {
        let folder = setup::debian(&rig.tools, kernel)?;
        let mut packages = Vec::new();
        for (name, version) in BUILDS {
            let dist = project::target().join("rig-packages").join(name);
            let built = package::deb::pack(&project::static_binary("guestreq"), version, &dist)?;
            packages.extend(built.map(|package| (name, package)));
        }
        Ok(Self { folder, packages })
    }

    /// Words for the kernel's command line.
    pub fn cmdline(&self) -> String {
        let mut words = "systemd.show_status=no systemd.log_color=no".to_owned();
        for unit in MASKED {
            words.push_str(&format!(" systemd.mask={unit}"));
        }
        words
    }

    /// Writes the initramfs to `path`.
    pub fn write(&self, rig: &Rig, modules: &[PathBuf], path: &Path) -> Result<()> {
        let mut archive = Archive::new(BufWriter::new(File::create(path)?));
        for name in DIRECTORIES {
            archive.directory(name)?;
        }
        let mut add = |name: &str, from: &Path| -> Result<()> {
            let content =
                fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            Ok(archive.file(name, &content)?)
        };
        let own = project::root().join("rig/debian");
        add("init", &own.join("init"))?;
        add("rig/run", &own.join("run"))?;
        add("bin/busybox", &rig.tools.path.join("usr/bin/busybox"))?;
        add("rig/scenarios", &project::static_binary("scenarios"))?;
        let order = self.folder.join(ORDER);
        add(&format!("modules/{ORDER}"), &order)?;
        for module in fs::read_to_string(&order)?.lines() {
            let file = format!("{module}.ko");
            add(&format!("modules/{file}"), &self.folder.join(&file))?;
        }
        for (name, folder) in [("snpsim.ko", "modules"), ("guestreq_gate.ko", "rig")] {
            let module = modules.iter().find(|module| module.ends_with(name));
            add(&format!("{folder}/{name}"), module.with_context(|| format!("no {name}"))?)?;
        }
        for (folder, package) in &self.packages {
            let file = package.file_name().unwrap_or_default().display();
            add(&format!("rig/{folder}/{file}"), package)?;
        }
        archive.finish().with_context(|| format!("cannot write {}", path.display()))
    }
}
