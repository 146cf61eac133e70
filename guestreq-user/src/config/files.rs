//! # The configuration's files
//!
//! Lists, reads and watches them. A pipe, a folder or a too long file in their place is an error
//! and never blocks.

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{DEFAULT_PATH, place::place};

/// Of all files together.
const MAX_BYTES: u64 = 1 << 20;

/// A file, and `conf.d` beside it.
#[derive(Clone, Debug)]
pub struct Files {
    main: PathBuf,
    /// Its path was given, so it must exist.
    required: bool,
}

/// Detects replaced or written files: device, inode, size, mtime and ctime. Links are followed, so
/// that a new target counts as a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Option<[i64; 7]>)>);

impl Files {
    pub fn of(path: Option<&Path>) -> Files {
        let main = path.unwrap_or(Path::new(DEFAULT_PATH));
        // Shown paths are absolute.
        let main = path::absolute(main).unwrap_or_else(|_| main.to_owned());
        Files { main, required: path.is_some() }
    }

    fn folder(&self) -> PathBuf {
        self.main.with_file_name("conf.d")
    }

    /// The files in `conf.d` in their order, without hidden ones, which are editors' or
    /// Kubernetes'.
    fn names(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Opens only the folder.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut paths = vec![self.main.clone(), self.folder()];
        paths.extend(self.names().unwrap_or_default());
        let of = |path: PathBuf| {
            let numbers = fs::metadata(&path).ok().map(|file| {
                let (dev, ino, size) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
                if file.is_dir() {
                    // Other files in the folder do not count.
                    return [dev, ino, 0, 0, 0, 0, 0];
                }
                [dev, ino, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
            });
            // A dangling link is not an absent file.
            let numbers = numbers.or_else(|| fs::symlink_metadata(&path).ok().map(|_| [0; 7]));
            (path, numbers)
        };
        Fingerprint(paths.into_iter().map(of).collect())
    }

    /// All files, in their order.
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder();
        let mut paths = self.names().with_context(|| format!("{}", folder.display()))?;
        let absent = fs::symlink_metadata(&self.main)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if self.required || !absent {
            paths.insert(0, self.main.clone());
        }
        Ok(paths)
    }

    /// Reads all files.
    pub fn read(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut left = MAX_BYTES;
        let mut texts = Vec::new();
        for path in self.paths()? {
            let text = read(&path, left).with_context(|| format!("{}", path.display()))?;
            left -= text.len() as u64;
            texts.push((path, text));
        }
        Ok(texts)
    }
}

/// A command's standard input, as a file: `kubectl exec --stdin` gives a pipe.
pub const STDIN: &str = "/dev/stdin";

/// Reads a single file, or standard input to its end.
pub fn read_file(path: &Path) -> Result<String> {
    if path == Path::new(STDIN) { text(io::stdin(), MAX_BYTES) } else { read(path, MAX_BYTES) }
}

/// A regular file's text, if not longer than `limit`.
fn read(path: &Path, limit: u64) -> Result<String> {
    let link = fs::symlink_metadata(path)?.is_symlink();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if link => {
            anyhow::anyhow!("it is a dangling link: {}", target(path))
        }
        _ => error.into(),
    })?;
    // Opening a device or pipe may have side effects.
    is_file(&metadata)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    is_file(&file.metadata()?)?;
    text(file, limit)
}

fn target(path: &Path) -> String {
    fs::read_link(path).map_or_else(|_| "?".to_owned(), |target| target.display().to_string())
}

fn is_file(metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    bail!("it is {what}, not a file")
}

fn text(file: impl io::Read, limit: u64) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= limit,
        "too long: all configuration files together may have {} MiB",
        MAX_BYTES >> 20
    );
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        let (line, column) = place(&before, good);
        anyhow::anyhow!("line {line}, column {column}: not UTF-8 text")
    })
}

#[cfg(test)]
mod tests;
