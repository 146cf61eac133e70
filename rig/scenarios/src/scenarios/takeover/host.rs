//! # A host that enforces while its agents are replaced

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{counted, enforce::disallowed_that_reached, expected, losses},
    CONFIG, PINS, STATE,
};
use crate::{
    agent::{self, Agent, cli},
    exposition::Metrics,
    gate::{Gate, GateCounts},
    host::Firmware,
};

/// A host that enforces while its agents are replaced.
pub struct Host {
    pub(super) gate: Gate,
    /// The counts at the beginning.
    before: (Firmware, GateCounts),
    pub(super) since: Instant,
}

impl Host {
    /// With nothing pinned, no overrides, and these lines as configuration.
    pub fn fresh(lines: &str) -> Result<Host> {
        let lines = format!("mode = \"enforce\"\nstate = \"{STATE}\"\n{lines}");
        fs::write(CONFIG, lines).context(CONFIG)?;
        let before = (Firmware::read()?, GateCounts::default());
        let mut host = Host { gate: Gate::load(&[])?, before, since: Instant::now() };
        host.begin()?;
        Ok(host)
    }

    /// Starts over, with nothing pinned and no overrides.
    pub fn begin(&mut self) -> Result<()> {
        cli(&["detach"])?;
        ensure!(fs::symlink_metadata(PINS).is_err(), "{PINS} still exists");
        let _ = fs::remove_dir_all(STATE);
        self.before = (Firmware::read()?, self.gate.counts()?);
        self.since = Instant::now();
        Ok(())
    }

    /// The gate's counts since the beginning.
    pub fn gate(&self) -> Result<GateCounts> {
        let (now, before) = (self.gate.counts()?, self.before.1);
        Ok(GateCounts {
            admitted: now.admitted - before.admitted,
            denied: now.denied - before.denied,
            busy: now.busy - before.busy,
            unanswered: now.unanswered - before.unanswered,
        })
    }

    /// The firmware's counts since the beginning; fails if a disallowed message reached it, or the
    /// gate got no answer.
    pub fn firmware(&self) -> Result<Firmware> {
        let firmware = Firmware::read()?.since(&self.before.0);
        let reached = disallowed_that_reached(&firmware);
        ensure!(reached == 0, "{reached} disallowed messages reached the PSP");
        let unanswered = self.gate()?.unanswered;
        ensure!(unanswered == 0, "{unanswered} of the gate's questions were not answered");
        Ok(firmware)
    }

    /// Since the beginning the agent's counts equal the firmware's and the gate's.
    pub fn exact(&self, agent: &Agent) -> Result<u64> {
        let firmware = self.firmware()?;
        let metrics = agent.scrape()?;
        for name in ["guestreq_messages_total", "guestreq_requests_total"] {
            self.totals(&metrics, name)?;
        }
        let mut lost = losses(&metrics);
        // Without an agent nobody reads events.
        lost.remove("ring_buffer_full");
        ensure!(lost.is_empty(), "lost: {lost:?}");
        let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
        ensure!(bypassed == 0.0, "{bypassed} requests are reported as bypassed");
        let answered = firmware.messages.values().sum();
        let timed = metrics.sum("guestreq_request_duration_seconds_count", &[]) as u64;
        ensure!(timed == answered, "{timed} durations of {answered} requests");
        let (status, why) = agent::get("/readyz")?;
        ensure!(status == 200, "{why}");
        Ok(answered)
    }

    /// A metric's sums by message and result equal the counts of firmware and gate.
    fn totals(&self, metrics: &Metrics, name: &str) -> Result<()> {
        let (expected, gate) = (expected(&self.firmware()?), self.gate()?);
        let mut answered = counted(metrics, name);
        let mut take = |result: &str| -> u64 {
            let of = |key: &(String, String)| key.1 == result;
            let sum = answered.iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum();
            answered.retain(|key, _| !of(key));
            sum
        };
        let refused = (take("denied"), take("busy"));
        ensure!(answered == expected, "{name} {answered:?}, the firmware {expected:?}");
        ensure!(refused == (gate.denied, gate.busy), "{name} {refused:?}, the gate {gate:?}");
        Ok(())
    }

    /// Kills the agent, detaches, and removes the gate.
    pub fn end(self, agent: Agent) -> Result<()> {
        agent.kill()?;
        cli(&["detach"])?;
        self.gate.remove()
    }
}
