//! # What outlives the agent
//!
//! Maps, entry programs and links are pinned in the BPF file system, so that what
//! is enforced goes on when the agent ends, however it ends. The next agent finds
//! them here. It believes nothing that it has not compared.

use std::{
    ffi::CString,
    fs, io, mem,
    os::{
        fd::AsFd as _,
        unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapData, MapInfo};
use guestreq_common::{SCHEMA, host::Host, request::Thread, sequence::Context, vm::Vm};

use super::{fault, records};

pub const ROOT: &str = "/sys/fs/bpf/guestreq";

/// Where another version's pins are while this one's take over.
const OLD: &str = "/sys/fs/bpf/guestreq-old";

/// Maps that are pinned, everything that is counted, decided or on its way, and how large their
/// keys and values are as this version writes them.
pub const MAPS: [(&str, u32, u32); 12] = [
    ("HOST", 4, size_of::<Host>() as u32),
    ("VMS", 4, size_of::<Vm>() as u32),
    ("FREE_SLOTS", 0, 4),
    ("VM_OF_PROCESS", 4, 4),
    ("THREADS", 4, size_of::<Thread>() as u32),
    ("CONTEXTS", 8, size_of::<Context>() as u32),
    ("LIMITERS", 4, 8),
    ("EVENTS", 0, 0),
    ("KPROBES", 4, 4),
    ("TRACEPOINTS", 4, 4),
    ("IOCTLS", 4, 4),
    ("IOCTLS_COMPAT", 4, 4),
];

/// What stands under [`ROOT`].
pub enum Found {
    Nothing,
    /// Maps of this version, for so many VMs and threads.
    Ours {
        max_vms: u32,
        threads: u32,
    },
    /// Something else, and why it is not ours.
    Foreign(String),
}

/// The pins of this host.
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// The BPF file system, if it is mounted.
    pub fn open() -> Result<Pins> {
        let root = PathBuf::from(ROOT);
        let parent = root.parent().unwrap_or(Path::new("/"));
        if !is_bpffs(parent) {
            bail!(
                "no BPF file system at {}, in which enforcement would outlive the agent: \
                 `mount -t bpf bpf {0}`, or mount the host's into the container",
                parent.display()
            );
        }
        Ok(Pins { root })
    }

    /// What an earlier agent left.
    pub fn look(&self) -> Result<Found> {
        if !self.root.exists() {
            return Ok(Found::Nothing);
        }
        let mut found = None;
        for (name, key, value) in MAPS {
            let path = self.map(name);
            if !path.exists() {
                // An agent that died while it pinned: what is missing is made anew.
                continue;
            }
            let info = match MapInfo::from_pin(&path) {
                Ok(info) => info,
                Err(error) => return Ok(Found::Foreign(format!("{}: {error}", path.display()))),
            };
            if (info.key_size(), info.value_size()) != (key, value) {
                return Ok(Found::Foreign(format!(
                    "{name}'s elements have {} and {} bytes, this version's {key} and {value}",
                    info.key_size(),
                    info.value_size()
                )));
            }
            match name {
                "VMS" => {
                    found = Some((info.max_entries(), found.map_or(0, |(_, threads)| threads)))
                }
                "THREADS" => found = Some((found.map_or(0, |(vms, _)| vms), info.max_entries())),
                _ => {}
            }
        }
        match self.schema()? {
            // Not yet written: an agent died while it pinned.
            0 => {}
            schema if schema == u64::from(SCHEMA) => {}
            schema => {
                let why = format!("its maps are of schema {schema}, this version's of {SCHEMA}");
                return Ok(Found::Foreign(why));
            }
        }
        match found {
            Some((max_vms, threads)) if max_vms != 0 && threads.is_power_of_two() => {
                Ok(Found::Ours { max_vms, threads })
            }
            Some(_) => {
                // Half of the sizes are known: begin anew rather than guess.
                Ok(Found::Foreign("an agent died while it made them".to_owned()))
            }
            None => Ok(Found::Nothing),
        }
    }

    /// The schema that the pinned maps were made with.
    fn schema(&self) -> Result<u64> {
        let path = self.map("HOST");
        if !path.exists() {
            return Ok(0);
        }
        let data = MapData::from_pin(&path).with_context(|| format!("{}", path.display()))?;
        records::schema(data.fd().as_fd())
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

    /// No dots: the BPF file system reserves them (bpf_lookup in kernel/bpf/inode.c).
    ///
    /// A link's pin carries the identity of the module that it was attached to: one on a module
    /// that was loaded anew is dead.
    pub fn link(&self, program: &str, module: Option<u64>) -> PathBuf {
        self.links().join(format!("{program}@{}", module.unwrap_or(0)))
    }

    /// A program's pinned link, and which load of its module it is on.
    pub fn find_link(&self, program: &str) -> Option<(PathBuf, u64)> {
        fs::read_dir(self.links()).ok()?.find_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let (found, module) = name.rsplit_once('@')?;
            (found == program).then(|| Some((path.clone(), module.parse().ok()?)))?
        })
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

    /// Puts another version's pins aside: they go on until this version's stand.
    pub fn put_aside(&self) -> Result<()> {
        remove(Path::new(OLD))?;
        fs::rename(&self.root, OLD).with_context(|| format!("putting {ROOT} aside"))
    }

    /// Ends what was put aside, by this agent or one that died.
    pub fn drop_old(&self) -> Result<bool> {
        remove(Path::new(OLD))
    }
}

/// Ends everything that is pinned; whether there was anything.
///
/// Links first, from the beginning of a request to its end, so that none is seen half.
pub fn remove_all(order: &[&str]) -> Result<bool> {
    let root = Path::new(ROOT);
    for program in order {
        let pins = Pins { root: root.to_owned() };
        while let Some((path, _)) = pins.find_link(program) {
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
            fault::point("link_dropped");
        }
    }
    fault::point("links_dropped");
    let here = remove(root)?;
    Ok(remove(Path::new(OLD))? || here)
}

/// Removes a tree of pins: links before programs before maps.
fn remove(root: &Path) -> Result<bool> {
    if !root.exists() {
        return Ok(false);
    }
    let is_ours = |name: &str| ["links", "programs", "maps"].contains(&name);
    for folder in ["links", "programs", "maps"] {
        let folder = root.join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
        fs::remove_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    }
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours) {
            bail!("{} is not guestreq's: remove it by hand", path.display());
        }
    }
    fs::remove_dir(root).with_context(|| format!("{}", root.display()))?;
    Ok(true)
}

fn is_bpffs(path: &Path) -> bool {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut status: libc::statfs = unsafe { mem::zeroed() };
    // SAFETY: path and structure outlive the call.
    let ret = unsafe { libc::statfs(path.as_ptr(), &mut status) };
    ret == 0 && status.f_type as i64 == BPF_FS_MAGIC
}
