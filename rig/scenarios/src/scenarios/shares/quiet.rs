//! # A quiet VM beside others that push within their shares

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{Agent, cli},
    enforcing::Enforcing,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(long timed QUIET_VM: "shares/quiet_vm" = quiet_vm,
    "VMs that push within their shares do not slow a quiet one");

/// VMs that push within a share of 5 % each.
const PUSHING: u32 = 16;

/// p99 of a VM that sends 5 requests a second.
fn quiet(count: u32) -> Result<Duration> {
    let seen = load::run(&format!("--vmm qemu --name quiet --rate 5 --count {count}"))?;
    Ok(seen.per_vm.first().context("no VM")?.p99)
}

/// From half of a burst on VMs take turns. They are over their limits once they have used up the
/// other half, too: 100 ms, of which each repays 5 % and uses 6 %.
const USES_UP: Duration = Duration::from_secs(40);

/// The same beside [`PUSHING`] VMs. `name`: theirs, as those of an earlier attempt are still known.
fn quiet_beside_pushing(agent: &Agent, name: &str, count: u32) -> Result<Duration> {
    let pushing = load::start(&format!(
        "--vmm qemu --vms {PUSHING} --processes --name {name} --seconds 300 --busy-retry-ms 200 \
         --busy-give-up-ms 600000"
    ))?;
    wait_until("they take turns", Duration::from_secs(90), || {
        let metrics = agent.scrape()?;
        let busy = metrics.select("guestreq_decisions_total", &[("decision", "busy")]);
        let pushes = |vm: &str| vm.starts_with(name);
        let over =
            busy.filter(|it| it.value > 5.0 && it.labels.get("vm").is_some_and(|vm| pushes(vm)));
        Ok(over.count() >= PUSHING as usize)
    })?;
    thread::sleep(USES_UP);
    let seen = quiet(count);
    pushing.stop()?;
    seen
}

/// Other load on this machine can only make it worse; a broken share fails each time.
const ATTEMPTS: u32 = 3;

fn quiet_vm(_: &Context) -> Result<Status> {
    Firmware::set("latency_us", 10_000)?;
    let Enforcing { agent, gate } = Enforcing::start("limit = { share = \"5%\" }\n")?;
    cli(&["limit", "set", "--default", "--off"])?;
    let count = 100;
    let mut kept = false;
    for attempt in 0..ATTEMPTS {
        let alone = quiet(count)?;
        cli(&["limit", "clear", "--default"])?;
        cli(&["limit", "set", "--vm", "quiet", "--off"])?;
        let beside = quiet_beside_pushing(&agent, &format!("pusher-{attempt}"), count)?;
        cli(&["limit", "clear", "--vm", "quiet"])?;
        cli(&["limit", "set", "--default", "--off"])?;
        let times = beside.as_secs_f64() / alone.as_secs_f64();
        println!(
            "p99 of a quiet VM: alone {alone:.1?}, beside {PUSHING} {beside:.1?}: {times:.2}x"
        );
        kept = times <= 3.0;
        if kept {
            break;
        }
    }
    Firmware::reset()?;
    ensure!(kept, "its p99 is not within 3 times of its p99 alone, in {ATTEMPTS} attempts");
    Enforcing { agent, gate }.end()
}
