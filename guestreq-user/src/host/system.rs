//! # The host's files
//!
//! Below one root, which tests replace by a folder; /proc and /sys below roots of their own, as
//! containers mount the host's elsewhere (`--procfs`, `--sysfs`). And unmet conditions with their
//! fixes.

use std::{
    error::Error,
    ffi::CString,
    fmt,
    fs::{self, Metadata},
    io,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::record::{Access, Record};

/// The host's files.
///
/// The roots of /proc and /sys do not apply to:
///
/// - /proc/self: this process' own state. Only its cgroup is read below the root, as it is compared
///   with other processes'.
/// - /sys/fs/bpf, a file system of its own. The next agent, `guestreq detach` and bpftool look for
///   pins there, and do not know our roots.
/// - What has no file, or is read by libraries: bpf(2), /dev/sev, the type of kprobes' events.
///
/// The gate's parameters, which are written as well, are below the root: it is the same kernel, and
/// a container's own /sys is usually read-only.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
    procfs: PathBuf,
    sysfs: PathBuf,
    kind: TreeKind,
    record: Option<Record>,
}

/// Where the files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// The running kernel.
    Here,
    /// Copies of another host's /proc and /sys.
    Collected,
    /// Copies of one of the two; the other is empty, since this machine's would not match.
    OnlyProc,
    OnlySys,
}

/// Types of the kernel's file systems by statfs(2) (include/uapi/linux/magic.h).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// A root without any files.
const NOWHERE: &str = "/dev/null";

/// Set once, if at all.
static HOST: OnceLock<System> = OnceLock::new();

/// The host that this process reads.
pub fn host() -> &'static System {
    HOST.get_or_init(System::real)
}

impl System {
    pub fn real() -> System {
        System::at(Path::new("/"))
    }

    pub fn at(root: &Path) -> System {
        let [procfs, sysfs] = ["proc", "sys"].map(|folder| root.join(folder));
        System { root: root.to_owned(), procfs, sysfs, kind: TreeKind::Here, record: None }
    }

    /// The host, with other roots of /proc and /sys if given.
    pub fn with(procfs: Option<PathBuf>, sysfs: Option<PathBuf>) -> Result<System> {
        let mut system = System::real();
        let mut copies = [false; 2];
        let trees = [
            (procfs, &mut system.procfs, PROC_SUPER_MAGIC),
            (sysfs, &mut system.sysfs, SYSFS_MAGIC),
        ];
        for ((given, kept, magic), copy) in trees.into_iter().zip(&mut copies) {
            let Some(folder) = given else { continue };
            // A wrong path would look like a host without processes or modules.
            let found = fs::metadata(&folder).with_context(|| folder.display().to_string())?;
            ensure!(found.is_dir(), "{} is not a directory", folder.display());
            *copy = file_system(&folder)? != magic;
            *kept = folder;
        }
        // This machine's files would not match copies of another's.
        system.kind = match copies {
            [false, false] => TreeKind::Here,
            [true, true] => TreeKind::Collected,
            [true, false] => TreeKind::OnlyProc,
            [false, true] => TreeKind::OnlySys,
        };
        match system.kind {
            TreeKind::Here => {}
            TreeKind::Collected => system.root = NOWHERE.into(),
            TreeKind::OnlyProc => system.leave_out_sys(),
            TreeKind::OnlySys => {
                system.root = NOWHERE.into();
                system.procfs = NOWHERE.into();
            }
        }
        Ok(system)
    }

    pub fn kind(&self) -> TreeKind {
        self.kind
    }

    /// Whether the files are copies of another host's.
    pub fn is_collected(&self) -> bool {
        self.kind != TreeKind::Here
    }

    /// The same /proc and /sys, read as copies of them are, and a record of what is read of them.
    pub fn as_recorded_copies(&self) -> (System, Record) {
        let record = Record::default();
        let mut copies = System { record: Some(record.clone()), ..self.clone() };
        if copies.kind == TreeKind::Here {
            copies.kind = TreeKind::Collected;
            copies.root = NOWHERE.into();
        }
        (copies, record)
    }

    /// Ignores /sys, as it is another kernel's than /proc.
    pub fn leave_out_sys(&mut self) {
        self.root = NOWHERE.into();
        self.sysfs = NOWHERE.into();
    }

    /// Makes this process read this host. Must be called before it reads any.
    pub fn choose(self) -> Result<&'static System> {
        if HOST.set(self).is_err() {
            bail!("the host was read before the roots of /proc and /sys were set");
        }
        Ok(host())
    }

    /// The path of a host's file, given by its absolute path on the host; for reading it, or the
    /// files in a folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.noted(path, Access::Read)
    }

    /// The same, and a note of what it is for.
    fn noted(&self, path: &str, access: Access) -> PathBuf {
        if let Some(record) = &self.record {
            record.add(path, access);
        }
        self.place(path)
    }

    /// The same, without a note.
    pub fn place(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        let of_this_process = path.starts_with("/proc/self");
        if of_this_process && self.is_collected() {
            return path.to_owned();
        }
        match (path.strip_prefix("/proc"), path.strip_prefix("/sys")) {
            (Ok(rest), _) if !of_this_process => self.procfs.join(rest),
            (_, Ok(rest)) => self.sysfs.join(rest),
            _ => self.root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// Whether a file is one of the copies, if there are any: a link in them may lead to a file of this
    /// machine.
    pub fn holds(&self, place: &Path) -> bool {
        let roots = [&self.procfs, &self.sysfs].map(fs::canonicalize);
        let is_in = |root: &io::Result<PathBuf>, place: &Path| {
            root.as_ref().is_ok_and(|root| place.starts_with(root))
        };
        let place = fs::canonicalize(place);
        !self.is_collected()
            || place.is_ok_and(|place| roots.iter().any(|root| is_in(root, &place)))
    }

    /// A process' folder.
    pub fn process(&self, pid: u32) -> PathBuf {
        self.procfs.join(pid.to_string())
    }

    /// A file's text without surrounding white space, and without zeros, which tar appends to files
    /// shorter than sysfs says.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let nothing = |c: char| c.is_whitespace() || c == '\0';
        let path = self.path(path);
        // Copies may include pipes and devices, which could block.
        if self.is_collected() && !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        fs::read_to_string(path).map(|text| text.trim_matches(nothing).to_owned())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.metadata(path).is_ok()
    }

    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        fs::metadata(self.noted(path, Access::Exists))
    }

    /// Whether a copy is an empty file. What is recorded may be a file of /proc itself, where all have
    /// size 0.
    pub fn is_empty(&self, path: &str) -> io::Result<bool> {
        let found = self.metadata(path)?;
        Ok(found.is_file() && found.len() == 0 && self.record.is_none())
    }

    /// The names in a folder, sorted; empty if it cannot be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        names_in(&self.noted(path, Access::List))
    }
}

/// The names in a folder, sorted; empty if it cannot be read.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The type of a folder's file system.
fn file_system(folder: &Path) -> Result<i64> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let mut status = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: path and structure outlive the call.
    if unsafe { libc::statfs(path.as_ptr(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error()).context(folder.display().to_string());
    }
    // SAFETY: the kernel has filled it in.
    Ok(unsafe { status.assume_init() }.f_type)
}

/// An unmet condition and its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    pub fix: String,
}

impl Missing {
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Missing {
        Missing { what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

impl Error for Missing {}

#[cfg(test)]
mod tests;
