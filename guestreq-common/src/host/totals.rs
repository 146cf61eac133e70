//! # The host's totals, which never fall
//!
//! Not even where an agent takes over from one whose records are laid out differently: where
//! these stand, and what they mean, changes less than all the rest. A later version only adds
//! fields at the end; whatever else it changes about them is another [`LAYOUT`].

use core::mem::{offset_of, size_of};

use super::{Host, LOSSES, Stack};
use crate::{
    command, ghcb::GUEST_STATUSES, histogram::Slots, message::MESSAGE_TYPES, outcome::Outcome,
    request::STAGES, vm::Results,
};

/// Changes whenever [`HostTotals`] does, unless fields are added at its end.
pub const LAYOUT: u64 = 1;
/// The first schema that says where its totals are.
pub const SIGNED_SINCE: u64 = 4;
/// Where they begin, in bytes, in every schema.
pub const OFFSET: usize = offset_of!(Host, totals);
/// How many words they are.
pub const WORDS: usize = size_of::<HostTotals>() / size_of::<u64>();

const _: () = assert!(OFFSET == 3 * size_of::<u64>());
const _: () = assert!(offset_of!(Host, inherited) == OFFSET + size_of::<HostTotals>());
const _: () = assert!(offset_of!(Host, now) == OFFSET + 2 * size_of::<HostTotals>());
const _: () = assert!(offset_of!(Stack, depth) == 0);
const _: () = assert!(offset_of!(Stack, counting) == size_of::<u64>());

/// A command's totals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandTotals {
    pub count: u64,
    pub busy_ns: u64,
    /// Commands that did not succeed.
    pub failed: u64,
}

/// A message type's totals, contiguous as one request writes all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MessageTotals {
    /// Cells of `host_error`, `denied` and `busy` are written atomically.
    pub results: Results,
    pub stage: [Slots; STAGES],
    pub stage_ns: [u64; STAGES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HostTotals {
    pub messages: [MessageTotals; MESSAGE_TYPES],
    pub commands: [CommandTotals; command::COMMANDS],
    /// VMGEXITs for plain and extended guest requests; written atomically.
    pub exits: [u64; 2],
    /// What guests got, by [`crate::ghcb::GuestStatus`]; written atomically.
    pub guest_statuses: [u64; GUEST_STATUSES],
    /// By [`super::Loss`]; written atomically.
    pub lost: [u64; LOSSES],
    /// Requests that bypassed enforcement: they reached the PSP undecided while the gate should
    /// have asked, or their vCPU could not be stopped; written under `sev_cmd_mutex`.
    pub bypassed: u64,
}

impl HostTotals {
    /// The totals of a message type's row. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn message(&mut self, row: u8) -> &mut MessageTotals {
        &mut self.messages[row as usize & (MESSAGE_TYPES - 1)]
    }

    /// From words, as the first ones of a later layout, or as all of an earlier one.
    pub fn from_words(words: impl Iterator<Item = u64>) -> HostTotals {
        // SAFETY: integers, for which zeros are a value.
        let mut totals: HostTotals = unsafe { core::mem::zeroed() };
        totals.words_mut().iter_mut().zip(words).for_each(|(to, from)| *to = from);
        totals
    }

    pub fn words(&self) -> &[u64; WORDS] {
        // SAFETY: nothing but u64 in repr(C), as many as that.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    fn words_mut(&mut self) -> &mut [u64; WORDS] {
        // SAFETY: as above, and every word is a value.
        unsafe { &mut *core::ptr::from_mut(self).cast() }
    }

    pub fn add(&mut self, others: &HostTotals) {
        let words = self.words_mut().iter_mut().zip(others.words());
        words.for_each(|(word, more)| *word = word.wrapping_add(*more));
    }

    /// What these have to be added to, so that nothing is lost or counted twice, when another
    /// version's programs, which have counted `old`, are let go of.
    ///
    /// Both were attached for a while, and both saw what happened then; hence the difference,
    /// modulo 2^64: of one time both took, ours may be the longer. But a refusal was counted by
    /// the one that was asked, and a loss is each one's own.
    pub fn inherit(&self, old: &HostTotals) -> HostTotals {
        let mut inherited = *old;
        let words = inherited.words_mut().iter_mut().zip(self.words());
        words.for_each(|(word, ours)| *word = word.wrapping_sub(*ours));
        for (message, old) in inherited.messages.iter_mut().zip(&old.messages) {
            for result in [Outcome::DENIED, Outcome::BUSY] {
                *message.results.cell(result) = old.results.get(result);
            }
        }
        (inherited.lost, inherited.bypassed) = (old.lost, old.bypassed);
        inherited
    }

    /// How many commands they are of.
    pub fn commands(&self) -> u64 {
        self.commands.iter().fold(0, |sum, command| sum.wrapping_add(command.count))
    }
}

#[cfg(test)]
mod tests;
