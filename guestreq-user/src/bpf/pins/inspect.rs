//! # Inspecting pins before a takeover
//!
//! The pins may be an earlier agent's, another version's, incomplete, or not guestreq's. Only what
//! matches this version exactly is used; anything else is reported.

use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, MapInfo, MapType};
use guestreq_common::{
    SCHEMA,
    host::Host,
    launch::EndedLaunch,
    policy::Limiter,
    request::Thread,
    tail_calls,
    vm::{Vm, VmRef},
};

use super::Pins;
use crate::bpf::{kernel_constants::KernelConstants, records};

/// The pinned maps: name, type, and the sizes of keys and values in this version.
pub const MAPS: [(&str, MapType, u32, u32); 14] = [
    ("HOST", MapType::Array, 4, size_of::<Host>() as u32),
    ("VMS", MapType::Array, 4, size_of::<Vm>() as u32),
    ("FREE_SLOTS", MapType::Stack, 0, 4),
    ("VM_OF_PROCESS", MapType::Hash, 4, size_of::<VmRef>() as u32),
    ("THREADS", MapType::Array, 4, size_of::<Thread>() as u32),
    ("CONTEXTS", MapType::Hash, 8, size_of::<VmRef>() as u32),
    ("LIMITERS", MapType::Hash, 8, size_of::<Limiter>() as u32),
    ("LAUNCHES", MapType::Array, 4, size_of::<EndedLaunch>() as u32),
    ("EVENTS", MapType::RingBuf, 0, 0),
    // Programs that stay write their log to the next agent.
    ("AYA_LOGS", MapType::RingBuf, 0, 0),
    ("KPROBES", MapType::ProgramArray, 4, 4),
    ("TRACEPOINTS", MapType::ProgramArray, 4, 4),
    ("IOCTLS", MapType::ProgramArray, 4, 4),
    ("IOCTLS_COMPAT", MapType::ProgramArray, 4, 4),
];

/// What is pinned under [`super::ROOT`].
pub enum Found {
    Nothing,
    /// Maps of this version.
    Ours {
        max_vms: u32,
        threads: u32,
        /// As read by an earlier agent.
        words: Option<KernelConstants>,
    },
    /// Not this version's, and why.
    Foreign(String),
}

impl Pins {
    /// Inspects the pins.
    pub fn look(&self) -> Found {
        match fs::symlink_metadata(&self.root) {
            Err(_) => Found::Nothing,
            Ok(_) => self.compare().unwrap_or_else(|error| Found::Foreign(format!("{error:#}"))),
        }
    }

    fn compare(&self) -> Result<Found> {
        is_root_owned(&self.root)?;
        for folder in ["maps", "programs", "links"] {
            is_root_owned(&self.root.join(folder))?;
        }
        let (mut vms, mut threads) = (None, None);
        for (name, kind, key, value) in MAPS {
            let path = self.map(name);
            if fs::symlink_metadata(&path).is_err() {
                // An agent died while pinning: what is missing is created again.
                continue;
            }
            let info = MapInfo::from_pin(&path).context("no map")?;
            let seen = Seen {
                kind: info.map_type().ok(),
                name: info.name_as_str(),
                elements: (info.key_size(), info.value_size()),
                entries: info.max_entries(),
            };
            seen.check_version(name, kind, (key, value))?;
            match name {
                "VMS" => vms = Some(info.max_entries()),
                "THREADS" => threads = Some(info.max_entries()),
                _ => {}
            }
        }
        found(vms, threads, self.signature()?)
    }

    /// Schema and kernel constants of the pinned maps.
    fn signature(&self) -> Result<Option<(u64, KernelConstants)>> {
        if !self.exist() {
            return Ok(None);
        }
        records::signature(self.host()?.fd().as_fd()).map(Some).context("HOST's schema")
    }

    /// The gate's file that the pinned programs answer, for pins of this version.
    pub fn known_gate(&self) -> Result<u64> {
        records::known_gate(self.host()?.fd().as_fd()).context("HOST's gate")
    }

    fn host(&self) -> Result<MapData> {
        let path = self.map("HOST");
        MapData::from_pin(&path).with_context(|| format!("{}", path.display()))
    }
}

/// A map as the kernel describes it.
struct Seen<'a> {
    kind: Option<MapType>,
    name: Option<&'a str>,
    /// How large keys and values are.
    elements: (u32, u32),
    entries: u32,
}

impl Seen<'_> {
    fn check_version(&self, name: &str, kind: MapType, elements: (u32, u32)) -> Result<()> {
        ensure!(
            self.kind == Some(kind) && self.name == Some(name),
            "{name} has another name or type than this version's map"
        );
        ensure!(
            kind != MapType::ProgramArray || self.entries >= places(name),
            "{name} has {} entries, this version's {}",
            self.entries,
            places(name)
        );
        let ((key, value), (this_key, this_value)) = (self.elements, elements);
        ensure!(
            self.elements == elements,
            "{name}'s keys and values have {key} and {value} bytes, this version's {this_key} and \
             {this_value}"
        );
        Ok(())
    }
}

/// The result for maps whose types fit: by the sizes of VMS and THREADS, and HOST's signature.
fn found(
    vms: Option<u32>,
    threads: Option<u32>,
    signature: Option<(u64, KernelConstants)>,
) -> Result<Found> {
    let words = match signature {
        // Not yet written: an agent died while pinning.
        None | Some((0, _)) => None,
        Some((schema, words)) if schema == u64::from(SCHEMA) => Some(words),
        Some((schema, _)) => {
            bail!("its maps are of schema {schema}, this version's of {SCHEMA}")
        }
    };
    match (vms, threads) {
        (Some(max_vms), Some(threads)) if max_vms != 0 && threads.is_power_of_two() => {
            Ok(Found::Ours { max_vms, threads, words })
        }
        (None, None) => Ok(Found::Nothing),
        // One size is missing: start over rather than guess.
        _ => bail!("an agent died while creating its maps"),
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

/// The size of this version's program array of that name.
fn places(array: &str) -> u32 {
    match array {
        "KPROBES" => tail_calls::kprobe::SLOTS,
        "TRACEPOINTS" => tail_calls::tracepoint::SLOTS,
        _ => tail_calls::lsm::SLOTS,
    }
}

/// By default anybody may create folders in a BPF file system: only root's are used.
fn is_root_owned(folder: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(folder) else { return Ok(()) };
    let name = folder.display();
    ensure!(metadata.is_dir(), "{name} is not a directory");
    ensure!(metadata.uid() == 0, "{name} belongs to uid {}, not to root", metadata.uid());
    ensure!(metadata.mode() & 0o022 == 0, "{name} is writable by others than root");
    Ok(())
}

#[cfg(test)]
mod tests {
    use aya_obj::{Object, generated::bpf_map_type::*};

    use super::*;
    use crate::bpf::programs::built_in;

    /// As the kernel numbers them.
    fn number(kind: MapType) -> u32 {
        let number = match kind {
            MapType::Hash => BPF_MAP_TYPE_HASH,
            MapType::Array => BPF_MAP_TYPE_ARRAY,
            MapType::ProgramArray => BPF_MAP_TYPE_PROG_ARRAY,
            MapType::Stack => BPF_MAP_TYPE_STACK,
            MapType::RingBuf => BPF_MAP_TYPE_RINGBUF,
            other => panic!("what is the number of {other:?}?"),
        };
        number as u32
    }

    /// Otherwise no agent would take over another's pins.
    #[test]
    #[cfg_attr(without_programs, ignore = "there are no eBPF programs: cargo xtask build")]
    fn the_pinned_maps_are_those_of_the_programs() {
        let object = Object::parse(built_in().unwrap()).unwrap();
        for (name, kind, key, value) in MAPS {
            let map = &object.maps[name];
            assert_eq!(map.map_type(), number(kind), "{name}");
            assert_eq!((map.key_size(), map.value_size()), (key, value), "{name}");
        }
    }
}
