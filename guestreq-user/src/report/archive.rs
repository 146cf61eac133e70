//! # The archive
//!
//! A .tar.gz, made in memory, as its size is bounded; a file appears under its name once it is
//! complete.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::Contents;

/// Everything in one folder.
pub fn pack(contents: &Contents, top: &str, seconds: u64) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut add = |path: &str, bytes: Option<&[u8]>| {
        let mut header = Header::new_gnu();
        header.set_mtime(seconds);
        header.set_mode(if bytes.is_some() { 0o644 } else { 0o755 });
        header.set_entry_type(match bytes {
            Some(_) => EntryType::Regular,
            None => EntryType::Directory,
        });
        header.set_size(bytes.map_or(0, |bytes| bytes.len() as u64));
        tar.append_data(&mut header, path, bytes.unwrap_or_default())
    };
    add(top, None)?;
    for (path, bytes) in &contents.files {
        add(&format!("{top}/{path}"), bytes.as_deref())?;
    }
    tar.into_inner()?.finish()
}

/// Writes a file that nobody else may read, and never over another one.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    let part = part_of(path)?;
    let written = write(&part, bytes).and_then(|()| publish(&part, path));
    // A disk that is full gets its space back.
    let _ = fs::remove_file(&part);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} exists: give another name with --output", path.display())
}

/// Another file in the same folder.
fn part_of(path: &Path) -> Result<PathBuf> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(path.with_file_name(format!(".{name}.{}", std::process::id()))),
        None => bail!("{} is not the name of a file: give one with --output", path.display()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // Some file systems report a full disk only now.
    file.sync_all()
}

/// Unlike rename(2), link(2) replaces nothing; but some file systems have no links.
fn publish(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Err(error) if is_unsupported(&error) && fs::symlink_metadata(path).is_err() => {
            fs::rename(part, path)
        }
        linked => linked,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EMLINK)
    )
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::fs::PermissionsExt as _};

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn an_archive_has_one_folder_and_long_paths() {
        let long = format!("host/{}/x", "long/".repeat(40));
        let mut contents = Contents::default();
        contents.add("a.txt", "about", b"text".to_vec());
        contents.add(&long, "about", vec![b'x'; 70_000]);
        let bytes = pack(&contents, "top", 1_700_000_000).unwrap();
        let mut tar = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let mut found = Vec::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let (path, mut bytes) = (entry.path().unwrap().into_owned(), Vec::new());
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
            found.push((path.display().to_string(), bytes.len()));
        }
        let expected =
            [("top".to_owned(), 0), ("top/a.txt".to_owned(), 4), (format!("top/{long}"), 70_000)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_is_nobody_else_s_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.tar.gz");
        save(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = save(&path, b"two").unwrap_err().to_string();
        assert!(
            error.ends_with("report.tar.gz exists: give another name with --output"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let dangling = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(save(&dangling, b"two").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let error = format!("{:#}", save(Path::new("/nonexistent/x.tar.gz"), b"x").unwrap_err());
        assert_eq!(
            error,
            "cannot write /nonexistent/x.tar.gz: No such file or directory (os error 2)"
        );
        assert!(save(Path::new("/"), b"x").is_err() && save(Path::new(".."), b"x").is_err());
        let error = format!("{:#}", write(Path::new("/dev/full/x"), b"x").unwrap_err());
        assert!(error.contains("Not a directory"), "{error}");
    }
}
