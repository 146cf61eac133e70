//! # The overrides' file
//!
//! Replaced as a whole: after a crash at any moment there is the old one or the
//! new one. One that cannot be read is never dropped in silence.

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

    /// No file is no overrides.
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
                "{} cannot be read: mend it, or remove it to drop everything that `guestreq limit` \
                 and `guestreq policy` have set",
                path.display()
            )
        })
    }

    /// Whether a file that cannot be read may have asked for enforcement.
    pub fn may_enforce(&self) -> bool {
        let text = bytes_of(&self.path()).ok();
        // What is no JSON may lack the part that says so.
        let said = text.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        said.is_none_or(|said| says_enforce(&said))
    }

    /// When this returns, they outlive a crash.
    pub fn write(&self, overrides: &Overrides) -> Result<()> {
        let replaced = self.replace(overrides);
        if replaced.is_err() {
            // Where the disk is full it would only take room.
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
        // The name, too, is only there for good once its folder is.
        folder.sync_all()?;
        Ok(())
    }
}

/// A file's bytes. A pipe in its place would be waited for.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file"));
    }
    fs::read(path)
}

/// Whether some value in it, wherever that is, is a mode that refuses.
fn says_enforce(said: &serde_json::Value) -> bool {
    match said {
        serde_json::Value::String(text) => text == Mode::Enforce.name(),
        serde_json::Value::Array(all) => all.iter().any(says_enforce),
        serde_json::Value::Object(all) => all.values().any(says_enforce),
        _ => false,
    }
}

impl Overrides {
    /// Of what the file holds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Overrides> {
        serde_json::from_slice(bytes).map_err(|error| anyhow!(in_a_line(&error.to_string())))
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok((json::pretty(self)? + "\n").into_bytes())
    }
}

#[cfg(test)]
mod tests;
