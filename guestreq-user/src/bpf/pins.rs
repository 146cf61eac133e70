//! # Pins: programs, links and maps that survive the agent
//!
//! They are pinned in the BPF file system, so enforcement survives the agent's end and crashes. The
//! next agent takes them over after it has verified them.

pub mod identities;
pub mod inspect;
pub mod placed;
mod remove;

use std::{
    ffi::CString,
    fs, io, mem,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
pub use inspect::{Found, MAPS};
pub use remove::{are_any, remove_all};

use crate::host::system::Missing;

pub const ROOT: &str = "/sys/fs/bpf/guestreq";

/// Suffix of a link's pin that will replace another one.
const NEW: &str = "+new";

/// The pins of this host.
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Fails unless a writable BPF file system is mounted.
    pub fn open() -> Result<Pins> {
        file_system(mounted())?;
        Ok(Pins { root: PathBuf::from(ROOT) })
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join("maps").join(name)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// A link's pin. Its name has the identity of the module that it is attached to: after a reload
    /// of the module the link is dead.
    ///
    /// No dots: the BPF file system reserves them (bpf_lookup in kernel/bpf/inode.c).
    pub fn link(&self, program: &str, module: Option<u64>) -> PathBuf {
        self.links().join(format!("{program}@{}", module.unwrap_or(0)))
    }

    /// A program's pinned link, and the identity of the module it is attached to.
    pub fn find_link(&self, program: &str) -> Option<(PathBuf, u64)> {
        fs::read_dir(self.links()).ok()?.find_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let (found, module) = name.rsplit_once('@')?;
            (found == program).then(|| Some((path.clone(), module.parse().ok()?)))?
        })
    }

    /// Where a replacement link is pinned first; [`Pins::commit`] then replaces the old link
    /// atomically.
    pub fn new_link(&self, path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(NEW);
        PathBuf::from(name)
    }

    /// Replaces the old link by the new one, atomically.
    pub fn commit(&self, path: &Path) -> Result<()> {
        let new = self.new_link(path);
        fs::rename(&new, path).with_context(|| format!("{}", new.display()))
    }

    /// Removes new links that were never committed.
    pub fn drop_uncommitted(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.links()) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.as_os_str().as_bytes().ends_with(NEW.as_bytes()) {
                fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
            }
        }
        Ok(())
    }

    pub fn make_folders(&self) -> Result<()> {
        for folder in
            [self.root.clone(), self.root.join("maps"), self.root.join("programs"), self.links()]
        {
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("{}", folder.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub fn exist(&self) -> bool {
        self.map("HOST").exists()
    }
}

/// What is mounted at /sys/fs/bpf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    Nothing,
    ReadOnly,
    Writable,
}

/// Fails unless pins can be written.
pub fn file_system(mounted: Mounted) -> Result<(), Missing> {
    match mounted {
        Mounted::Writable => Ok(()),
        Mounted::ReadOnly => Err(Missing::new(
            "the BPF file system at /sys/fs/bpf is mounted read-only: enforcement would not \
             survive the agent",
            "`mount -o remount,rw /sys/fs/bpf`, or mount the host's into the container without \
             `readOnly`",
        )),
        Mounted::Nothing => Err(Missing::new(
            "no BPF file system at /sys/fs/bpf: enforcement would not survive the agent",
            "`mount -t bpf bpf /sys/fs/bpf`, or mount the host's into the container",
        )),
    }
}

/// Where the BPF file system is mounted.
fn parent() -> &'static Path {
    Path::new(ROOT).parent().unwrap_or(Path::new("/"))
}

pub fn mounted() -> Mounted {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    let Ok(path) = CString::new(parent().as_os_str().as_bytes()) else { return Mounted::Nothing };
    // SAFETY: structures of integers, for which zeros are a value.
    let (mut kind, mut flags): (libc::statfs, libc::statvfs) = unsafe { mem::zeroed() };
    // SAFETY: path and structures outlive the calls.
    let done = unsafe {
        libc::statfs(path.as_ptr(), &mut kind) == 0 && libc::statvfs(path.as_ptr(), &mut flags) == 0
    };
    if !done || kind.f_type != BPF_FS_MAGIC {
        return Mounted::Nothing;
    }
    let read_only = flags.f_flag & libc::ST_RDONLY != 0;
    if read_only { Mounted::ReadOnly } else { Mounted::Writable }
}
