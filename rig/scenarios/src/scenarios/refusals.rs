//! # What is refused before it does harm

use std::process::Command;

use anyhow::{Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli, refusal_of},
    enforcing::Enforcing,
    gate::Gate,
    host::Firmware,
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const CHANGES: Scenario = Scenario {
    name: "a_change_that_would_cost_a_guest_its_vmpck_says_why_and_wants_to_be_insisted_on",
    check: changes,
};
pub const NOBODY: Scenario =
    Scenario { name: "nobody_but_root_changes_a_policy_and_every_change_is_told", check: nobody };

fn refused(line: &str, what: &str) -> Result<()> {
    let mut command = Command::new("/bin/guestreq");
    let (code, said) = refusal_of(command.args(line.split(' ')))?;
    ensure!(code == 1 && said.contains(what), "guestreq {line}: {code} {said}");
    println!("$ guestreq {line}\n{said}");
    Ok(())
}

fn changes(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let migrating = load::start("--vmm qemu --name migrating --type export --count 3 --hold")?;
    agent_has(&agent, 3.0)?;
    refused("policy mode enforce --default", "\"migrating\" has sent export")?;
    refused("limit set --default --rate 1/m --burst 1", "is too slow")?;
    refused("limit set --vm nobody --off", "nobody")?;
    ensure!(cli(&["policy", "show"])?.contains("audit"), "something has changed");

    // Insisted on, it is done.
    cli(&["limit", "set", "--default", "--rate", "1/m", "--burst", "1", "--force"])?;
    cli(&["policy", "mode", "enforce", "--default", "--yes"])?;
    let before = Firmware::read()?;
    load::run("--vmm qemu --name later --type export --count 3")?;
    let reached = disallowed_that_reached(&Firmware::read()?.since(&before));
    ensure!(reached == 0, "{reached} exports reached the PSP");
    let output =
        Command::new("/bin/guestreq").args(["policy", "deny", "tsc_info", "--default"]).output()?;
    let warning = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && warning.contains("Secure TSC"), "{warning}");
    for verb in ["limit", "policy"] {
        cli(&[verb, "clear", "--default"])?;
    }
    migrating.finish()?;
    agent.stop()?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn agent_has(agent: &Agent, requests: f64) -> Result<()> {
    crate::host::wait_until("the requests are counted", std::time::Duration::from_secs(60), || {
        Ok(agent.scrape()?.sum("guestreq_requests_total", &[]) >= requests)
    })
}

fn nobody(_: &Context) -> Result<Outcome> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    // Whoever may open the socket may read, but not write.
    std::process::Command::new("chmod").args(["666", "/run/guestreq/agent.sock"]).status()?;
    let mut command = Command::new("/bin/guestreq");
    let nobody = crate::attacker::nobody(&mut command);
    let (code, said) = refusal_of(nobody.args(["limit", "set", "--default", "--off"]))?;
    ensure!(code == 1 && said.contains("65534"), "{code} {said}");
    cli(&["limit", "set", "--default", "--rate", "50/s"])?;
    let log = agent::log();
    let told = log.lines().find(|line| line.contains("uid 0 changed the policy of default"));
    let told = told.unwrap_or_default();
    ensure!(told.contains("limit off") && told.contains("limit 50/s"), "{log}");
    println!("{told}");
    cli(&["limit", "clear", "--default"])?;
    Enforcing { agent, gate }.end()
}
