//! # The cache of fetched and built files, shared by the user's working trees
//!
//! An entry is filled under another name and then renamed, so an entry is always complete.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::progress;

pub struct Cache {
    root: PathBuf,
    /// Two setups at once would fill the same entry; released when the cache is dropped.
    _lock: File,
}

impl Cache {
    pub fn open() -> Result<Self> {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .context("no place for a cache: set XDG_CACHE_HOME or HOME")?;
        let root = base.join("guestreq");
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let lock = File::create(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = root.join("lock");
                progress::step("wait", &format!("another xtask holds {}", path.display()), || {
                    lock.lock().context("cannot lock")
                })?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the cache"),
        }
        Ok(Self { root, _lock: lock })
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The log of a step of setup.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(name)
    }

    /// The directory `name`; if it is missing, `fill` fills an empty one.
    pub fn once(
        &self,
        name: impl AsRef<Path>,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path(&name);
        if entry.exists() { Ok(entry) } else { self.renew(name, fill) }
    }

    /// Like [`Cache::once`], but fills it even if it exists; what there was stays if that fails.
    pub fn renew(
        &self,
        name: impl AsRef<Path>,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let entry = self.path(&name);
        let part = self.path(Path::new("part").join(name.as_ref()));
        remove(&part)?;
        fs::create_dir_all(&part)?;
        fill(&part)?;
        if let Some(parent) = entry.parent() {
            fs::create_dir_all(parent)?;
        }
        remove(&entry)?;
        fs::rename(&part, &entry).with_context(|| format!("cannot make {}", entry.display()))?;
        Ok(entry)
    }
}

/// Removes a directory that an interrupted run may have left behind.
pub fn remove(dir: &Path) -> Result<()> {
    // A file system mounted in it would be emptied, too.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = format!("{}/", dir.display());
    if mounts.lines().any(|m| m.split(' ').nth(1).is_some_and(|at| at.starts_with(&prefix))) {
        bail!("something is mounted below {}: umount it and try again", dir.display());
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A short name for some content, to distinguish versions; not cryptographic.
pub fn digest<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write_usize(part.as_ref().len());
        hasher.write(part.as_ref());
    }
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str) -> Cache {
        let root = std::env::temp_dir().join(format!("guestreq-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let lock = File::create(root.join("lock")).unwrap();
        Cache { root, _lock: lock }
    }

    fn writes(text: &str) -> impl FnOnce(&Path) -> Result<()> {
        move |part| Ok(fs::write(part.join("content"), text)?)
    }

    #[test]
    fn an_entry_is_filled_once_and_survives_a_renewal_that_fails() {
        let cache = cache("cache");
        let content = |entry: PathBuf| fs::read_to_string(entry.join("content")).unwrap();
        assert_eq!(content(cache.once("entry", writes("first")).unwrap()), "first");
        assert_eq!(content(cache.once("entry", writes("second")).unwrap()), "first");
        let offline = cache.renew("entry", |part| {
            writes("half")(part)?;
            bail!("offline")
        });
        assert_eq!(offline.unwrap_err().to_string(), "offline");
        assert_eq!(content(cache.path("entry")), "first");
        assert_eq!(content(cache.renew("entry", writes("third")).unwrap()), "third");
        remove(&cache.root).unwrap();
    }
}
