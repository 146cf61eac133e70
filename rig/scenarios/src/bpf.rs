//! # bpf(2)
//!
//! With the kernel's own types: which programs and links are loaded, foreign pins, statistics.

mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString, c_char},
    fs, io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::{
    bpf_attr,
    bpf_cmd::{self, *},
    bpf_map_type::BPF_MAP_TYPE_ARRAY,
    bpf_prog_info,
};
pub use program::{attach, attach_raw_tracepoint, load, run_count};

/// Attributes of which every field is 0, which the kernel takes for absent.
pub fn attributes() -> bpf_attr {
    // SAFETY: integers, for which zeros are a value.
    unsafe { mem::zeroed() }
}

pub fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the attributes and what they point to outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A command that returns a descriptor.
pub fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)? as RawFd;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The ids of all objects that a `BPF_*_GET_NEXT_ID` enumerates.
pub fn ids(command: bpf_cmd) -> Vec<u32> {
    let (mut ids, mut id) = (Vec::new(), 0);
    loop {
        let mut attributes = attributes();
        attributes.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        if bpf(command, &mut attributes).is_err() {
            return ids;
        }
        // SAFETY: an integer that the kernel has set.
        id = unsafe { attributes.__bindgen_anon_6.next_id };
        ids.push(id);
    }
}

/// Opens an object by its id, with a `BPF_*_GET_FD_BY_ID`.
pub fn open_id(command: bpf_cmd, id: u32) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    descriptor(command, &mut attributes)
}

/// Fills a `bpf_*_info` of an object.
pub fn info<T>(object: &OwnedFd, info: &mut T) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.info.bpf_fd = object.as_raw_fd() as u32;
    attributes.info.info_len = size_of::<T>() as u32;
    attributes.info.info = &raw mut *info as u64;
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

pub fn program_info(program: &OwnedFd) -> io::Result<bpf_prog_info> {
    // SAFETY: integers, for which zeros are a value.
    let mut found: bpf_prog_info = unsafe { mem::zeroed() };
    info(program, &mut found)?;
    Ok(found)
}

/// An object's name, which the kernel cuts to 15 bytes.
pub fn name(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).collect();
    let name = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// How many programs and links are loaded, whoever loaded them.
pub fn loaded() -> (usize, usize) {
    (ids(BPF_PROG_GET_NEXT_ID).len(), ids(BPF_LINK_GET_NEXT_ID).len())
}

/// The names of all loaded programs by id: the kernel gives none twice.
pub fn program_ids() -> Result<BTreeMap<u32, String>> {
    let mut programs = BTreeMap::new();
    for id in ids(BPF_PROG_GET_NEXT_ID) {
        // Unloaded since.
        let Ok(program) = open_id(BPF_PROG_GET_FD_BY_ID, id) else { continue };
        let info = program_info(&program).context("BPF_OBJ_GET_INFO_BY_FD")?;
        programs.insert(id, name(&info.name));
    }
    Ok(programs)
}

/// Names and tags of all loaded programs.
pub fn programs() -> Result<BTreeMap<String, BTreeSet<[u8; 8]>>> {
    let mut programs = BTreeMap::<_, BTreeSet<_>>::new();
    for id in ids(BPF_PROG_GET_NEXT_ID) {
        // Unloaded since.
        let Ok(program) = open_id(BPF_PROG_GET_FD_BY_ID, id) else { continue };
        let info = program_info(&program).context("BPF_OBJ_GET_INFO_BY_FD")?;
        programs.entry(name(&info.name)).or_default().insert(info.tag);
    }
    Ok(programs)
}

/// Pins an array of one element of 8 bytes that has nothing to do with guestreq.
pub fn pin_array(path: &str) -> Result<()> {
    let mut array = attributes();
    array.__bindgen_anon_1.map_type = BPF_MAP_TYPE_ARRAY as u32;
    array.__bindgen_anon_1.key_size = 4;
    array.__bindgen_anon_1.value_size = 8;
    array.__bindgen_anon_1.max_entries = 1;
    let array = descriptor(BPF_MAP_CREATE, &mut array).context("BPF_MAP_CREATE")?;
    let name = CString::new(path)?;
    let mut pin = attributes();
    pin.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    pin.__bindgen_anon_4.bpf_fd = array.as_raw_fd() as u32;
    bpf(BPF_OBJ_PIN, &mut pin).with_context(|| path.to_owned())?;
    Ok(())
}

fn open_pin(path: &str) -> Result<OwnedFd> {
    let name = CString::new(path)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    descriptor(BPF_OBJ_GET, &mut attributes).with_context(|| path.to_owned())
}

/// An emptied index of a pinned program array: its tail calls are missed until `end`.
pub struct MissedTailCall {
    array: OwnedFd,
    index: u32,
    program: OwnedFd,
}

impl MissedTailCall {
    pub fn begin(array: &str, index: u32) -> Result<MissedTailCall> {
        let array = open_pin(array)?;
        let mut id = 0_u32;
        element(BPF_MAP_LOOKUP_ELEM, &array, &index, &raw mut id as u64).context("the program")?;
        let program = open_id(BPF_PROG_GET_FD_BY_ID, id).context("the program")?;
        element(BPF_MAP_DELETE_ELEM, &array, &index, 0).context("removing the program")?;
        Ok(MissedTailCall { array, index, program })
    }

    /// Calls another program there.
    pub fn calls(&self, program: &OwnedFd) -> Result<()> {
        let program = program.as_raw_fd();
        let value = &raw const program as u64;
        element(BPF_MAP_UPDATE_ELEM, &self.array, &self.index, value).context("the program")
    }

    pub fn end(self) -> Result<()> {
        self.calls(&self.program)
    }
}

fn element(command: bpf_cmd, map: &OwnedFd, key: &u32, value: u64) -> Result<()> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attributes.__bindgen_anon_2.key = &raw const *key as u64;
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = value;
    bpf(command, &mut attributes)?;
    Ok(())
}

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel measures programs until this is dropped.
pub struct Statistics;

impl Statistics {
    pub fn on() -> Result<Statistics> {
        fs::write(STATISTICS, "1").context(STATISTICS)?;
        Ok(Statistics)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(STATISTICS, "0");
    }
}

/// Writes the first word of a pinned array that can be mapped.
pub fn write_first_word(path: &str, value: u64) -> Result<()> {
    let map = open_pin(path)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, map.as_raw_fd(), 0)
    };
    ensure!(start != libc::MAP_FAILED, "mmap of {path}: {}", io::Error::last_os_error());
    // SAFETY: the mapping's first word, which others may write at the same time.
    unsafe { start.cast::<u64>().write_volatile(value) };
    // SAFETY: what was mapped above.
    unsafe { libc::munmap(start, 4096) };
    Ok(())
}
