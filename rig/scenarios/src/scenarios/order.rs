//! # The gate's order
//!
//! Without an agent and without limits: what a VM that pushes does to others. Ratios of one run.
//! gate/tests simulates the same without noise.

mod checked;
mod figures;
mod gaps;
pub mod hung;
mod measured;
mod observed;
mod starved;
mod stopped;
pub mod under_load;
pub mod unloading;
mod waiting;
mod weights;

use std::time::Duration;

use anyhow::{Result, ensure};
use guestreq_common::command;
pub use measured::{at_most, launched, quiet, requests_part, times};

use crate::{
    gate::Gate,
    host::{Firmware, wait_until},
    load::{self, Load},
    scenario::{Context, Group, Status, scenario},
};

scenario!(timed QUIET_VM: "order/quiet_vm" = quiet_vm,
    "VMs that push do not slow a quiet one, as they do with depth=0");
scenario!(timed LAUNCH: "order/launch" = launch,
    "VMs that push slow a launch little, and keep their part of the PSP");

pub const GROUP: Group = Group {
    name: "order",
    memory_mib: 2048,
    scenarios: &[
        QUIET_VM,
        LAUNCH,
        under_load::KILLED,
        under_load::SIGNALS,
        under_load::PARAMETERS,
        unloading::UNLOADED,
        waiting::LISTED,
        starved::QUOTA,
        stopped::STOPPED,
        stopped::SUSPENDED,
        figures::LAUNCHES,
        figures::CONCURRENT,
        figures::BUSY,
        starved::OVERSOLD,
    ],
    once: &[
        under_load::OVERDUE,
        waiting::WEIGHTS,
        weights::POLICY,
        observed::SHOWN,
        observed::CONFIGURED,
        checked::LOCKDEP,
    ],
    ..Group::DEFAULT
};

/// As long as on hardware.
const REQUEST_US: u64 = 7_700;
const PAGE_US: u64 = 1_000;
const OTHER_US: u64 = 200;

/// The gate, and a firmware that takes its time.
pub fn load_gate() -> Result<Gate> {
    for (knob, us) in [("latency_us", REQUEST_US), ("page_us", PAGE_US), ("other_us", OTHER_US)] {
        Firmware::set(knob, us)?;
    }
    Gate::load(&[])
}

pub fn end(gate: Gate) -> Result<Status> {
    gate.remove()?;
    Firmware::reset()?;
    Ok(Status::Passed)
}

/// So many VMs that send in a loop, of which all but one or two wait. On a slow machine one of these
/// might still be launching.
pub fn pushing(gate: &Gate, vms: u64, arguments: &str) -> Result<Load> {
    let before = Firmware::read()?;
    let load =
        load::start(&format!("--vms {vms} --processes --name pusher --seconds 3600 {arguments}"))?;
    wait_until("all VMs push", Duration::from_secs(120), || {
        let launched = Firmware::read()?.since(&before).count(command::SNP_LAUNCH_FINISH);
        Ok(launched >= vms && gate.order()?.of("waiting")? + 2 >= vms)
    })?;
    Ok(load)
}

fn quiet_vm(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let count = 12;
    let mut without = 0.0;
    // The p99 of a few requests is their maximum, which a busy machine spoils: `order/busy` has it.
    at_most("p50 of a quiet VM beside 14", 2.0, || {
        let alone = quiet(count)?;
        let load = pushing(&gate, 14, "")?;
        let beside = quiet(count)?;
        gate.set("depth", "0")?;
        let off = quiet(count)?;
        gate.set("depth", "1")?;
        load.stop()?;
        without = times(off.0, alone.0);
        println!("alone {alone:.1?}, beside 14 {beside:.1?}, with depth=0 {off:.1?}");
        Ok(times(beside.0, alone.0))
    })?;
    ensure!(without > 4.0, "without the order it is {without:.2} times as slow as alone");
    end(gate)
}

/// The simulation says 1.32. The emulator has one CPU for all VMs, and a launch's own work waits for
/// it, too.
const LAUNCH_GOAL: f64 = 1.7;

fn launch(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    at_most("a launch beside 16", LAUNCH_GOAL, || {
        let alone = launched(256, 3)?;
        let load = pushing(&gate, 16, "")?;
        let beside = launched(256, 3)?;
        load.stop()?;
        println!("alone {alone:.1?}, beside 16 {beside:.1?}");
        Ok(times(beside, alone))
    })?;
    let load = pushing(&gate, 16, "")?;
    let part = requests_part(3)?;
    // One page, with depth=0, behind 16 requests.
    gate.set("depth", "0")?;
    let off = launched(8, 1)?;
    gate.set("depth", "1")?;
    load.stop()?;
    let alone = launched(8, 1)?;
    println!(
        "requests have {part:.3} of the PSP; 8 pages with depth=0 {off:.1?}, alone {alone:.1?}"
    );
    ensure!(part >= 0.22, "requests have {part:.3} of the PSP");
    ensure!(times(off, alone) > 5.0, "with depth=0 a launch of 8 pages takes {off:.1?}");
    end(gate)
}
