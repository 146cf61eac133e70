//! # What happens in a round
//!
//! An agent ends, in one way or the other; VMs begin and are locked while there is none; the next one
//! begins, with a log of another kind; and a while passes. Now and then the disk hangs, the gate is
//! closed, a VM comes and goes, and the configuration is written anew.

use std::{fs, io::PipeReader, sync::atomic::Ordering, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Shared,
    guests::{self, Finished, Guest},
    stuck::Stuck,
};
use crate::{agent::Agent, gate::Gate, host::Firmware, scenarios::outlive::Host};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds in which the crowd may try to follow events; one is enough as a rule.
const MOST_ROUNDS: u32 = 20;

pub struct Storm<'a> {
    pub host: &'a Host,
    pub shared: &'a Shared,
    pub before: Firmware,
    pub agent: Option<Agent>,
    /// The other end of a log that nobody takes.
    pub untaken: Option<PipeReader>,
    pub guests: Vec<Guest>,
    pub visitor: Option<Guest>,
    pub gone: Vec<Finished>,
    pub stuck: Stuck,
    pub rounds: u32,
    pub kills: u32,
    pub stops: u32,
    pub blocked: u32,
    pub hangs: u32,
}

impl<'a> Storm<'a> {
    pub fn start(host: &'a Host, shared: &'a Shared) -> Result<Storm<'a>> {
        let mut storm = Storm {
            host,
            shared,
            before: Firmware::read()?,
            agent: None,
            untaken: None,
            guests: Vec::new(),
            visitor: None,
            gone: Vec::new(),
            stuck: Stuck::default(),
            rounds: 0,
            kills: 0,
            stops: 0,
            blocked: 0,
            hangs: 0,
        };
        storm.begin_agent()?;
        Ok(storm)
    }

    pub fn guests(&mut self) -> Result<()> {
        self.guests = guests::start_all()?;
        let agent = self.agent.as_mut().context("no agent")?;
        agent.wait_until("all are known", |metrics| {
            metrics.sum("guestreq_vms_unread", &[]) == 0.0
                && metrics.values("guestreq_vm_info", "vm").len() == self.guests.len()
        })?;
        Ok(())
    }

    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("no agent")
    }

    /// Whether everything has happened that is to; where nobody could follow events, that many rounds
    /// were tried.
    pub fn has_done_all(&self) -> bool {
        let followed =
            self.shared.is_followed.load(Ordering::Relaxed) || self.rounds >= MOST_ROUNDS;
        self.rounds >= 6 && self.hangs > 0 && self.stuck.has_done_all() && followed
    }

    pub fn round(&mut self) -> Result<()> {
        let hangs = self.rounds % 3 == 1;
        let waits = match hangs {
            true => Some(self.disk_hangs()?),
            false => None,
        };
        self.succeed()?;
        if let Some(waits) = waits {
            self.disk_goes_on(waits)?;
        }
        self.visit()?;
        close_gate(self.rounds.is_multiple_of(2))?;
        if self.rounds % 3 == 2 {
            self.stuck.release();
        }
        let agent = self.agent.as_mut().context("no agent")?;
        self.stuck.are_told(agent)?;
        thread::sleep(Duration::from_secs(2));
        self.rounds += 1;
        Ok(())
    }

    /// One comes, the one before goes.
    fn visit(&mut self) -> Result<()> {
        let name = format!("visitor{}", self.rounds);
        let next = Guest::start(&name, "--rate 5 --type report,export")?;
        if let Some(visitor) = self.visitor.replace(next) {
            self.gone.push(visitor.finish()?);
        }
        Ok(())
    }

    /// All VMs answer again, and are known.
    pub fn calm(&mut self) -> Result<()> {
        self.stuck.release_all();
        close_gate(false)?;
        let agent = self.agent.as_mut().context("no agent")?;
        self.stuck.are_told(agent).context("once all answer")
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
            self.gone.len()
        )
    }

    pub fn end(self) -> Result<Agent> {
        self.agent.context("no agent")
    }
}

fn close_gate(closed: bool) -> Result<()> {
    fs::write(Gate::path("closed"), if closed { "Y" } else { "N" }).context("closed")
}
