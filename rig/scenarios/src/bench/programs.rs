//! # What the kernel knows about a program
//!
//! How often and how long it ran, how large it is, and which helpers it still calls once the
//! kernel has inlined what it can.

use std::{collections::BTreeSet, mem, os::fd::OwnedFd};

use anyhow::Result;
use aya_obj::generated::{
    bpf_cmd::{BPF_PROG_GET_FD_BY_ID, BPF_PROG_GET_NEXT_ID},
    bpf_prog_info,
};

use crate::bpf;

/// `BPF_JMP | BPF_CALL`: a helper, unless the source register says otherwise.
const CALL: u8 = 0x85;

pub struct ProgramStats {
    pub id: u32,
    pub name: String,
    pub runs: u64,
    pub ns: u64,
    /// Bytes of machine code.
    pub jited: u32,
    /// How many instructions the verifier walked.
    pub verified: u32,
    pub calls: usize,
}

/// The ids of all programs.
pub fn ids() -> BTreeSet<u32> {
    bpf::ids(BPF_PROG_GET_NEXT_ID).into_iter().collect()
}

/// These programs, except those unloaded since.
pub fn all(ids: &BTreeSet<u32>) -> Result<Vec<ProgramStats>> {
    let programs = ids.iter().filter_map(|id| bpf::open_id(BPF_PROG_GET_FD_BY_ID, *id).ok());
    programs.map(|program| describe(&program)).collect()
}

/// Runs and nanoseconds of these programs together.
pub fn totals(ids: &BTreeSet<u32>) -> Result<(u64, u64)> {
    let all = all(ids)?;
    Ok((all.iter().map(|program| program.runs).sum(), all.iter().map(|program| program.ns).sum()))
}

fn describe(program: &OwnedFd) -> Result<ProgramStats> {
    let info = bpf::program_info(program)?;
    let mut code = vec![0u8; info.xlated_prog_len as usize];
    // SAFETY: integers, for which zeros are a value.
    let mut with_code: bpf_prog_info = unsafe { mem::zeroed() };
    with_code.xlated_prog_len = info.xlated_prog_len;
    with_code.xlated_prog_insns = code.as_mut_ptr() as u64;
    bpf::info(program, &mut with_code)?;
    Ok(ProgramStats {
        id: info.id,
        name: bpf::name(&info.name),
        runs: info.run_cnt,
        ns: info.run_time_ns,
        jited: info.jited_prog_len,
        verified: info.verified_insns,
        // A second byte of 0x10 or 0x20 calls a BPF function or a kfunc.
        calls: code.chunks_exact(8).filter(|c| c[0] == CALL && c[1] >> 4 == 0).count(),
    })
}
