//! # What the kernel wait_for_requests of BPF
//!
//! Which programs and links there are, pins that no guestreq made, and whether it takes times.

mod program;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result, ensure};
pub use program::{attach, load, run_count};

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const OBJ_PIN: i64 = 6;
const OBJ_GET: i64 = 7;
pub const PROG_GET_NEXT_ID: i64 = 11;
pub const PROG_GET_FD_BY_ID: i64 = 13;
pub const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_GET_NEXT_ID: i64 = 31;

/// As much of `union bpf_attr` as is used here, in words.
pub type Attributes = [u64; 16];

pub fn bpf<T>(command: i64, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the attributes, and what they point to, takeover the call and have the size told.
    let ret =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A call that makes an object; `attributes` is the beginning of `union bpf_attr`.
pub fn descriptor<T>(command: i64, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)? as RawFd;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn ids(command: i64) -> Vec<u32> {
    let (mut ids, mut id) = (Vec::new(), 0);
    loop {
        // start_id, and next_id above it
        let mut attributes: Attributes = [0; 16];
        attributes[0] = u64::from(id);
        if bpf(command, &mut attributes).is_err() {
            return ids;
        }
        id = (attributes[0] >> 32) as u32;
        ids.push(id);
    }
}

/// How many programs and links are loaded, anybody's.
pub fn loaded() -> (usize, usize) {
    (ids(PROG_GET_NEXT_ID).len(), ids(LINK_GET_NEXT_ID).len())
}

/// Names and tags of all programs that are loaded.
pub fn programs() -> Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut programs = BTreeMap::<String, BTreeSet<u64>>::new();
    for id in ids(PROG_GET_NEXT_ID) {
        let mut attributes: Attributes = [0; 16];
        attributes[0] = u64::from(id);
        // Gone since.
        let Ok(program) = descriptor(PROG_GET_FD_BY_ID, &mut attributes) else { continue };
        // `struct bpf_prog_info`: type and id, the tag, …, at byte 64 the name
        let mut info = [0u64; 32];
        let mut attributes: Attributes = [0; 16];
        attributes[0] = program.as_raw_fd() as u64 | (size_of_val(&info) as u64) << 32;
        attributes[1] = info.as_mut_ptr() as u64;
        bpf(OBJ_GET_INFO_BY_FD, &mut attributes).context("a program's information")?;
        let name: Vec<u8> = info[8..10].iter().flat_map(|word| word.to_le_bytes()).collect();
        let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
        programs.entry(name).or_default().insert(info[1]);
    }
    Ok(programs)
}

/// Pins an array of one element of 8 bytes that has nothing to do with guestreq.
pub fn pin_array(path: &str) -> Result<()> {
    const ARRAY: u64 = 2;
    let mut attributes: Attributes = [0; 16];
    attributes[0] = ARRAY | 4 << 32;
    attributes[1] = 8 | 1 << 32;
    let map = descriptor(MAP_CREATE, &mut attributes).context("a map")?;
    let name = CString::new(path)?;
    let mut attributes: Attributes = [0; 16];
    attributes[0] = name.as_ptr() as u64;
    attributes[1] = map.as_raw_fd() as u64;
    bpf(OBJ_PIN, &mut attributes).with_context(|| path.to_owned())?;
    Ok(())
}

/// A place in a pinned program array that is empty while this lives: what jumps there is missed.
pub struct MissedTailCall {
    array: OwnedFd,
    place: u32,
    program: OwnedFd,
}

impl MissedTailCall {
    pub fn begin(array: &str, place: u32) -> Result<MissedTailCall> {
        let name = CString::new(array)?;
        let mut attributes: Attributes = [0; 16];
        attributes[0] = name.as_ptr() as u64;
        let array = descriptor(OBJ_GET, &mut attributes).with_context(|| array.to_owned())?;
        let mut id = 0_u32;
        element(MAP_LOOKUP_ELEM, &array, &place, &raw mut id as u64).context("the program")?;
        let mut attributes: Attributes = [0; 16];
        attributes[0] = u64::from(id);
        let program = descriptor(PROG_GET_FD_BY_ID, &mut attributes).context("the program")?;
        element(MAP_DELETE_ELEM, &array, &place, 0).context("emptying its place")?;
        Ok(MissedTailCall { array, place, program })
    }

    pub fn end(self) -> Result<()> {
        let program = self.program.as_raw_fd();
        let value = &raw const program as u64;
        element(MAP_UPDATE_ELEM, &self.array, &self.place, value).context("filling its place")
    }
}

/// A call on an element of a map: file, key, value.
fn element(command: i64, map: &OwnedFd, key: &u32, value: u64) -> Result<()> {
    let mut attributes: Attributes = [0; 16];
    attributes[0] = map.as_raw_fd() as u64;
    attributes[1] = key as *const u32 as u64;
    attributes[2] = value;
    bpf(command, &mut attributes)?;
    Ok(())
}

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel's statistics are on while this lives.
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
    let name = CString::new(path)?;
    let mut attributes: Attributes = [0; 16];
    attributes[0] = name.as_ptr() as u64;
    let map = descriptor(OBJ_GET, &mut attributes).with_context(|| path.to_owned())?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, map.as_raw_fd(), 0)
    };
    ensure!(start != libc::MAP_FAILED, "mmap of {path}: {}", io::Error::last_os_error());
    // SAFETY: the mapping's first word; others may write it at the same time, as we are to.
    unsafe { start.cast::<u64>().write_volatile(value) };
    // SAFETY: what was mapped above.
    unsafe { libc::munmap(start, 4096) };
    Ok(())
}
