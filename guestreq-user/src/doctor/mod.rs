//! # What this host is missing
//!
//! Each precondition is data: what it is called, what it is for, how it is looked
//! at. One file per group. What the agent refuses to start for is looked at by the
//! agent's own code ([`crate::kernel`]), so that the two never disagree.
//! Nothing is changed, and neither an agent nor root is needed: what only root can
//! see is skipped, and said to be.

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

pub use finding::{Finding, State};
pub use host::Host;
pub use live::Real;

/// What a check is about.
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

/// A precondition.
pub struct Check {
    /// Stable: scripts know it by this.
    pub id: &'static str,
    pub title: &'static str,
    /// What it is needed for, and what to do without it; docs/doctor.md is made of these.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the documentation is made of it"))]
    pub needed: &'static str,
    /// Where more is said of it, in the project's repository.
    pub docs: &'static str,
    pub look: fn(&Host<'_>) -> Finding,
}

/// All of them, in the order in which they are mended.
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
    /// Of the guestreq that looked.
    pub version: String,
    /// The running kernel's release.
    pub kernel: String,
    /// How many checks passed.
    pub passed: usize,
    /// How many have something to look at.
    pub warned: usize,
    /// How many failed; the exit status is 1 if any did.
    pub failed: usize,
    /// How many could not be looked at.
    pub skipped: usize,
    pub checks: Vec<Checked>,
}

/// A check, and what was found.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Stays the same from version to version.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// `kernel`, `snp`, `gate`, `agent` or `resources`.
    pub group: Group,
    /// `pass`; `warn`: something is lost, or may be meant; `fail`: what was asked for does not
    /// work; `skip`: not looked at.
    pub state: State,
    /// What was found, in one line.
    pub why: String,
    /// What would mend it; null where nothing is to be mended.
    pub fix: Option<String>,
    /// Where more is said of it: a file of the project's repository, and a heading.
    pub docs: &'static str,
}

/// Looks at everything.
pub fn examine(host: &Host<'_>) -> Report {
    let mut checks = Vec::new();
    for (group, of_group) in CHECKS {
        for check in of_group {
            let Check { id, title, docs, look, .. } = check;
            let Finding { state, why, fix } = match host.system.is_collected() {
                true => collected::look(check, host),
                false => look(host),
            };
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
