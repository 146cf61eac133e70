//! # Edge cases of enforcement

use std::{io, thread, time::Duration};

use anyhow::{Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    bpf::Statistics,
    enforcing::Enforcing,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(TABLE_FULL: "edge_cases/vm_table_full" = table_full,
    "VMs beyond max_vms get the default policy, each with its own limiter, and are counted");
scenario!(CLOCK_STEPS: "edge_cases/clock_steps" = clock_steps,
    "setting the clock neither opens nor closes a limit");
scenario!(timed COST: "edge_cases/cost" = cost,
    "a foreign ioctl costs a few instructions, and a decision little more than a probe");

fn table_full(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start(
        "max_vms = 1\nlimit = { rate = \"10/s\", burst = 3 }\nkeep_exited_vms = \"1d\"\n",
    )?;
    let first = load::start("--vmm qemu --name first --count 1 --hold")?;
    thread::sleep(Duration::from_secs(2));
    let before = Firmware::read()?;
    let load = "--vms 3 --processes --name more --type report,export --start-together --count 60";
    let seen = load::run(load)?;
    let firmware = Firmware::read()?.since(&before);
    ensure!(disallowed_that_reached(&firmware) == 0, "{:?}", firmware.messages);
    ensure!(seen.outcomes["7"]["fw:0x16"] == 90, "{:?}", seen.outcomes);
    ensure!(seen.outcomes["5"]["ok"] == 90, "{:?}", seen.outcomes);
    // Each has its own limiter and does not wait for the others.
    for vm in &seen.per_vm {
        ensure!(vm.busy > 0, "{} was not limited", vm.name);
        ensure!(vm.max < Duration::from_secs(5), "{} waited {:?}", vm.name, vm.max);
    }
    let metrics = agent.scrape()?;
    let full = metrics.sum("guestreq_events_lost_total", &[("reason", "vm_table_full")]);
    ensure!(full > 0.0, "not counted");
    first.finish()?;
    Enforcing { agent, gate }.end()
}

fn clock_steps(_: &Context) -> Result<Status> {
    const RATE: u64 = 20;
    let Enforcing { agent, gate } = Enforcing::start("limit = { rate = \"20/s\", burst = 1 }\n")?;
    let before = Firmware::read()?;
    let load = load::start("--vmm qemu --name steady --seconds 10 --busy-retry-ms 5")?;
    let mut set = Ok(());
    for hours in [24, -48, 1000] {
        thread::sleep(Duration::from_secs(2));
        set = set.and(step(hours * 3600));
    }
    let restored = step(-976 * 3600);
    load.finish()?;
    set.and(restored)?;
    let passed = Firmware::read()?.since(&before).guest_requests;
    println!("{passed} requests in 10 s at {RATE}/s while the clock was set three times");
    ensure!((RATE * 8..=RATE * 10 + 2).contains(&passed), "{passed} passed");
    Enforcing { agent, gate }.end()
}

/// Sets the host's clock forward by this many seconds.
pub fn step(seconds: i64) -> Result<()> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives both calls.
    let ret = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut time);
        time.tv_sec += seconds;
        libc::clock_settime(libc::CLOCK_REALTIME, &time)
    };
    ensure!(ret == 0, "clock_settime: {}", io::Error::last_os_error());
    Ok(())
}

fn cost(_: &Context) -> Result<Status> {
    const IOCTLS: u32 = 20_000;
    let Enforcing { agent, gate } =
        Enforcing::start("limit = { rate = \"1000000/s\", burst = 1000 }\n")?;
    let totals = |program: &str| -> Result<(f64, f64)> {
        let (metrics, labels) = (agent.scrape()?, [("program", program)]);
        Ok((
            metrics.sum("guestreq_program_runs_total", &labels),
            metrics.sum("guestreq_program_run_seconds_total", &labels),
        ))
    };
    let mean = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) * 1e9 / (to.0 - from.0).max(1.0);
    let _on = Statistics::on()?;
    let before = totals("file_ioctl")?;
    let null = std::fs::File::open("/dev/null")?;
    for _ in 0..IOCTLS {
        let mut words = [0u64; 8];
        // SAFETY: /dev/null knows no such request and touches nothing.
        unsafe {
            libc::ioctl(
                std::os::fd::AsRawFd::as_raw_fd(&null),
                libc::TCGETS as _,
                words.as_mut_ptr(),
            )
        };
    }
    let after = totals("file_ioctl")?;
    ensure!(after.0 - before.0 >= f64::from(IOCTLS), "the program did not run");
    let foreign = mean(before, after);

    // A thread's first request creates its records.
    let probes = || Ok::<_, anyhow::Error>([totals("issue_command")?, totals("command_start")?]);
    let before = (totals("file_ioctl")?, gate.counts()?, probes()?);
    load::run("--vms 2 --processes --count 2000")?;
    let after = (totals("file_ioctl")?, gate.counts()?, probes()?);
    let probe: f64 = before.2.iter().zip(after.2).map(|(from, to)| mean(*from, to)).sum();
    // Most runs are for other ioctls such as KVM_RUN, which take as long as foreign ones or a
    // little longer.
    let decisions = (after.1.sum() - before.1.sum()) as f64;
    let runs = after.0.0 - before.0.0;
    let decision =
        ((after.0.1 - before.0.1) * 1e9 - (runs - decisions) * foreign) / decisions.max(1.0);
    println!(
        "an ioctl that is not ours {foreign:.0} ns, a decision {decision:.0} ns, the two probes \
         before and after it {probe:.0} ns"
    );
    ensure!(decisions > 50.0, "only {decisions} decisions");
    ensure!(foreign * 10.0 < decision, "an ioctl that is not ours costs {foreign:.0} ns");
    ensure!(decision < 4.0 * probe, "a decision costs {decision:.0} ns, the probes {probe:.0} ns");
    Enforcing { agent, gate }.end()
}
