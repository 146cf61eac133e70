//! # Soak test
//!
//! The demo's guests and short-lived VMs under an enforcing agent, which is scraped, queried,
//! changed, killed and stopped. 15 s in the tests, longer with `cargo xtask test --only soak
//! --minutes N`.

mod round;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use round::Soak;

use super::{counted, expected, losses, takeover::Host};
use crate::{
    demo::GUESTS,
    exposition::Metrics,
    host::{self, Firmware},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(SOAK: "soak/soak" = soak,
    "after scrapes, reloads, changes, restarts and new VMs counts are exact and memory is flat");

pub const GROUP: Group = Group { name: "soak", memory_mib: 2048, once: &[SOAK], ..Group::DEFAULT };

/// `rig.minutes=N` of the kernel's command line, else `short`, or `long` with `--long`.
pub fn length(context: &Context, short: Duration, long: Duration) -> Result<Duration> {
    let cmdline = host::cmdline()?;
    let minutes = cmdline.split_whitespace().find_map(|word| word.strip_prefix("rig.minutes="));
    match minutes {
        Some(minutes) => {
            Ok(Duration::from_secs(60 * minutes.parse::<u64>().context("rig.minutes")?))
        }
        None => Ok(if context.long { long } else { short }),
    }
}

fn soak(context: &Context) -> Result<Status> {
    let length = length(context, Duration::from_secs(15), Duration::from_secs(3600))?;
    let is_long = length >= Duration::from_secs(120);
    Firmware::as_published()?;
    let host = Host::fresh(&round::lines(0))?;
    let mut soak = Soak::start(is_long)?;
    let mut loads = Vec::new();
    for guests in GUESTS {
        loads.push((guests, load::start(&format!("{guests} --seconds 1000000"))?));
    }
    let start = Instant::now();
    // At least one change of each kind, and one agent killed and one stopped.
    while start.elapsed() < length || !soak.is_complete() {
        soak.round()?;
        for (guests, load) in &mut loads {
            ensure!(load.is_running()?, "{guests} has ended");
        }
    }
    for (_, load) in &mut loads {
        load.ask_to_stop()?;
    }
    let mut seen = Vec::new();
    for (guests, load) in loads {
        seen.push((guests, load.finish()?.requests));
    }
    soak.finish_visitors()?;
    let metrics = soak.agent.scrape()?;
    let answered = exact(&host, &metrics)?;
    for (guests, sent) in seen {
        let counted = of_guests(guests, &metrics)?;
        ensure!(counted == sent, "{guests}: {counted} counted, the guests sent {sent}");
    }
    println!("{:.0} s, {}", start.elapsed().as_secs_f64(), soak.summary());
    println!(
        "{answered} answered and counted, gate {:?}, lost {:?}; {}",
        host.gate()?,
        losses(&metrics),
        soak.memory()
    );
    soak.is_flat()?;
    soak.slots_are_freed()?;
    host.end(soak.agent)?;
    Firmware::reset()?;
    Ok(Status::Passed)
}

/// Over all agents the host's counts equal the firmware's and the gate's; returns the answered
/// requests. Many exited VMs have no series any more.
fn exact(host: &Host, metrics: &Metrics) -> Result<u64> {
    let (firmware, gate) = (host.firmware()?, host.gate()?);
    let mut answered = counted(metrics, "guestreq_messages_total");
    let refused = |result: &str| -> u64 {
        let of = |(key, count): (&(String, String), &u64)| (key.1 == result).then_some(*count);
        answered.iter().filter_map(of).sum()
    };
    let refused = (refused("denied"), refused("busy"));
    ensure!(refused == (gate.denied, gate.busy), "{refused:?} refused, the gate {gate:?}");
    answered.retain(|key, _| key.1 != "denied" && key.1 != "busy");
    let expected = expected(&firmware);
    ensure!(answered == expected, "{answered:?}, the firmware {expected:?}");
    let mut lost = losses(metrics);
    // Without an agent nobody reads events.
    lost.remove("ring_buffer_full");
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let bypassed = metrics.sum("guestreq_enforcement_bypassed_total", &[]);
    ensure!(bypassed == 0.0, "{bypassed} requests passed undecided");
    Ok(firmware.messages.values().sum())
}

/// The requests counted for the VMs of a load that runs throughout.
fn of_guests(guests: &str, metrics: &Metrics) -> Result<u64> {
    let name = guests.split_whitespace().skip_while(|word| *word != "--name").nth(1);
    let name = name.context("a load without a name")?;
    let is_theirs =
        |vm: &str| vm == name || vm.strip_prefix(name).is_some_and(|i| i.starts_with('-'));
    let samples = metrics.select("guestreq_requests_total", &[]);
    Ok(samples.filter(|sample| is_theirs(&sample.labels["vm"])).map(|s| s.value as u64).sum())
}
