//! # In a pod
//!
//! With the DaemonSet's user, capabilities, mounts, root and seccomp profile, read from the manifest
//! as kubectl renders it.

pub mod lacking;
pub mod runtimes;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli, get, refusal_of},
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    pod::Pod,
    scenario::{Context, Outcome, Scenario},
};

pub const DOES_EVERYTHING: Scenario = Scenario {
    name: "with_what_the_daemonset_grants_the_agent_observes_enforces_reloads_and_is_replaced",
    check: does_everything,
};

const PINS: &str = "/sys/fs/bpf/guestreq";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// An SNP host as the pod wants it.
pub fn prepare() -> Result<()> {
    host::load_all()?;
    paranoid(2)
}

/// What Debian's kernels set to 3, and the installation has set to 2.
fn paranoid(level: u8) -> Result<()> {
    const FILE: &str = "/proc/sys/kernel/perf_event_paranoid";
    fs::write(FILE, level.to_string()).context(FILE)
}

fn does_everything(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    let found = run(&Pod::of("enforce", "DaemonSet", "doctor")?)?;
    ensure!(found.lines().any(|line| line.starts_with("0 failed,")), "{found}");

    let mut pod = Pod::agent()?;
    let agent = Agent::of(&mut pod.command()?)?;
    decided("first", false)?;
    is_seen(&pod, "seen")?;
    let quiet = !agent::log().contains("WARN");
    ensure!(quiet, "it complains: {}", agent::log());
    a_second_one_is_refused()?;
    reloads(&mut pod)?;

    // A rolling update: the old one goes, what it enforced stays, the new one takes it over.
    ensure!(agent.stop()?.success(), "it did not stop cleanly");
    decided("between", false)?;
    let agent = Agent::of(&mut Pod::agent()?.command()?)?;
    ensure!(agent::log().contains("took over lsm/file_ioctl"), "{}", agent::log());
    decided("updated", false)?;

    // The Job does nothing under an agent, and leaves nothing after it.
    let detach = Pod::of("detach", "Job", "detach")?;
    let (code, said) = refusal_of(&mut detach.command()?)?;
    ensure!(code == 1 && said.contains("an agent is running"), "exit {code}: {said}");
    agent.stop()?;
    ensure!(Path::new(PINS).exists(), "nothing went on without an agent");
    // Nor does it leave a closed gate without an answer.
    gate.set("closed", "Y")?;
    let (code, said) = refusal_of(&mut detach.command()?)?;
    let refused = said.contains("the gate is closed (closed=Y)") && said.contains("--yes");
    ensure!(code == 1 && refused, "exit {code}: {said}");
    decided("closed", false)?;
    gate.set("closed", "N")?;
    println!("{}", run(&detach)?.trim());
    ensure!(!Path::new(PINS).exists(), "{PINS} is left");
    gate.remove()?;
    Ok(Outcome::Kept)
}

/// What a container prints that is to succeed.
fn run(pod: &Pod) -> Result<String> {
    output(&mut pod.command()?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// A guest's reports come through; its exports do if they are allowed, else none does.
fn decided(name: &str, allowed: bool) -> Result<()> {
    let before = Firmware::read()?;
    let load = format!("--vmm qemu --name {name} --count 5 --type report,export --busy-retry-ms 5");
    let seen = load::run(&load)?;
    let firmware = Firmware::read()?.since(&before);
    let answer = if allowed { "ok" } else { "fw:0x16" };
    ensure!(seen.outcomes["7"].contains_key(answer), "{name}: {:?}", seen.outcomes);
    ensure!(seen.outcomes["5"].contains_key("ok"), "{name}: {:?}", seen.outcomes);
    let reached = disallowed_that_reached(&firmware);
    ensure!((reached > 0) == allowed, "{name}: {reached} exports reached the PSP");
    Ok(())
}

/// A VM is seen by the host's command line, as the socket is there, and by `kubectl exec`, as the
/// same binary is in the container. It lives until then, as its process tells who it is.
fn is_seen(pod: &Pod, name: &str) -> Result<()> {
    let load = load::start(&format!("--vmm qemu --name {name} --count 1 --hold"))?;
    let seen = || Ok(pod.exec(&["vms"])?.contains(name));
    wait_until("`kubectl exec` sees the VM", PATIENCE, seen)?;
    ensure!(cli(&["vms"])?.contains(name), "the host's command line does not see {name}");
    load.stop()?;
    Ok(())
}

/// Of a host's package beside the DaemonSet, or of a DaemonSet in another namespace.
fn a_second_one_is_refused() -> Result<()> {
    let second = Pod::agent()?.called("second");
    let (code, said) = refusal_of(&mut second.command()?)?;
    ensure!(code == 1 && said.contains("another agent is running (pid "), "exit {code}: {said}");
    println!("{said}");
    let (status, _) = get("/readyz")?;
    ensure!(status == 200, "the first one has come to harm");
    Ok(())
}

/// A ConfigMap that changes holds, without a restart; one that is wrong changes nothing and is told.
fn reloads(pod: &mut Pod) -> Result<()> {
    let told = |what: &str, successful: u8| {
        let line = format!("guestreq_config_last_reload_successful {successful}");
        wait_until(what, PATIENCE, || Ok(get("/metrics")?.1.lines().any(|found| found == line)))
    };
    pod.with_config("mode = \"enforce\"\nallow = [\"report\", \"export\"]\n").project_config()?;
    wait_until("the new ConfigMap is read", PATIENCE, || {
        Ok(agent::log().contains("configuration reloaded"))
    })?;
    decided("allowed", true)?;
    pod.with_config("mode = \"enforce\"\nallow = [\"exprot\"]\n").project_config()?;
    told("the broken ConfigMap is told", 0)?;
    decided("broken", true)?;
    Pod::agent()?.project_config()?;
    told("the mended ConfigMap holds", 1)?;
    decided("mended", false)
}
