//! # Copies of the host's files
//!
//! Of those files of /proc and /sys that `guestreq doctor` reads of copies, as it reads them: a copy
//! holds what it needs of each, and a check that reads another file gets that one, too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use super::{Missing, reduced};
use crate::{
    doctor,
    enforce::gate::{PARAMETERS, SECRET_PARAMETERS},
    host::{
        record::{Access, Record},
        system::{System, names_in},
    },
    kernel::Symbols,
};

/// Longer files are cut; none of those that are read is longer, once it is reduced.
const MAX_FILE: u64 = 256 << 10;
/// Most files and folders.
const MAX_FILES: usize = 10_000;
/// Its folders have whatever names managers of VMs gave them.
const CGROUPS: &str = "/sys/fs/cgroup/";
/// Folders of cgroups that are the kernel's, systemd's or kubelet's.
const OWN_CGROUPS: [&str; 9] = [
    "init.scope",
    "kubepods",
    "kubepods.slice",
    "machine.slice",
    "misc",
    "system.slice",
    "systemd",
    "unified",
    "user.slice",
];

/// Copies by absolute path on the host; `None` is a folder.
#[derive(Default)]
pub struct Tree {
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    pub missing: Vec<Missing>,
}

impl Tree {
    /// What was recorded.
    pub fn of(system: &System, record: &Record) -> Tree {
        let mut tree = Tree::default();
        for (path, access) in record.all() {
            if is_left_out(&path) {
                continue;
            }
            let result = match access {
                Access::Exists => tree.add_existing(system, &path),
                Access::List => tree.add_names(system, &path),
                Access::Read => tree.add_read(system, &path),
            };
            // In a folder that is a file there is nothing either.
            if let Err(error) = result
                && !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            {
                tree.missing.push(Missing::new(format!("host{path}"), why(&error)));
            }
        }
        tree
    }

    fn add_existing(&mut self, system: &System, path: &str) -> io::Result<()> {
        let is_dir = fs::metadata(system.place(path))?.is_dir();
        self.put(path, (!is_dir).then(Vec::new))
    }

    fn add_names(&mut self, system: &System, path: &str) -> io::Result<()> {
        self.put(path, None)?;
        for name in names_in(&system.place(path)) {
            let path = format!("{path}/{name}");
            // A link may dangle.
            let is_file = fs::metadata(system.place(&path)).is_ok_and(|file| file.is_file());
            self.put(&path, is_file.then(Vec::new))?;
        }
        Ok(())
    }

    fn add_read(&mut self, system: &System, path: &str) -> io::Result<()> {
        let place = system.place(path);
        if !fs::metadata(&place)?.is_dir() {
            return self.put(path, Some(read(system, path, &place)?));
        }
        self.put(path, None)?;
        for entry in fs::read_dir(&place)?.flatten() {
            let (name, place) = (entry.file_name(), entry.path());
            let file = name.to_str().map(|name| format!("{path}/{name}"));
            let file = file.filter(|file| !is_left_out(file) && place.is_file());
            if let Some(file) = file
                && let Ok(bytes) = read(system, &file, &place)
            {
                self.put(&file, Some(bytes))?;
            }
        }
        Ok(())
    }

    /// Does not replace what is known better.
    fn put(&mut self, path: &str, bytes: Option<Vec<u8>>) -> io::Result<()> {
        if self.files.len() >= MAX_FILES {
            return Err(io::Error::other(format!("there are more than {MAX_FILES} files")));
        }
        let known = self.files.entry(path.to_owned()).or_insert_with(|| bytes.clone());
        if known.as_ref().is_some_and(Vec::is_empty) {
            *known = bytes.or(Some(Vec::new()));
        }
        Ok(())
    }

    /// Numbers folders of cgroups, whose names managers of VMs choose.
    pub fn rename_cgroups(&mut self) {
        let folders = |path: &str, is_folder: bool| -> Vec<String> {
            let below = path.split_once(CGROUPS).map_or("", |(_, below)| below);
            let file = usize::from(!is_folder);
            let names = below.split('/').rev().skip(file).filter(|name| !name.is_empty());
            names.filter(|name| !OWN_CGROUPS.contains(name)).map(str::to_owned).collect()
        };
        // Of what is missing it is not known what it is.
        let is_folder = |path: &str| !path.contains("/misc.") && !path.contains("/cgroup.");
        let of_files = self.files.iter().flat_map(|(path, bytes)| folders(path, bytes.is_none()));
        let of_missing = self.missing.iter().flat_map(|it| folders(&it.what, is_folder(&it.what)));
        let mut names: Vec<String> = of_files.chain(of_missing).collect();
        names.sort();
        names.dedup();
        let shown = |part: &str| match names.binary_search_by(|name| name.as_str().cmp(part)) {
            Ok(at) => format!("cgroup{}", at + 1),
            Err(_) => part.to_owned(),
        };
        let rename = |path: &str| match path.split_once(CGROUPS) {
            Some((before, below)) => {
                let parts: Vec<String> = below.split('/').map(shown).collect();
                format!("{before}{CGROUPS}{}", parts.join("/"))
            }
            None => path.to_owned(),
        };
        for (path, bytes) in std::mem::take(&mut self.files) {
            self.files.insert(rename(&path), bytes);
        }
        self.missing.iter_mut().for_each(|it| it.what = rename(&it.what));
    }
}

/// What is not the host's, or not everybody's.
fn is_left_out(path: &str) -> bool {
    let rest = path.strip_prefix("/proc/").unwrap_or_default();
    let first = rest.split('/').next().unwrap_or_default();
    // Of processes: a VMM's are elsewhere in the report.
    let is_process = first.parse::<u32>().is_ok() || matches!(first, "self" | "thread-self");
    let secret = path
        .strip_prefix(PARAMETERS)
        .is_some_and(|name| SECRET_PARAMETERS.contains(&name.trim_start_matches('/')));
    let is_elsewhere = !path.starts_with("/proc/") && !path.starts_with("/sys");
    is_process || secret || is_elsewhere
}

/// Why a file is missing.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "needs root".to_owned(),
        io::ErrorKind::NotFound => "absent".to_owned(),
        _ => error.to_string(),
    }
}

/// What is needed of a file: few of the 200,000 symbols, and whether the kernel hides addresses, but
/// not which they are; one of the processors; no secrets.
fn read(system: &System, path: &str, place: &Path) -> io::Result<Vec<u8>> {
    // Copies may have pipes, which block, and links to files of this machine.
    if !fs::metadata(place)?.is_file() || !system.holds(place) {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(place)?;
    match path {
        "/proc/kallsyms" => Symbols::reduced(io::BufReader::new(file), doctor::is_wanted),
        "/proc/cpuinfo" => {
            let bytes = some(file)?;
            let end = bytes.windows(2).position(|two| two == b"\n\n");
            Ok(bytes[..end.map_or(bytes.len(), |end| end + 1)].to_vec())
        }
        "/proc/modules" => rewritten(file, reduced::modules),
        "/proc/cmdline" => rewritten(file, reduced::command_line),
        _ => some(file),
    }
}

fn rewritten(file: File, by: fn(&str) -> String) -> io::Result<Vec<u8>> {
    let bytes = some(file)?;
    Ok(by(&String::from_utf8_lossy(&bytes)).into_bytes())
}

fn some(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
