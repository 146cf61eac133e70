//! # vCPUs run by other threads and processes

use anyhow::{Result, ensure};

use super::{AttackedHost, cue, denied, passed};
use crate::{
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(LIMIT: "attack/limit" = limit,
    "a limit holds, whichever threads and processes run the vCPU");
scenario!(DENIED: "attack/denied" = stays_denied,
    "denied types stay denied, whoever runs the vCPU and under whatever name");
scenario!(FREE: "attack/free_tsc_info" = free,
    "four TSC_INFO pass a limit at each launch, whoever runs the vCPU");
scenario!(SCRIBBLED: "attack/scribbled" = scribbled,
    "a guest that overwrites its pages while processes take turns gets nothing disallowed through");

const RATE: f64 = 5.0;
const BURST: f64 = 2.0;
/// Guests request Secure TSC before they boot: limits do not apply to the first ones of each guest.
const FREE_TSC_INFOS: u64 = 4;

/// Every technique to run as another process, each with its own VM.
fn limit(_: &Context) -> Result<Status> {
    let attacked =
        AttackedHost::start(&format!("limit = {{ rate = \"{RATE}/s\", burst = {BURST} }}\n"))?;
    let mut loads = Vec::new();
    for technique in ["child", "parked", "hops", "fork", "launcher", "leader-exits", "confined"] {
        let load = format!(
            "--vmm qemu --name {technique} --attack {technique} --seconds 2 --busy-retry-ms 50 \
             --busy-give-up-ms 600000"
        );
        loads.push((technique, load::start(&load)?));
    }
    let (mut passed_more, mut all) = (Vec::new(), 0);
    for (technique, load) in loads {
        let seen = load.finish()?;
        let (passed, seconds) = (passed(&seen), seen.elapsed.as_secs_f64());
        let limit = BURST + RATE * seconds + 1.0;
        println!("{technique}: {passed} passed in {seconds:.1} s, {limit:.0} may");
        ensure!(passed as f64 > BURST, "{technique}: only {passed} passed");
        if passed as f64 > limit {
            passed_more.push(format!("{technique}: {passed} passed, the limit is {limit:.0}"));
        }
        all += passed;
    }
    ensure!(passed_more.is_empty(), "{passed_more:?}");
    ensure!(attacked.reached()? == all, "the guests got {all} answers");
    attacked.is_exact()?;
    attacked.end()
}

/// Each VM has sent one allowed report and sends ten more.
fn stays_denied(_: &Context) -> Result<Status> {
    let mut attacked = AttackedHost::start("")?;
    let all = [
        ("bad", "--forge good --attack child"),
        ("stays", "--forge good --attack parked"),
        ("hops", "--forge good --attack hops --vcpus 2 --vmpck all"),
        ("lies", "--forge good"),
        ("lead", "--attack leader-exits"),
        ("confined", "--attack confined"),
    ];
    let mut loads = Vec::new();
    for (name, options) in all {
        loads.push((name, denied(&mut attacked, name, &format!("{options} --count 11"))?));
    }
    let before = attacked.reached()?;
    cue(0)?;
    let mut passed_more = Vec::new();
    for (name, load) in loads {
        let seen = load.finish()?;
        let (passed, first) = (passed(&seen), if name == "hops" { 2 } else { 1 });
        println!("{name}: {} of {} passed", passed - first, seen.requests - first);
        if passed != first {
            passed_more.push(format!("{name}: {} reports passed", passed - first));
        }
    }
    ensure!(passed_more.is_empty(), "{passed_more:?}");
    ensure!(attacked.reached()? == before, "something reached the firmware");
    attacked.is_exact()?;
    attacked.end()
}

fn free(_: &Context) -> Result<Status> {
    let attacked = AttackedHost::start("limit = { rate = \"1/h\", burst = 1, force = true }\n")?;
    let seen = load::run(
        "--vmm qemu --name clocks --attack child --type tsc_info --count 8 --relaunch 2 \
         --busy-retry-ms 5 --busy-give-up-ms 100",
    )?;
    // A new guest has its own burst, of one.
    let (passed, launches) = (passed(&seen), 3);
    ensure!(
        (FREE_TSC_INFOS * launches + 1..=(FREE_TSC_INFOS + 1) * launches).contains(&passed),
        "{passed} passed"
    );
    ensure!(attacked.reached()? == passed, "{}", attacked.reached()?);
    attacked.end()
}

fn scribbled(_: &Context) -> Result<Status> {
    let attacked = AttackedHost::start("limit = { rate = \"20/s\", burst = 5 }\n")?;
    let before = Firmware::read()?;
    let seen = load::run(
        "--vmm qemu --name scribbler --vcpus 2 --vmpck all --type export,report --scribble \
         --attack child --seconds 2 --busy-retry-ms 5 --busy-give-up-ms 20",
    )?;
    let firmware = Firmware::read()?.since(&before).guest_requests as f64;
    // What it scribbles may be TSC_INFO, to which limits do not apply.
    let limit = 5.0 + 20.0 * seen.elapsed.as_secs_f64() + 1.0 + FREE_TSC_INFOS as f64;
    ensure!(firmware <= limit, "{firmware} reached the firmware, the limit is {limit:.0}");
    let outcomes = &seen.outcomes["raced"];
    // The guest may have overwritten each answer before it reads it.
    let denied = attacked.agent.scrape()?.sum("guestreq_requests_total", &[("result", "denied")]);
    ensure!(denied > 0.0, "nothing was denied: {outcomes:?}");
    println!("{firmware} reached the firmware, {limit:.0} may; the guest saw {outcomes:?}");
    attacked.is_exact()?;
    attacked.end()
}
