//! # A hung PSP, and many that wait for it

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{super::gate::outcomes, pushing, under_load::nothing_left};
use crate::{
    gate::Gate,
    host::{self, Firmware},
    scenario::{Context, Status, scenario},
};

scenario!(HUNG: "order/hung_psp" = hung,
    "when the PSP hangs, those that wait in the order get host errors as soon as without it");

const VMS: u64 = 20;
const REQUESTS: u64 = 100;
/// After that a request goes to the PSP anyway.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// ccp never uses a PSP again that hung once, nor one that hangs when ccp is loaded.
fn reload_ccp() -> Result<()> {
    Firmware::reset()?;
    for module in ["kvm_amd", "kvm", "ccp"] {
        host::rmmod(module)?;
    }
    host::insmod("kvm", &[])?;
    host::insmod("ccp", &["psp_cmd_timeout=1"])?;
    host::insmod("kvm-amd", &[])
}

/// How long it takes from the hang until every request has been answered or failed.
fn until_all_ended(depth: &str) -> Result<Duration> {
    reload_ccp()?;
    Firmware::set("latency_us", 7_700)?;
    let gate = Gate::load(&[])?;
    let before = Firmware::read()?;
    let load = pushing(&gate, VMS, &format!("--count {REQUESTS}"))?;
    gate.set("depth", depth)?;
    let start = Instant::now();
    Firmware::set("hang", 1)?;
    let seen = load.finish()?;
    let took = start.elapsed();
    let firmware = Firmware::read()?.since(&before);
    let longest = seen.per_vm.iter().map(|vm| vm.max).max();
    println!("depth {depth}: {took:.2?}, longest {longest:.2?}, {:?}", outcomes(&seen));
    let of = |is: fn(&str) -> bool| -> u64 {
        outcomes(&seen).iter().filter(|(name, _)| is(name)).map(|(_, count)| count).sum()
    };
    let (ok, errors) = (of(|name| name == "ok"), of(|name| name.starts_with("errno:")));
    ensure!(ok + errors == VMS * REQUESTS, "{:?}", outcomes(&seen));
    ensure!(ok == firmware.guest_requests - firmware.hung, "{ok} ok, {firmware:?}");
    ensure!(firmware.hung == 1, "{firmware:?}");
    // Those that ccp refused have not been at the firmware.
    let order = nothing_left(&gate, VMS * REQUESTS)?;
    ensure!(order.of("overdue")? == 0, "{order:?}");
    gate.remove()?;
    Ok(took)
}

fn hung(_: &Context) -> Result<Status> {
    // KVM warns that it cannot decommission a VM once the PSP is dead.
    println!("RIG: expect-warning snp_decommission_context");
    let (without, with) = (until_all_ended("0")?, until_all_ended("1")?);
    ensure!(with <= without + WAIT_TIMEOUT / 2, "{with:?}, without the order {without:?}");
    reload_ccp()?;
    Ok(Status::Passed)
}
