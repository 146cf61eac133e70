//! # Removing pins

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{Pins, ROOT, parent};
use crate::{
    bpf::pins::{identities, placed},
    failpoint::{self, Point},
};

/// Folders of another version's pins during the takeover: this and a number.
const OLD: &str = "guestreq-old-";

/// Our folders in the order of removal: links before what they use.
const FOLDERS: [(&str, Point); 3] = [
    ("links", Point::LinksDropped),
    ("programs", Point::ProgramsDropped),
    ("maps", Point::MapsDropped),
];

impl Pins {
    /// Moves another version's pins aside: they stay attached until this version's are.
    pub fn put_aside(&self) -> Result<()> {
        let parent = parent();
        // An agent that died here left several: all stay attached.
        let old = (0..).map(|number: u32| parent.join(format!("{OLD}{number}")));
        let mut free = old.filter(|old| fs::symlink_metadata(old).is_err());
        let old = free.next().context("no free name for old pins")?;
        fs::rename(&self.root, &old).with_context(|| format!("moving {ROOT} aside"))
    }

    /// Whether any version's pins exist.
    pub fn are_any(&self) -> bool {
        self.exist() || !olds().is_empty()
    }

    /// Removes pins that this or an earlier agent moved aside. Returns whether there were any, and
    /// errors.
    pub fn remove_old(&self) -> (bool, Vec<anyhow::Error>) {
        let mut removed = false;
        let mut errors = Vec::new();
        for old in olds() {
            match remove(&old) {
                Ok(()) => removed = true,
                Err(error) => errors.push(error),
            }
        }
        (removed, errors)
    }
}

/// Removes all pins. Returns whether there were any.
///
/// Links first, from the beginning of a request to its end, so that none is seen in part.
pub fn remove_all(order: &[&'static str]) -> Result<bool> {
    let pins = Pins { root: PathBuf::from(ROOT) };
    for entry in order {
        while let Some((path, _)) = pins.find_link(entry) {
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
        failpoint::point(Point::LinkDropped(entry));
    }
    let all = roots(parent())?;
    for root in &all {
        remove(root)?;
    }
    identities::forget().context("removing saved identities of VMs")?;
    placed::forget().context("removing the list of programs")?;
    Ok(!all.is_empty())
}

/// Whether there are any pins to remove.
pub fn are_any() -> Result<bool> {
    Ok(!roots(parent())?.is_empty())
}

/// All versions' folders in this one. Fails if it cannot be read: there may be some.
fn roots(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("{}", parent.display()))?,
    };
    let ours = Path::new(ROOT).file_name();
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("{}", parent.display()))?.file_name();
        if is_old(&name) || Some(name.as_os_str()) == ours {
            all.push(parent.join(name));
        }
    }
    // This version's last: the others would have been removed before.
    all.sort_by_key(|path| !path.file_name().is_some_and(is_old));
    Ok(all)
}

/// Whether it names pins that were moved aside.
fn is_old(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix(OLD));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was put aside and is still there.
fn olds() -> Vec<PathBuf> {
    let entries = fs::read_dir(parent()).into_iter().flatten().flatten();
    let olds = entries.filter(|entry| is_old(&entry.file_name()));
    olds.map(|entry| entry.path()).collect()
}

/// Removes a tree of pins. Fails if it holds anything that is not guestreq's.
fn remove(root: &Path) -> Result<()> {
    if !fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_dir()) {
        return fs::remove_file(root).with_context(|| format!("{}", root.display()));
    }
    for (folder, point) in FOLDERS {
        let folder = root.join(folder);
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            // Folders are not guestreq's: reported below.
            if !path.is_dir() {
                fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
            }
        }
        // Fails if it is not empty.
        let _ = fs::remove_dir(&folder);
        failpoint::point(point);
    }
    match fs::remove_dir(root) {
        Ok(()) => Ok(()),
        Err(error) => match foreign_entry(root) {
            Some(path) => bail!("{} is not guestreq's: remove it by hand", path.display()),
            None => Err(error).with_context(|| format!("{}", root.display())),
        },
    }
}

/// Something in the tree that is not guestreq's.
fn foreign_entry(root: &Path) -> Option<PathBuf> {
    let entries: Vec<PathBuf> =
        fs::read_dir(root).ok()?.flatten().map(|entry| entry.path()).collect();
    let ours = |path: &&PathBuf| FOLDERS.iter().any(|(folder, _)| path.ends_with(folder));
    let foreign = entries.iter().find(|path| !ours(path)).cloned();
    foreign.or_else(|| {
        entries.iter().find_map(|folder| Some(fs::read_dir(folder).ok()?.next()?.ok()?.path()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_folder_is_an_error_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let of = |parent: &Path| roots(parent).map_err(|error| format!("{error:#}"));
        assert_eq!(of(folder.path()), Ok(Vec::new()));
        assert_eq!(of(&folder.path().join("not there")), Ok(Vec::new()));
        for name in ["guestreq", "guestreq-old-7", "guestreq-old-x", "another"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let ours = ["guestreq-old-7", "guestreq"].map(|name| folder.path().join(name));
        assert_eq!(of(folder.path()), Ok(ours.to_vec()));
        let file = folder.path().join("a file");
        fs::write(&file, "").unwrap();
        assert!(of(&file).unwrap_err().contains("a file: "));
    }
}
