//! # The configuration's files
//!
//! Which there are, whether they have changed, and what they hold. Whatever stands in
//! their place, a pipe or a folder or too much, is an error and never waited for.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{DEFAULT_PATH, place::place};

/// All files together.
const MAX_BYTES: u64 = 1 << 20;

/// A file, and `conf.d` beside it.
#[derive(Clone, Debug)]
pub struct Files {
    main: PathBuf,
    /// It was asked for, so that it must be there.
    required: bool,
}

/// What tells that a file is another one, or was written: device, inode, size, and when it was
/// written or its inode changed. Links are followed, so that a new target is another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Option<[i64; 7]>)>);

impl Files {
    pub fn of(asked: Option<&Path>) -> Files {
        let main = asked.unwrap_or(Path::new(DEFAULT_PATH));
        // What is shown of it means the same everywhere.
        let main = path::absolute(main).unwrap_or_else(|_| main.to_owned());
        Files { main, required: asked.is_some() }
    }

    fn folder(&self) -> PathBuf {
        self.main.with_file_name("conf.d")
    }

    /// The names in `conf.d` that count, in their order. What begins with a dot is an editor's, or
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

    /// Cheap: nothing is opened but the folder.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut paths = vec![self.main.clone(), self.folder()];
        paths.extend(self.names().unwrap_or_default());
        let of = |path: PathBuf| {
            let numbers = fs::metadata(&path).ok().map(|file| {
                let (dev, ino, size) = (file.dev() as i64, file.ino() as i64, file.size() as i64);
                if file.is_dir() {
                    // What comes and goes in it may be none of ours.
                    return [dev, ino, 0, 0, 0, 0, 0];
                }
                [dev, ino, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()]
            });
            // A link that leads nowhere is not nothing.
            let numbers = numbers.or_else(|| fs::symlink_metadata(&path).ok().map(|_| [0; 7]));
            (path, numbers)
        };
        Fingerprint(paths.into_iter().map(of).collect())
    }

    /// All that count, in their order.
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

    /// What they hold.
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

/// The text of a file that is read by itself.
pub fn read_file(path: &Path) -> Result<String> {
    read(path, MAX_BYTES)
}

/// A file's text, if it is one and not longer than that.
fn read(path: &Path, limit: u64) -> Result<String> {
    let link = fs::symlink_metadata(path)?.is_symlink();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if link => {
            anyhow::anyhow!("it is a link to nothing: {}", target(path))
        }
        _ => error.into(),
    })?;
    // Opening something else may already do something.
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

fn text(file: File, limit: u64) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= limit,
        "too long: all files of the configuration together may have {} MiB",
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
