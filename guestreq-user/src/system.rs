//! # What is read of the host
//!
//! Files below one root, so that a test can put a folder in its place; and what a
//! condition that is not met says of itself.

use std::{error::Error, fmt, fs, io, path::PathBuf};

/// The host's files.
pub struct System {
    root: PathBuf,
}

impl System {
    pub fn real() -> System {
        System { root: PathBuf::from("/") }
    }

    #[cfg(test)]
    pub fn at(root: &std::path::Path) -> System {
        System { root: root.to_owned() }
    }

    /// Where a file of the host is, which is told by its absolute path.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text, without the white space around it.
    pub fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.path(path)).map(|text| text.trim().to_owned())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// What is in a folder, sorted; nothing, where it cannot be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// A condition that is not met: what is so, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    pub fix: String,
}

impl Missing {
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Missing {
        Missing { what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

impl Error for Missing {}
