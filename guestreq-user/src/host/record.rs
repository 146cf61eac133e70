//! # Which of the host's files are read
//!
//! A copy of the host's files for somebody contains what they read, and a list of that, kept by
//! hand, would be out of date soon. So it is recorded while they read.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// What is done with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Its existence, or its size.
    Exists,
    /// The names in a folder.
    List,
    /// Its text; of a folder, that of files in it.
    Read,
}

/// Grows while the files are read.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<BTreeSet<(String, Access)>>>);

impl Record {
    pub(super) fn add(&self, path: &str, access: Access) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((path.to_owned(), access));
    }

    /// Absolute paths on the host, sorted, of those that exist and those that do not.
    pub fn all(&self) -> Vec<(String, Access)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::system::System;

    #[test]
    fn what_is_read_is_recorded_and_how() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("proc/sys")).unwrap();
        std::fs::write(folder.path().join("proc/cmdline"), "ro\n").unwrap();
        let (copies, record) = System::at(folder.path()).as_recorded_copies();
        assert!(copies.is_collected());
        assert_eq!(copies.read("/proc/cmdline").unwrap(), "ro");
        assert!(!copies.exists("/sys/module/ccp") && copies.list("/proc/sys").is_empty());
        let _ = copies.path("/proc/kallsyms");
        let _ = copies.place("/proc/not-noted");
        let all = record.all();
        let all: Vec<_> = all.iter().map(|(path, access)| (path.as_str(), *access)).collect();
        assert_eq!(
            all,
            [
                ("/proc/cmdline", Access::Read),
                ("/proc/kallsyms", Access::Read),
                ("/proc/sys", Access::List),
                ("/sys/module/ccp", Access::Exists),
            ]
        );
    }
}
