//! # New VMs while the agent writes their policies

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};

use super::{AttackedHost, passed};
use crate::{
    agent, load,
    scenario::{Context, Status, scenario},
};

scenario!(HASTY: "attack/hasty" = hasty,
    "a new VM that repeats on BUSY without a pause gets nothing past a rule that is stricter than the default");

/// Each VM's vCPUs ask all the time at which the agent writes its policy. A program that took the
/// default for the VM's own let 2 of 768 messages through, which were repeated 37,000 times.
fn hasty(_: &Context) -> Result<Status> {
    const VMS: u64 = 48;
    let strict = "max_vms = 64\n[[vm]]\nmatch = { name = \"hasty-*\" }\nallow = [\"key\"]\n";
    let attacked = AttackedHost::start(strict)?;
    // It finds all VMs that were launched meanwhile at once, and they ask all the time. It is dead for
    // new VMs after 3 s.
    agent::signal(attacked.agent.pid(), libc::SIGSTOP)?;
    let load = load::start(&format!(
        "--vms {VMS} --processes --vmm qemu --name hasty --vcpus 4 --vmpck all --type report \
         --count 4 --busy-retry-ms 0"
    ))?;
    sleep(Duration::from_millis(700));
    agent::signal(attacked.agent.pid(), libc::SIGCONT)?;
    let seen = load.finish()?;
    ensure!(passed(&seen) == 0, "{} reports passed: {:?}", passed(&seen), seen.outcomes);
    let busy = seen.outcomes["5"].get("busy").copied().unwrap_or_default();
    let early = seen.per_vm.iter().filter(|vm| vm.busy > 0).count() as u64;
    ensure!(early >= VMS / 8, "{early} of {VMS} VMs asked before their policies were known");
    ensure!(attacked.reached()? == 0, "{} reached the PSP", attacked.reached()?);
    println!("{busy} times BUSY before {VMS} VMs had their policies");
    attacked.nothing_bypassed()?;
    attacked.end()
}
