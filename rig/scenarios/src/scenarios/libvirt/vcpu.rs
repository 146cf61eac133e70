//! # What the vcpu backend does to a domain, and what an operator can do then

use anyhow::{Result, ensure};

use super::{INTERVAL, SERVICE, configure, enforces};
use crate::{
    agent::cli,
    debian::output,
    flash::Script,
    host::Firmware,
    libvirt::Domain,
    scenario::{Context, Status, scenario},
};

scenario!(HELD: "libvirt/vcpu_held" = held,
    "a domain whose vCPU is held for a denied type stays running, suspends, resumes, continues and is destroyed");
scenario!(STOPPED: "libvirt/vcpu_stopped" = stopped,
    "a domain whose vCPU is stopped for a denied type is paused until it is reset or destroyed, and started again");

/// Restarts the service with the vcpu backend and these lines of configuration.
fn restart(lines: &str) -> Result<()> {
    output("systemctl", &["stop", SERVICE])?;
    cli(&["detach"])?;
    configure(&format!("backend = \"vcpu\"\n{lines}"))?;
    output("systemctl", &["start", SERVICE])?;
    enforces("vcpu")
}

/// A domain that has sent requests, and whose next one is denied.
fn denied(name: &str) -> Result<Domain> {
    let domain = Domain::start(name, &Script::reports(INTERVAL))?;
    domain.wait_for_answers(3)?;
    cli(&["policy", "deny", "report", "--vm", name, "--yes"])?;
    Ok(domain)
}

/// How many requests reach the firmware in a while.
fn sent() -> Result<u64> {
    let before = Firmware::read()?;
    std::thread::sleep(INTERVAL * 10);
    Ok(Firmware::read()?.since(&before).guest_requests)
}

fn starts_again(domain: &Domain) -> Result<()> {
    domain.virsh("start")?;
    domain.wait_for_answers(3)?;
    let reason = domain.reason()?;
    ensure!(reason == "running (booted)", "it is {reason}");
    Ok(())
}

fn held(_: &Context) -> Result<Status> {
    restart("")?;
    let domain = denied("held")?;
    // The first one reaches the PSP.
    std::thread::sleep(INTERVAL * 5);
    let requests = sent()?;
    ensure!(requests == 0, "{requests} requests while it was held");
    let reason = domain.reason()?;
    ensure!(reason == "running (booted)", "it is {reason}");
    domain.virsh("suspend")?;
    let reason = domain.reason()?;
    ensure!(reason == "paused (user)", "it is {reason}");
    domain.virsh("resume")?;
    let (reason, requests) = (domain.reason()?, sent()?);
    ensure!(reason == "running (unpaused)" && requests == 0, "{reason}, {requests} requests");
    cli(&["policy", "allow", "report", "--vm", "held"])?;
    domain.wait_for_answers(5)?;
    let letters = domain.letters()?;
    ensure!(letters.chars().all(|letter| letter == '.'), "the guest noticed: {letters}");
    cli(&["policy", "deny", "report", "--vm", "held", "--yes"])?;
    std::thread::sleep(INTERVAL * 5);
    domain.virsh("destroy")?;
    let reason = domain.reason()?;
    ensure!(reason == "shut off (destroyed)", "it is {reason}");
    domain.end()?;
    Ok(Status::Passed)
}

fn stopped(_: &Context) -> Result<Status> {
    restart("vcpu_denied = \"stop\"\n")?;
    let domain = denied("stopped")?;
    domain.wait_for_state("paused")?;
    let reason = domain.reason()?;
    ensure!(reason == "paused (unknown)", "it is {reason}");
    // No policy brings it back.
    cli(&["policy", "allow", "report", "--vm", "stopped"])?;
    let refusal = domain.virsh("resume").err().map(|error| format!("{error:#}"));
    println!("resume: {refusal:?}");
    let wanted = "Resetting the Virtual Machine is required";
    ensure!(refusal.as_ref().is_some_and(|why| why.contains(wanted)), "resume: {refusal:?}");
    let requests = sent()?;
    ensure!(requests == 0, "{requests} requests while it was stopped");
    domain.virsh("reset")?;
    domain.wait_for_state("shut off")?;
    starts_again(&domain)?;
    cli(&["policy", "deny", "report", "--vm", "stopped", "--yes"])?;
    domain.wait_for_state("paused")?;
    cli(&["policy", "allow", "report", "--vm", "stopped"])?;
    domain.virsh("destroy")?;
    let reason = domain.reason()?;
    ensure!(reason == "shut off (destroyed)", "it is {reason}");
    starts_again(&domain)?;
    domain.end()?;
    Ok(Status::Passed)
}
