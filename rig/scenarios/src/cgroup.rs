//! # Cgroups

use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::host::wait_until;

pub const ROOT: &str = "/sys/fs/cgroup";

/// Moves a process.
pub fn enter(folder: &str, pid: u32) -> Result<()> {
    write(&format!("{folder}/cgroup.procs"), &pid.to_string())
}

/// Writes a file that exists: a cgroup has those of its controllers.
fn write(path: &str, value: &str) -> Result<()> {
    let mut file = File::options().write(true).open(path).with_context(|| path.to_owned())?;
    file.write_all(value.as_bytes()).with_context(|| format!("{path} = {value}"))
}

/// A cgroup below the root.
pub struct Cgroup {
    folder: String,
}

impl Cgroup {
    /// With the cpu controller.
    pub fn with_cpu(name: &str) -> Result<Cgroup> {
        write(&format!("{ROOT}/cgroup.subtree_control"), "+cpu")?;
        Cgroup::new(name)
    }

    pub fn new(name: &str) -> Result<Cgroup> {
        let folder = format!("{ROOT}/{name}");
        fs::create_dir(&folder).with_context(|| folder.clone())?;
        Ok(Cgroup { folder })
    }

    pub fn enter(&self, pid: u32) -> Result<()> {
        enter(&self.folder, pid)
    }

    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        write(&format!("{}/{file}", self.folder), value)
    }

    pub fn get(&self, file: &str) -> Result<String> {
        let path = format!("{}/{file}", self.folder);
        fs::read_to_string(&path).context(path)
    }

    /// When its processes have exited.
    pub fn remove(self) -> Result<()> {
        wait_until("a cgroup is empty", Duration::from_secs(20), || {
            Ok(self.get("cgroup.events")?.contains("populated 0"))
        })?;
        fs::remove_dir(&self.folder).with_context(|| self.folder.clone())
    }
}
