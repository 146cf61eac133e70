//! # The agent under test
//!
//! The binary that users run, started as they start it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    children::{self, KILL_TIMEOUT},
    exposition::Metrics,
    host::wait_until,
};

const ADDRESS: &str = "127.0.0.1:9940";
const LOG: &str = "/tmp/agent.log";
/// An emulated machine is slow.
const AGENT_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Agent {
    child: Child,
}

impl Agent {
    /// Starts an agent and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Result<Agent> {
        Agent::spawn(arguments)?.wait_until_ready()
    }

    /// Starts an agent by another command and waits until it is ready.
    pub fn start_command(command: &mut Command) -> Result<Agent> {
        Agent::spawn_command(command)?.wait_until_ready()
    }

    pub fn wait_until_ready(mut self) -> Result<Agent> {
        let agent = &mut self;
        wait_until("the agent is ready", AGENT_TIMEOUT, || {
            agent.still_runs()?;
            Ok(get("/readyz").is_ok_and(|(status, _)| status == 200))
        })?;
        Ok(self)
    }

    /// Starts an agent that may not become ready.
    pub fn spawn(arguments: &[&str]) -> Result<Agent> {
        Agent::spawn_command(Command::new("/bin/guestreq").arg("agent").args(arguments))
    }

    pub fn spawn_command(command: &mut Command) -> Result<Agent> {
        let log = File::create(LOG).context(LOG)?;
        command.stdout(log.try_clone().context(LOG)?);
        Agent::spawn_to(command, Stdio::from(log))
    }

    /// The same, with another log.
    pub fn spawn_to(command: &mut Command, log: Stdio) -> Result<Agent> {
        let child = command.stdin(Stdio::null()).stderr(log).spawn().context("guestreq agent")?;
        Ok(Agent { child })
    }

    /// Starts an agent with these lines as its configuration.
    pub fn with_config(lines: &str) -> Result<Agent> {
        fs::write("/tmp/guestreq.toml", lines).context("/tmp/guestreq.toml")?;
        Agent::start(&["--config", "/tmp/guestreq.toml"])
    }

    fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("the agent")? {
            bail!("the agent has ended ({status}): {}", log().trim());
        }
        Ok(())
    }

    /// Waits for a condition; fails if the agent exits.
    pub fn wait_until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&Metrics) -> bool,
    ) -> Result<Metrics> {
        let mut last = Metrics::default();
        let waited = wait_until(what, AGENT_TIMEOUT, || {
            self.still_runs()?;
            last = self.scrape()?;
            Ok(so(&last))
        });
        waited?;
        Ok(last)
    }

    pub fn scrape(&self) -> Result<Metrics> {
        scrape()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn stop(mut self) -> Result<ExitStatus> {
        // It may have been stopped.
        signal(self.child.id(), libc::SIGCONT)?;
        signal(self.child.id(), libc::SIGTERM)?;
        children::wait(&mut self.child, "the agent", AGENT_TIMEOUT)
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        signal(self.child.id(), libc::SIGKILL)?;
        children::wait(&mut self.child, "the agent", KILL_TIMEOUT).map(drop)
    }

    /// Waits until it has killed itself, as `--die-at` asks.
    pub fn wait_until_killed(mut self) -> Result<()> {
        let status = children::wait(&mut self.child, "the agent", AGENT_TIMEOUT)?;
        let signal = status.signal();
        ensure!(signal == Some(libc::SIGKILL), "it was not killed, {status}: {}", log().trim());
        Ok(())
    }

    /// The log of the last agent.
    pub fn last_log() -> String {
        log()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = signal(self.child.id(), libc::SIGCONT);
            let _ = signal(self.child.id(), libc::SIGTERM);
            children::end(&mut self.child, "the agent");
        }
    }
}

pub fn signal(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid).context("a pid")?;
    // SAFETY: no memory is passed.
    let ret = unsafe { libc::kill(pid, signal) };
    ensure!(ret == 0, "kill {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}

pub fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

/// Exit code and message of an agent that is expected to refuse to start.
pub fn refusal(arguments: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new("/bin/guestreq");
    refusal_from(command.arg("agent").args(arguments))
}

pub fn refusal_from(command: &mut Command) -> Result<(i32, String)> {
    let output = command.stdin(Stdio::null()).output().context("guestreq")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Log lines come before the reason.
    let reason: Vec<&str> = stderr.lines().filter(|line| !line.starts_with('[')).collect();
    ensure!(reason.len() == 1, "not one line: {stderr:?}");
    Ok((output.status.code().unwrap_or(-1), reason[0].to_owned()))
}

/// GET without an HTTP library, which could hide faults.
pub fn get(path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(ADDRESS).context(ADDRESS)?;
    stream.set_read_timeout(Some(AGENT_TIMEOUT)).context("a timeout")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize =
        length.and_then(|n| n.parse().ok()).context("an answer without a length")?;
    ensure!(body.len() == length, "{} of {length} bytes: it was cut short", body.len());
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("an answer without a status")?, body.to_owned()))
}

/// The metrics of whichever agent runs.
pub fn scrape() -> Result<Metrics> {
    let (status, body) = get("/metrics")?;
    ensure!(status == 200, "/metrics answers {status}: {body}");
    Ok(Metrics::parse(&body))
}

/// What a guestreq command prints.
pub fn cli(arguments: &[&str]) -> Result<String> {
    let output = Command::new("/bin/guestreq").args(arguments).output().context("guestreq")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "guestreq {arguments:?}: {}", stderr.trim());
    Ok(String::from_utf8(output.stdout)?)
}

pub fn json(verb: &str) -> Result<Value> {
    serde_json::from_str(&cli(&[verb, "-o", "json"])?).with_context(|| format!("guestreq {verb}"))
}

/// The first VM in `guestreq vms` that is the wanted one.
pub fn find_vm(is_wanted: impl Fn(&Value) -> bool) -> Result<Option<Value>> {
    let vms = json("vms")?;
    let mut all = vms["vms"].as_array().into_iter().flatten();
    Ok(all.find(|vm| is_wanted(vm)).cloned())
}

/// The VM of this name in `guestreq vms`.
pub fn vm_named(name: &str) -> Result<Value> {
    find_vm(|vm| vm["vm"] == name)?.with_context(|| format!("guestreq vms shows no {name}"))
}

/// Waits until a VM of this name is shown as exited, and none as running.
pub fn is_gone(name: &str, limit: Duration) -> Result<()> {
    let is_shown = |running: bool| {
        anyhow::Ok(find_vm(|vm| vm["vm"] == name && vm["running"] == running)?.is_some())
    };
    wait_until(&format!("{name} is shown as exited"), limit, || {
        Ok(is_shown(false)? && !is_shown(true)?)
    })
}

/// Whether `guestreq vms` shows a VM of this name.
pub fn is_known(name: &str) -> Result<bool> {
    Ok(find_vm(|vm| vm["vm"] == name)?.is_some())
}
