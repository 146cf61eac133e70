//! # One answer for every question
//!
//! An LSM program of six instructions that answers the gate always the same. It
//! looks at the command only, so it answers anybody who knows the number: for
//! tests of the gate by itself, and what a real program must not do.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use guestreq_common::gate::{self, ASK};

use crate::bpf;

#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Answer {
    Admit = gate::ADMIT,
    Deny = gate::DENY,
    Busy = gate::BUSY,
}

/// An attached program; detached when dropped.
pub struct Answering {
    _program: OwnedFd,
    _link: OwnedFd,
}

const BPF_PROG_LOAD: i64 = 5;
const BPF_RAW_TRACEPOINT_OPEN: i64 = 17;
const BPF_PROG_TYPE_LSM: u32 = 29;
const BPF_LSM_MAC: u32 = 27;

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
    attach_btf_id: u32,
}

impl Answering {
    pub fn with(answer: Answer) -> Result<Answering> {
        let instructions = program(answer);
        let mut attributes = LoadAttributes {
            program_type: BPF_PROG_TYPE_LSM,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            attach_type: BPF_LSM_MAC,
            attach_btf_id: btf_id("bpf_lsm_file_ioctl")?,
            ..LoadAttributes::default()
        };
        let program = bpf::descriptor(BPF_PROG_LOAD, &mut attributes).context("BPF_PROG_LOAD")?;
        // No name: an LSM program knows where it belongs.
        let mut attributes = [0, program.as_raw_fd() as u64, 0];
        let link = bpf::descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut attributes)
            .context("BPF_RAW_TRACEPOINT_OPEN")?;
        Ok(Answering { _program: program, _link: link })
    }
}

fn program(answer: Answer) -> [u64; 6] {
    const EXIT: u64 = 0x95;
    const R0_IS: u64 = 0xb7;
    let number = |value: u32| u64::from(value) << 32;
    [
        // r2 = the second argument, the command
        0x79 | 0x12 << 8 | 8 << 16,
        // if its lower half is not ours, skip two
        0x56 | 0x02 << 8 | 2 << 16 | number(ASK),
        R0_IS | number(answer as u32),
        EXIT,
        R0_IS,
        EXIT,
    ]
}

/// The number of a function in the kernel's BTF.
fn btf_id(function: &str) -> Result<u32> {
    let btf = fs::read("/sys/kernel/btf/vmlinux").context("the kernel's BTF")?;
    find_function(&btf, function).with_context(|| format!("{function} is not in the kernel's BTF"))
}

/// Documentation/bpf/btf.rst: a header, then types of varying length, then strings.
fn find_function(btf: &[u8], function: &str) -> Option<u32> {
    const FUNCTION: u32 = 12;
    let word = |at: usize| Some(u32::from_le_bytes(btf.get(at..at + 4)?.try_into().ok()?));
    let start = word(4)? as usize;
    let (types, strings) = (start + word(8)? as usize, start + word(16)? as usize);
    let (mut at, end) = (types, types + word(12)? as usize);
    let mut id = 1;
    while at < end {
        let (name, info) = (word(at)? as usize, word(at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        if kind == FUNCTION {
            let rest = btf.get(strings + name..)?;
            if rest.strip_prefix(function.as_bytes()).and_then(<[u8]>::first) == Some(&0) {
                return Some(id);
            }
        }
        at += 12;
        at += match kind {
            // integers, variables and tags of declarations
            1 | 14 | 17 => 4,
            // arrays
            3 => 12,
            // structs, unions, sections and enums of 64 bits
            4 | 5 | 15 | 19 => 12 * count,
            // enums and prototypes
            6 | 13 => 8 * count,
            _ => 0,
        };
        id += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_behind_other_types() {
        let words: [u32; 6] = [0x1_eb9f, 24, 0, 12 + 4 + 12 + 8 + 12, 48, 13];
        let mut btf: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let integer = [0, 1 << 24, 4, 32];
        let prototype = [0, 13 << 24 | 1, 1, 0, 1];
        let function = [5, 12 << 24, 2];
        for word in [&integer[..], &prototype[..], &function[..]].concat() {
            btf.extend(u32::to_le_bytes(word));
        }
        btf.extend(b"\0int\0fileio\0");
        assert_eq!(find_function(&btf, "fileio"), Some(3));
        assert_eq!(find_function(&btf, "file"), None);
        assert_eq!(find_function(&btf[..40], "fileio"), None);
    }

    #[test]
    fn attributes_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(std::mem::offset_of!(LoadAttributes, attach_type), 68);
        assert_eq!(std::mem::offset_of!(LoadAttributes, attach_btf_id), 108);
    }
}
