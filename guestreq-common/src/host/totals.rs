//! # The host's totals

use super::LOSSES;
use crate::{command, ghcb::TOLD, histogram::Slots, message::KINDS, request::STAGES, vm::Results};

/// A command's totals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandTotals {
    pub count: u64,
    pub busy_ns: u64,
    /// Commands that did not succeed.
    pub failed: u64,
}

/// A message kind's totals. One request touches one of these: what is written together
/// stands together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Cells of `host_error`, `denied` and `busy` are written atomically.
    pub results: Results,
    pub stage: [Slots; STAGES],
    pub stage_ns: [u64; STAGES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    pub messages: [Message; KINDS],
    pub commands: [CommandTotals; command::COMMANDS],
    /// VMGEXITs that were plain and extended guest requests; written atomically.
    pub exits: [u64; 2],
    /// What guests were told, by [`crate::ghcb::Told`]; written atomically.
    pub told: [u64; TOLD],
    /// By [`super::Loss`]; written atomically.
    pub lost: [u64; LOSSES],
    /// Requests that passed though they should not have: they reached the PSP undecided while
    /// the gate should have asked, or their vCPU could not be stopped; written under
    /// `sev_cmd_mutex`.
    pub bypassed: u64,
}

impl Totals {
    /// The totals of a kind. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn message(&mut self, kind: u8) -> &mut Message {
        &mut self.messages[kind as usize & (KINDS - 1)]
    }
}
