//! # What an agent has put into the kernel, written down for the next one
//!
//! Text beside the lock, on a tmpfs: a reboot clears it with the programs. It only saves work. If it
//! is missing or differs, the next agent loads everything.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const PATH: &str = "/run/guestreq/programs";

/// What the last agent that started has written.
pub fn read() -> Option<String> {
    read_from(Path::new(PATH))
}

pub fn write(text: &str) -> Result<()> {
    write_to(Path::new(PATH), text)
}

/// Called when the programs are removed.
pub fn forget() -> io::Result<()> {
    match fs::remove_file(PATH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_from(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn write_to(path: &Path, text: &str) -> Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&new)?.write_all(text.as_bytes())?;
        // Atomically, though half a text would differ, too.
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("programs");
        assert_eq!(read_from(&path), None);
        for text in ["source 1\nmap HOST 3\n", "source 2\n"] {
            write_to(&path, text).unwrap();
            assert_eq!(read_from(&path).as_deref(), Some(text));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let error = write_to(Path::new("/nonexistent/programs"), "").unwrap_err();
        assert!(format!("{error:#}").starts_with("/nonexistent/programs: "), "{error:#}");
    }
}
