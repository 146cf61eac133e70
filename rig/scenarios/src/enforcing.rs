//! # An agent that enforces behind a gate
//!
//! How most scenarios of enforcement begin and end.

use anyhow::Result;

use crate::{
    agent::{Agent, cli},
    gate::Gate,
    scenario::Status,
};

pub struct Enforcing {
    pub agent: Agent,
    pub gate: Gate,
}

impl Enforcing {
    /// With a configuration of these lines.
    pub fn start(lines: &str) -> Result<Enforcing> {
        let gate = Gate::load(&[])?;
        let agent = Agent::with_config(&format!("mode = \"enforce\"\n{lines}"))?;
        Ok(Enforcing { agent, gate })
    }

    /// Nothing enforces any more, and the gate could be removed: the promise was kept.
    pub fn end(self) -> Result<Status> {
        drop(self.agent);
        cli(&["detach"])?;
        self.gate.remove()?;
        Ok(Status::Passed)
    }
}
