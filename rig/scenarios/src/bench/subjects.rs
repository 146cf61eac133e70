//! # The programs that are measured
//!
//! Ours, empty ones, and a bpftrace script that measures the same.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::programs;
use crate::{
    agent::{self, Agent},
    children,
    empty_program::EmptyProgram,
    host::wait_until,
    load,
    scenarios::cost::ON_THE_WAY,
};

const FOLDER: &str = "/lib/bpftrace";
const CONFIG: &str = "/tmp/bench.toml";
const LOG: &str = "/tmp/bpftrace.log";
/// bpftrace compiles the script in an emulator.
const BPFTRACE_START_TIMEOUT: Duration = Duration::from_secs(240);

/// An agent and the ids of its programs.
pub struct MeasuredAgent {
    pub agent: Agent,
    pub ids: BTreeSet<u32>,
}

impl MeasuredAgent {
    pub fn start() -> Result<MeasuredAgent> {
        MeasuredAgent::of("/bin/guestreq", "")
    }

    /// Of a binary, with more lines of configuration.
    pub fn of(binary: &str, lines: &str) -> Result<MeasuredAgent> {
        // With hundreds of VMs in the queue all requests are slow, and each would be logged.
        fs::write(CONFIG, format!("slow_request = \"1h\"\n{lines}")).context(CONFIG)?;
        let before = programs::ids();
        let agent = Agent::start_command(Command::new(binary).args(["agent", "--config", CONFIG]))?;
        Ok(MeasuredAgent { agent, ids: &programs::ids() - &before })
    }
}

/// Empty programs on a request's path.
pub fn empty() -> Result<Vec<(&'static str, EmptyProgram)>> {
    let attach =
        |(program, hook)| Ok((program, EmptyProgram::attach(hook).with_context(|| program)?));
    ON_THE_WAY.into_iter().map(attach).collect()
}

/// The running script.
pub struct Bpftrace {
    child: Child,
    pub ids: BTreeSet<u32>,
}

impl Bpftrace {
    /// Starts it and waits until each of its hooks has seen a request.
    pub fn start() -> Result<Bpftrace> {
        let before = programs::ids();
        let log = File::create(LOG).context(LOG)?;
        // With its own loader, as it needs newer libraries.
        let child = Command::new(format!("{FOLDER}/ld.so"))
            .args(["--library-path", FOLDER, &format!("{FOLDER}/bpftrace")])
            .arg(format!("{FOLDER}/guest-requests.bt"))
            .env("BPFTRACE_MAX_STRLEN", "64")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context(LOG)?)
            .stderr(log)
            .spawn()
            .context("bpftrace")?;
        let mut script = Bpftrace { child, ids: BTreeSet::new() };
        wait_until("bpftrace has attached its programs", BPFTRACE_START_TIMEOUT, || {
            if let Some(status) = script.child.try_wait().context("bpftrace")? {
                bail!("bpftrace has ended ({status}): {}", fs::read_to_string(LOG)?.trim());
            }
            script.ids = &programs::ids() - &before;
            if script.ids.len() < ON_THE_WAY.len() {
                return Ok(false);
            }
            load::run("--count 1")?;
            Ok(programs::all(&script.ids)?.iter().all(|program| program.runs > 0))
        })?;
        Ok(script)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        let _ = agent::signal(self.child.id(), libc::SIGTERM);
        children::end(&mut self.child, "bpftrace");
    }
}
