//! # Policy: which rules hold for which VM
//!
//! For each of mode, allowed types, limit and weight, the first of these that sets it:
//!
//! 1. the command line's override for the VM,
//! 2. the first `[[vm]]` rule that matches the VM and sets it, of the applied file,
//! 3. the same of the configuration,
//! 4. the command line's override of the default,
//! 5. the top level of the applied file,
//! 6. the top level of the configuration,
//! 7. the built-in default: audit; report, key and tsc_info; no limit; weight 1.
//!
//! So settings of a VM precede those of all VMs, and overrides precede files. Depends on neither
//! the agent nor the command line.

#[cfg(test)]
mod cases;
mod change;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod overlap;
mod overrides;
mod replace;
mod rules;
pub mod safety;
mod set;
mod store;
mod vm_lookup;
mod weights;

pub use change::{KnownVm, Plan, Refusal};
pub use overlap::never_applies;
pub use overrides::{Applied, Override, Overrides, Stamped, key_of};
pub use replace::{Replacement, describe};
pub use rules::{FileLimit, FileRule};
pub use set::PolicySet;
pub use store::Store;
pub use vm_lookup::{Candidate, find, instead};
pub use weights::without_order;

pub use crate::wire::policy::{
    Apply, Change, Difference, Effective, Glob, Level, Limit, Located, LocatedRule, Match, Named,
    Origin, PolicyFile, RateLimit, Request, Rule, RuleResult, Sets, Setting, Share, ShareLimit,
    Source, Stamp, Target, Throttle, Types, Weight,
};
