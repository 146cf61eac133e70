//! # Enforcement survives the agent
//!
//! Whenever an agent is killed, stopped, or replaced by the same or another version, disallowed
//! messages never reach the PSP, and every request is counted once.

mod failpoints;
mod foreign_pins;
mod host;
mod restarts;
mod single_agent;
mod unchanged;
mod versions;

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
pub use host::Host;

use crate::{
    agent::{self, Agent, cli},
    host::wait_until,
    scenario::Group,
};

pub const GROUP: Group = Group {
    name: "takeover",
    memory_mib: 2048,
    scenarios: &[restarts::SURVIVES, restarts::FLOOD],
    once: &[
        versions::OTHER_PROGRAMS,
        versions::OTHER_ENTRIES,
        failpoints::AT_START,
        failpoints::AT_TAKEOVER,
        failpoints::AT_CHANGE,
        failpoints::AT_STOP,
        failpoints::AT_DETACH,
        versions::OTHER_SCHEMA,
        unchanged::UNCHANGED,
        unchanged::RELOADED,
        unchanged::REPLACED,
        unchanged::REFUSED,
        foreign_pins::FOREIGN,
        single_agent::SECOND_AGENT,
        single_agent::PID_REUSE,
    ],
    ..Group::DEFAULT
};

pub const CONFIG: &str = "/tmp/takeover.toml";
const STATE: &str = "/tmp/takeover";
pub const PINS: &str = "/sys/fs/bpf/guestreq";

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
        // Its first thread may have ended before others, which keep its lock.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        Ok(stat.is_empty() || stat.contains(") Z ") && threads <= 1)
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
