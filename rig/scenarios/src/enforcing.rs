//! # An agent that enforces behind a gate
//!
//! The setup and teardown of most enforcement scenarios.

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
    /// With these lines as configuration.
    pub fn start(lines: &str) -> Result<Enforcing> {
        let gate = Gate::load(&[])?;
        let agent = Agent::with_config(&format!("mode = \"enforce\"\n{lines}"))?;
        Ok(Enforcing { agent, gate })
    }

    /// Stops enforcement and removes the gate.
    pub fn end(self) -> Result<Status> {
        self.agent.stop()?;
        cli(&["detach"])?;
        self.gate.remove()?;
        Ok(Status::Passed)
    }
}
