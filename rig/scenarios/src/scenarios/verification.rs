//! # Verification of enforcement

mod conditions;

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    edge_cases, enforce::disallowed_that_reached, policy_changes, skipped_probes, tio,
    unresolved_vms, vcpu_backend,
};
use crate::{
    agent::{self, Agent, cli},
    enforcing::Enforcing,
    exposition::Metrics,
    fixed_answer::{Answer, FixedAnswer},
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(REFUSES: "verification/refuses" = refuses,
    "the agent refuses to start where it cannot enforce as configured");
scenario!(STAYS: "verification/stay" = stays,
    "with --stay the agent observes, is not ready, and enforces as soon as it can");
scenario!(GATE_REMOVED: "verification/gate_removed" = gate_removed,
    "the next scrape reports a removed gate and what passed without it");
scenario!(FOREIGN_ANSWER: "verification/foreign_answer" = foreign_answer,
    "the next scrape reports that another LSM program answers");
scenario!(CHANGES: "verification/mode_change" = changes,
    "a change to enforce is refused where the agent cannot enforce");

pub const GROUP: Group = Group {
    name: "verification",
    memory_mib: 2048,
    scenarios: &[
        GATE_REMOVED,
        FOREIGN_ANSWER,
        skipped_probes::CALL,
        skipped_probes::DECIDED,
        vcpu_backend::HELD,
        vcpu_backend::STOPPED,
        vcpu_backend::COMPAT,
        unresolved_vms::FIRST_REQUEST,
    ],
    once: &[
        vcpu_backend::DENIED,
        vcpu_backend::UNKNOWN_VMM,
        edge_cases::COST,
        tio::UNDECIDED,
        REFUSES,
        STAYS,
        CHANGES,
        policy_changes::CHANGES,
        policy_changes::ONLY_ROOT,
        policy_changes::ONE_REPORT,
        edge_cases::TABLE_FULL,
        edge_cases::CLOCK_STEPS,
        unresolved_vms::AGENT_STOPPED,
    ],
    ..Group::DEFAULT
};

pub const ENFORCE: &str = "mode = \"enforce\"\n";

pub fn config(lines: &str) -> Result<[&'static str; 2]> {
    fs::write("/tmp/verification.toml", lines).context("/tmp/verification.toml")?;
    Ok(["--config", "/tmp/verification.toml"])
}

/// `verified` of `guestreq_enforcement_info`.
pub fn verified(metrics: &Metrics, backend: &str, mode: &str) -> Option<String> {
    let labels = [("backend", backend), ("mode", mode)];
    metrics
        .select("guestreq_enforcement_info", &labels)
        .next()
        .map(|info| info.labels["verified"].clone())
}

fn ensure_verified(agent: &Agent, expected: &str) -> Result<()> {
    let found = verified(&agent.scrape()?, "gate", "enforce");
    ensure!(found.as_deref() == Some(expected), "verified is {found:?}, not {expected}");
    let (status, why) = agent::get("/readyz")?;
    ensure!((status == 200) == (expected == "true"), "/readyz {status}: {why}");
    Ok(())
}

fn refuses(_: &Context) -> Result<Status> {
    let arguments = config(ENFORCE)?;
    let (code, line) = agent::refusal(&arguments)?;
    ensure!(code == 1 && line.contains("the gate is not loaded"), "{code} {line}");
    ensure!(!fs::exists("/sys/fs/bpf/guestreq")?, "pins are left");

    let arguments = config("mode = \"enforce\"\nbackend = \"none\"\n")?;
    let (code, line) = agent::refusal(&arguments)?;
    ensure!(code == 1 && line.contains("backend"), "{code} {line}");

    // Without a BPF file system enforcement would not survive the agent.
    let gate = Gate::load(&[])?;
    host::run_command("umount", &["/sys/fs/bpf"])?;
    let refusal = agent::refusal(&config(ENFORCE)?);
    host::run_command("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    let (code, line) = refusal?;
    ensure!(code == 1 && line.contains("mount -t bpf bpf"), "{code} {line}");
    gate.remove()?;
    Ok(Status::Passed)
}

fn stays(_: &Context) -> Result<Status> {
    let [flag, path] = config(&format!("{ENFORCE}{}", conditions::config()?))?;
    let agent = Agent::spawn(&[flag, path, "--stay"])?;
    wait_until("the agent answers", Duration::from_secs(60), || {
        Ok(agent::get("/readyz").is_ok_and(|(_, why)| why.contains("the gate is not loaded")))
    })?;
    ensure_verified(&agent, "false")?;
    conditions::ensure_all(false)?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name watched --type report,export --count 10")?;
    let passed = disallowed_that_reached(&Firmware::read()?.since(&before));
    ensure!(passed == 5, "{passed} of 5: nothing can be refused here");
    let metrics = agent.scrape()?;
    let seen = metrics.sum("guestreq_messages_total", &[]);
    ensure!(seen == 10.0, "{seen} of 10 were observed");
    // What would have been denied is counted.
    let would = metrics.sum("guestreq_decisions_total", &[("decision", "deny"), ("mode", "audit")]);
    ensure!(would == 5.0, "{would} of 5");

    let gate = Gate::load(&[])?;
    wait_until("it enforces", Duration::from_secs(20), || Ok(agent::get("/readyz")?.0 == 200))?;
    ensure_verified(&agent, "true")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name refused --type export --count 5")?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 0, "an export passed");
    conditions::ensure_all(true)?;
    let ended = Enforcing { agent, gate }.end()?;
    conditions::ensure_unknown()?;
    Ok(ended)
}

fn gate_removed(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    ensure_verified(&agent, "true")?;
    gate.remove()?;
    ensure_verified(&agent, "false")?;
    let gate = Gate::load(&[])?;
    ensure_verified(&agent, "true")?;
    // Nothing was bypassed so far. Now something is.
    gate.remove()?;
    load::run("--vmm qemu --name lucky --type export --count 3")?;
    let metrics = agent.scrape()?;
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 3.0, "{bypassed} of 3 were reported");
    let gate = Gate::load(&[])?;
    ensure_verified(&agent, "false")?;
    let (_, why) = agent::get("/readyz")?;
    ensure!(why.contains("requests that bypassed enforcement: 3"), "{why}");
    println!("/readyz: {}", why.trim());
    Enforcing { agent, gate }.end()
}

fn foreign_answer(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    ensure_verified(&agent, "true")?;
    // Attached last, it answers first.
    let foreign = FixedAnswer::with(Answer::Admit)?;
    ensure_verified(&agent, "false")?;
    let (_, why) = agent::get("/readyz")?;
    ensure!(why.contains("not from our program"), "{why}");
    drop(foreign);
    wait_until("it is alone again", Duration::from_secs(20), || {
        Ok(agent::get("/readyz")?.0 == 200)
    })?;
    Enforcing { agent, gate }.end()
}

fn changes(_: &Context) -> Result<Status> {
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let mut command = std::process::Command::new("/bin/guestreq");
    let (code, line) =
        agent::refusal_from(command.args(["policy", "mode", "enforce", "--default"]))?;
    ensure!(code == 1 && line.contains("the gate is not loaded"), "{code} {line}");
    ensure!(cli(&["policy", "show"])?.contains("audit"), "the mode has changed");
    let gate = Gate::load(&[])?;
    thread::sleep(Duration::from_millis(1500));
    cli(&["policy", "mode", "enforce", "--default"])?;
    ensure_verified(&agent, "true")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name later --type export --count 5")?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 0, "an export passed");
    println!("{}", cli(&["policy", "show"])?);
    cli(&["policy", "clear", "--default"])?;
    agent.stop()?;
    ensure!(!fs::exists("/sys/fs/bpf/guestreq")?, "nothing enforces, and it is still pinned");
    gate.remove()?;
    Ok(Status::Passed)
}
