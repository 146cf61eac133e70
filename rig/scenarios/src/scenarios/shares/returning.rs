//! # Refused messages that keep their place, and those that do not

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    agent::{Agent, cli, is_known, vm_named},
    enforcing::Enforcing,
    host::wait_until,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(night RETURNING: "shares/returning" = returning,
    "a refused message keeps its place and is admitted after 30 s, and invented numbers gain nothing");

/// One request an hour.
const ONE_AN_HOUR: &str = "limit = { rate = \"1/h\", burst = 1, force = true }\n";

/// Room for all VMs of this scenario but the last.
const SIX_VMS: &str = "max_vms = 6\n";

fn returning(_: &Context) -> Result<Status> {
    let limit = format!("{SIX_VMS}{ONE_AN_HOUR}");
    let Enforcing { mut agent, gate } = Enforcing::start(&limit)?;
    // A Linux guest sends again each 2 s. The second request of each of these gets BUSY.
    let linux = load::start("--vmm qemu --name linux --count 2 --busy-retry-ms 2000 --hold")?;
    // Its guest takes BUSY for an error, as before Linux 6.3.
    let gives_up = load::start(
        "--vmm qemu --name gives-up --count 2 --busy-give-up-ms 0 --give-up-on-error --hold",
    )?;
    let denied = load::start("--vmm qemu --name denied --type export --count 1 --hold")?;
    let hostile = load::start(
        "--vmm qemu --name hostile --vcpus 4 --vmpck all --seconds 55 --busy-retry-ms 50 \
         --busy-give-up-ms 600000",
    )?;
    let invents = load::start(
        "--vmm qemu --name invents --fault gap:2 --rate 100 --seconds 55 --busy-give-up-ms 0",
    )?;
    let of = |agent: &Agent, name: &str, vm: &str| -> Result<f64> {
        Ok(agent.scrape()?.sum(name, &[("vm", vm)]))
    };
    wait_until("all were refused", Duration::from_secs(20), || {
        let metrics = agent.scrape()?;
        let oldest = |vm| metrics.sum("guestreq_oldest_refused_seconds", &[("vm", vm)]);
        Ok(["linux", "gives-up", "hostile", "invents"].into_iter().all(|vm| oldest(vm) > 0.0))
    })?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs(8));
    // The places survive the agent and a policy change.
    agent.kill()?;
    let denied_meanwhile =
        load::start("--vmm qemu --name denied-meanwhile --type export --count 1 --hold")?;
    thread::sleep(Duration::from_secs(2));
    let no_slot = load::start("--vmm qemu --name no-slot --count 2 --busy-retry-ms 2000 --hold")?;
    agent = Agent::with_config(&format!("mode = \"enforce\"\n{limit}"))?;
    // Of the same rate: another one would begin with its burst.
    cli(&["limit", "set", "--vm", "linux", "--rate", "1/h", "--burst", "1", "--force"])?;
    wait_until("the Linux guest's message is admitted", Duration::from_secs(40), || {
        Ok(of(&agent, "guestreq_rescued_total", "linux")? == 1.0)
    })?;
    let waited = start.elapsed();
    println!("admitted about {waited:.0?} after its first refusal");
    wait_until("a VMPCK counts as lost", Duration::from_secs(60), || {
        Ok(of(&agent, "guestreq_vmpcks_lost_total", "gives-up")? == 1.0)
    })?;
    // Refused at least once in between, so that the second round is not over yet.
    let metrics = agent.scrape()?;
    let lost =
        |vm, cause| metrics.sum("guestreq_vmpcks_lost_total", &[("vm", vm), ("cause", cause)]);
    ensure!(lost("gives-up", "busy") == 1.0, "no loss by BUSY");
    for vm in ["denied", "denied-meanwhile"] {
        ensure!(lost(vm, "denied") == 1.0, "no loss by a denial of {vm}");
    }
    ensure!(lost("linux", "busy") + lost("linux", "denied") == 0.0, "the Linux guest lost a key");
    let rescued = |vm| metrics.sum("guestreq_rescued_total", &[("vm", vm)]);
    println!("rescued: hostile {}, invents {}", rescued("hostile"), rescued("invents"));
    ensure!(rescued("hostile") <= 8.0, "more than four each 30 s: {}", rescued("hostile"));
    ensure!(rescued("invents") == 0.0, "inventing numbers gained {}", rescued("invents"));
    let marks = vm_named("gives-up")?["lost_vmpcks"].to_string();
    ensure!(marks.contains("busy"), "vms shows no lost VMPCK: {marks}");
    let events = cli(&[
        "events",
        "--no-follow",
        "--since",
        "5m",
        "--kind",
        "rescued",
        "--kind",
        "vmpck_lost",
    ])?;
    println!("{events}");
    for what in ["rescued", "vmpck_lost", "denied-meanwhile"] {
        ensure!(events.contains(what), "no event {what}: {events}");
    }
    // A VM without a record keeps its place, too: its second request was admitted after 30 s.
    ensure!(!is_known("no-slot")?, "there was a slot for each VM");
    let outcomes = no_slot.stop()?.outcomes;
    ensure!(outcomes["5"].get("ok") == Some(&2), "without a slot: {outcomes:?}");
    for load in [linux, gives_up, denied, denied_meanwhile, hostile, invents] {
        load.stop()?;
    }
    Enforcing { agent, gate }.end()
}
