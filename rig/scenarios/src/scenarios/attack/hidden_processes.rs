//! # Processes that the agent cannot read

use std::{fs, io, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Result, ensure};

use super::{
    super::takeover::{CONFIG, Host},
    AttackedHost, passed,
};
use crate::{
    agent::Agent,
    host::{Firmware, run_command},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(VANISH: "attack/exited_processes" = vanish,
    "VMs whose process has exited before it could be read get the default policy and are counted");
scenario!(HIDDEN: "attack/hidden" = hidden,
    "VMs whose processes /proc hides from the agent get the default policy and are counted");
scenario!(night HIDEPID: "attack/hidepid" = hidepid,
    "with /proc mounted with hidepid the agent still identifies VMs");
scenario!(night HIDDEN_LONG: "attack/hidden_long" = hidden_long,
    "threads that /proc hides while they wait for the PSP keep their decisions");

const STRICT: &str = "[[vm]]\nmatch = { name = \"strict\" }\nallow = [\"key\"]\n";

/// VMs whose launcher has exited, or that exit after a request.
fn vanish(_: &Context) -> Result<Status> {
    let attacked = AttackedHost::start("keep_exited_vms = \"1d\"\nallow = [\"report\"]\n")?;
    let mut sent = 0;
    for round in 0..4 {
        let ghosts = format!("--vmm qemu --vms 4 --name ghost{round} --attack launcher --forge x");
        let brief = format!("--vmm qemu --vms 4 --name brief{round}");
        let loads = [ghosts, brief].map(|load| {
            load::start(&format!("{load} --type report,export --count 2 --busy-retry-ms 5"))
        });
        for load in loads {
            let seen = load?.finish()?;
            ensure!(passed(&seen) == 4, "round {round}: {:?}", seen.outcomes);
            sent += passed(&seen);
        }
    }
    ensure!(attacked.reached()? == sent, "{} of {sent}", attacked.reached()?);
    attacked.is_exact()?;
    attacked.end()
}

/// hidepid=2 hides them from all but the mount's group, which is root.
fn hidepid(_: &Context) -> Result<Status> {
    while_hidden(2, |mut attacked| {
        let seen = load::run("--vmm qemu --name strict --type report,key --count 10")?;
        ensure!(passed(&seen) == 5, "{:?}", seen.outcomes);
        attacked.wait_for_requests("strict", 5.0)?;
        attacked.is_exact()?;
        attacked.end()
    })
}

/// hidepid=4 hides them from all that may not trace them; the documented capabilities do not
/// suffice.
fn hidden(_: &Context) -> Result<Status> {
    while_hidden(4, |attacked| {
        let seen = load::run("--vmm qemu --name strict --type report,export --count 10")?;
        ensure!(passed(&seen) == 5, "{:?}", seen.outcomes);
        attacked.is_exact()?;
        attacked.end()
    })
}

/// Longer than the agent's interval for reclaiming exited threads.
fn hidden_long(_: &Context) -> Result<Status> {
    while_hidden(4, |attacked| {
        Firmware::set("latency_us", 300_000)?;
        // One has the PSP; the others were admitted and queue for it.
        let seen = load::run("--vmm qemu --vms 4 --name web --type report --seconds 13");
        Firmware::reset()?;
        ensure!(passed(&seen?) > 0, "nothing passed");
        attacked.nothing_bypassed()?;
        attacked.is_exact()?;
        attacked.end()
    })
}

/// Runs an agent with few capabilities and a procfs that hides others' processes from it.
fn while_hidden(how: u32, check: impl FnOnce(AttackedHost) -> Result<Status>) -> Result<Status> {
    // Debian's kernels need more capabilities if this is 3.
    fs::write("/proc/sys/kernel/perf_event_paranoid", "2")?;
    let host = Host::fresh(STRICT)?;
    let mount =
        |how: u32| run_command("mount", &["-o", &format!("remount,hidepid={how}"), "/proc"]);
    mount(how)?;
    let mut command = Command::new("/bin/guestreq");
    let agent =
        Agent::start_command(with_few_capabilities(command.args(["agent", "--config", CONFIG])));
    let result =
        agent.and_then(|agent| check(AttackedHost { host, agent, before: Firmware::read()? }));
    mount(0)?;
    result
}

/// CAP_SYS_NICE, CAP_SYSLOG, CAP_PERFMON and CAP_BPF
const FEW: [i32; 4] = [23, 34, 38, 39];

fn with_few_capabilities(command: &mut Command) -> &mut Command {
    let drop_others = || {
        for capability in (0..=40).filter(|capability| !FEW.contains(capability)) {
            // SAFETY: no memory is passed.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: nothing but system calls without memory.
    unsafe { command.pre_exec(drop_others) }
}
