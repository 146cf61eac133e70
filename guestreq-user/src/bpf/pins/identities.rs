//! # Who VMs are, for the next agent
//!
//! A VM's name is read once, from the process that launched it. That process may end, or write
//! over its arguments, while the VM goes on; so what was read is kept beside the lock, a file for
//! each slot, for as long as the VM's record is there.

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

/// Where [`Remembered`] is by default; gone with the next boot, as the records are.
const FOLDER: &str = "/run/guestreq/vms";

/// What was read of a VM's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub identity: Identity,
    /// What told it.
    pub evidence: Vec<Evidence>,
    /// The process that was looked at: the one that launched it, or that runs it.
    pub pid: u32,
    /// That process' start, in ticks; `None` if it was gone before we looked.
    pub started: Option<u64>,
}

/// A file's content: of which VM it is, and what is known of that.
#[derive(Serialize, Deserialize)]
struct Entry {
    generation: u32,
    /// In ns of CLOCK_MONOTONIC: no two VMs of a boot begin at the same time in the same slot.
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
    /// What an earlier agent read of this very VM.
    pub fn get(&self, slot: usize, vm: &Vm) -> Option<Known> {
        let path = self.path(slot);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!("{}: {error}; the process is looked at again", path.display());
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
            warn!("the next agent will have to look again who a VM is: {error:#}");
        }
    }

    fn try_put(&self, slot: usize, vm: &Vm, known: Known) -> Result<()> {
        group::make_folder(&self.folder).with_context(|| format!("{}", self.folder.display()))?;
        let entry = Entry { generation: vm.generation, first_seen: vm.first_seen.0, known };
        let (path, new) = (self.path(slot), self.folder.join("new"));
        let text = serde_json::to_vec(&entry)?;
        let write = || {
            // Names are for whom the socket lets ask for them.
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            // At once: what stood there is better than half of this.
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("{}", path.display()))
    }

    /// The VM's record is no more.
    pub fn remove(&self, slot: usize) {
        // What stays names a VM that there is not.
        let _ = fs::remove_file(self.path(slot));
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.folder.join(slot.to_string())
    }
}

/// Forgets all VMs, as their records are gone.
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
    fn a_vm_is_who_it_was_to_the_agent_before_and_nobody_else_is() {
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
