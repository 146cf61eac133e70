//! # What a request costs
//!
//! By the kernel's own statistics: our programs, empty ones on the same hooks, and a bpftrace
//! script, all attached at once, for the same requests. Whose program is first on a hook pays for
//! what all of them touch, so there are two rounds, and who was first in one is last in the other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    beside::{self, Bpftrace},
    programs::{self, Statistics},
    report,
};
use crate::{
    agent::Agent,
    empty::Empty,
    host::{Firmware, wait_until},
    load,
};

const VMS: u64 = 2;
/// The first requests of a thread make its records.
const WARM: u64 = 200;
const VMGEXITS: u64 = 20_000;

pub fn run(long: bool) -> Result<()> {
    let requests = if long { 50_000 } else { 4_000 };
    let _on = Statistics::on()?;
    let mut sum = Sum::default();
    {
        let agent = Observed::start()?;
        let empty = beside::empty()?;
        let bpftrace = Bpftrace::start()?;
        sum.round(&Sides { ours: &agent.ids, empty: &empty, bpftrace: &bpftrace }, requests)?;
        instructions(&agent, &bpftrace)?;
    }
    let bpftrace = Bpftrace::start()?;
    let empty = beside::empty()?;
    let agent = Observed::start()?;
    sum.round(&Sides { ours: &agent.ids, empty: &empty, bpftrace: &bpftrace }, requests)?;
    sum.report();
    Ok(())
}

/// An agent, and which programs are its.
pub struct Observed {
    pub agent: Agent,
    pub ids: BTreeSet<u32>,
}

impl Observed {
    pub fn start() -> Result<Observed> {
        let before = programs::ids();
        let agent = Agent::start(&[])?;
        Ok(Observed { agent, ids: &programs::ids() - &before })
    }
}

/// Who is measured.
struct Sides<'a> {
    ours: &'a BTreeSet<u32>,
    empty: &'a [(&'static str, Empty)],
    bpftrace: &'a Bpftrace,
}

/// Runs and nanoseconds of ours, the empty ones and bpftrace's.
type Totals = [(u64, u64); 3];

impl Sides<'_> {
    fn totals(&self) -> Result<Totals> {
        let mut empty = (0, 0);
        for (_, program) in self.empty {
            let (runs, seconds) = program.totals()?;
            empty = (empty.0 + runs as u64, empty.1 + (seconds * 1e9) as u64);
        }
        Ok([programs::totals(self.ours)?, empty, programs::totals(&self.bpftrace.ids)?])
    }
}

#[derive(Default)]
struct Sum {
    requests: u64,
    of_requests: Totals,
    vmgexits: u64,
    of_vmgexits: Totals,
}

impl Sum {
    fn round(&mut self, sides: &Sides, requests: u64) -> Result<()> {
        let first = Firmware::read()?;
        let count = requests / VMS + WARM;
        let load = load::start(&format!("--vms {VMS} --processes --count {count} --hold"))?;
        until_sent(&first, VMS * WARM)?;
        let (warm, before) = (Firmware::read()?, sides.totals()?);
        let by_program = programs::all(sides.ours)?;
        until_sent(&first, VMS * count)?;
        let after = sides.totals()?;
        self.requests += Firmware::read()?.since(&warm).guest_requests;
        add(&mut self.of_requests, &before, &after);
        for (old, new) in by_program.iter().zip(programs::all(sides.ours)?) {
            if new.runs > old.runs {
                let (runs, ns) = (new.runs - old.runs, new.ns - old.ns);
                println!("  {:<15} {runs:>6} runs of {:>6.0} ns", new.name, per(ns, runs));
            }
        }
        load.finish()?;

        let before = sides.totals()?;
        load::run(&format!("--vmgexits {VMGEXITS}"))?;
        let after = sides.totals()?;
        self.vmgexits += VMGEXITS;
        add(&mut self.of_vmgexits, &before, &after);
        Ok(())
    }

    fn report(&self) {
        let [ours, empty, bpftrace] = self.of_requests;
        let [vmgexit, empty_tp, bpftrace_vmgexit] = self.of_vmgexits;
        let request = |ns: u64| per(ns, self.requests);
        report(&json!({
            "bpf_ns_per_request": request(ours.1),
            "bpf_requests": self.requests,
            "bpf_runs": ours.0,
            "empty_ns_per_request": request(empty.1),
            "empty_requests": self.requests,
            "empty_runs": empty.0,
            "bpftrace_ns_per_request": request(bpftrace.1),
            "bpftrace_requests": self.requests,
            "bpftrace_runs": bpftrace.0,
            "vmgexit_ns": per(vmgexit.1, vmgexit.0),
            "vmgexit_runs": vmgexit.0,
            "empty_raw_tp_ns": per(empty_tp.1, empty_tp.0),
            "empty_raw_tp_runs": empty_tp.0,
            "bpftrace_vmgexit_ns": per(bpftrace_vmgexit.1, bpftrace_vmgexit.0),
            "bpftrace_vmgexit_runs": bpftrace_vmgexit.0,
        }));
    }
}

fn add(sum: &mut Totals, before: &Totals, after: &Totals) {
    for ((sum, before), after) in sum.iter_mut().zip(before).zip(after) {
        sum.0 += after.0 - before.0;
        sum.1 += after.1 - before.1;
    }
}

pub fn per(ns: u64, runs: u64) -> f64 {
    ns as f64 / runs.max(1) as f64
}

/// Waits until the firmware has got so many requests more than it had.
pub fn until_sent(before: &Firmware, requests: u64) -> Result<()> {
    wait_until("the requests are sent", Duration::from_secs(3600), || {
        Ok(Firmware::read()?.since(before).guest_requests >= requests)
    })
}

/// How large the programs are, and what they call.
fn instructions(agent: &Observed, bpftrace: &Bpftrace) -> Result<()> {
    for (whose, ids) in [("guestreq", &agent.ids), ("bpftrace", &bpftrace.ids)] {
        let all = programs::all(ids)?;
        ensure!(!all.is_empty(), "{whose} has no programs");
        for program in all.iter().filter(|program| program.verified > 0) {
            report(&json!({ "program": {
                "whose": whose, "name": program.name, "id": program.id, "jited_bytes": program.jited,
                "verified_instructions": program.verified, "calls": program.calls,
            }}));
        }
    }
    agent.agent.scrape().context("the agent")?;
    Ok(())
}
