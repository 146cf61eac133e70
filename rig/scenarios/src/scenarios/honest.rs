//! # The truth about what is enforced

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli},
    answer::{Answer, Answering},
    enforcing::Enforcing,
    exposition::Metrics,
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const REFUSES: Scenario = Scenario {
    name: "asked_to_enforce_where_it_cannot_the_agent_refuses_to_start",
    check: refuses,
};
pub const STAYS: Scenario =
    Scenario { name: "with_stay_it_observes_is_not_ready_and_enforces_once_it_can", check: stays };
pub const GATE_GONE: Scenario = Scenario {
    name: "a_gate_that_is_removed_and_what_passes_then_is_told_within_a_scrape",
    check: gate_gone,
};
pub const FOREIGN_ANSWER: Scenario =
    Scenario { name: "another_lsm_s_answer_is_told_within_a_scrape", check: foreign_answer };
pub const CHANGES: Scenario =
    Scenario { name: "a_change_to_enforce_where_it_cannot_be_done_is_refused", check: changes };
pub const NO_LSM: Scenario =
    Scenario { name: "without_bpf_among_the_lsms_nobody_claims_to_enforce", check: no_lsm };

const ENFORCE: &str = "mode = \"enforce\"\n";

fn config(lines: &str) -> Result<[&'static str; 2]> {
    fs::write("/tmp/honest.toml", lines).context("/tmp/honest.toml")?;
    Ok(["--config", "/tmp/honest.toml"])
}

/// What `guestreq_enforcement_info` says of being verified.
fn verified(metrics: &Metrics, backend: &str, mode: &str) -> Option<String> {
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

fn refuses(_: &Context) -> Result<Outcome> {
    let arguments = config(ENFORCE)?;
    let (code, line) = agent::refusal(&arguments)?;
    ensure!(code == 1 && line.contains("the gate is not loaded"), "{code} {line}");
    ensure!(!fs::exists("/sys/fs/bpf/guestreq")?, "something is left pinned");

    let arguments = config("mode = \"enforce\"\nbackend = \"none\"\n")?;
    let (code, line) = agent::refusal(&arguments)?;
    ensure!(code == 1 && line.contains("backend"), "{code} {line}");

    // Without a file system to pin in, enforcement would end with the agent.
    let gate = Gate::load(&[])?;
    host::run_command("umount", &["/sys/fs/bpf"])?;
    let refusal = agent::refusal(&config(ENFORCE)?);
    host::run_command("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    let (code, line) = refusal?;
    ensure!(code == 1 && line.contains("mount -t bpf bpf"), "{code} {line}");
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn stays(_: &Context) -> Result<Outcome> {
    let [flag, path] = config(ENFORCE)?;
    let agent = Agent::spawn(&[flag, path, "--stay"])?;
    wait_until("the agent answers", Duration::from_secs(60), || {
        Ok(agent::get("/readyz").is_ok_and(|(_, why)| why.contains("the gate is not loaded")))
    })?;
    ensure_verified(&agent, "false")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name watched --type report,export --count 10")?;
    let passed = disallowed_that_reached(&Firmware::read()?.since(&before));
    ensure!(passed == 5, "{passed} of 5: nothing can be refused here");
    let metrics = agent.scrape()?;
    let seen = metrics.sum("guestreq_messages_total", &[]);
    ensure!(seen == 10.0, "{seen} of 10 were observed");
    // They were not decided in vain: what would have been refused is known.
    let would = metrics.sum("guestreq_decisions_total", &[("decision", "deny"), ("mode", "audit")]);
    ensure!(would == 5.0, "{would} of 5");

    let gate = Gate::load(&[])?;
    wait_until("it enforces", Duration::from_secs(20), || Ok(agent::get("/readyz")?.0 == 200))?;
    ensure_verified(&agent, "true")?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name refused --type export --count 5")?;
    ensure!(Firmware::read()?.since(&before).guest_requests == 0, "an export passed");
    Enforcing { agent, gate }.end()
}

fn gate_gone(_: &Context) -> Result<Outcome> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    ensure_verified(&agent, "true")?;
    gate.remove()?;
    ensure_verified(&agent, "false")?;
    let gate = Gate::load(&[])?;
    ensure_verified(&agent, "true")?;
    // Nothing passed meanwhile. Now something does.
    gate.remove()?;
    load::run("--vmm qemu --name lucky --type export --count 3")?;
    let metrics = agent.scrape()?;
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 3.0, "{bypassed} of 3 were told");
    let gate = Gate::load(&[])?;
    ensure_verified(&agent, "false")?;
    let (_, why) = agent::get("/readyz")?;
    ensure!(why.contains("requests that bypassed enforcement: 3"), "{why}");
    println!("/readyz: {}", why.trim());
    Enforcing { agent, gate }.end()
}

fn foreign_answer(_: &Context) -> Result<Outcome> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    ensure_verified(&agent, "true")?;
    // Attached later, asked first.
    let foreign = Answering::with(Answer::Admit)?;
    ensure_verified(&agent, "false")?;
    let (_, why) = agent::get("/readyz")?;
    ensure!(why.contains("not from our program"), "{why}");
    drop(foreign);
    wait_until("it is alone again", Duration::from_secs(20), || {
        Ok(agent::get("/readyz")?.0 == 200)
    })?;
    Enforcing { agent, gate }.end()
}

fn changes(_: &Context) -> Result<Outcome> {
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let mut command = std::process::Command::new("/bin/guestreq");
    let (code, line) = agent::refusal_of(command.args(["policy", "mode", "enforce", "--default"]))?;
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
    Ok(Outcome::Kept)
}

fn no_lsm(_: &Context) -> Result<Outcome> {
    let (code, line) = agent::refusal(&config("mode = \"enforce\"\nbackend = \"vcpu\"\n")?)?;
    ensure!(code == 1 && line.contains(",bpf on the kernel's command line"), "{code} {line}");
    let gate = Gate::load(&[])?;
    let (code, line) = agent::refusal(&config(ENFORCE)?)?;
    ensure!(code == 1 && line.contains(",bpf on the kernel's command line"), "{code} {line}");
    println!("{line}");
    // It observes all the same.
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    load::run("--vmm qemu --name watched --type export --count 5")?;
    let metrics = agent.scrape()?;
    let would = metrics.sum("guestreq_decisions_total", &[("decision", "deny"), ("mode", "audit")]);
    ensure!(would == 5.0, "{would} of 5");
    let info = verified(&metrics, "gate", "audit");
    ensure!(info.as_deref() == Some("false"), "verified is {info:?}");
    drop(agent);
    gate.remove()?;
    Ok(Outcome::Kept)
}
