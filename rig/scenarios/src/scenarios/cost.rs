//! # What observing costs
//!
//! Kernel statistics of our programs and of empty programs on the same hooks in the same run. Only
//! ratios count, as an emulated machine's times mean nothing.

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::Agent,
    bpf::Statistics,
    empty_program::{EmptyProgram, Hook},
    exposition::Metrics,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(timed BPF_TIME: "cost/observe" = bpf_time,
    "observing a request costs a small multiple of empty programs");

/// The agent's programs on a request's path, and their hooks.
pub const ON_THE_WAY: [(&str, Hook); 5] = [
    ("guest_request", Hook::Kprobe("snp_handle_guest_req")),
    ("issue_command", Hook::Kprobe("sev_issue_cmd_external_user")),
    ("command_start", Hook::Kprobe("__sev_do_cmd_locked")),
    ("command_end", Hook::Kretprobe("__sev_do_cmd_locked")),
    ("vmgexit_exit", Hook::RawTracepoint("kvm_vmgexit_exit")),
];

fn bpf_time(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    ensure!(agent.scrape()?.select("guestreq_program_runs_total", &[]).count() == 0);
    let mut empty = Vec::new();
    for (program, hook) in ON_THE_WAY {
        empty.push((program, EmptyProgram::attach(hook).with_context(|| program.to_owned())?));
    }
    let _on = Statistics::on()?;
    measure(&agent, &empty)
}

fn measure(agent: &Agent, empty: &[(&str, EmptyProgram)]) -> Result<Status> {
    // A thread's first request creates its records.
    let held = load::start("--vms 2 --processes --count 2000 --hold")?;
    let before = totals(agent, empty)?;
    held.finish()?;
    let after = totals(agent, empty)?;
    let (mut ours, mut theirs) = (0.0, 0.0);
    for (program, _) in empty {
        let (own, other) = (after.per_run(&before, program, 0), after.per_run(&before, program, 1));
        println!("{program:<14} {own:7.0} ns, empty {other:5.0} ns, {:.1}x", own / other);
        ours += own;
        theirs += other;
    }
    println!("a request: {ours:.0} ns, empty programs {theirs:.0} ns: {:.2}x", ours / theirs);
    // An emulator pays for each page that a program touches, so this bound is far above real
    // hardware's and only catches gross errors.
    ensure!(ours < 15.0 * theirs, "a request costs {:.1}x empty programs", ours / theirs);

    let before = totals(agent, empty)?;
    load::run("--vmgexits 20000")?;
    let after = totals(agent, empty)?;
    let own = after.per_run(&before, "vmgexit_exit", 0);
    let other = after.per_run(&before, "vmgexit_exit", 1);
    println!("an unrelated VMGEXIT: {own:.0} ns, empty {other:.0} ns: {:.2}x", own / other);
    ensure!(own < 8.0 * other, "an unrelated VMGEXIT costs {:.1}x an empty program", own / other);
    Ok(Status::Passed)
}

/// Runs and seconds of our programs and the empty ones.
struct Totals(Vec<(String, [(f64, f64); 2])>);

impl Totals {
    /// Mean ns per run since `before`.
    fn per_run(&self, before: &Totals, program: &str, whose: usize) -> f64 {
        let find = |totals: &Totals| {
            let found = totals.0.iter().find(|(name, _)| name == program);
            found.map_or((0.0, 0.0), |(_, totals)| totals[whose])
        };
        let ((runs, seconds), (old_runs, old_seconds)) = (find(self), find(before));
        (seconds - old_seconds) * 1e9 / (runs - old_runs).max(1.0)
    }
}

fn totals(agent: &Agent, empty: &[(&str, EmptyProgram)]) -> Result<Totals> {
    let metrics: Metrics = agent.scrape()?;
    let mut totals = Vec::new();
    for (program, empty) in empty {
        let labels = [("program", *program)];
        let ours = (
            metrics.sum("guestreq_program_runs_total", &labels),
            metrics.sum("guestreq_program_run_seconds_total", &labels),
        );
        totals.push(((*program).to_owned(), [ours, empty.totals()?]));
    }
    Ok(Totals(totals))
}
