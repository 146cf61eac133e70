//! # Guests
//!
//! snpload makes the VMs; what its guests saw is a second witness.

use std::{
    collections::BTreeMap,
    process::{Child, ChildStdin, Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A running load.
pub struct Load {
    child: Child,
    /// Ends a load that holds its VMs.
    input: Option<ChildStdin>,
    arguments: String,
}

/// What the guests saw.
pub struct Seen {
    pub requests: u64,
    /// By message type (a number), then by outcome: ok, busy, fw:0x16, errno:5.
    pub outcomes: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Starts a load; arguments as on the command line.
pub fn start(arguments: &str) -> Result<Load> {
    let mut child = Command::new("/bin/snpload")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("snpload {arguments}"))?;
    let input = child.stdin.take();
    Ok(Load { child, input, arguments: arguments.to_owned() })
}

/// Runs a load to its end.
pub fn run(arguments: &str) -> Result<Seen> {
    start(arguments)?.finish()
}

impl Load {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("snpload")?.is_none())
    }

    /// Lets go of held VMs, waits for the end and tells what the guests saw.
    pub fn finish(self) -> Result<Seen> {
        let arguments = self.arguments.clone();
        let output = self.end()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(3).collect();
        ensure!(output.status.success(), "snpload {arguments}: {}, {tail:?}", output.status);
        parse(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("snpload {arguments}"))
    }

    /// The same for a load that is expected not to end well.
    pub fn end(mut self) -> Result<Output> {
        drop(self.input.take());
        self.child.wait_with_output().with_context(|| format!("snpload {}", self.arguments))
    }
}

fn parse(text: &str) -> Result<Seen> {
    let line = text.lines().last().context("no report")?;
    let report: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
    let requests = report["requests"].as_u64().context("no requests in the report")?;
    let mut outcomes = BTreeMap::new();
    for (message, counts) in report["outcomes"].as_object().context("no outcomes")? {
        let counts = counts.as_object().context("outcomes are no objects")?;
        let counts = counts.iter().filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)));
        outcomes.insert(message.clone(), counts.collect());
    }
    Ok(Seen { requests, outcomes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let seen = parse(
            "{\"vms\":1,\"requests\":5,\"outcomes\":{\"5\":{\"ok\":3},\"9\":{\"ok\":1,\"fw:0x16\":1}}}",
        )
        .unwrap();
        assert_eq!(seen.requests, 5);
        assert_eq!(seen.outcomes["5"]["ok"], 3);
        assert_eq!(seen.outcomes["9"]["fw:0x16"], 1);
    }
}
