//! # Without an agent and after restarts

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{Host, Random, points, spawn, start, versions::PROGRAMS};
use crate::{
    agent::{self, cli, is_known, vm_named},
    host::wait_until,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(SURVIVES: "takeover/survives" = survives,
    "enforcement survives an agent that is killed or stopped");
scenario!(FLOOD: "takeover/flood" = flood,
    "no disallowed message passes while agents are killed and policies change");

const RATE: f64 = 20.0;
const BURST: f64 = 5.0;

fn survives(_: &Context) -> Result<Status> {
    let host = Host::fresh(&format!("limit = {{ rate = \"{RATE}/s\", burst = {BURST} }}\n"))?;
    let first = start(&[])?;
    let load = load::start(
        "--vmm qemu --name web --vcpus 3 --vmpck all --type report,export,key --seconds 3600 \
         --busy-retry-ms 20",
    )?;
    wait_until("the VM is known", Duration::from_secs(20), || is_known("web"))?;
    first.kill()?;
    let unwatched = || -> Result<u64> {
        let before = host.firmware()?.guest_requests;
        sleep(Duration::from_secs(2));
        let passed = host.firmware()?.guest_requests - before;
        ensure!(passed > 0, "nothing passes without an agent");
        Ok(passed)
    };
    let killed = unwatched()?;

    let second = start(&[])?;
    vm_named("web")?;
    let log = agent::log();
    ensure!(log.contains("took over kretprobe/"), "nothing was taken over: {log}");
    ensure!(!log.contains("] attached "), "something was attached: {log}");
    let status = second.stop()?;
    ensure!(status.code() == Some(0), "{status}");
    let stopped = unwatched()?;

    let third = start(&[])?;
    vm_named("web")?;
    load.stop()?;
    let answered = host.exact(&third)?;
    let limit = RATE * host.since.elapsed().as_secs_f64() + BURST;
    ensure!(answered as f64 <= limit, "{answered} passed, the limit allows {limit:.0}");
    let gate = host.gate()?;
    ensure!(gate.busy > 0 && gate.denied > 0, "{gate:?}");
    println!(
        "{answered} passed (limit {limit:.0}), {} denied, {} busy; {killed} and {stopped} of them \
         in 2 s without an agent",
        gate.denied, gate.busy
    );
    host.end(third)?;
    Ok(Status::Passed)
}

fn flood(context: &Context) -> Result<Status> {
    let (disallowed, kills) = if context.long { (100_000, 100) } else { (4_000, 4) };
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    let load = load::start(
        "--vms 4 --processes --vmm qemu --name flood --type export,import,report,200 \
         --seconds 36000 --rate 150",
    )?;
    let at = points(&["start"])?;
    let mut random = Random::new()?;
    let seed = random.0;
    let (mut killed, mut changes) = (0, 0);
    while killed < kills || host.gate()?.denied < disallowed {
        for change in CHANGES {
            // The agent may be restarting; then the command fails and nothing has changed.
            if random.below(3) != 0 && cli(&change.split(' ').collect::<Vec<_>>()).is_ok() {
                changes += 1;
            }
        }
        agent.kill()?;
        host.firmware()?;
        match random.below(3) {
            // At a random moment of its start.
            0 => {
                let next = spawn(&[])?;
                sleep(Duration::from_millis(random.below(1500)));
                next.kill()?;
            }
            // At a failpoint, with programs that it loads.
            1 => {
                let point = &at[random.below(at.len() as u64) as usize];
                spawn(&[PROGRAMS, &["--die-at", point]].concat())?
                    .wait_until_killed()
                    .with_context(|| point.to_owned())?;
            }
            _ => {}
        }
        agent = start(&[])?;
        killed += 1;
    }
    let seen = load.stop()?;
    let answered = host.exact(&agent)?;
    let sent = seen.outcomes["5"]["ok"];
    ensure!(answered == sent, "the firmware answered {answered}, the guests sent {sent}");
    println!(
        "0 of {} disallowed messages passed, {answered} reports counted of {sent}; {killed} agents \
         killed, policy changed {changes} times (seed {seed:#x})",
        host.gate()?.denied
    );
    host.end(agent)?;
    Ok(Status::Passed)
}

/// Changes that concern no VM of the flood.
const CHANGES: [&str; 5] = [
    "policy deny tsc_info --default --yes",
    "limit set --default --rate 100000/s --burst 100000",
    "policy allow tsc_info --default",
    "limit clear --default",
    "policy allow cpuid --default",
];
