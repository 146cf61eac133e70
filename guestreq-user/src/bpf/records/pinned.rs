//! # Pinned records of an earlier agent, of this version or another

use std::{mem, os::fd::BorrowedFd, sync::atomic::Ordering};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::host::{self, Enforcement, Host, Totals};

use super::{WORD, mapped::Mapped};
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
    word_of_host(map, mem::offset_of!(Host, enforcement) + mem::offset_of!(Enforcement, gate_file))
}

/// The record of another version's programs, of which only the totals are known.
pub struct Foreign(Mapped<u64>);

impl Foreign {
    /// A host's record of so many bytes, if its totals can be read.
    pub fn new(map: BorrowedFd<'_>, bytes: usize) -> Result<Foreign> {
        let foreign = Foreign(Mapped::over(map, bytes / WORD)?);
        let [schema, layout] = [0, 1].map(|index| foreign.word(index).unwrap_or(0));
        ensure!(
            schema >= host::SIGNED_SINCE && layout == host::LAYOUT,
            "its totals are not laid out as this version's"
        );
        Ok(foreign)
    }

    /// What its programs count, by now, with what it had inherited itself.
    pub fn totals(&self) -> Box<Totals> {
        let len = self.len();
        let words = |from: usize| (from..).take(len).map_while(|index| self.word(index));
        let mut totals = Box::new(Totals::from_words(words(Self::FIRST)));
        totals.add(&Totals::from_words(words(Self::FIRST + len)));
        totals
    }

    /// How many commands its programs have seen begin, but not end; `None` while they count one.
    pub fn running(&self) -> Option<u64> {
        let now = Self::FIRST + 2 * self.len();
        let counting = self.word(now + 1)? != 0;
        if counting { None } else { self.word(now) }
    }

    const FIRST: usize = host::OFFSET / WORD;

    /// Of its totals, in words; no longer than the record.
    fn len(&self) -> usize {
        let len = self.word(2).and_then(|words| usize::try_from(words).ok());
        len.unwrap_or(0).min(self.0.len)
    }

    fn word(&self, index: usize) -> Option<u64> {
        Some(self.0.words(index)?.first()?.load(Ordering::Acquire))
    }
}

fn word_of_host(map: BorrowedFd<'_>, offset: usize) -> Result<u64> {
    let host: Mapped<Host> = Mapped::over(map, 1)?;
    let word = host.word(0, offset).context("an empty record")?;
    Ok(word.load(Ordering::Acquire))
}
