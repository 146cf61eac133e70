//! # What a request costs
//!
//! From the kernel's statistics: our programs, empty ones on the same hooks, and a bpftrace script,
//! all attached at once, for the same requests. The first program on a hook pays for cold caches,
//! so there are two rounds with opposite orders.
//!
//! A guest of the rig leaves KVM_RUN with each request; guests on real hardware do not. The cost of
//! our programs on ioctl(2) and at KVM_RUN's end is therefore reported separately.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use serde_json::json;

use super::{
    programs::{self, ProgramStats},
    report, sizes,
    subjects::{self, Bpftrace, MeasuredAgent},
};
use crate::{
    bpf::Statistics,
    empty_program::EmptyProgram,
    host::{Firmware, wait_until},
    load,
};

const VMS: u64 = 2;
/// A thread's first requests create its records.
const WARM: u64 = 200;
const VMGEXITS: u64 = 20_000;

pub fn run(long: bool) -> Result<()> {
    let requests = if long { 50_000 } else { 4_000 };
    let _on = Statistics::on()?;
    let mut sum = Sum::default();
    {
        let agent = MeasuredAgent::start()?;
        let empty = subjects::empty()?;
        let bpftrace = Bpftrace::start()?;
        sum.round(&Subjects { ours: &agent.ids, empty: &empty, bpftrace: &bpftrace }, requests)?;
        sizes::instructions("guestreq", &agent.ids)?;
        sizes::instructions("bpftrace", &bpftrace.ids)?;
    }
    let bpftrace = Bpftrace::start()?;
    let empty = subjects::empty()?;
    let agent = MeasuredAgent::start()?;
    sum.round(&Subjects { ours: &agent.ids, empty: &empty, bpftrace: &bpftrace }, requests)?;
    sum.report();
    Ok(())
}

/// The programs that are measured.
struct Subjects<'a> {
    ours: &'a BTreeSet<u32>,
    empty: &'a [NamedProgram],
    bpftrace: &'a Bpftrace,
}

/// The hook, and its program.
pub type NamedProgram = (&'static str, EmptyProgram);

/// Runs and nanoseconds of our programs on a request's path, of the empty ones, of bpftrace's, and
/// of ours around KVM_RUN.
type RunTotals = [(u64, u64); 4];

/// Our entry programs on a request's path; the kernel cuts names to 15 bytes.
pub const ON_REQUESTS: [&str; 5] =
    ["on_guest_reques", "on_issue_comman", "on_command_star", "on_command_end", VMGEXIT_EXIT];
const AROUND_KVM_RUN: [&str; 2] = ["on_file_ioctl", "on_userspace_ex"];
/// The only one of these that an unrelated VMGEXIT runs.
const VMGEXIT_EXIT: &str = "on_vmgexit_exit";

impl Subjects<'_> {
    fn totals(&self) -> Result<RunTotals> {
        Ok([
            of(self.ours, &ON_REQUESTS)?,
            of_empty(self.empty)?,
            programs::totals(&self.bpftrace.ids)?,
            of(self.ours, &AROUND_KVM_RUN)?,
        ])
    }

    /// Only the programs that an unrelated VMGEXIT runs: its VM's launch ran others.
    fn totals_of_vmgexits(&self) -> Result<RunTotals> {
        let one = self.empty.iter().filter(|(name, _)| *name == "vmgexit_exit");
        Ok([
            of(self.ours, &[VMGEXIT_EXIT])?,
            of_empty(one)?,
            of(&self.bpftrace.ids, &["rawtracepoint_k"])?,
            (0, 0),
        ])
    }
}

/// Runs and nanoseconds of the programs with these names.
pub fn of(ids: &BTreeSet<u32>, names: &[&str]) -> Result<(u64, u64)> {
    let all = programs::all(ids)?;
    let named = all.iter().filter(|program| names.contains(&program.name.as_str()));
    Ok(named.fold((0, 0), |sum, program| (sum.0 + program.runs, sum.1 + program.ns)))
}

pub fn of_empty<'a>(programs: impl IntoIterator<Item = &'a NamedProgram>) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for (_, program) in programs {
        let (runs, seconds) = program.totals()?;
        sum = (sum.0 + runs as u64, sum.1 + (seconds * 1e9) as u64);
    }
    Ok(sum)
}

#[derive(Default)]
struct Sum {
    requests: u64,
    of_requests: RunTotals,
    of_vmgexits: RunTotals,
}

impl Sum {
    fn round(&mut self, sides: &Subjects, requests: u64) -> Result<()> {
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
        print_each(&by_program, &programs::all(sides.ours)?);
        load.finish()?;

        let before = sides.totals_of_vmgexits()?;
        load::run(&format!("--vmgexits {VMGEXITS}"))?;
        let after = sides.totals_of_vmgexits()?;
        add(&mut self.of_vmgexits, &before, &after);
        Ok(())
    }

    fn report(&self) {
        let [ours, empty, bpftrace, around] = self.of_requests;
        let [vmgexit, empty_tp, bpftrace_vmgexit, _] = self.of_vmgexits;
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
            "kvm_run_ns": request(around.1),
            "kvm_run_runs": around.0,
            "vmgexit_ns": per(vmgexit.1, vmgexit.0),
            "vmgexit_runs": vmgexit.0,
            "empty_raw_tp_ns": per(empty_tp.1, empty_tp.0),
            "empty_raw_tp_runs": empty_tp.0,
            "bpftrace_vmgexit_ns": per(bpftrace_vmgexit.1, bpftrace_vmgexit.0),
            "bpftrace_vmgexit_runs": bpftrace_vmgexit.0,
        }));
    }
}

pub fn add(sum: &mut [(u64, u64)], before: &[(u64, u64)], after: &[(u64, u64)]) {
    for ((sum, before), after) in sum.iter_mut().zip(before).zip(after) {
        sum.0 += after.0 - before.0;
        sum.1 += after.1 - before.1;
    }
}

/// Prints what each program did between two readings.
pub fn print_each(before: &[ProgramStats], after: &[ProgramStats]) {
    for (old, new) in before.iter().zip(after) {
        if new.runs > old.runs {
            let (runs, ns) = (new.runs - old.runs, new.ns - old.ns);
            println!("  {:<15} {runs:>6} runs of {:>6.0} ns", new.name, per(ns, runs));
        }
    }
}

pub fn per(ns: u64, runs: u64) -> f64 {
    ns as f64 / runs.max(1) as f64
}

/// Waits until the firmware has received this many more requests.
pub fn until_sent(before: &Firmware, requests: u64) -> Result<()> {
    wait_until("the requests are sent", Duration::from_secs(3600), || {
        Ok(Firmware::read()?.since(before).guest_requests >= requests)
    })
}
