//! # Takeover of programs that need not be loaded again

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_KPROBE;
use guestreq_common::tail_calls::kprobe;

use super::{
    CONFIG, Host, PINS, start,
    versions::{PROGRAMS, counts_new_requests},
};
use crate::{
    agent::{self, Agent, cli},
    bpf::{self, MissedTailCall},
    empty_program,
    host::{self, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(UNCHANGED: "takeover/unchanged" = unchanged,
    "an agent does not load again the programs that an agent of the same build has loaded");
scenario!(RELOADED: "takeover/unchanged_reload" = reloaded,
    "after a module's reload such an agent attaches programs of its own, and counts with them");
scenario!(REFUSED: "takeover/refused_programs" = refused,
    "an agent whose programs the kernel refuses does not take another version's for its own");
scenario!(night REPLACED: "takeover/replaced" = replaced,
    "an agent loads its programs if only one of those in the kernel may be another");

const TIMEOUT: Duration = Duration::from_secs(60);
const LOAD: &str = "--vmm qemu --name brief --type report,export --count 10";
/// A configuration without enforcement.
const OBSERVING: &str = "/tmp/observing.toml";
/// What the agent logs when it loads nothing.
const NOT_LOADED: &str = "they are not loaded again";

fn loads_nothing() -> bool {
    agent::log().contains(NOT_LOADED)
}

/// Starts an agent that loads only entries, to compare the pinned ones with them.
fn start_unchanged() -> Result<Agent> {
    let before = bpf::program_ids()?;
    let agent = start(&[])?;
    ensure!(loads_nothing(), "it loads programs again: {}", agent::log());
    let mut new = bpf::program_ids()?;
    new.retain(|id, name| !before.contains_key(id) && !name.starts_with("on_"));
    ensure!(new.is_empty(), "it has loaded {new:?}");
    Ok(agent)
}

fn unchanged(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let first = start(&[])?;
    ensure!(!loads_nothing(), "there was nothing to take over");
    load::run(LOAD)?;
    first.kill()?;
    let second = start_unchanged()?;
    load::run(LOAD)?;
    let answered = host.exact(&second)?;
    ensure!(answered == 10, "{answered} of 10");
    // Policies are data: a change needs no other program.
    cli(&["policy", "allow", "export", "--default"])?;
    second.kill()?;
    host.end(start_unchanged()?)?;
    Ok(Status::Passed)
}

/// Without BTF the kernel takes no LSM program, and the other version's stay in their places.
fn refused(_: &Context) -> Result<Status> {
    const BTF: &str = "/sys/kernel/btf/vmlinux";
    let host = Host::fresh("")?;
    start(PROGRAMS)?.kill()?;
    host::run_command("mount", &["--bind", "/dev/null", BTF])?;
    let checked = (0..2).try_for_each(|round| {
        let agent = Agent::spawn(&["--config", CONFIG, "--stay"])?;
        wait_until("the agent serves", TIMEOUT, || Ok(agent::get("/readyz").is_ok()))?;
        ensure!(!loads_nothing(), "round {round}: it took the other version's for its own");
        let (status, why) = agent::get("/readyz")?;
        ensure!(status == 503, "round {round}: {status} {why}");
        agent.kill()
    });
    host::run_command("umount", &[BTF])?;
    checked?;
    let agent = start(&[])?;
    ensure!(!loads_nothing(), "with BTF it must load the programs that were refused");
    load::run(LOAD)?;
    host.firmware()?;
    host.end(agent)?;
    Ok(Status::Passed)
}

fn reloaded(_: &Context) -> Result<Status> {
    cli(&["detach"])?;
    start_observing()?.kill()?;
    let mut agent = start_observing()?;
    ensure!(loads_nothing(), "it loads programs again: {}", agent::log());
    host::rmmod("kvm_amd")?;
    agent.wait_until("the agent let go of kvm", |metrics| {
        metrics.sum("guestreq_probe_attached", &[]) == 3.0 + 3.0
    })?;
    host::insmod("kvm-amd", &[])?;
    agent.wait_until("all probes are attached again", |metrics| {
        metrics.select("guestreq_probe_attached", &[]).all(|sample| sample.value == 1.0)
    })?;
    counts_new_requests(&agent)?;
    agent.kill()?;
    let agent = start_observing()?;
    ensure!(loads_nothing(), "it loads programs again: {}", agent::log());
    counts_new_requests(&agent)?;
    agent.kill()?;
    cli(&["detach"])?;
    Ok(Status::Passed)
}

fn start_observing() -> Result<Agent> {
    Agent::start(&[])
}

fn replaced(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    start(&[])?.kill()?;
    let array = format!("{PINS}/maps/KPROBES");
    let _missing = MissedTailCall::begin(&array, kprobe::COMMAND_END_SLOW)?;
    let agent = start(&[])?;
    ensure!(!loads_nothing(), "it did not notice that a program is missing");
    load::run(LOAD)?;
    host.exact(&agent).context("without a program that is only missing")?;
    agent.kill()?;
    start_unchanged()?.kill()?;

    // A program that does nothing, where one of ours was.
    let slot = MissedTailCall::begin(&array, kprobe::COMMAND_END_SLOW)?;
    slot.calls(&bpf::load(BPF_PROG_TYPE_KPROBE, &empty_program::PROGRAM)?)?;
    let agent = start(&[])?;
    ensure!(!loads_nothing(), "it did not notice another program");
    load::run(LOAD)?;
    host.exact(&agent).context("with another program that was replaced")?;
    agent.kill()?;
    start_unchanged()?.kill()?;

    // A map that the programs use, but no later agent would read.
    fs::remove_file(format!("{PINS}/maps/AYA_LOGS")).context("AYA_LOGS")?;
    let agent = start(&[])?;
    ensure!(!loads_nothing(), "it did not notice that a map is missing");
    agent.kill()?;
    start_unchanged()?.kill()?;

    // Other options need other programs.
    fs::write(OBSERVING, "backend = \"none\"\n").context(OBSERVING)?;
    let agent = Agent::start(&["--config", OBSERVING])?;
    ensure!(!loads_nothing(), "backend none needs fewer programs");
    agent.kill()?;
    let agent = start(&[])?;
    ensure!(!loads_nothing(), "the gate's programs were not loaded");
    load::run(LOAD)?;
    host.firmware()?;
    host.end(agent)?;
    Ok(Status::Passed)
}
