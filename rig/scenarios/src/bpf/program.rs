//! # Programs of the rig's own

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

use super::descriptor;

const PROG_LOAD: i64 = 5;
const RAW_TRACEPOINT_OPEN: i64 = 17;

/// `union bpf_attr` for loading a program, up to the function that it is attached to.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level_to_name: [u64; 5],
    interface: u32,
    attach_type: u32,
    debug_information: [u32; 9],
    function: u32,
    /// Whose numbers these are; 0: the kernel's own.
    btf: u32,
    relocations: u32,
}

impl LoadAttributes {
    /// Of a program that is attached by others' means.
    fn of(program_type: u32, instructions: &[u64]) -> LoadAttributes {
        LoadAttributes {
            program_type,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..LoadAttributes::default()
        }
    }
}

/// A program that can be attached to any function, or tracepoint, of its type.
pub fn load(program_type: u32, instructions: &[u64]) -> Result<OwnedFd> {
    let mut attributes = LoadAttributes::of(program_type, instructions);
    descriptor(PROG_LOAD, &mut attributes).context("BPF_PROG_LOAD")
}

/// A program of a type and way of attaching, on a function that is known by its number, in the
/// BTF of a module or the kernel's own; attached for as long as both descriptors are open.
pub fn attach(
    (program_type, attach_type): (u32, u32),
    instructions: &[u64],
    (btf, function): (Option<&OwnedFd>, u32),
) -> Result<[OwnedFd; 2]> {
    let mut attributes = LoadAttributes {
        attach_type,
        function,
        btf: btf.map_or(0, |btf| btf.as_raw_fd() as u32),
        ..LoadAttributes::of(program_type, instructions)
    };
    let program = descriptor(PROG_LOAD, &mut attributes).context("BPF_PROG_LOAD")?;
    // No name: such a program wait_for_requests where it belongs.
    let mut attributes = [0, program.as_raw_fd() as u64, 0];
    let link =
        descriptor(RAW_TRACEPOINT_OPEN, &mut attributes).context("BPF_RAW_TRACEPOINT_OPEN")?;
    Ok([program, link])
}

/// How often a program has run while the kernel's statistics were on.
pub fn run_count(program: &OwnedFd) -> Result<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let count = info.lines().find_map(|line| line.strip_prefix("run_cnt:"));
    count.and_then(|count| count.trim().parse().ok()).context("no run_cnt in fdinfo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(std::mem::offset_of!(LoadAttributes, attach_type), 68);
        assert_eq!(std::mem::offset_of!(LoadAttributes, function), 108);
        assert_eq!(std::mem::offset_of!(LoadAttributes, btf), 112);
    }
}
