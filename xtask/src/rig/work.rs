//! # A boot's files

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::boot::{Boot, Host};
use super::image;
use crate::project;

/// Their folder, removed at its end.
pub struct Work(pub PathBuf);

impl Work {
    pub fn new(boot: &Boot) -> Result<Self> {
        Self::remove_orphans();
        let (kernel, modules) = boot.kernel;
        // Named by this process' pid and a count, as several may run at a time.
        static BOOTS: AtomicU32 = AtomicU32::new(0);
        let count = BOOTS.fetch_add(1, Ordering::Relaxed);
        let work = Self(project::logs().join(format!("boot-{}-{count}", std::process::id())));
        fs::create_dir_all(&work.0)
            .with_context(|| format!("cannot create {}", work.0.display()))?;
        fs::copy(kernel.dir.join("vmlinuz"), work.0.join("vmlinuz"))?;
        let initramfs = work.0.join("initramfs");
        match &boot.host {
            Host::Rig(files) => image::write(boot.rig, files, kernel, modules, &initramfs)?,
            Host::Debian(debian) => debian.write(boot.rig, modules, &initramfs)?,
        }
        Ok(work)
    }

    /// Removes the files of boots whose xtask was killed.
    fn remove_orphans() {
        for entry in fs::read_dir(project::logs()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix("boot-").and_then(|rest| rest.split('-').next())
            else {
                continue;
            };
            if !Path::new("/proc").join(pid).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// QEMU's messages.
    pub fn errors(&self) -> PathBuf {
        self.0.join("qemu.log")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
