//! # VMPCKs under a PSP that cannot serve all
//!
//! Hundreds of guests that behave like Linux send twice as much as the PSP can answer, and the agent
//! is killed again and again. No guest may lose a VMPCK to a limit.

use std::{
    iter, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::Agent,
    enforcing::Enforcing,
    exposition::Metrics,
    gate::GateCounts,
    host::{Firmware, wait_until},
    load::{self, LoadReport},
    scenario::{Context, Group, Status, scenario},
};

scenario!(long OVERLOAD: "capacity/lost_vmpcks" = overload,
    "no VMPCK of 500 VMs at twice the PSP's capacity is lost to a limit, though the agent dies ten times");

pub const GROUP: Group =
    Group { name: "overload", memory_mib: 4096, scenarios: &[OVERLOAD], ..Group::DEFAULT };

/// Processes, and the VMs of each: the emulator starts three processes a second.
const PROCESSES: u32 = 25;
const VMS_EACH: u32 = 20;
pub const VMS: u32 = PROCESSES * VMS_EACH;

/// The PSP's time for a request.
const SERVICE: Duration = Duration::from_millis(20);
/// All VMs' requests together take twice the time there is.
const PSP_USE: f64 = 2.0;

/// A limit, and how often the agent is killed under it.
struct Phase {
    name: &'static str,
    line: &'static str,
    kills: u32,
}

/// By the first, a service of 20 ms is due each 100 s: every message depends on its rescue, and all
/// come at the same time. The second, which needs no force, promises the PSP twice over: messages
/// wait for each other. By the others all depend on rescues again.
const PHASES: [Phase; 4] = [
    Phase {
        name: "small shares",
        line: "limit = { share = \"0.02%\", burst = \"20ms\", force = true }\n",
        kills: 3,
    },
    Phase { name: "large shares", line: "limit = { share = \"0.4%\" }\n", kills: 1 },
    Phase { name: "rate", line: "limit = { rate = \"1/h\", burst = 1, force = true }\n", kills: 3 },
    Phase {
        name: "both",
        line: "limit = { rate = \"1/h\", share = \"0.02%\", burst = \"20ms\", force = true }\n",
        kills: 3,
    },
];

impl Phase {
    /// Of the configuration. Guests that have ended are still counted.
    fn lines(&self) -> String {
        format!("keep_exited_vms = \"1d\"\n{}", self.line)
    }
}

/// Between an agent's start and its end; a phase is longer than a message waits.
const LIFE: Duration = Duration::from_secs(15);
/// Until the last agent has died, on a slow machine, too.
const LOAD: Duration = Duration::from_secs(300);
/// How long Linux repeats a message.
const LOST: Duration = Duration::from_secs(60);

/// What became of the messages.
#[derive(Debug)]
pub struct Outcome {
    pub vms: u32,
    /// From the first time that a guest sent a message to its answer, in the PSP's queue, too.
    pub longest: Duration,
    /// By the agent: VMPCKs.
    pub lost: u64,
    /// By the guests.
    pub wiped: u64,
    pub rescued: u64,
    pub answered: u64,
    pub kills: usize,
}

fn overload(_: &Context) -> Result<Status> {
    let found = measure()?;
    println!("{found:?}");
    ensure!(found.vms == VMS && found.kills == 10, "{found:?}");
    ensure!(found.lost == 0, "{} VMPCKs lost by the agent's count", found.lost);
    ensure!(found.wiped == 0, "{} VMPCKs lost by the guests' count", found.wiped);
    ensure!(found.longest < LOST, "a guest waited {:?}", found.longest);
    // Under each but the large shares.
    ensure!(found.rescued > 2 * u64::from(VMS), "only {} rescued", found.rescued);
    ensure!(found.rescued < found.answered, "{found:?}");
    Ok(Status::Passed)
}

/// The same for the bench.
pub fn measure() -> Result<Outcome> {
    Firmware::set("latency_us", SERVICE.as_micros())?;
    let Enforcing { agent, gate } = Enforcing::start(&PHASES[0].lines())?;
    let rate = PSP_USE / SERVICE.as_secs_f64() / f64::from(VMS);
    let mut load = load::start(&format!(
        "--vmm qemu --name crowd --vms {PROCESSES} --contexts {VMS_EACH} --start-together \
         --rate {rate} --seconds {} --busy-retry-ms 2000 --give-up-on-error",
        LOAD.as_secs()
    ))?;
    let before = Firmware::read()?;
    wait_until("the guests send", Duration::from_secs(600), || {
        Ok(Firmware::read()?.since(&before).guest_requests > 0)
    })?;
    let start = Instant::now();
    let lives: Vec<&Phase> =
        PHASES.iter().flat_map(|phase| iter::repeat_n(phase, phase.kills as usize)).collect();
    let mut agent = agent;
    for (i, phase) in lives.iter().enumerate() {
        live(&agent, phase, start)?;
        agent.kill()?;
        let next = lives.get(i + 1).unwrap_or(phase);
        agent = Agent::with_config(&format!("mode = \"enforce\"\n{}", next.lines()))?;
    }
    ensure!(load.is_running()?, "the load has ended before the last agent died");
    let seen = load.finish()?;
    let metrics = agent.scrape()?;
    let counts = gate.counts()?;
    Firmware::reset()?;
    Enforcing { agent, gate }.end()?;
    outcome(&seen, &metrics, counts, lives.len())
}

/// Lets an agent live for a while, and reports what it sees.
fn live(agent: &Agent, phase: &Phase, start: Instant) -> Result<()> {
    thread::sleep(LIFE);
    let metrics = agent.scrape()?;
    let oldest = metrics.select("guestreq_oldest_refused_seconds", &[]).map(|it| it.value);
    println!(
        "{:>4.0} s, {}: oldest {:.1} s, {} rescued, {} lost",
        start.elapsed().as_secs_f64(),
        phase.name,
        oldest.fold(0.0, f64::max),
        metrics.sum("guestreq_rescued_total", &[]),
        metrics.sum("guestreq_vmpcks_lost_total", &[]),
    );
    Ok(())
}

fn outcome(
    seen: &LoadReport,
    metrics: &Metrics,
    gate: GateCounts,
    kills: usize,
) -> Result<Outcome> {
    let longest = seen.per_vm.iter().map(|vm| vm.max).max();
    let busy: u64 = seen.per_vm.iter().map(|vm| vm.busy).sum();
    ensure!(gate.busy == busy, "guests read BUSY {busy} times, the gate said it {}", gate.busy);
    ensure!(gate.unanswered == 0, "the gate had no answer: {gate:?}");
    let answered = seen.outcomes["5"].get("ok").copied().unwrap_or(0);
    ensure!(seen.requests == busy + answered, "other outcomes: {:?}", seen.outcomes);
    Ok(Outcome {
        vms: u32::try_from(seen.per_vm.len())?,
        longest: longest.context("no VM")?,
        lost: metrics.sum("guestreq_vmpcks_lost_total", &[]) as u64,
        wiped: seen.vmpcks_wiped.max(seen.gave_up),
        rescued: metrics.sum("guestreq_rescued_total", &[]) as u64,
        answered,
        kills,
    })
}
