//! # A process with several guests, at once or in turn

use anyhow::{Result, ensure};

use super::{AttackedHost, STEP_TIMEOUT, answered, cue, denied, no_cue, passed};
use crate::{
    agent::cli,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(SEVERAL: "attack/several_contexts" = several,
    "each VM of a process has its own record, label and limiter");
scenario!(RESET: "attack/reset" = reset,
    "a VM that is reset within its process keeps its overrides");
scenario!(BURST: "attack/burst" = burst, "a new burst costs a VMM a launch");
scenario!(REUSE: "attack/address_reuse" = reuse,
    "a guest that gets another one's context address inherits nothing");

/// A shared limiter would admit two requests in total.
fn several(_: &Context) -> Result<Status> {
    const VMS: u64 = 5;
    let attacked = AttackedHost::start("limit = { rate = \"5/m\", burst = 2 }\n")?;
    let seen = load::run(&format!(
        "--vmm qemu --name many --contexts {VMS} --seconds 2 --busy-retry-ms 20 \
         --busy-give-up-ms 200"
    ))?;
    let passed = passed(&seen);
    let limit = VMS as f64 * (2.0 + 5.0 / 60.0 * seen.elapsed.as_secs_f64() + 1.0);
    println!("{passed} passed: {:?}", answered(&attacked.agent.scrape()?));
    ensure!(passed >= 2 * VMS, "only {passed} passed: they share a limiter");
    ensure!(passed as f64 <= limit, "{passed} passed, {limit:.0} may");
    ensure!(attacked.reached()? == passed, "{}", attacked.reached()?);
    attacked.is_exact()?;
    attacked.end()
}

fn reset(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start("keep_exited_vms = \"1d\"\n")?;
    // Set by command while its first guest runs.
    let load = denied(&mut attacked, "reborn", "--relaunch 3 --count 4")?;
    cue(0)?;
    let seen = load.finish()?;
    ensure!(passed(&seen) == 1, "{} of 16 passed: {:?}", passed(&seen), seen.outcomes);
    attacked.host.exact(&attacked.agent)?;
    let counted = answered(&attacked.agent.scrape()?);
    ensure!(counted.values().sum::<u64>() == 1, "{counted:?}");
    attacked.end()
}

/// It costs neither a process nor a thread, but a launch by the PSP.
fn burst(_: &Context) -> Result<Status> {
    const BURST: u64 = 3;
    let attacked = AttackedHost::start(&format!(
        "limit = {{ rate = \"1/h\", burst = {BURST}, force = true }}\n"
    ))?;
    let options = "--type report --count 5 --relaunch 3 --busy-retry-ms 5 --busy-give-up-ms 50";
    let mut passed = 0;
    for technique in ["child", "hops"] {
        let seen =
            load::run(&format!("--vmm qemu --name {technique} --attack {technique} {options}"));
        passed += super::passed(&seen?);
    }
    let contexts = Firmware::read()?.since(&attacked.before).contexts;
    let launches: u64 = contexts.values().map(|(launches, _)| launches).sum();
    println!("{passed} passed with {launches} launches, bursts of {BURST}");
    ensure!(launches == 8 && passed >= 2 * BURST, "{launches} launches, {passed} passed");
    ensure!(passed <= BURST * launches, "{passed} passed, {launches} launches, bursts of {BURST}");
    ensure!(attacked.reached()? == passed, "{}", attacked.reached()?);
    attacked.host.exact(&attacked.agent)?;
    attacked.end()
}

/// The allocator reuses freed pages. Each round launches a guest that may send reports and one that
/// may not, until addresses have been reused a few times.
fn reuse(_: &Context) -> Result<Status> {
    const ROUNDS: usize = 10;
    const MOST: usize = 100;
    const AGAIN: usize = 3;
    let attacked = AttackedHost::start(
        "keep_exited_vms = \"1d\"\n[[vm]]\nmatch = { name = \"strict\" }\nallow = [\"key\"]\n",
    )?;
    let (mut rounds, mut again) = (0, 0);
    while rounds < ROUNDS || again < AGAIN {
        ensure!(rounds < MOST, "{again} addresses came back in {rounds} rounds");
        ensure!(passed(&load::run("--vmm qemu --name free --count 2")?) == 2, "round {rounds}");
        let seen = load::run("--vmm qemu --name strict --type report,key --count 2")?;
        ensure!(passed(&seen) == 1, "round {rounds}: strict: {:?}", seen.outcomes);
        rounds += 1;
        again = 2 * rounds - Firmware::read()?.since(&attacked.before).contexts.len();
    }
    println!("{again} of {} guests had an address that another one had had", 2 * rounds);
    attacked.is_exact()?;
    attacked.end()
}

scenario!(UNSEEN: "attack/unseen_launch" = unseen,
    "a guest whose launch was not observed keeps the identity it had when first observed");

/// Its name counts when it is first observed, not later. Its processes keep running, so that one
/// can be observed.
fn unseen(_: &Context) -> Result<Status> {
    const RULES: &str = "allow = [\"tsc_info\"]\n\
        [[vm]]\nmatch = { name = \"first\" }\nallow = [\"report\"]\n\
        [[vm]]\nmatch = { name = \"second\" }\nallow = [\"report\", \"key\"]\n";
    let launched = Firmware::read()?.contexts;
    no_cue();
    let load = load::start(
        "--vmm qemu --name born --cue /tmp/cue --attack parked --forge first,second \
         --type report,key --seconds 3600 --rate 20 --busy-retry-ms 20",
    )?;
    wait_until("the guest is launched", STEP_TIMEOUT, || {
        Ok(Firmware::read()?.contexts != launched)
    })?;
    let host = super::takeover::Host::fresh(RULES)?;
    let mut agent = super::takeover::start(&[])?;
    cue(0)?;
    agent.wait_until("it is known by its first name", |metrics| {
        metrics.sum("guestreq_requests_total", &[("vm", "first"), ("result", "ok")]) >= 3.0
    })?;
    cue(1)?;
    let reports = host.firmware()?.guest_requests;
    wait_until(
        "it continues",
        STEP_TIMEOUT,
        || Ok(host.firmware()?.guest_requests > reports + 10),
    )?;
    let seen = load.stop()?;
    let keys = seen.outcomes["3"].get("ok");
    ensure!(keys.is_none(), "{keys:?} keys passed under another name");
    ensure!(agent.scrape()?.values("guestreq_vm_info", "vm") == ["first"], "{}", cli(&["vms"])?);
    host.exact(&agent)?;
    no_cue();
    host.end(agent)?;
    Ok(Status::Passed)
}
