//! # How long a quiet VM and a launch take, as ratios of one run

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::command::{SNP_DECOMMISSION, SNP_GUEST_REQUEST, SNP_LAUNCH_UPDATE};

use crate::{
    host::{Firmware, wait_until},
    load,
};

/// Other load on this machine only makes it worse; a broken order fails each time.
const ATTEMPTS: u32 = 3;

/// Tries until a ratio is as good as that, and returns it.
pub fn at_most(what: &str, goal: f64, mut ratio: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let ratio = ratio()?;
        println!("{what}: {ratio:.2} times");
        if ratio <= goal {
            return Ok(ratio);
        }
        seen.push(format!("{ratio:.2}"));
    }
    bail!("{what}: {} times, not {goal}", seen.join(", "))
}

pub fn times(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// p50 and p99 of a VM that sends few requests. So few that it never has a second one ready when it
/// gets an answer: that one would get the mutex at once.
pub fn quiet(count: u32) -> Result<(Duration, Duration)> {
    let seen = load::run(&format!("--name quiet --rate 3 --count {count}"))?;
    let vm = seen.per_vm.first().context("no VM")?;
    Ok((vm.p50, vm.p99))
}

/// The median duration of some launches, one after another, each when the PSP is done with the end
/// of the one before.
pub fn launched(pages: u32, launches: usize) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..launches {
        let before = Firmware::read()?;
        let seen = load::run(&format!("--name launched --pages {pages} --count 0"))?;
        took.extend(seen.launches.iter().map(|launch| launch.duration_ns));
        wait_until("its context is gone", Duration::from_secs(60), || {
            Ok(Firmware::read()?.since(&before).count(SNP_DECOMMISSION) == 1)
        })?;
    }
    ensure!(took.len() == launches, "{} launches", took.len());
    took.sort_unstable();
    println!("launches of {pages} pages: {took:?} ns");
    Ok(Duration::from_nanos(took[launches / 2]))
}

/// Requests' part of the time in which the PSP executes something, while a VM is launched for some
/// seconds.
pub fn requests_part(seconds: u64) -> Result<f64> {
    let launching = load::start("--name endless --pages 60000 --count 0")?;
    let first = Firmware::read()?;
    wait_until("it measures pages", Duration::from_secs(60), || {
        Ok(Firmware::read()?.since(&first).count(SNP_LAUNCH_UPDATE) > 100)
    })?;
    let before = Firmware::read()?;
    sleep(Duration::from_secs(seconds));
    let during = Firmware::read()?.since(&before);
    drop(launching);
    let requests = during.commands.get(&SNP_GUEST_REQUEST).map_or(0, |(_, ns)| *ns);
    Ok(requests as f64 / during.busy_ns() as f64)
}
