//! # Removing the gate while vCPUs wait in its order

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{super::gate::ensure_all, end, load_gate, pushing, times};
use crate::{
    gate::Gate,
    host::{Firmware, wait_until},
    scenario::{Context, Status, scenario},
};

scenario!(UNLOADED: "order/unloaded" = unloaded,
    "the gate can be removed and loaded while a hundred vCPUs wait, and no request is lost");

fn removed(gate: Gate) -> Result<Duration> {
    let start = Instant::now();
    gate.remove()?;
    Ok(start.elapsed())
}

/// All go to the PSP's queue at once: so it takes no longer than without an order.
fn unloaded(context: &Context) -> Result<Status> {
    let idle = removed(load_gate()?)?;
    let service = Duration::from_millis(5);
    Firmware::set("latency_us", service.as_micros())?;
    let mut gate = Gate::load(&[])?;
    let before = Firmware::read()?;
    // Of each VM one waits in the order, and three for their VM's lock.
    let load = pushing(&gate, 25, "--vcpus 4 --vmpck all")?;
    let mut longest = Duration::ZERO;
    for _ in 0..if context.long { 100 } else { 4 } {
        wait_until(
            "they wait",
            Duration::from_secs(60),
            || Ok(gate.order()?.of("waiting")? >= 20),
        )?;
        longest = longest.max(removed(gate)?);
        gate = Gate::load(&[])?;
    }
    let seen = load.stop()?;
    ensure_all(&seen, "ok", seen.requests)?;
    let sent = Firmware::read()?.since(&before).guest_requests;
    ensure!(sent == seen.requests, "{sent} at the PSP, {} from guests", seen.requests);
    println!("removed in {longest:.2?} at most, {idle:.2?} when idle; {sent} requests");
    let queue = service * 100;
    // On a busy machine removing takes several times as long from one time to the next.
    ensure!(times(longest, idle + queue) <= 2.5, "{longest:.2?}, idle {idle:.2?}");
    end(gate)
}
