//! # A fixed answer to the gate
//!
//! An LSM program of six instructions that always gives the gate the same answer, and one that
//! admits each VMPCK with a weight of its own. They check the ioctl number only, which a real
//! program must not do.

use std::{mem::offset_of, os::fd::OwnedFd};

use anyhow::Result;
use aya_obj::generated::{bpf_attach_type::BPF_LSM_MAC, bpf_prog_type::BPF_PROG_TYPE_LSM};
use guestreq_common::gate::{self, ASK};

use crate::{bpf, btf};

#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Answer {
    Admit = gate::ADMIT,
    Deny = gate::DENY,
    Busy = gate::BUSY,
}

/// An attached program; detached when dropped.
pub struct FixedAnswer {
    _attached: [OwnedFd; 2],
}

impl FixedAnswer {
    pub fn with(answer: Answer) -> Result<FixedAnswer> {
        attach(&program(answer))
    }

    /// VMPCKs 0 to 3 are admitted with weights 1, 3, 5 and 7.
    pub fn weights_by_vmpck() -> Result<FixedAnswer> {
        attach(&by_vmpck())
    }
}

fn attach(program: &[u64]) -> Result<FixedAnswer> {
    let function = (None, btf::of_kernel("bpf_lsm_file_ioctl")?);
    let attached = bpf::attach((BPF_PROG_TYPE_LSM, BPF_LSM_MAC), program, function)?;
    Ok(FixedAnswer { _attached: attached })
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

/// bpf_probe_read_kernel
const PROBE_READ_KERNEL: u64 = 113;
/// In a message's header.
const MSG_VMPCK: u64 = 0x3c;

fn by_vmpck() -> [u64; 15] {
    let vmpck = offset_of!(gate::Question, header) as u64 + MSG_VMPCK;
    let number = |value: i32| u64::from(value as u32) << 32;
    [
        // r2 = the second argument, the command
        0x79 | 0x12 << 8 | 8 << 16,
        // if its lower half is not ours, skip to the last two
        0x56 | 0x02 << 8 | 11 << 16 | u64::from(ASK) << 32,
        // r3 = the third argument, plus the offset
        0x79 | 0x13 << 8 | 16 << 16,
        0x07 | 0x03 << 8 | vmpck << 32,
        // r1 = the stack, r2 = 1
        0xbf | 0xa1 << 8,
        0x07 | 0x01 << 8 | number(-8),
        0xb7 | 0x02 << 8 | number(1),
        0x85 | PROBE_READ_KERNEL << 32,
        // r1 = twice the byte that was read
        0x71 | 0xa1 << 8 | 0xfff8 << 16,
        0x67 | 0x01 << 8 | number(1),
        // return weight 1, less that
        0xb7 | number(gate::admit_weighted(gate::Weight::DEFAULT)),
        0x1f | 0x10 << 8,
        0x95,
        // return 0
        0xb7,
        0x95,
    ]
}
