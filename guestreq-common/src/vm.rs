//! # What is known of one VM
//!
//! A VM is a VMM process. Its record is written under `sev_cmd_mutex`, which
//! serialises the PSP's answers, so plain additions are exact; the two fields
//! that other hooks write, too, say so and are written atomically.

use crate::{command, histogram::Slots, message, outcome, request::STAGES, sequence::ANOMALIES};

/// Counts by message kind and outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    cells: [u64; message::KINDS * outcome::OUTCOMES],
}

impl Table {
    pub const EMPTY: Table = Table { cells: [0; message::KINDS * outcome::OUTCOMES] };

    /// The cell of a kind and an outcome. Both are masked, not checked: rows and
    /// columns are powers of two, and the verifier must see the bound.
    #[inline(always)]
    pub fn cell(&mut self, kind: u8, outcome: u8) -> &mut u64 {
        &mut self.cells[index(kind, outcome)]
    }

    #[inline(always)]
    pub fn get(&self, kind: u8, outcome: u8) -> u64 {
        self.cells[index(kind, outcome)]
    }

    pub fn total(&self) -> u64 {
        self.cells.iter().sum()
    }
}

#[inline(always)]
const fn index(kind: u8, outcome: u8) -> usize {
    (kind as usize & (message::KINDS - 1)) * outcome::OUTCOMES
        + (outcome as usize & (outcome::OUTCOMES - 1))
}

/// A VM's life.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The slot is free.
    Free = 0,
    Running = 1,
    /// The process is gone; the slot is kept for a while, so that a scrape sees its end.
    Exited = 2,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Vm {
    /// Counts up with every VM that had this slot.
    pub generation: u32,
    pub life: u32,
    pub tgid: u32,
    pub reserved: u32,
    /// The process' start, in ns of CLOCK_BOOTTIME: with the tgid it names the process for good.
    pub started: u64,
    /// When the record began, when the last request ended, when the process went, in ns of
    /// CLOCK_MONOTONIC.
    pub first_seen: u64,
    pub last_request: u64,
    pub exited: u64,
    /// Guest contexts launched and decommissioned; written atomically.
    pub contexts_launched: u64,
    pub contexts_retired: u64,
    /// Requests by kind and outcome. Cells of `host_error` are written atomically.
    pub requests: Table,
    /// Requests that the PSP answered, by VMPCK; the last cell counts numbers above 3.
    pub vmpck: [u64; message::VMPCKS + 1],
    /// How many of them were extended requests.
    pub extended: u64,
    pub duration: Slots,
    pub stage: [Slots; STAGES],
    pub stage_ns: [u64; STAGES],
    /// The PSP's time by [`command::Class`].
    pub psp_ns: [u64; command::CLASSES],
    /// By [`crate::sequence::Anomaly`].
    pub anomalies: [u64; ANOMALIES],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_cell_of_its_own() {
        let mut table = Table::EMPTY;
        for kind in 0..message::KINDS as u8 {
            for outcome in 0..outcome::OUTCOMES as u8 {
                assert_eq!(table.get(kind, outcome), 0);
                *table.cell(kind, outcome) += 1;
            }
        }
        assert!(table.cells.iter().all(|&count| count == 1));
    }
}
