//! # VMs' identities, saved for the next agent
//!
//! A VM's name is read once, from its launcher. That may exit or overwrite its arguments while the
//! VM runs, so the identity is stored beside the lock, one file per slot, as long as the VM has a
//! record.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use guestreq_common::vm::Vm;
use log::warn;
use serde::{Deserialize, Serialize};

use crate::{
    group,
    host::{Evidence, Identity},
};

/// A tmpfs: cleared by a reboot, as the records are.
const FOLDER: &str = "/run/guestreq/vms";

/// A VM's identity as read from its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub identity: Identity,
    /// Where it was read.
    pub evidence: Vec<Evidence>,
    /// The process that was read: the VM's launcher or its VMM.
    pub pid: u32,
    /// That process' start, in ticks; `None` if it exited before it could be read.
    pub started: Option<u64>,
}

/// A file's content: a VM and its identity.
#[derive(Serialize, Deserialize)]
struct Entry {
    generation: u32,
    /// In ns of CLOCK_MONOTONIC: unique per slot and boot.
    first_seen: u64,
    known: Known,
}

pub struct Remembered {
    folder: PathBuf,
}

impl Default for Remembered {
    fn default() -> Remembered {
        Remembered { folder: PathBuf::from(FOLDER) }
    }
}

impl Remembered {
    /// What an earlier agent read of this VM.
    pub fn get(&self, slot: usize, vm: &Vm) -> Option<Known> {
        let path = self.path(slot);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!("{}: {error}; reading the process again", path.display());
                return None;
            }
        };
        // An agent may have died while it wrote this.
        let entry: Entry = serde_json::from_slice(&text).ok()?;
        let same = entry.generation == vm.generation && entry.first_seen == vm.first_seen.0;
        same.then_some(entry.known)
    }

    pub fn put(&self, slot: usize, vm: &Vm, known: Known) {
        if let Err(error) = self.try_put(slot, vm, known) {
            warn!("cannot save a VM's identity for the next agent: {error:#}");
        }
    }

    fn try_put(&self, slot: usize, vm: &Vm, known: Known) -> Result<()> {
        group::make_folder(&self.folder).with_context(|| format!("{}", self.folder.display()))?;
        let entry = Entry { generation: vm.generation, first_seen: vm.first_seen.0, known };
        let (path, new) = (self.path(slot), self.folder.join("new"));
        let text = serde_json::to_vec(&entry)?;
        let write = || {
            // Only those who may use the socket may read names.
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            // Atomically: a torn file would lose the old identity.
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("{}", path.display()))
    }

    /// Called when the VM's record is cleared.
    pub fn remove(&self, slot: usize) {
        // If this fails, the file names a VM that no longer exists.
        let _ = fs::remove_file(self.path(slot));
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.folder.join(slot.to_string())
    }
}

/// Removes all identities, as their records are removed.
pub fn forget() -> io::Result<()> {
    match fs::remove_dir_all(Path::new(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use guestreq_common::units::MonotonicNs;

    use super::*;
    use crate::host::EvidenceSource;

    fn vm(generation: u32, first_seen: u64) -> Box<Vm> {
        // SAFETY: Vm consists of integers, for which all zeros is a value.
        let zeroed = unsafe { Box::<Vm>::new_zeroed().assume_init() };
        Box::new(Vm { generation, first_seen: MonotonicNs(first_seen), ..*zeroed })
    }

    #[test]
    fn a_saved_identity_is_that_vm_s_only() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = Remembered { folder: folder.path().join("vms") };
        assert_eq!(remembered.get(3, &vm(1, 50)), None);
        let evidence = vec![Evidence::new("name", EvidenceSource::Argument, "-name prod_web")];
        let identity = Identity::called("prod/web");
        let known = Known { identity, evidence, pid: 9, started: Some(7) };
        remembered.put(3, &vm(1, 50), known.clone());
        assert_eq!(remembered.get(3, &vm(1, 50)), Some(known));
        for other in [vm(2, 50), vm(1, 51)] {
            assert_eq!(remembered.get(3, &other), None);
        }
        assert_eq!(remembered.get(4, &vm(1, 50)), None);
        remembered.remove(3);
        assert_eq!(remembered.get(3, &vm(1, 50)), None);
    }

    #[test]
    fn a_file_that_was_half_written_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let remembered = Remembered { folder: folder.path().to_owned() };
        let identity = Identity::called("web");
        let known = Known { identity, evidence: Vec::new(), pid: 9, started: None };
        remembered.put(0, &vm(1, 50), known);
        let path = folder.path().join("0");
        let text = fs::read(&path).unwrap();
        for end in 0..text.len() {
            fs::write(&path, &text[..end]).unwrap();
            assert_eq!(remembered.get(0, &vm(1, 50)), None, "{end} bytes");
        }
    }
}
