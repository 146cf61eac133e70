//! # One agent per host
//!
//! Two would write each other's maps. A file lock prevents that, wherever their sockets are; the
//! kernel releases it when its holder ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};

use crate::group;

const FOLDER: &str = "/run/guestreq";
const FILE: &str = "lock";

/// Held until dropped.
pub struct Lock(File);

/// Another agent, or a `guestreq detach`, that holds the lock.
#[derive(Debug)]
pub struct Held {
    pid: Option<u32>,
}

impl Held {
    /// ` (pid N)`, or nothing if the file has no pid.
    pub fn by(&self) -> String {
        self.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
    }
}

impl Lock {
    /// Takes the lock, or returns its holder.
    pub fn take() -> Result<Result<Lock, Held>> {
        Lock::take_in(Path::new(FOLDER))
    }

    fn take_in(folder: &Path) -> Result<Result<Lock, Held>> {
        let path = folder.join(FILE);
        let name = || format!("{}", path.display());
        group::make_folder(folder).with_context(|| format!("{}", folder.display()))?;
        // Not truncated: it names the holder.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).with_context(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                return Ok(Err(Held { pid: read.ok().and_then(|_| text.trim().parse().ok()) }));
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(name),
        }
        file.set_len(0).with_context(name)?;
        file.rewind().with_context(name)?;
        writeln!(file, "{}", std::process::id()).with_context(name)?;
        Ok(Ok(Lock(file)))
    }

    /// The same for an agent, which fails if the lock is held.
    pub fn take_or_refuse() -> Result<Lock> {
        Lock::take()?.map_err(|held| anyhow!("another agent is running{}", held.by()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The pid is valid only while the lock is held.
        let _ = self.0.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_holds_it_at_a_time_and_the_others_get_its_pid() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take_in(folder.path()).unwrap().unwrap();
        let held = Lock::take_in(folder.path()).unwrap().err().unwrap();
        assert_eq!(held.by(), format!(" (pid {})", std::process::id()));
        drop(first);
        assert!(Lock::take_in(folder.path()).unwrap().is_ok());
    }

    #[test]
    fn a_dead_holder_s_file_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "4711 and a longer line\n").unwrap();
        let _lock = Lock::take_in(folder.path()).unwrap().unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
