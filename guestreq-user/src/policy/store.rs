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
    agent::fault::{self, Point},
    config::in_a_line,
    json,
};

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
        fault::point(Point::OverrideWritten);
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Limit, Named, Override, Set, Stamp, Throttle, Types};
    use guestreq_common::policy::Allowed;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("new"));
        (folder, store)
    }

    #[test]
    fn no_file_is_no_overrides() {
        assert_eq!(store().1.read().unwrap(), Overrides::default());
    }

    #[test]
    fn a_file_that_is_no_overrides_is_told_and_kept() {
        let (_folder, store) = store();
        store.write(&Overrides::default()).unwrap();
        for bad in
            ["", "{\"vms\": 7}", "{\"vmz\": {}}", "{\"vms\": {\"web\": {\"limit\": 3}}}", "\u{0}"]
        {
            fs::write(store.path(), bad).unwrap();
            let error = format!("{:#}", store.read().unwrap_err());
            assert!(
                error.contains("overrides.json cannot be read: mend it, or remove it"),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
            assert_eq!(fs::read_to_string(store.path()).unwrap(), bad);
        }
    }

    #[test]
    fn a_pipe_in_its_place_is_told_and_not_waited_for() {
        let (_folder, store) = store();
        store.write(&Overrides::default()).unwrap();
        fs::remove_file(store.path()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(store.path()).status().unwrap();
        assert!(made.success());
        let error = format!("{:#}", store.read().unwrap_err());
        assert!(error.ends_with("it is not a file"), "{error}");
        assert!(store.may_enforce(), "nobody knows what it would say");
    }

    #[test]
    fn what_cannot_be_written_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        fs::write(&file, "").unwrap();
        let error = format!("{:#}", Store::new(&file).write(&Overrides::default()).unwrap_err());
        assert!(error.contains("cannot be written, nothing is changed"), "{error}");
    }

    fn any_override() -> impl Strategy<Value = Override> {
        (
            proptest::option::of(0..3usize),
            proptest::option::of(0u16..1 << 14),
            proptest::option::of((1u64..100, proptest::option::of(1u64..99), any::<bool>())),
        )
            .prop_map(|(mode, allow, limit)| {
                fn set<T>(value: T) -> Set<T> {
                    Set { value, stamp: Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() } }
                }
                Override {
                    mode: mode.map(|mode| set(Named(Mode::ALL[mode]))),
                    allow: allow.map(|allow| set(Types(Allowed(allow)))),
                    limit: limit.map(|(number, burst, force)| {
                        set(burst.map_or(Limit::Off, |burst| {
                            let rate = format!("{number}/m").parse().unwrap();
                            Limit::On(Throttle { rate, burst, force })
                        }))
                    }),
                }
            })
    }

    proptest! {
        #[test]
        fn overrides_are_read_as_they_were_written(
            default in any_override(),
            vms in proptest::collection::btree_map(any::<String>(), any_override(), 0..4),
        ) {
            let (_folder, store) = store();
            let overrides = Overrides { default, vms, applied: None };
            store.write(&Overrides::default()).unwrap();
            store.write(&overrides).unwrap();
            prop_assert_eq!(store.read().unwrap(), overrides);
        }
    }
}
