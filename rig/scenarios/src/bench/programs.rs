//! # What the kernel wait_for_requests of a program
//!
//! How often it ran and how long, how large it became, and what it still calls once the kernel
//! has inlined what it can.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::Result;

use crate::bpf::{self, Attributes};

/// `struct bpf_prog_info`, in words, and those of them that are looked at here.
type Info = [u64; 32];
const ID: usize = 0;
const LENGTHS: usize = 2;
const INSTRUCTIONS: usize = 4;
const NAME: usize = 8;
const RUN_TIME: usize = 24;
const RUNS: usize = 25;
const VERIFIED: usize = 27;

/// A call of a helper, as an instruction's first byte; its second tells other calls from it.
const CALL: u8 = 0x85;

pub struct ProgramStats {
    pub id: u64,
    pub name: String,
    pub runs: u64,
    pub ns: u64,
    /// Bytes of machine code.
    pub jited: u64,
    /// How many instructions the verifier walked.
    pub verified: u64,
    pub calls: usize,
}

/// The numbers of all programs.
pub fn ids() -> BTreeSet<u32> {
    bpf::ids(bpf::PROG_GET_NEXT_ID).into_iter().collect()
}

/// What is known of these programs, but for those that have gone.
pub fn all(ids: &BTreeSet<u32>) -> Result<Vec<ProgramStats>> {
    ids.iter().filter_map(|id| open(*id)).map(|program| describe(&program)).collect()
}

/// Runs and nanoseconds of these programs together.
pub fn totals(ids: &BTreeSet<u32>) -> Result<(u64, u64)> {
    let all = all(ids)?;
    Ok((all.iter().map(|program| program.runs).sum(), all.iter().map(|program| program.ns).sum()))
}

fn open(id: u32) -> Option<OwnedFd> {
    let mut attributes: Attributes = [0; 16];
    attributes[0] = u64::from(id);
    bpf::descriptor(bpf::PROG_GET_FD_BY_ID, &mut attributes).ok()
}

fn describe(program: &OwnedFd) -> Result<ProgramStats> {
    let mut info: Info = [0; 32];
    ask(program, &mut info)?;
    // Machine code's length in the lower half, the instructions' in the upper.
    let (jited, instructions) = (info[LENGTHS] & 0xffff_ffff, (info[LENGTHS] >> 32) as usize);
    let mut code = vec![0u8; instructions];
    let mut asked: Info = [0; 32];
    asked[LENGTHS] = (instructions as u64) << 32;
    asked[INSTRUCTIONS] = code.as_mut_ptr() as u64;
    ask(program, &mut asked)?;
    let name: Vec<u8> = info[NAME..NAME + 2].iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(ProgramStats {
        id: info[ID] >> 32,
        name: String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned(),
        runs: info[RUNS],
        ns: info[RUN_TIME],
        jited,
        verified: info[VERIFIED] & 0xffff_ffff,
        // A second byte of 0x10 or 0x20 is a call of a function or of the kernel.
        calls: code.chunks_exact(8).filter(|c| c[0] == CALL && c[1] >> 4 == 0).count(),
    })
}

fn ask(program: &OwnedFd, info: &mut Info) -> io::Result<i64> {
    let mut attributes: Attributes = [0; 16];
    attributes[0] = program.as_raw_fd() as u64 | (size_of_val(info) as u64) << 32;
    attributes[1] = info.as_mut_ptr() as u64;
    bpf::bpf(bpf::OBJ_GET_INFO_BY_FD, &mut attributes)
}
