//! # A follower of events

use std::{
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{agent::signal, children, host::wait_until};

const EVENTS: &str = "/tmp/events.jsonl";
const STDERR: &str = "/tmp/events.stderr";
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// `guestreq events -o json`, killed when dropped.
pub struct Follower(Child);

impl Follower {
    pub fn start(arguments: &[&str]) -> Result<Follower> {
        let child = Command::new("/bin/guestreq")
            .args(["events", "-o", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(EVENTS).context(EVENTS)?)
            .stderr(File::create(STDERR).context(STDERR)?)
            .spawn()
            .context("guestreq events")?;
        Ok(Follower(child))
    }

    /// The events so far.
    pub fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(EVENTS).context(EVENTS)?;
        // The last line may be incomplete.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).context(EVENTS)).collect()
    }

    /// Its standard error.
    pub fn stderr(&self) -> Result<String> {
        fs::read_to_string(STDERR).context(STDERR)
    }

    pub fn wait_until(&self, what: &str, mut so: impl FnMut(&[Value]) -> bool) -> Result<()> {
        wait_until(what, EVENT_TIMEOUT, || Ok(so(&self.events()?)))
            .with_context(|| format!("events {:?}", self.events().map(kinds)))
    }

    /// Sends Ctrl-C and returns the exit status.
    pub fn interrupt(mut self) -> Result<ExitStatus> {
        signal(self.0.id(), libc::SIGINT)?;
        children::wait(&mut self.0, "guestreq events", EVENT_TIMEOUT)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        children::kill(&mut self.0, "guestreq events");
    }
}

/// The number of events of each kind.
fn kinds(events: Vec<Value>) -> std::collections::BTreeMap<String, usize> {
    let mut kinds = std::collections::BTreeMap::new();
    for event in events {
        *kinds.entry(event["kind"].to_string()).or_default() += 1;
    }
    kinds
}
