//! # bpf(2) calls that aya does not offer
//!
//! For instance, aya does not expose how often the kernel skipped a program or a probe.

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_F_SLEEPABLE, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type, bpf_map_info, bpf_prog_info,
    bpf_prog_type,
};

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attributes are a whole union, and outlive the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            attributes as *mut bpf_attr,
            mem::size_of::<bpf_attr>(),
        )
    };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn no_attributes() -> bpf_attr {
    // SAFETY: a union of integers and addresses, for which zeros are a value.
    unsafe { mem::zeroed() }
}

/// Fails unless bpf(2) may be called: asks for the first program, if there is one.
pub fn probe() -> io::Result<()> {
    match bpf(bpf_cmd::BPF_PROG_GET_NEXT_ID, &mut no_attributes()) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        // CAP_BPF without CAP_SYS_ADMIN may not list programs, but may load them.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let mut attributes = no_attributes();
            // SAFETY: the union's part for this command.
            let map = unsafe { &mut attributes.__bindgen_anon_1 };
            (map.map_type, map.key_size, map.value_size, map.max_entries) = (2, 4, 8, 1);
            let fd = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attributes)? as i32;
            // SAFETY: a descriptor that the kernel has just made for us.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// An object's information structure.
fn info<T>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: only called for the kernel's structures of integers.
    let mut info: T = unsafe { mem::zeroed() };
    let mut attributes = no_attributes();
    // SAFETY: the union's part for this command.
    let request = unsafe { &mut attributes.info };
    request.bpf_fd = fd.as_raw_fd() as u32;
    request.info_len = mem::size_of::<T>() as u32;
    request.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// How often a program ran, for how long, and how often the kernel skipped it.
pub struct ProgramCounters {
    /// Only while the kernel's BPF statistics are on.
    pub runs: u64,
    pub run_ns: u64,
    pub missed: u64,
}

pub fn program_counters(fd: BorrowedFd<'_>) -> io::Result<ProgramCounters> {
    let info: bpf_prog_info = info(fd)?;
    Ok(ProgramCounters {
        runs: info.run_cnt,
        run_ns: info.run_time_ns,
        missed: info.recursion_misses,
    })
}

/// A program's id, and its tag: the kernel's digest of its instructions.
pub fn program_identity(fd: BorrowedFd<'_>) -> io::Result<(u32, [u8; 8])> {
    let info: bpf_prog_info = info(fd)?;
    Ok((info.id, info.tag))
}

/// A map's id.
pub fn map_id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let info: bpf_map_info = info(fd)?;
    Ok(info.id)
}

/// The id of the program at an index of a program array, which is what the kernel answers there
/// (prog_fd_array_sys_lookup_elem in kernel/bpf/arraymap.c).
pub fn program_at(array: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let mut id = 0_u32;
    let mut attributes = no_attributes();
    // SAFETY: the union's part for this command.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = array.as_raw_fd() as u32;
    element.key = &raw const index as u64;
    element.__bindgen_anon_1.value = &raw mut id as u64;
    bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
    Ok(id)
}

/// Loads a program of type BPF_PROG_TYPE_SYSCALL, under a name of at most 15 bytes.
pub fn load_syscall_program(name: &str, code: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = no_attributes();
    // SAFETY: the union's part for this command.
    let program = unsafe { &mut attributes.__bindgen_anon_3 };
    program.prog_type = bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32;
    program.prog_flags = BPF_F_SLEEPABLE;
    program.insns = code.as_ptr() as u64;
    program.insn_cnt = code.len() as u32;
    let room = program.prog_name.len() - 1;
    for (to, from) in program.prog_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as libc::c_char;
    }
    program.license = c"Dual MIT/GPL".as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes)? as i32;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs it once, with a context that it may change; what it returns.
pub fn run_syscall_program(program: BorrowedFd<'_>, context: &mut [u64]) -> io::Result<i32> {
    let mut attributes = no_attributes();
    // SAFETY: the union's part for this command.
    let run = unsafe { &mut attributes.test };
    run.prog_fd = program.as_raw_fd() as u32;
    run.ctx_in = context.as_mut_ptr() as u64;
    run.ctx_size_in = mem::size_of_val(context) as u32;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attributes)?;
    // SAFETY: the kernel has written this part.
    Ok(unsafe { attributes.test.retval } as i32)
}

/// Pins an object in the BPF file system.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = no_attributes();
    // SAFETY: the union's part for this command.
    let object = unsafe { &mut attributes.__bindgen_anon_4 };
    object.bpf_fd = fd.as_raw_fd() as u32;
    object.pathname = path.as_ptr() as u64;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Opens a pinned object.
pub fn get_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = no_attributes();
    attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attributes)? as i32;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a link by its id, which takes CAP_SYS_ADMIN.
pub fn get_link(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = no_attributes();
    attributes.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attributes)? as i32;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How many hits of a kprobe or return probe the kernel missed.
pub fn link_missed(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let info: bpf_link_info = info(fd)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32 {
        return Ok(0);
    }
    // SAFETY: the type says which part of the union was filled in.
    Ok(unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed })
}
