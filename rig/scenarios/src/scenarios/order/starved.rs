//! # VMMs without CPU time
//!
//! At depth 1 the PSP waits for whoever has the slot, so for that one's CPU time.

use std::{
    process::{Child, Command},
    thread::{available_parallelism, sleep},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    REQUEST_US, at_most, end,
    gaps::{Trace, quantiles},
    load_gate, pushing,
    under_load::all_answered,
};
use crate::{
    cgroup::Cgroup,
    children,
    gate::Gate,
    host::{Firmware, wait_until},
    load::{self, Load},
    scenario::{Context, Status, scenario},
};

scenario!(timed QUOTA: "order/cpu_quota" = quota,
    "a VMM with a tenth of a CPU costs others no more of the PSP than without the order");
scenario!(long OVERSOLD: "order/oversold_cpus" = oversold,
    "with a spinning process per CPU the order keeps the PSP nearly as busy as without it");

/// A process that never sleeps.
struct Spinner(Child);

impl Spinner {
    fn start() -> Result<Spinner> {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Ok(Spinner(child.context("a shell")?))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        children::kill(&mut self.0, "a shell");
    }
}

/// The processes of a load's VMs.
fn vms(load: &Load) -> Result<Vec<u32>> {
    Ok(load.processes()?.into_iter().filter(|pid| *pid != load.pid()).collect())
}

/// Requests of a context and of all others in some seconds.
fn served(context: u64, seconds: u64) -> Result<(u64, u64)> {
    let before = Firmware::read()?;
    sleep(Duration::from_secs(seconds));
    let during = Firmware::read()?.since(&before);
    let its = during.contexts.get(&context).map_or(0, |it| it.1);
    Ok((its, during.guest_requests - its))
}

fn quota(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let before = Firmware::read()?;
    let limited = load::start("--name limited --processes --seconds 3600")?;
    wait_until("it pushes", Duration::from_secs(60), || Ok(gate.order()?.of("grants")? > 0))?;
    let contexts = Firmware::read()?.since(&before).contexts;
    let its = *contexts.keys().next().context("it has no context")?;
    let others = pushing(&gate, 6, "")?;
    let cgroup = Cgroup::with_cpu("limited")?;
    cgroup.set("cpu.max", "10000 100000")?;
    let spinner = Spinner::start()?;
    for pid in vms(&limited)?.into_iter().chain([spinner.0.id()]) {
        cgroup.enter(pid)?;
    }
    // The requests of so few seconds vary by a twentieth from window to window.
    let (seconds, goal) = if context.long { (10, 1.05) } else { (3, 1.15) };
    let mut had = 0;
    at_most("requests of six beside one with a quota, without the order / with it", goal, || {
        let with = served(its, seconds)?;
        gate.set("depth", "0")?;
        let without = served(its, seconds)?;
        gate.set("depth", "1")?;
        println!("its and the others' in {seconds} s: {with:?}, without {without:?}");
        had += with.0;
        Ok(without.1 as f64 / with.1 as f64)
    })?;
    ensure!(had > 0, "it was never served");
    cgroup.set("cpu.max", "max")?;
    drop(spinner);
    all_answered(&gate, [limited, others], &before)?;
    cgroup.remove()?;
    end(gate)
}

/// What the PSP did in some windows of a few seconds.
#[derive(Default)]
struct Pace {
    busy_ns: u64,
    requests: u64,
    seconds: u64,
    /// In µs.
    gaps: Vec<f64>,
}

impl Pace {
    fn watch(&mut self, gate: &Gate, trace: &Trace, depth: &str) -> Result<()> {
        const SECONDS: u64 = 3;
        gate.set("depth", depth)?;
        sleep(Duration::from_millis(500));
        trace.clear()?;
        let before = Firmware::read()?;
        sleep(Duration::from_secs(SECONDS));
        let during = Firmware::read()?.since(&before);
        let busy_ns = during.busy_ns();
        println!("depth {depth}: busy {:.3}", busy_ns as f64 / 1e9 / SECONDS as f64);
        self.gaps.extend(trace.gaps()?);
        self.busy_ns += busy_ns;
        self.requests += during.guest_requests;
        self.seconds += SECONDS;
        Ok(())
    }

    fn busy(&self) -> f64 {
        self.busy_ns as f64 / 1e9 / self.seconds as f64
    }

    /// Prints it, and returns the median gap.
    fn show(&mut self, what: &str) -> Result<f64> {
        let service_us = self.busy_ns as f64 / 1e3 / self.requests as f64;
        let quantiles = quantiles(&mut self.gaps)?;
        println!(
            "{what}: busy {:.3}, {service_us:.0} µs a request; µs between two commands, p50, p90 \
             and p99: {quantiles:.0?}",
            self.busy()
        );
        Ok(quantiles[0])
    }
}

/// In turns, as the machine's speed changes.
fn compare(gate: &Gate, trace: &Trace, what: &str) -> Result<f64> {
    at_most(&format!("PSP busy, {what}, without the order / with it"), 1.05, || {
        let (mut with, mut without) = (Pace::default(), Pace::default());
        for _ in 0..5 {
            with.watch(gate, trace, "1")?;
            without.watch(gate, trace, "0")?;
        }
        let more_us =
            with.show(&format!("{what}, with"))? - without.show(&format!("{what}, without"))?;
        ensure!(more_us < 0.05 * REQUEST_US as f64, "{more_us:.0} µs more between commands");
        Ok(without.busy() / with.busy())
    })
}

/// Whoever is next has to be woken up first, which busy CPUs could delay.
fn oversold(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let trace = Trace::start()?;
    let load = pushing(&gate, 14, "")?;
    compare(&gate, &trace, "CPUs idle")?;
    let spinners: Vec<_> =
        (0..available_parallelism()?.get()).map(|_| Spinner::start()).collect::<Result<_>>()?;
    compare(&gate, &trace, "a spinning process per CPU")?;
    drop(spinners);
    gate.set("depth", "1")?;
    load.stop()?;
    end(gate)
}
