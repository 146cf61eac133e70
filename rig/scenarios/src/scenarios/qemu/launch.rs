//! # Launches of a QEMU that is killed

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::command::SNP_DECOMMISSION;

use super::{INTERVAL, LIMIT};
use crate::{
    enforcing::Enforcing,
    flash::Script,
    host::{Firmware, wait_until},
    qemu::{Machine, Qemu},
    scenario::{Context, Status, scenario},
    scenarios::{launch_load::only, launches::records, order::under_load::nothing_left},
};

scenario!(KILLED: "qemu/launch_killed" = killed,
    "a QEMU that is killed in the middle of its VM's launch leaves nothing behind, at whichever command");

/// GCTX_CREATE, LAUNCH_START, ACTIVATE, the image's 16 pages, three that the VMM fills, the vCPU's
/// state, and LAUNCH_FINISH.
const COMMANDS: u64 = 24;
/// Of each command: long enough to be killed in the middle of the next one.
const COMMAND_US: u64 = 30_000;

fn killed(context: &Context) -> Result<Status> {
    let Enforcing { mut agent, gate } = Enforcing::start("")?;
    let from_here = Firmware::read()?;
    let step = if context.long { 1 } else { 4 };
    let stages = (1..4).chain((4..COMMANDS).step_by(step)).chain([COMMANDS - 1]);
    let mut ended = 0;
    for stage in stages {
        Firmware::set("other_us", COMMAND_US)?;
        Firmware::set("page_us", COMMAND_US)?;
        let before = Firmware::read()?;
        let (mut qemu, _) = Machine::new("killed", &Script::reports(INTERVAL))?.spawn()?;
        let start = Instant::now();
        let (seen, at) = loop {
            let at = Instant::now();
            match only(&before)? {
                Some(launch) if launch.commands >= stage => break (launch.commands, at),
                _ => qemu.still_runs()?,
            }
            ensure!(start.elapsed() < LIMIT, "it does not come to command {stage}");
            sleep(Duration::from_millis(2));
        };
        qemu.kill()?;
        let since = at.elapsed().as_micros() as u64;
        Firmware::reset()?;
        wait_until("its guest context has gone", LIMIT, || {
            Ok(Firmware::read()?.since(&before).count(SNP_DECOMMISSION) == 1)
        })?;
        ended += 1;
        agent.wait_until("the agent knows that it has ended", |metrics| {
            metrics.sum("guestreq_launches_total", &[]) == f64::from(ended)
        })?;
        let launch = only(&before)?.context("no launch")?;
        // What the PSP did until it had ended, and the one that it was killed in.
        let last = (seen + since / COMMAND_US + 1).min(COMMANDS);
        ensure!((stage..=last).contains(&launch.commands), "{stage}, {seen}: {launch:?}");
        let all = records::all()?;
        let record = all.first().context("the agent knows no launch")?;
        record.is_exactly(&launch)?;
        let state = if launch.commands == COMMANDS { "finished" } else { "process_exited" };
        ensure!(record.state == state, "{record:?}: {launch:?}");
        println!("killed after {stage} commands: {} executed", launch.commands);
    }
    let (made, gone) = Firmware::read()?.since(&from_here).contexts();
    ensure!(made == gone, "{made} guest contexts were made, and {gone} have gone");
    let running = agent.scrape()?.sum("guestreq_launches", &[]);
    ensure!(running == 0.0, "{running} launches still run");
    // Nobody is held for a launch that is over.
    let mut vm = Qemu::start("next", &Script::reports(INTERVAL / 2))?;
    vm.wait_for_answers(1)?;
    let held = gate.order()?.of("held_ns")?;
    vm.wait_for_answers(10)?;
    let after = gate.order()?.of("held_ns")?;
    ensure!(after == held, "its requests were held for {} ns", after - held);
    vm.execute("stop")?;
    let order = nothing_left(&gate, Firmware::read()?.since(&from_here).guest_requests)?;
    println!("{ended} launches were killed: {order:?}");
    drop(vm);
    Enforcing { agent, gate }.end()
}
