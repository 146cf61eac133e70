//! # Constants of the running kernel, passed to the programs
//!
//! Read once a boot: after a takeover they come from the pinned record. Offsets come from BTF.

use anyhow::Result;
use log::warn;

use super::kernel_word;
use crate::{
    host::system,
    kernel::{
        LIVE_OF_SIGNAL, SIGNAL_OF_TASK, Types,
        symbols::{ENCRYPTION_MASK, PAGE_OFFSET},
    },
};

#[derive(Clone, Copy, Debug)]
pub struct KernelConstants {
    /// Start of the direct map.
    pub page_offset: u64,
    pub encryption_mask: u64,
    /// Offsets of `task_struct.signal` and `signal_struct.live` in bytes; 0: not known.
    pub signal_of_task: u32,
    pub live_of_signal: u32,
}

impl KernelConstants {
    /// Both offsets in one word, as in the host's record.
    pub fn offsets(&self) -> u64 {
        u64::from(self.signal_of_task) | u64::from(self.live_of_signal) << 32
    }

    pub fn read() -> Result<KernelConstants> {
        let page_offset = kernel_word::read(PAGE_OFFSET)?;
        let encryption_mask = kernel_word::read(ENCRYPTION_MASK)?;
        let (signal_of_task, live_of_signal) = offsets().unwrap_or_else(|error| {
            warn!("cannot tell which thread of a process exits last: {error:#}");
            (0, 0)
        });
        Ok(KernelConstants { page_offset, encryption_mask, signal_of_task, live_of_signal })
    }
}

fn offsets() -> Result<(u32, u32)> {
    let types = Types::read(system::host())?;
    Ok((types.offset(SIGNAL_OF_TASK)?, types.offset(LIVE_OF_SIGNAL)?))
}
