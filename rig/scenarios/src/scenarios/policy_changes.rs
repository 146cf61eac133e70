//! # Policy changes

use std::process::Command;

use anyhow::{Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent::{self, Agent, cli, refusal_from},
    enforcing::Enforcing,
    gate::Gate,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(CHANGES: "policy_changes/vmpck_at_risk" = changes,
    "a change that would cost a guest its VMPCK says why and needs --yes");
scenario!(ONE_REPORT: "policy_changes/sealed" = one_report,
    "a guest can be allowed one report after boot and none later");
scenario!(ONLY_ROOT: "policy_changes/only_root" = only_root,
    "only root changes a policy, and every change is logged");

fn refused(line: &str, what: &str) -> Result<()> {
    let mut command = Command::new("/bin/guestreq");
    let (code, message) = refusal_from(command.args(line.split(' ')))?;
    ensure!(code == 1 && message.contains(what), "guestreq {line}: {code} {message}");
    println!("$ guestreq {line}\n{message}");
    Ok(())
}

fn changes(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let migrating = load::start("--vmm qemu --name migrating --type export --count 3 --hold")?;
    agent_has(&agent, 3.0)?;
    refused("policy mode enforce --default", "\"migrating\" has sent export")?;
    refused("limit set --default --rate 1/m --burst 1", "is too slow")?;
    refused("limit set --vm nobody --off", "nobody")?;
    ensure!(cli(&["policy", "show"])?.contains("audit"), "something has changed");

    // With --force and --yes it is done.
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
    Ok(Status::Passed)
}

/// The recipe of docs/policy.md.
fn one_report(_: &Context) -> Result<Status> {
    const CUE: &str = "/tmp/one-report.cue";
    let enforcing = Enforcing::start("")?;
    let before = Firmware::read()?;
    let reports = || -> Result<u64> {
        let messages = Firmware::read()?.since(&before).messages;
        Ok(messages.iter().filter(|((kind, _), _)| *kind == 5).map(|(_, count)| count).sum())
    };
    let guest = format!("--vmm qemu --name sealed --vmpck all --cue {CUE} --cue-after 1 --count 5");
    let guest = load::start(&guest)?;
    agent_has(&enforcing.agent, 1.0)?;
    refused("policy deny report key --vm sealed", "\"sealed\" has sent report")?;
    cli(&["policy", "deny", "report", "key", "--vm", "sealed", "--yes"])?;
    std::fs::write(CUE, "")?;
    guest.finish()?;
    ensure!(reports()? == 1, "{} reports", reports()?);
    let denied = [("vm", "sealed"), ("result", "denied")];
    let denied = enforcing.agent.scrape()?.sum("guestreq_requests_total", &denied);
    ensure!(denied == 4.0, "{denied} of 4 are denied");

    // It holds for every VM of that name until it is cleared.
    load::run("--vmm qemu --name sealed")?;
    ensure!(reports()? == 1, "{} reports", reports()?);
    cli(&["policy", "clear", "--vm", "sealed"])?;
    load::run("--vmm qemu --name sealed")?;
    ensure!(reports()? == 2, "{} reports", reports()?);
    enforcing.end()
}

fn agent_has(agent: &Agent, requests: f64) -> Result<()> {
    crate::host::wait_until("the requests are counted", std::time::Duration::from_secs(60), || {
        Ok(agent.scrape()?.sum("guestreq_requests_total", &[]) >= requests)
    })
}

fn only_root(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("")?;
    // Others who may open the socket can read, but not write.
    std::process::Command::new("chmod").args(["666", "/run/guestreq/agent.sock"]).status()?;
    let mut command = Command::new("/bin/guestreq");
    let nobody = crate::attacker::nobody(&mut command);
    let (code, message) = refusal_from(nobody.args(["limit", "set", "--default", "--off"]))?;
    ensure!(code == 1 && message.contains("65534"), "{code} {message}");
    cli(&["limit", "set", "--default", "--rate", "50/s"])?;
    let log = agent::log();
    let reported = log.lines().find(|line| line.contains("uid 0 changed the policy of default"));
    let reported = reported.unwrap_or_default();
    ensure!(reported.contains("limit off") && reported.contains("limit 50/s"), "{log}");
    println!("{reported}");
    cli(&["limit", "clear", "--default"])?;
    Enforcing { agent, gate }.end()
}
