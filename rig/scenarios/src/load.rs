//! # Guests
//!
//! snpload creates the VMs; what its guests saw is compared with what the agent counted.

mod end;
mod report;

use std::{
    fs,
    process::{Child, ChildStdin, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use report::parse;
pub use report::{LaunchReport, LoadReport};

use crate::agent;

/// A running load.
pub struct Load {
    /// None once its end is awaited.
    child: Option<Child>,
    pid: u32,
    /// Closing it ends a load that holds its VMs.
    input: Option<ChildStdin>,
    arguments: String,
    /// How long it lasts by its arguments, if nothing makes its guests wait.
    lasts: Duration,
}

/// Most scenarios are about guest requests, not launches, and start up to 1,000 VMs: each measured
/// page would cost time and memory, 1 MiB per VM by snpload's default. Where launches matter, the
/// arguments say how many pages.
const NO_PAGES: [&str; 2] = ["--pages", "0"];

/// Starts a load; arguments as on the command line, but by default no pages are measured.
pub fn start(arguments: &str) -> Result<Load> {
    start_named(arguments, None)
}

/// The same, with a VM name that may contain anything.
pub fn start_named(arguments: &str, name: Option<&str>) -> Result<Load> {
    let has_pages = arguments.split_whitespace().any(|word| word == "--pages");
    let mut child = Command::new("/bin/snpload")
        .args(NO_PAGES.iter().filter(|_| !has_pages))
        .args(arguments.split_whitespace())
        .args(name.map(|name| ["--name", name]).iter().flatten())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("snpload {arguments}"))?;
    let input = child.stdin.take();
    let pid = child.id();
    let lasts = end::lasts(arguments);
    Ok(Load { child: Some(child), pid, input, arguments: arguments.to_owned(), lasts })
}

/// Runs a load to its end.
pub fn run(arguments: &str) -> Result<LoadReport> {
    start(arguments)?.finish()
}

/// A file that `--launch-cue` waits for; removed when dropped.
pub struct Cue(String);

impl Cue {
    pub fn new(name: &str) -> Cue {
        let cue = Cue(format!("/tmp/launch-cue-{name}"));
        cue.remove();
        cue
    }

    pub fn path(&self) -> &str {
        &self.0
    }

    pub fn give(&self) -> Result<()> {
        fs::write(&self.0, "").with_context(|| self.0.clone())
    }

    fn remove(&self) {
        // Mostly there is none.
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Cue {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Load {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn is_running(&mut self) -> Result<bool> {
        let child = self.child.as_mut().context("it has ended")?;
        Ok(child.try_wait().context("snpload")?.is_none())
    }

    /// Stops the guests, releases held VMs, and returns what they saw.
    pub fn stop(mut self) -> Result<LoadReport> {
        self.ask_to_stop()?;
        self.finish()
    }

    /// Asks its guests to stop, without waiting for them.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        self.lasts = Duration::ZERO;
        agent::signal(self.pid, libc::SIGTERM)
    }

    /// Calls `what` while no guest runs and no request is in flight.
    pub fn while_stopped<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<T> {
        let processes = self.processes()?;
        let signal = |number| processes.iter().try_for_each(|pid| agent::signal(*pid, number));
        signal(libc::SIGSTOP)?;
        // Requests in the kernel run to their end.
        sleep(Duration::from_millis(500));
        let result = what();
        signal(libc::SIGCONT)?;
        result
    }

    /// Its pid and those of its VMs.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut found = vec![self.pid];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // "pid (name) state parent …", where a name may contain anything.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            let parent = after.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
            if parent == Some(self.pid) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Releases held VMs, waits for the end and returns what the guests saw.
    pub fn finish(self) -> Result<LoadReport> {
        let arguments = self.arguments.clone();
        let output = self.end()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = stderr.lines().rev().take(3).collect();
        ensure!(output.status.success(), "snpload {arguments}: {}, {tail:?}", output.status);
        parse(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("snpload {arguments}"))
    }
}
