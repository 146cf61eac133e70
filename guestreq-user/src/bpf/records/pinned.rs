//! # Pinned records of an earlier agent, of this version or another

use std::{mem, os::fd::BorrowedFd, sync::atomic::Ordering};

use anyhow::{Context as _, Result};
use guestreq_common::host::{EnforcementRecord, Host};

use super::mapped::Mapped;
use crate::bpf::kernel_constants::KernelConstants;

/// The schema of a pinned host record, 0 if none was written yet; and its kernel constants, valid
/// for this version's schema only.
pub fn signature(map: BorrowedFd<'_>) -> Result<(u64, KernelConstants)> {
    let word = |offset| word_of_host(map, offset);
    let words = KernelConstants {
        page_offset: word(mem::offset_of!(Host, page_offset))?,
        encryption_mask: word(mem::offset_of!(Host, encryption_mask))?,
        signal_of_task: word(mem::offset_of!(Host, signal_of_task))? as u32,
        live_of_signal: (word(mem::offset_of!(Host, signal_of_task))? >> 32) as u32,
    };
    Ok((word(mem::offset_of!(Host, schema))?, words))
}

/// The gate's file that the programs of a pinned record answer, or 0.
pub fn known_gate(map: BorrowedFd<'_>) -> Result<u64> {
    word_of_host(
        map,
        mem::offset_of!(Host, enforcement) + mem::offset_of!(EnforcementRecord, gate_file),
    )
}

fn word_of_host(map: BorrowedFd<'_>, offset: usize) -> Result<u64> {
    let host: Mapped<Host> = Mapped::over(map, 1)?;
    let word = host.word(0, offset).context("an empty record")?;
    Ok(word.load(Ordering::Acquire))
}
