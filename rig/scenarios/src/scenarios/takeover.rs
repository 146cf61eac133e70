//! # Enforcement survives the agent
//!
//! Whenever an agent is killed, stopped, or replaced by the same or another version, disallowed
//! messages never reach the PSP, and every request is counted once.

pub mod failpoints;
pub mod foreign_pins;
pub mod restarts;
pub mod single_agent;
pub mod unchanged;
pub mod versions;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{counted, enforce::disallowed_that_reached, expected, losses};
use crate::{
    agent::{self, Agent, cli},
    exposition::Metrics,
    gate::{Gate, GateCounts},
    host::{Firmware, wait_until},
};

pub const CONFIG: &str = "/tmp/takeover.toml";
const STATE: &str = "/tmp/takeover";
pub const PINS: &str = "/sys/fs/bpf/guestreq";

/// A host that enforces while its agents are replaced.
pub struct Host {
    gate: Gate,
    /// The counts at the beginning.
    before: (Firmware, GateCounts),
    since: Instant,
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

/// Starts an agent with the host's configuration and waits until it is ready.
pub fn start(arguments: &[&str]) -> Result<Agent> {
    Agent::start(&[&["--config", CONFIG], arguments].concat())
}

/// Ends an agent by a signal and starts the next one.
pub fn replace_agent(agent: &mut Agent, by: i32) -> Result<()> {
    end_by_signal(agent, by)?;
    *agent = start(&[])?;
    Ok(())
}

/// Ends an agent by a signal.
pub fn end_by_signal(agent: &Agent, by: i32) -> Result<()> {
    let pid = agent.pid();
    agent::signal(pid, by)?;
    wait_until("the agent has ended", Duration::from_secs(60), || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Ok(stat.is_empty() || stat.contains(") Z "))
    })
}

/// Starts an agent without waiting.
fn spawn(arguments: &[&str]) -> Result<Agent> {
    Agent::spawn(&[&["--config", CONFIG], arguments].concat())
}

/// Starts an agent that dies at this failpoint.
fn die_at(point: &str, arguments: &[&str]) -> Result<()> {
    let agent = spawn(&[&["--die-at", point], arguments].concat())?;
    agent.wait_until_killed().with_context(|| format!("at {point}"))
}

/// The failpoints of these phases.
fn points(phases: &[&str]) -> Result<Vec<String>> {
    let list = cli(&["agent", "--die-at", "list"])?;
    let of = |line: &str| {
        let (phase, point) = line.split_once(' ')?;
        phases.contains(&phase).then(|| point.to_owned())
    };
    let points: Vec<String> = list.lines().filter_map(of).collect();
    ensure!(!points.is_empty(), "no points of {phases:?}: {list}");
    Ok(points)
}

/// The message of a command that is expected to refuse.
fn refused(arguments: &[&str]) -> Result<String> {
    let (code, line) = agent::refusal_from(Command::new("/bin/guestreq").args(arguments))?;
    ensure!(code == 1, "exit status {code}: {line}");
    Ok(line)
}

/// xorshift64 with a printed seed.
pub struct Random(pub u64);

impl Random {
    pub fn new() -> Result<Random> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Random(now.as_nanos() as u64 | 1))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
