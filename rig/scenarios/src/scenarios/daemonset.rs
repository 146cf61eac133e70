//! # The DaemonSet's pod
//!
//! With user, capabilities, mounts, root and seccomp profile from the manifest as kubectl renders
//! it.

mod missing;
mod runtimes;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{enforce::disallowed_that_reached, takeover::PINS};
use crate::{
    agent::{self, Agent, cli, get, refusal_from},
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    pod::Pod,
    scenario::{Context, Group, Status, scenario},
};

scenario!(DOES_EVERYTHING: "daemonset/everything" = does_everything,
    "with the DaemonSet's privileges the agent observes, enforces, reloads and is replaced");

pub const GROUP: Group = Group {
    name: "daemonset",
    memory_mib: 2048,
    prepare,
    once: &[
        DOES_EVERYTHING,
        runtimes::DEFAULT_PROFILES,
        runtimes::OWN_PROFILE,
        missing::ONE_CAPABILITY,
        missing::THE_NODE,
    ],
    ..Group::DEFAULT
};

const POD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// An SNP host as the pod needs it.
fn prepare() -> Result<()> {
    host::load_all()?;
    paranoid(2)
}

/// Debian's kernels set this to 3; the installation sets it to 2.
fn paranoid(level: u8) -> Result<()> {
    const FILE: &str = "/proc/sys/kernel/perf_event_paranoid";
    fs::write(FILE, level.to_string()).context(FILE)
}

fn does_everything(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let found = run(&Pod::from_manifest("enforce", "DaemonSet", "doctor")?)?;
    ensure!(found.lines().any(|line| line.starts_with("0 failed,")), "{found}");

    let mut pod = Pod::agent()?;
    let agent = Agent::start_command(&mut pod.command()?)?;
    decided("first", false)?;
    is_seen(&pod, "seen")?;
    let quiet = !agent::log().contains("WARN");
    ensure!(quiet, "it warns: {}", agent::log());
    ensure!(get("/metrics")?.1.contains("\nguestreq_asids{"), "it does not see the host's ASIDs");
    refuses_second_agent()?;
    reloads(&mut pod)?;

    // A rolling update: the old agent stops, enforcement stays, the new one takes over.
    ensure!(agent.stop()?.success(), "it did not stop cleanly");
    decided("between", false)?;
    let agent = Agent::start_command(&mut Pod::agent()?.command()?)?;
    ensure!(agent::log().contains("took over lsm/file_ioctl"), "{}", agent::log());
    decided("updated", false)?;

    // The Job refuses to detach while an agent runs.
    let detach = Pod::from_manifest("detach", "Job", "detach")?;
    let (code, message) = refusal_from(&mut detach.command()?)?;
    ensure!(code == 1 && message.contains("an agent is running"), "exit {code}: {message}");
    agent.stop()?;
    ensure!(Path::new(PINS).exists(), "enforcement did not survive the agent");
    // Nor does it leave a closed gate unanswered.
    gate.set("closed", "Y")?;
    let (code, message) = refusal_from(&mut detach.command()?)?;
    let refused = message.contains("the gate is closed (closed=Y)") && message.contains("--yes");
    ensure!(code == 1 && refused, "exit {code}: {message}");
    decided("closed", false)?;
    gate.set("closed", "N")?;
    println!("{}", run(&detach)?.trim());
    ensure!(!Path::new(PINS).exists(), "{PINS} still exists");
    stays(detach)?;
    gate.remove()?;
    Ok(Status::Passed)
}

/// The pod that an uninstalled Helm chart leaves: it runs until it is deleted, and an agent can
/// start meanwhile.
fn stays(detach: Pod) -> Result<()> {
    const LOG: &str = "/tmp/detached.log";
    let pod = detach.with_arguments(&["detach", "--stay"]).called("detached");
    let mut command = pod.command()?;
    let log = fs::File::create(LOG).context(LOG)?;
    let stays = Agent::spawn_to(command.stdout(log.try_clone()?), log.into())?;
    wait_until("the pod has detached", POD_TIMEOUT, || {
        Ok(fs::read_to_string(LOG)?.contains("Nothing was attached."))
    })?;
    Agent::start_command(&mut Pod::agent()?.called("again").command()?)?.stop()?;
    let status = stays.stop()?;
    ensure!(status.success(), "it ended with {status}");
    cli(&["detach"])?;
    Ok(())
}

/// The output of a container that must succeed.
fn run(pod: &Pod) -> Result<String> {
    output(&mut pod.command()?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", stderr.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// A guest's reports pass; its exports only if they are allowed.
pub(super) fn decided(name: &str, allowed: bool) -> Result<()> {
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

/// The command line lists a VM on the host and by `kubectl exec`. The VM runs until then, as its
/// name comes from its process.
fn is_seen(pod: &Pod, name: &str) -> Result<()> {
    let load = load::start(&format!("--vmm qemu --name {name} --count 1 --hold"))?;
    let seen = || Ok(pod.exec(&["vms"])?.contains(name));
    wait_until("`kubectl exec` sees the VM", POD_TIMEOUT, seen)?;
    ensure!(cli(&["vms"])?.contains(name), "the host's command line does not see {name}");
    load.stop()?;
    Ok(())
}

/// Such as the host's package next to the DaemonSet, or a DaemonSet in another namespace.
fn refuses_second_agent() -> Result<()> {
    let second = Pod::agent()?.called("second");
    let (code, message) = refusal_from(&mut second.command()?)?;
    ensure!(
        code == 1 && message.contains("another agent is running (pid "),
        "exit {code}: {message}"
    );
    println!("{message}");
    let (status, _) = get("/readyz")?;
    ensure!(status == 200, "the first agent is not ready");
    Ok(())
}

/// A changed ConfigMap takes effect without a restart; an invalid one changes nothing and is
/// reported.
fn reloads(pod: &mut Pod) -> Result<()> {
    let reported = |what: &str, successful: u8| {
        let line = format!("guestreq_config_last_reload_successful {successful}");
        wait_until(what, POD_TIMEOUT, || Ok(get("/metrics")?.1.lines().any(|found| found == line)))
    };
    pod.with_config("mode = \"enforce\"\nallow = [\"report\", \"export\"]\n").project_config()?;
    wait_until("the new ConfigMap is read", POD_TIMEOUT, || {
        Ok(agent::log().contains("configuration reloaded"))
    })?;
    decided("allowed", true)?;
    pod.with_config("mode = \"enforce\"\nallow = [\"exprot\"]\n").project_config()?;
    reported("the broken ConfigMap is reported", 0)?;
    decided("broken", true)?;
    Pod::agent()?.project_config()?;
    reported("the fixed ConfigMap is applied", 1)?;
    decided("mended", false)
}
