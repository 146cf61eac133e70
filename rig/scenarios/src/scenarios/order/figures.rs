//! # Figures of docs/order.md
//!
//! Each is a ratio of one run, and what the order's parts contribute to it.

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{at_most, end, launched, load_gate, pushing, quiet, requests_part, times};
use crate::{
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(long LAUNCHES: "order/launches" = launches,
    "a launch beside 1, 16 and 64 VMs that push takes little longer than alone");
scenario!(long CONCURRENT: "order/concurrent_launches" = concurrent,
    "beside sixteen launches at a time requests proceed, and are hardly held");
scenario!(long BUSY: "order/busy" = busy,
    "the order neither leaves the PSP idle nor slows a VM that is alone");

fn launches(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    for vms in [1, 16, 64] {
        let beside = |what: &str, depth: &str, share: &str, pages: u32, goal: f64| -> Result<f64> {
            at_most(&format!("launch beside {vms}, {what}"), goal, || {
                let launches = if pages < 256 { 1 } else { 3 };
                let alone = launched(pages, launches)?;
                let load = pushing(&gate, vms, "")?;
                gate.set("depth", depth)?;
                gate.set("launch_share", share)?;
                let beside = launched(pages, launches)?;
                gate.set("depth", "1")?;
                gate.set("launch_share", "75")?;
                load.stop()?;
                println!("alone {alone:.1?}, beside {vms} {beside:.1?}");
                Ok(times(beside, alone))
            })
        };
        beside("256 pages", "1", "75", 256, 1.5)?;
        beside("1,000 pages", "1", "75", 1000, 1.5)?;
        beside("256 pages, launch_share=100", "1", "100", 256, 1.2)?;
        let unheld = beside("without a hold", "1", "0", 256, 20.0)?;
        ensure!(unheld > 3.0, "{unheld:.2} times without a hold");
        // Behind a request of every VM.
        let unordered = beside("without an order", "0", "75", 8, 2000.0)?;
        ensure!(vms == 1 || unordered > vms as f64, "{unordered:.2} times without an order");
        let load = pushing(&gate, vms, "")?;
        let part = requests_part(5)?;
        load.stop()?;
        println!("beside a launch without end {vms} VMs have {part:.3} of the PSP");
        ensure!(vms == 1 || part >= 0.24, "{part:.3}");
    }
    end(gate)
}

fn concurrent(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let alone = launched(256, 5)?;
    let load = pushing(&gate, 14, "")?;
    let before = gate.order()?;
    let one = launched(256, 5)?;
    println!("one launch: {:.2} times alone; {before:?}, {:?}", times(one, alone), gate.order()?);
    let launching =
        load::start("--vms 16 --processes --name l --pages 256 --count 0 --relaunch-for 30")?;
    wait_until("they are launched", Duration::from_secs(60), || {
        Ok(Firmware::read()?.launched >= 40)
    })?;
    let before = gate.order()?;
    sleep(Duration::from_secs(15));
    let after = gate.order()?;
    let seen = launching.finish()?;
    load.stop()?;
    let mut factors: Vec<f64> = seen
        .launches
        .iter()
        .map(|launch| times(Duration::from_nanos(launch.duration_ns), alone))
        .collect();
    factors.sort_by(f64::total_cmp);
    let had = |name: &str| Ok::<_, anyhow::Error>((after.of(name)? - before.of(name)?) as f64);
    let part = had("request_ns")? / (had("request_ns")? + had("launch_ns")?);
    println!(
        "{} launches: {:.1} to {:.1} times alone; requests have {part:.3} of the PSP",
        factors.len(),
        factors.first().context("none")?,
        factors.last().context("none")?
    );
    ensure!(part >= 0.24, "requests have {part:.3}");
    let held = had("held_ns")? / 15e9;
    ensure!(held <= 0.2, "requests were held for {held:.3} of the time");
    end(gate)
}

/// The part of some seconds in which the PSP executed something, and requests a second.
fn rate(seconds: u64) -> Result<(f64, f64)> {
    let before = Firmware::read()?;
    sleep(Duration::from_secs(seconds));
    let during = Firmware::read()?.since(&before);
    Ok((
        during.busy_ns() as f64 / 1e9 / seconds as f64,
        during.guest_requests as f64 / seconds as f64,
    ))
}

/// With and without the order in turns, as the machine's speed changes.
fn with_and_without(gate: &Gate, rounds: u32) -> Result<[(f64, f64); 2]> {
    let mut sums = [(0.0, 0.0); 2];
    for _ in 0..rounds {
        for (sum, depth) in sums.iter_mut().zip(["1", "0"]) {
            gate.set("depth", depth)?;
            sleep(Duration::from_millis(500));
            let (busy, requests) = rate(5)?;
            sum.0 += busy / f64::from(rounds);
            sum.1 += requests / f64::from(rounds);
        }
    }
    gate.set("depth", "1")?;
    Ok(sums)
}

fn busy(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    at_most("PSP busy beside 14, without the order / with it", 1.02, || {
        let load = pushing(&gate, 14, "")?;
        let [with, without] = with_and_without(&gate, 3)?;
        load.stop()?;
        println!("busy and requests a second: {with:.3?}, without {without:.3?}");
        Ok(without.0 / with.0)
    })?;
    at_most("a VM alone, without the order / with it", 1.01, || {
        let load = load::start("--name alone --seconds 3600")?;
        sleep(Duration::from_secs(1));
        let [with, without] = with_and_without(&gate, 3)?;
        load.stop()?;
        println!("busy and requests a second: {with:.3?}, without {without:.3?}");
        Ok(without.1 / with.1)
    })?;
    at_most("p99 of a quiet VM beside 14, at most three times alone", 3.0, || {
        let alone = quiet(100)?;
        let load = pushing(&gate, 14, "")?;
        let beside = quiet(100)?;
        load.stop()?;
        println!("alone {alone:.1?}, beside {beside:.1?}");
        Ok(times(beside.1, alone.1))
    })?;
    end(gate)
}
