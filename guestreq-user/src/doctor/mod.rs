//! # Checks of the host's prerequisites
//!
//! Each check is data: id, purpose and function. One file per group. Prerequisites without which
//! the agent refuses to start are checked by its own code ([`crate::kernel`]), so that both agree.
//! Changes nothing and needs no agent; checks that need root are skipped without it.

mod agent;
mod collected;
mod finding;
mod gate;
mod host;
mod kernel;
mod live;
mod platform;
mod resources;
mod snp;

use serde::Serialize;

use crate::pages;

pub use finding::{Finding, State};
pub use host::{Host, is_wanted};
pub use live::Real;

/// Groups of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Kernel,
    Snp,
    Gate,
    Agent,
    Resources,
}

impl Group {
    pub fn title(self) -> &'static str {
        match self {
            Group::Kernel => "Kernel and BPF",
            Group::Snp => "SNP host",
            Group::Gate => "Gate",
            Group::Agent => "Agent",
            Group::Resources => "Resources",
        }
    }
}

/// A check of one prerequisite.
pub struct Check {
    /// Stable, for scripts.
    pub id: &'static str,
    pub title: &'static str,
    /// What is needed, why, and how to get it; for docs/doctor.md.
    pub needed: &'static str,
    /// File and heading in the repository.
    pub docs: &'static str,
    pub run: fn(&Host<'_>) -> Finding,
}

/// All checks, in the order in which to fix them.
pub const CHECKS: [(Group, &[Check]); 5] = [
    (Group::Kernel, kernel::CHECKS),
    (Group::Snp, snp::CHECKS),
    (Group::Gate, gate::CHECKS),
    (Group::Agent, agent::CHECKS),
    (Group::Resources, resources::CHECKS),
];

/// `guestreq doctor -o json`
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this guestreq.
    pub version: String,
    /// The running kernel's release.
    pub kernel: String,
    /// Number of checks that passed.
    pub passed: usize,
    /// Number of warnings.
    pub warned: usize,
    /// Number of failed checks; if above 0 the exit status is 1.
    pub failed: usize,
    /// Number of skipped checks.
    pub skipped: usize,
    pub checks: Vec<Checked>,
}

/// A check's result.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Stable across versions.
    pub id: &'static str,
    /// Display name.
    pub title: &'static str,
    /// `kernel`, `snp`, `gate`, `agent` or `resources`.
    pub group: Group,
    /// `pass`; `warn`: something is lost or may not be intended; `fail`: a configured function
    /// does not work; `skip`: not checked.
    pub state: State,
    /// What was found, in one line.
    pub why: String,
    /// How to fix it; null if nothing is to be fixed.
    pub fix: Option<String>,
    /// Documentation: a file with a heading, or a URL; whichever this host has.
    pub docs: String,
}

/// Runs all checks.
pub fn examine(host: &Host<'_>) -> Report {
    let mut checks = Vec::new();
    for (group, of_group) in CHECKS {
        for check in of_group {
            let Check { id, title, docs, run, .. } = check;
            let Finding { state, why, fix } = match host.system.is_collected() {
                true => collected::run(check, host),
                false => run(host),
            };
            let docs = pages::readable(docs);
            checks.push(Checked { id, title, group, state, why, fix, docs });
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: host.kernel.clone(),
        passed: count(State::Pass),
        warned: count(State::Warn),
        failed: count(State::Fail),
        skipped: count(State::Skip),
        checks,
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
