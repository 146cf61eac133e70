//! # A fixed answer to the gate
//!
//! An LSM program of six instructions that always gives the gate the same answer. It checks the
//! ioctl number only, which a real program must not do.

use std::os::fd::OwnedFd;

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
        let function = (None, btf::of_kernel("bpf_lsm_file_ioctl")?);
        let attached = bpf::attach((BPF_PROG_TYPE_LSM, BPF_LSM_MAC), &program(answer), function)?;
        Ok(FixedAnswer { _attached: attached })
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
