//! # The gate comes and goes
//!
//! What it keeps from changing while it is loaded, and how it is removed under load.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::{
    doctor,
    gate::{ensure_all, outcomes},
};
use crate::{
    agent::signal,
    answer::{Answer, Answering},
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const FTRACE: Scenario = Scenario {
    name: "ftrace_cannot_be_switched_off_while_the_gate_is_loaded",
    check: ftrace_stays_on,
};
pub const LOADED_TWICE: Scenario =
    Scenario { name: "a_second_gate_is_refused_and_the_first_goes_on", check: loaded_twice };
pub const LIVE_PATCH: Scenario = Scenario {
    name: "a_live_patch_of_the_gate_s_function_and_the_gate_keep_each_other_out_and_doctor_says_so",
    check: live_patch,
};
pub const PINS: Scenario = Scenario {
    name: "the_gate_keeps_kvm_and_ccp_in_place_and_lets_kvm_amd_come_and_go",
    check: pins,
};
pub const UNLOADED_UNDER_LOAD: Scenario = Scenario {
    name: "the_gate_can_be_removed_while_sixteen_vms_wait_for_a_slow_psp",
    check: unloaded_under_load,
};
pub const UNLOADED_WHILE_BUSY: Scenario = Scenario {
    name: "the_gate_can_be_removed_while_it_turns_guests_away_and_none_reads_its_magic",
    check: unloaded_while_busy,
};

fn ftrace_stays_on(_: &Context) -> Result<Outcome> {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    let gate = Gate::load(&[])?;
    let refused = fs::write(SWITCH, "0");
    let errno = refused.err().and_then(|error| error.raw_os_error());
    // Linux 7 does not let anybody switch it off any more.
    let refusals = [Some(libc::EBUSY), Some(libc::EOPNOTSUPP)];
    ensure!(refusals.contains(&errno), "switching ftrace off: {errno:?}");
    ensure!(fs::read_to_string(SWITCH)?.trim() == "1", "ftrace is off");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Outcome::Kept)
}

fn loaded_twice(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    let file = gate.get("file")?;
    let Err(error) = host::insmod("guestreq_gate", &[]) else {
        bail!("loaded twice");
    };
    ensure!(format!("{error:#}").contains("exists"), "{error:#}");
    ensure!(gate.get("file")? == file, "the gate's file has changed");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Outcome::Kept)
}

/// Whoever comes second is told, and the first goes on.
fn live_patch(_: &Context) -> Result<Outcome> {
    const MODULE: &str = "rig_livepatch";
    const ENABLED: &str = "/sys/kernel/livepatch/rig_livepatch/enabled";
    let gate = Gate::load(&[])?;
    let Err(error) = host::insmod(MODULE, &[]) else { bail!("it took the gate's place") };
    ensure!(format!("{error:#}").contains("busy"), "{error:#}");
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    gate.remove()?;

    host::insmod(MODULE, &[])?;
    let Err(error) = Gate::load(&[]) else { bail!("the gate took a live patch's place") };
    ensure!(format!("{error:#}").contains("busy"), "{error:#}");
    let report = doctor::Report::of_enforcing_host()?;
    let found = "rig_livepatch patches sev_issue_cmd_external_user, which the gate hooks";
    report.says("gate_livepatch", "fail", found)?;
    // As doctor says.
    report.says("gate_livepatch", "fail", &format!("echo 0 > {ENABLED}"))?;
    fs::write(ENABLED, "0").context(ENABLED)?;
    wait_until("the live patch is gone", Duration::from_secs(60), || Ok(!fs::exists(ENABLED)?))?;
    host::rmmod(MODULE)?;
    Gate::load(&[])?.remove()?;
    Ok(Outcome::Kept)
}

fn pins(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    host::rmmod("kvm_amd")?;
    for module in ["kvm", "ccp"] {
        ensure!(host::rmmod(module).is_err(), "{module} went from under the gate");
    }
    host::insmod("kvm-amd", &[])?;
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    gate.remove()?;

    for module in ["kvm_amd", "kvm", "ccp"] {
        host::rmmod(module)?;
    }
    for module in ["ccp", "kvm"] {
        ensure!(Gate::load(&[]).is_err(), "the gate was loaded without {module}");
        host::insmod(module, &[])?;
    }
    // It does not need kvm_amd.
    let gate = Gate::load(&[])?;
    host::insmod("kvm-amd", &[])?;
    Firmware::reset()?;
    ensure_all(&load::run("--count 3")?, "ok", 3)?;
    ensure!(gate.counts()?.unanswered == 3, "{:?}", gate.counts()?);
    Ok(Outcome::Kept)
}

fn unloaded_under_load(context: &Context) -> Result<Outcome> {
    let rounds = if context.long { 200 } else { 6 };
    let before = Firmware::read()?;
    let mut load = load::start("--vms 16 --processes --seconds 3600 --start-together")?;
    let mut asked = 0;
    for round in 0..rounds {
        // With the second time the queue outlasts all that the kernel itself waits for.
        Firmware::set("latency_us", if round % 2 == 0 { 3000 } else { 100_000 })?;
        let gate = Gate::load(&[])?;
        wait_until("the gate was asked", Duration::from_secs(60), || {
            ensure!(load.is_running()?, "the load ended in round {round}");
            Ok(gate.counts()?.unanswered >= 17)
        })?;
        asked += gate.counts()?.sum();
        gate.remove()?;
    }
    signal(load.pid(), libc::SIGTERM)?;
    let seen = load.finish()?;
    Firmware::reset()?;
    ensure_all(&seen, "ok", seen.requests)?;
    let sent = Firmware::read()?.since(&before).guest_requests;
    ensure!(sent == seen.requests, "{sent} at the PSP, {} from guests", seen.requests);
    println!("{sent} requests, {asked} of them asked about, the gate removed {rounds} times");
    Ok(Outcome::Kept)
}

/// A guest that reads the magic has lost its key: it takes it for a firmware error. To have some
/// between magic and BUSY, their VMM is stopped while the gate is removed.
fn unloaded_while_busy(context: &Context) -> Result<Outcome> {
    let rounds = if context.long { 200 } else { 12 };
    let before = Firmware::read()?;
    let _turning_away = Answering::with(Answer::Busy)?;
    let mut load = load::start(
        "--vms 16 --seconds 3600 --start-together --busy-retry-ms 1 --busy-give-up-ms 3600000",
    )?;
    for round in 0..rounds {
        let gate = Gate::load(&[])?;
        wait_until("guests were turned away", Duration::from_secs(60), || {
            ensure!(load.is_running()?, "the load ended in round {round}");
            Ok(gate.counts()?.busy >= 50)
        })?;
        signal(load.pid(), libc::SIGSTOP)?;
        let removed = thread::spawn(|| gate.remove());
        wait_until("the hook is gone", Duration::from_secs(60), || {
            let hooked = fs::read_to_string("/sys/kernel/tracing/enabled_functions")?;
            Ok(!hooked.contains("sev_issue_cmd_external_user"))
        })?;
        // It waits two seconds for them.
        thread::sleep(Duration::from_millis(700));
        signal(load.pid(), libc::SIGCONT)?;
        removed.join().map_err(|_| anyhow!("rmmod panicked"))??;
    }
    signal(load.pid(), libc::SIGTERM)?;
    let seen = load.finish()?;
    let outcomes = outcomes(&seen);
    let names: Vec<&str> = outcomes.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["busy", "ok"], "{outcomes:?}");
    let sent = Firmware::read()?.since(&before).guest_requests;
    ensure!(Some(&("ok".into(), sent)) == outcomes.last(), "{sent} at the PSP, {outcomes:?}");
    println!("{outcomes:?}, the gate removed {rounds} times");
    Ok(Outcome::Kept)
}
