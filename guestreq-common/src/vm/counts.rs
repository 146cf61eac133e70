//! # Counts by outcome and by decision

use crate::{
    outcome::{OUTCOMES, Outcome},
    policy::{DECISIONS, Decision, Mode},
};

/// Counts by outcome.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Results([u64; OUTCOMES]);

impl Results {
    pub const NONE: Results = Results([0; OUTCOMES]);

    /// Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn cell(&mut self, outcome: Outcome) -> &mut u64 {
        &mut self.0[outcome.0 as usize & (OUTCOMES - 1)]
    }

    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0.get(usize::from(outcome.0)).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counts of decisions: in audit, then in enforce.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Decisions([u64; 2 * DECISIONS]);

impl Decisions {
    #[inline(always)]
    const fn index(mode: Mode, decision: Decision) -> usize {
        (if mode.is_enforce() { DECISIONS } else { 0 }) + decision as usize
    }

    /// Masked, not checked: the verifier must see the bound.
    #[inline(always)]
    pub fn cell(&mut self, mode: Mode, decision: Decision) -> &mut u64 {
        &mut self.0[Self::index(mode, decision) & (2 * DECISIONS - 1)]
    }

    pub fn get(&self, mode: Mode, decision: Decision) -> u64 {
        self.0[Self::index(mode, decision)]
    }
}
