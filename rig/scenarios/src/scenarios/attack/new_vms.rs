//! # New VMs while the agent writes their policies

use anyhow::{Result, ensure};

use super::{AttackedHost, passed};
use crate::{
    load,
    scenario::{Context, Status, scenario},
};

scenario!(long HASTY: "attack/hasty" = hasty,
    "a new VM that repeats on BUSY without a pause gets nothing past a rule that is stricter than the default");

/// Each VM's vCPU asks all the time at which the agent writes its policy. So many that the agent would
/// not get a CPU in time if it were not preferred: once its heartbeat is 3 s old, new VMs get the default.
fn hasty(_: &Context) -> Result<Status> {
    const VMS: u64 = 96;
    let strict = "max_vms = 256\n[[vm]]\nmatch = { name = \"hasty-*\" }\nallow = [\"key\"]\n";
    let attacked = AttackedHost::start(strict)?;
    let seen = load::run(&format!(
        "--vms {VMS} --processes --vmm qemu --name hasty --vcpus 1 --type report \
         --count 4 --busy-retry-ms 0"
    ))?;
    ensure!(passed(&seen) == 0, "{} reports passed: {:?}", passed(&seen), seen.outcomes);
    let busy = seen.outcomes["5"].get("busy").copied().unwrap_or_default();
    let early = seen.per_vm.iter().filter(|vm| vm.busy > 0).count() as u64;
    ensure!(attacked.reached()? == 0, "{} reached the PSP", attacked.reached()?);
    println!("{busy} times BUSY before {early} of {VMS} VMs had their policies");
    attacked.nothing_bypassed()?;
    attacked.end()?;
    // Where the agent is faster than launches there was no race.
    Ok(if early == 0 {
        Status::Skipped("no VM asked before its policy was known")
    } else {
        Status::Passed
    })
}
