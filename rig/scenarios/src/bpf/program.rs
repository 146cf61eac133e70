//! # The rig's own programs

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_attach_type, bpf_attr,
    bpf_cmd::{BPF_PROG_LOAD, BPF_RAW_TRACEPOINT_OPEN},
    bpf_prog_type,
};

use super::{attributes, descriptor, program_info};

fn program(program_type: bpf_prog_type, instructions: &[u64]) -> bpf_attr {
    let mut attributes = attributes();
    attributes.__bindgen_anon_3.prog_type = program_type as u32;
    attributes.__bindgen_anon_3.insn_cnt = instructions.len() as u32;
    attributes.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attributes.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    attributes
}

/// A program that can be attached to any function or tracepoint of its type.
pub fn load(program_type: bpf_prog_type, instructions: &[u64]) -> Result<OwnedFd> {
    descriptor(BPF_PROG_LOAD, &mut program(program_type, instructions)).context("BPF_PROG_LOAD")
}

/// A program on a function, given by its BTF id in a module's BTF or the kernel's own; attached
/// while both descriptors are open.
pub fn attach(
    (program_type, attach_type): (bpf_prog_type, bpf_attach_type),
    instructions: &[u64],
    (btf, function): (Option<&OwnedFd>, u32),
) -> Result<[OwnedFd; 2]> {
    let mut attributes = program(program_type, instructions);
    attributes.__bindgen_anon_3.expected_attach_type = attach_type as u32;
    attributes.__bindgen_anon_3.attach_btf_id = function;
    if let Some(btf) = btf {
        attributes.__bindgen_anon_3.__bindgen_anon_1.attach_btf_obj_fd = btf.as_raw_fd() as u32;
    }
    let program = descriptor(BPF_PROG_LOAD, &mut attributes).context("BPF_PROG_LOAD")?;
    // Without a name: the program says where it belongs.
    let link = attach_raw_tracepoint(None, &program).context("BPF_RAW_TRACEPOINT_OPEN")?;
    Ok([program, link])
}

pub fn attach_raw_tracepoint(name: Option<&CStr>, program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.raw_tracepoint.name = name.map_or(0, |name| name.as_ptr() as u64);
    attributes.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut attributes)
}

/// How often a program has run while the kernel's statistics were on.
pub fn run_count(program: &OwnedFd) -> Result<u64> {
    Ok(program_info(program).context("BPF_OBJ_GET_INFO_BY_FD")?.run_cnt)
}
