//! # The archive
//!
//! A .tar.gz, made in memory, as its size is bounded; a file appears under its name once it is
//! complete.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::Contents;

/// Everything in one folder.
pub fn pack(contents: &Contents, top: &str, seconds: u64) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut add = |path: &str, bytes: Option<&[u8]>| {
        let mut header = Header::new_gnu();
        header.set_mtime(seconds);
        header.set_uid(0);
        header.set_gid(0);
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

/// Where else to write.
const ELSEWHERE: &str = "give another path with --output, or --output - for standard output";

/// Whether a report can get this path, which is asked before it is made.
pub fn is_free(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    part_of(path).map(drop)
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow!("{} exists: give another name with --output", path.display())
}

/// Writes a file that nobody else may read, and never over another one.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    is_free(path)?;
    let part = part_of(path)?;
    let file = match create(&part) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists, from a report that was interrupted: remove it", part.display())
        }
        file => file.map_err(|error| cannot(path, &error))?,
    };
    let written = write(file, bytes).and_then(|()| publish(&part, path));
    // A disk that is full gets its space back.
    let _ = fs::remove_file(&part);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        written => written.map_err(|error| cannot(path, &error)),
    }
}

fn cannot(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {error}: {ELSEWHERE}", path.display())
}

/// Another file in the same folder.
fn part_of(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        bail!("{} is not the name of a file: {ELSEWHERE}", path.display());
    };
    let mut part = OsString::from(".");
    part.push(name);
    part.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(part))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
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
    use std::{
        ffi::OsStr,
        io::Read as _,
        os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    };

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
            format!(
                "cannot write /nonexistent/x.tar.gz: No such file or directory (os error 2): {ELSEWHERE}"
            )
        );
        assert!(save(Path::new("/"), b"x").is_err() && save(Path::new(".."), b"x").is_err());
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = write(full, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_part_of_another_report_is_neither_replaced_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(b"\xff.tar.gz"));
        let part = part_of(&path).unwrap();
        fs::write(&part, "another").unwrap();
        let error = save(&path, b"x").unwrap_err().to_string();
        assert!(
            error.ends_with("exists, from a report that was interrupted: remove it"),
            "{error}"
        );
        assert!(fs::read(&part).unwrap() == b"another" && !path.exists());
        fs::remove_file(&part).unwrap();
        save(&path, b"x").unwrap();
    }
}
