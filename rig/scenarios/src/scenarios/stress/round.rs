//! # Rounds
//!
//! The agent is killed or stopped, VMs are started and locked, and the next agent starts with
//! another kind of log. Now and then the disk hangs, the gate is closed, or a VM exits.

use std::{fs, io::PipeReader, sync::atomic::Ordering, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Shared,
    guests::{self, Finished, Guest},
    locked_vms::LockedVms,
};
use crate::{agent::Agent, gate::Gate, host::Firmware, scenarios::takeover::Host};

pub const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Rounds in which clients may try to follow events; one usually suffices.
const MOST_ROUNDS: u32 = 20;

pub struct Stress<'a> {
    pub host: &'a Host,
    pub shared: &'a Shared,
    pub before: Firmware,
    pub agent: Option<Agent>,
    /// The read end of a log that nobody reads.
    pub unread: Option<PipeReader>,
    pub guests: Vec<Guest>,
    pub visitor: Option<Guest>,
    pub exited: Vec<Finished>,
    pub stuck: LockedVms,
    pub rounds: u32,
    pub kills: u32,
    pub stops: u32,
    pub blocked: u32,
    pub hangs: u32,
}

impl<'a> Stress<'a> {
    pub fn start(host: &'a Host, shared: &'a Shared) -> Result<Stress<'a>> {
        let mut stress = Stress {
            host,
            shared,
            before: Firmware::read()?,
            agent: None,
            unread: None,
            guests: Vec::new(),
            visitor: None,
            exited: Vec::new(),
            stuck: LockedVms::default(),
            rounds: 0,
            kills: 0,
            stops: 0,
            blocked: 0,
            hangs: 0,
        };
        stress.begin_agent()?;
        Ok(stress)
    }

    pub fn guests(&mut self) -> Result<()> {
        self.guests = guests::start_all()?;
        let agent = self.agent.as_mut().context("no agent")?;
        agent.wait_until("all are known", |metrics| {
            metrics.is_zero("guestreq_vms_unread", &[])
                && metrics.values("guestreq_vm_info", "vm").len() == self.guests.len()
        })?;
        Ok(())
    }

    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("no agent")
    }

    /// Whether everything has happened at least once; following events may fail for MOST_ROUNDS.
    pub fn is_complete(&self) -> bool {
        let followed =
            self.shared.is_followed.load(Ordering::Relaxed) || self.rounds >= MOST_ROUNDS;
        self.rounds >= 6 && self.hangs > 0 && self.stuck.is_complete() && followed
    }

    pub fn round(&mut self) -> Result<()> {
        let hangs = self.rounds % 3 == 1;
        let waits = match hangs {
            true => Some(self.disk_hangs()?),
            false => None,
        };
        self.replace_agent()?;
        if let Some(waits) = waits {
            self.disk_recovers(waits)?;
        }
        self.visit()?;
        close_gate(self.rounds.is_multiple_of(2))?;
        if self.rounds % 3 == 2 {
            self.stuck.release();
        }
        let agent = self.agent.as_mut().context("no agent")?;
        self.stuck.wait_until_reported(agent)?;
        thread::sleep(Duration::from_secs(2));
        self.rounds += 1;
        Ok(())
    }

    /// Starts a VM and ends the previous one.
    fn visit(&mut self) -> Result<()> {
        let name = format!("visitor{}", self.rounds);
        let next = Guest::start(&name, "--rate 5 --type report,export")?;
        if let Some(visitor) = self.visitor.replace(next) {
            self.exited.push(visitor.finish()?);
        }
        Ok(())
    }

    /// Releases all VMs and waits until they are known.
    pub fn release(&mut self) -> Result<()> {
        self.stuck.release_all();
        close_gate(false)?;
        let agent = self.agent.as_mut().context("no agent")?;
        self.stuck.wait_until_reported(agent).context("once all answer")
    }

    pub fn summary(&self) -> String {
        format!(
            "{} agents killed and {} stopped, {} of them with a log that was full, VMMs' memory \
             locked {} times, the disk hung {} times, {} VMs came and went",
            self.kills,
            self.stops,
            self.blocked,
            self.stuck.locked,
            self.hangs,
            self.exited.len()
        )
    }

    pub fn end(self) -> Result<Agent> {
        self.agent.context("no agent")
    }
}

fn close_gate(closed: bool) -> Result<()> {
    fs::write(Gate::path("closed"), if closed { "Y" } else { "N" }).context("closed")
}
