//! # The host's totals

use super::LOSSES;
use crate::{
    command, ghcb::GUEST_STATUSES, histogram::Slots, launch::LaunchTotals, message::MESSAGE_TYPES,
    request::STAGES, vm::Results,
};

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
    /// Requests over a limit that were admitted because they had waited so long; written atomically.
    pub rescued: u64,
    pub launches: LaunchTotals,
}

impl HostTotals {
    /// The totals of a message type's row. Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn message(&mut self, row: u8) -> &mut MessageTotals {
        &mut self.messages[row as usize & (MESSAGE_TYPES - 1)]
    }
}
