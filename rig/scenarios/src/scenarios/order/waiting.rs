//! # Who waits, and for how long by weight

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use super::{end, load_gate, pushing};
use crate::{
    fixed_answer::FixedAnswer,
    gate::waiters,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(LISTED: "order/listed" = listed,
    "those that wait are listed in order, with context, process and weight");
scenario!(timed WEIGHTS: "order/weights" = weights,
    "weights divide the time of the PSP among VMs that push");

fn listed(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    ensure!(waiters()?.is_empty(), "{:?}", waiters()?);
    let _answers = FixedAnswer::weights_by_vmpck()?;
    let load = pushing(&gate, 8, "--vmpck 1")?;
    let pids = load.processes()?;
    for _ in 0..50 {
        let list = waiters()?;
        ensure!((5..=8).contains(&list.len()), "{list:?}");
        // After the list: the last of them may only just have been launched.
        let contexts = Firmware::read()?.contexts;
        ensure!(list.is_sorted_by_key(|waiter| waiter.start_ns), "not in order: {list:?}");
        for waiter in &list {
            ensure!(waiter.weight == 3, "{waiter:?}");
            ensure!(pids.contains(&waiter.pid), "{waiter:?} is none of {pids:?}");
            ensure!(contexts.contains_key(&waiter.context), "{waiter:?} is none of {contexts:?}");
        }
        let distinct: BTreeMap<_, _> = list.iter().map(|it| (it.context, it.pid)).collect();
        ensure!(distinct.len() == list.len(), "{list:?}");
    }
    load.stop()?;
    ensure!(waiters()?.is_empty(), "{:?}", waiters()?);
    let order = gate.order()?;
    ensure!(order.of("wait_ns")? > order.of("request_ns")?, "{order:?}");
    end(gate)
}

/// VMPCKs 0 to 3 have weights 1, 3, 5 and 7. At depth 1 none may have half or more.
fn weights(context: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let _answers = FixedAnswer::weights_by_vmpck()?;
    let seconds = if context.long { 30 } else { 6 };
    let mut loads = Vec::new();
    for (weight, vmpck) in [1, 3, 5].into_iter().zip(0..) {
        // One after another, as the firmware knows them by the order of their launches.
        let before = Firmware::read()?.launched;
        let push = format!("--name w{weight} --vmpck {vmpck} --seconds {}", seconds + 4);
        loads.push(load::start(&push)?);
        wait_until("it is launched", Duration::from_secs(60), || {
            Ok(Firmware::read()?.launched > before)
        })?;
    }
    wait_until("all push", Duration::from_secs(60), || Ok(gate.order()?.of("waiting")? == 2))?;
    let served = || -> Result<Vec<u64>> {
        let firmware = Firmware::read()?;
        let newest = firmware.launches.values().rev().take(3).map(|launch| launch.address);
        let requests = newest.map(|address| firmware.contexts.get(&address).map(|it| it.1));
        let requests: Option<Vec<u64>> = requests.collect();
        Ok(requests.context("a VM is unknown")?.into_iter().rev().collect())
    };
    let before = served()?;
    sleep(Duration::from_secs(seconds));
    let after = served()?;
    for load in loads {
        load.finish()?;
    }
    let had: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    println!("weights 1, 3, 5: {had:?} requests");
    let [light, middle, heavy] = had[..] else { bail!("{had:?}") };
    let all = (light + middle + heavy) as f64;
    for (had, weight) in [(light, 1.0), (middle, 3.0), (heavy, 5.0)] {
        // 5 of 9 would be more than half.
        let due = if weight == 5.0 { 0.5 } else { 0.5 * weight / 4.0 };
        ensure!((had as f64 / all - due).abs() <= 0.05, "weight {weight}: {had} of {all}");
    }
    end(gate)
}
