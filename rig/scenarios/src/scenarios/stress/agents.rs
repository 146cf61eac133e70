//! # Replacing agents

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::chown},
    process::{Command, Stdio},
    sync::{PoisonError, atomic::Ordering},
};

use anyhow::{Context as _, Result, ensure};

use super::round::Stress;
use crate::{
    agent::{Agent, cli},
    scenarios::{
        faults::{log, readers},
        takeover,
    },
};

impl Stress<'_> {
    /// Ends one agent and starts the next.
    pub fn replace_agent(&mut self) -> Result<()> {
        let shared = self.shared;
        let _down = shared.up.write().unwrap_or_else(PoisonError::into_inner);
        let agent = self.agent.take().context("no agent")?;
        if self.rounds.is_multiple_of(2) {
            agent.kill()?;
            self.kills += 1;
        } else {
            let status = agent.stop()?;
            ensure!(status.code() == Some(0), "it was stopped: {status}");
            self.stops += 1;
        }
        if !self.rounds.is_multiple_of(2) {
            self.check_detach_is_refused()?;
        }
        self.stuck.begin()?;
        self.begin_agent()
    }

    /// Its log is a file or a full pipe, which is read later or never.
    pub fn begin_agent(&mut self) -> Result<()> {
        let mut command = Command::new("/bin/guestreq");
        command.args(["agent", "--config", takeover::CONFIG]);
        self.unread = None;
        let is_read = self.rounds % 3 != 1;
        let agent = if self.rounds.is_multiple_of(3) {
            Agent::spawn_command(&mut command)?
        } else {
            let (reader, writer) = io::pipe().context("a pipe")?;
            let writer = log::fill(File::from(OwnedFd::from(writer)))?;
            self.blocked += 1;
            let agent = Agent::spawn_to(&mut command, Stdio::from(writer))?;
            match is_read {
                true => drop(log::read(reader)),
                false => self.unread = Some(reader),
            }
            agent
        };
        drop(command);
        let agent = agent.wait_until_ready()?;
        chown(readers::SOCKET, None, Some(readers::GROUP)).context(readers::SOCKET)?;
        self.shared.log_is_read.store(is_read, Ordering::Relaxed);
        self.shared.pid.store(agent.pid(), Ordering::Relaxed);
        self.agent = Some(agent);
        Ok(())
    }

    /// With a closed gate and no agent, detach refuses and says what it would do.
    fn check_detach_is_refused(&self) -> Result<()> {
        let refused = cli(&["detach"]).err().context("it left a closed gate alone")?;
        ensure!(format!("{refused:#}").contains("closed"), "{refused:#}");
        Ok(())
    }
}
