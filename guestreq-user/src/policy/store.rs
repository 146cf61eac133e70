//! # The overrides' file
//!
//! Replaced atomically: after a crash there is the old or the new one. One that cannot be read is
//! an error, never dropped.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use guestreq_common::policy::Mode;

use super::Overrides;
use crate::{
    failpoint::{self, Point},
    json,
    text::in_a_line,
};

#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
}

const NAME: &str = "overrides.json";

impl Store {
    pub fn new(folder: &Path) -> Store {
        Store { folder: folder.to_owned() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join(format!("{NAME}.new"))
    }

    /// No file means no overrides.
    pub fn read(&self) -> Result<Overrides> {
        let path = self.path();
        let read = match bytes_of(&path) {
            Ok(bytes) => Overrides::from_bytes(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Overrides::default());
            }
            Err(error) => Err(error.into()),
        };
        read.with_context(|| {
            format!(
                "{} cannot be read: repair it, or remove it to drop everything that `guestreq \
                 limit` and `guestreq policy` have set",
                path.display()
            )
        })
    }

    /// Whether a file that cannot be read may set mode enforce.
    pub fn may_enforce(&self) -> bool {
        let text = bytes_of(&self.path()).ok();
        // Invalid JSON may lack the part that does.
        let json = text.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        json.is_none_or(|json| sets_enforce(&json))
    }

    /// When this returns, they survive a crash.
    pub fn write(&self, overrides: &Overrides) -> Result<()> {
        let replaced = self.replace(overrides);
        if replaced.is_err() {
            // Frees space on a full disk.
            let _ = fs::remove_file(self.new_path());
        }
        replaced.with_context(|| {
            format!("{} cannot be written, nothing is changed", self.path().display())
        })
    }

    fn replace(&self, overrides: &Overrides) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let folder = File::open(&self.folder)?;
        let new = self.new_path();
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&overrides.to_bytes()?)?;
        file.sync_all()?;
        failpoint::point(Point::OverrideWritten);
        fs::rename(&new, self.path())?;
        // The rename is durable once the folder is synced.
        folder.sync_all()?;
        Ok(())
    }
}

/// A file's bytes. Never opens a pipe, which would block.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file"));
    }
    fs::read(path)
}

/// Whether any value in it is `enforce`.
fn sets_enforce(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::String(text) => text == Mode::Enforce.name(),
        serde_json::Value::Array(all) => all.iter().any(sets_enforce),
        serde_json::Value::Object(all) => all.values().any(sets_enforce),
        _ => false,
    }
}

impl Overrides {
    pub fn from_bytes(bytes: &[u8]) -> Result<Overrides> {
        serde_json::from_slice(bytes).map_err(|error| anyhow!(in_a_line(&error.to_string())))
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok((json::pretty(self)? + "\n").into_bytes())
    }
}

#[cfg(test)]
mod tests;
