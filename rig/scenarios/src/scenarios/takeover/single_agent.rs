//! # A second agent, and reused pids

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Host, PINS, start};
use crate::{
    agent::{self, Agent, cli},
    host::wait_until,
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(SECOND_AGENT: "takeover/second_agent" = second_agent,
    "a second agent is refused, whatever its socket and port");
scenario!(PID_REUSE: "takeover/pid_reuse" = pid_reuse,
    "a process that reuses an exited VM's pid inherits nothing");

fn second_agent(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let agent = start(&[])?;
    let other = "/tmp/other.toml";
    let lines = "mode = \"enforce\"\nlisten = \"127.0.0.1:9942\"\nsocket = \"/tmp/other.sock\"\n";
    fs::write(other, lines).context(other)?;
    for arguments in [&[][..], &["--listen", "127.0.0.1:9942"], &["--config", other, "--stay"]] {
        let (code, line) = agent::refusal(arguments)?;
        let expected = format!("another agent is running (pid {})", agent.pid());
        ensure!(code == 1 && line.contains(&expected), "{arguments:?}: {code} {line}");
    }
    // The first agent is unaffected.
    load::run("--vmm qemu --name brief --type report,export --count 10")?;
    ensure!(host.exact(&agent)? == 5, "not 5 passed");
    // A killed agent leaves no lock.
    let pid = agent.pid();
    agent.kill()?;
    let held = fs::read_to_string("/run/guestreq/lock").context("the lock")?;
    ensure!(held.trim() == pid.to_string(), "{held:?}");
    let agent = start(&[])?;
    host.end(agent)?;
    Ok(Status::Passed)
}

/// A VM ends with its guest context, so it does not matter whether the process' exit was seen.
fn pid_reuse(_: &Context) -> Result<Status> {
    for seen in [true, false] {
        let host = Host::fresh("")?;
        let agent = start(&[])?;
        let (first, pid) = vm("first", None)?;
        counted(&agent, "first", 20.0)?;
        cli(&["limit", "set", "--vm", "first", "--rate", "1/h", "--burst", "1", "--force"])?;
        agent.kill()?;
        if !seen {
            let link = fs::read_dir(format!("{PINS}/links"))?.flatten().map(|entry| entry.path());
            for path in link.filter(|path| path.to_string_lossy().contains("on_thread_exit@")) {
                fs::remove_file(path)?;
            }
        }
        agent::signal(pid, libc::SIGKILL)?;
        agent::signal(first.pid(), libc::SIGKILL)?;
        first.end()?;
        // The limit ends with its VM even without an agent.
        let (second, _) = vm("second", Some(pid))?;
        let agent = start(&[])?;
        counted(&agent, "second", 20.0)?;
        finish(second)?;
        let metrics = agent.scrape()?;
        let first = metrics.sum("guestreq_requests_total", &[("vm", "first"), ("result", "ok")]);
        ensure!(first == 20.0, "the first VM has {first} requests");
        host.firmware()?;
        host.end(agent)?;
    }
    Ok(Status::Passed)
}

/// Waits until a VM has this many answered requests.
fn counted(agent: &Agent, vm: &str, requests: f64) -> Result<()> {
    wait_until(&format!("{vm} has {requests} requests"), Duration::from_secs(30), || {
        let labels = [("vm", vm), ("result", "ok")];
        Ok(agent.scrape()?.sum("guestreq_requests_total", &labels) >= requests)
    })
}

fn finish(mut load: Load) -> Result<()> {
    load.ask_to_stop()?;
    load.end()?;
    Ok(())
}

/// A VM in a process with this pid that sends 20 requests and keeps running.
fn vm(name: &str, wanted: Option<u32>) -> Result<(Load, u32)> {
    for _ in 0..50 {
        if let Some(pid) = wanted {
            // snpload's own pid, then its VM's; other processes may come between.
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 2).to_string())?;
        }
        let load = load::start(&format!("--vmm qemu --name {name} --count 20 --hold"))?;
        let pid = child_of(load.pid())?;
        if wanted.is_none_or(|wanted| wanted == pid) {
            return Ok((load, pid));
        }
        agent::signal(load.pid(), libc::SIGKILL)?;
        load.end()?;
    }
    bail!("no process got pid {wanted:?}")
}

fn child_of(parent: u32) -> Result<u32> {
    let mut child = None;
    wait_until("snpload has started its VM", Duration::from_secs(10), || {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).context("children")?;
        child = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
        Ok(child.is_some())
    })?;
    child.context("no child")
}
