//! # Launches of the load generator
//!
//! What snpload says of its launches is what the fake firmware saw, so that scenarios can compare
//! the agent's records with either.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guestreq_common::command::{SNP_DECOMMISSION, SNP_LAUNCH_START, SNP_LAUNCH_UPDATE};

use crate::{
    host::{Firmware, Launch, wait_until},
    load::{self, Cue, LaunchReport, Load},
    scenario::{Context, Status, scenario},
};

scenario!(COUNTS: "launch_load/counts" = counts,
    "every launch of snpload has the pages, commands and times that the firmware counted");
scenario!(PAGE_TIME: "launch_load/page_time" = page_time,
    "a page of a launch takes the time that is set for pages");
scenario!(REFUSED_PAGE: "launch_load/refused_page" = refused_page,
    "a launch fails at the page that the firmware refuses");
scenario!(VANISHED: "launch_load/vanished" = vanished,
    "launches that are abandoned, killed or kept waiting go as far as the firmware counted");

/// GCTX_CREATE, LAUNCH_START and ACTIVATE.
const BEGIN: u64 = 3;
pub const LIMIT: Duration = Duration::from_secs(60);

/// The firmware's launch is part of snpload's, which includes KVM's work and the way there.
pub fn is_within(launch: &Launch, report: &LaunchReport) -> bool {
    report.begin_ns <= launch.begin_ns && launch.end_ns <= report.begin_ns + report.duration_ns
}

/// Pairs each report with the firmware's record of the same launch.
fn matched<'a>(
    reports: &'a [LaunchReport],
    firmware: &[Launch],
) -> Result<Vec<(&'a LaunchReport, Launch)>> {
    ensure!(reports.len() == firmware.len(), "{reports:?}, the firmware: {firmware:?}");
    let (mut reports, mut left) = (reports.iter().collect::<Vec<_>>(), firmware.to_vec());
    // Launches of several VMs overlap: the report that ends first has the fewest candidates.
    reports.sort_by_key(|report| report.begin_ns + report.duration_ns);
    left.sort_by_key(|launch| launch.end_ns);
    let pairs = reports.into_iter().map(|report| {
        let at = left.iter().position(|launch| is_within(launch, report));
        let at = at.with_context(|| format!("the firmware did not see {report:?} in {left:?}"))?;
        Ok((report, left.remove(at)))
    });
    pairs.collect()
}

fn counts(_: &Context) -> Result<Status> {
    for (pages, arguments) in [
        (0, "--vms 3 --vcpus 2 --count 1"),
        (256, "--vms 2 --processes --vcpus 2 --relaunch 2 --count 1"),
        (9, "--vms 2 --processes --relaunch-for 1 --count 0"),
    ] {
        let before = Firmware::read()?;
        let seen = load::run(&format!("{arguments} --pages {pages}"))?;
        let after = Firmware::read()?;
        let launches = matched(&seen.launches, &after.launches_since(&before)?)?;
        for (report, launch) in &launches {
            ensure!(report.result == "ok" && report.pages == pages, "{report:?}");
            ensure!(seen.per_vm.iter().any(|vm| vm.name == report.name), "{report:?}");
            let updates = pages + report.vcpus;
            ensure!(launch.pages == updates && launch.failed == 0, "{report:?}: {launch:?}");
            ensure!(launch.commands == BEGIN + updates + 1, "{report:?}: {launch:?}");
            ensure!(launch.busy_ns <= launch.end_ns - launch.begin_ns, "{launch:?}");
        }
        let counted: u64 = launches.iter().map(|(_, launch)| launch.pages).sum();
        let updates = after.since(&before).count(SNP_LAUNCH_UPDATE);
        ensure!(counted == updates, "{counted} pages, {updates} updates");
        ensure!(launches.len() >= 3 && launches.len().is_multiple_of(seen.per_vm.len()));
        println!("{arguments}: {} launches of {pages} pages", launches.len());
    }
    Ok(Status::Passed)
}

fn page_time(_: &Context) -> Result<Status> {
    const PAGE_US: u64 = 2000;
    let before = Firmware::read()?;
    Firmware::set("page_us", PAGE_US)?;
    Firmware::set("jitter_percent", 50)?;
    let seen = load::run("--pages 255")?;
    Firmware::reset()?;
    let slept = Firmware::read()?.since(&before).slept;
    let of = |command| Duration::from_nanos(slept.get(&command).copied().unwrap_or_default());
    // The vCPU's state is one more. The average of 256 random times is near the middle.
    let expected = 256 * Duration::from_micros(PAGE_US);
    ensure!(of(SNP_LAUNCH_UPDATE) >= expected.mul_f64(0.9), "{:?}", of(SNP_LAUNCH_UPDATE));
    ensure!(of(SNP_LAUNCH_START).is_zero(), "LAUNCH_START took {:?}", of(SNP_LAUNCH_START));
    let launch = Duration::from_nanos(seen.launches.first().context("no launch")?.duration_ns);
    ensure!(launch >= of(SNP_LAUNCH_UPDATE), "{launch:?}");
    println!("256 pages of 2 ms: {:?}, the launch {launch:?}", of(SNP_LAUNCH_UPDATE));
    Ok(Status::Passed)
}

fn refused_page(_: &Context) -> Result<Status> {
    for page in [1, 100, 256] {
        Firmware::set("fail_page", page)?;
        let before = Firmware::read()?;
        let seen = load::run("--pages 256 --relaunch 1 --count 3 --may-fail")?;
        let after = Firmware::read()?;
        for (report, launch) in matched(&seen.launches, &after.launches_since(&before)?)? {
            ensure!(report.result == "fw:0x16", "{report:?}");
            ensure!(report.pages == page - 1 && launch.pages == page - 1, "{report:?}: {launch:?}");
            // KVM stops before the page, and snpload asks it to go on.
            ensure!((1..=2).contains(&launch.failed), "{launch:?}");
            ensure!(launch.commands == BEGIN + launch.pages + launch.failed, "{launch:?}");
        }
        ensure!(seen.launches.len() == 2 && seen.requests == 0, "{:?}", seen.launches);
    }
    let output = load::start("--pages 256")?.end()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && error.contains("LAUNCH_UPDATE: fw:0x16"), "{error}");
    Firmware::reset()?;
    ensure!(load::run("--pages 256 --count 3")?.requests == 3);
    Ok(Status::Passed)
}

/// The only launch since then.
pub fn only(before: &Firmware) -> Result<Option<Launch>> {
    let launches = Firmware::read()?.launches_since(before)?;
    ensure!(launches.len() <= 1, "{launches:?}");
    Ok(launches.first().copied())
}

/// Waits until a launch has measured this many pages.
pub fn wait_for_pages(before: &Firmware, pages: u64) -> Result<()> {
    wait_until("some pages are measured", LIMIT, || {
        Ok(only(before)?.is_some_and(|launch| launch.pages >= pages))
    })
}

/// Its VM has gone and its launch ended before LAUNCH_FINISH.
fn assert_vanished(before: &Firmware, pages: std::ops::RangeInclusive<u64>) -> Result<()> {
    wait_until("the guest context has gone", LIMIT, || {
        Ok(Firmware::read()?.since(before).count(SNP_DECOMMISSION) == 1)
    })?;
    let launch = only(before)?.context("no launch")?;
    ensure!(pages.contains(&launch.pages) && launch.failed == 0, "{launch:?}, not {pages:?}");
    ensure!(launch.commands == BEGIN + launch.pages, "{launch:?}");
    Ok(())
}

fn vanished(_: &Context) -> Result<Status> {
    for (step, pages) in [("start", 0), ("update", 128)] {
        let before = Firmware::read()?;
        let seen = load::run(&format!("--pages 256 --abandon {step} --count 3"))?;
        assert_vanished(&before, pages..=pages)?;
        let report = seen.launches.first().context("no launch")?;
        ensure!(report.result == "abandoned" && report.pages == pages, "{report:?}");
        ensure!(seen.requests == 0, "{} requests", seen.requests);
    }
    let cue = Cue::new("vanished");
    let waiting = format!("--vmm qemu --pages 256 --launch-cue {} --count 3", cue.path());
    let before = Firmware::read()?;
    let load = load::start(&waiting)?;
    wait_for_pages(&before, 128)?;
    kill(load)?;
    assert_vanished(&before, 128..=128)?;

    // In the middle of KVM_SEV_SNP_LAUNCH_UPDATE.
    let before = Firmware::read()?;
    Firmware::set("page_us", 20_000)?;
    let load = load::start("--vmm qemu --pages 256 --count 3")?;
    wait_for_pages(&before, 1)?;
    kill(load)?;
    assert_vanished(&before, 1..=127)?;
    Firmware::reset()?;

    let before = Firmware::read()?;
    let load = load::start(&waiting)?;
    wait_for_pages(&before, 128)?;
    cue.give()?;
    let seen = load.finish()?;
    let report = seen.launches.first().context("no launch")?;
    ensure!(report.result == "ok" && report.pages == 256 && seen.requests == 3, "{report:?}");
    ensure!(only(&before)?.is_some_and(|launch| launch.pages == 257));
    Ok(Status::Passed)
}

/// Kills its processes.
pub fn kill(load: Load) -> Result<()> {
    for process in load.processes()? {
        crate::agent::signal(process, libc::SIGKILL)?;
    }
    load.end().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_launches_are_reported_apart() {
        let report = |begin_ns, duration_ns| LaunchReport {
            name: String::new(),
            begin_ns,
            duration_ns,
            pages: 0,
            vcpus: 1,
            result: "ok".to_owned(),
        };
        let launch = |begin_ns, end_ns| Launch { begin_ns, end_ns, ..Launch::default() };
        let reports = [report(2, 12), report(0, 10)];
        let firmware = [launch(1, 9), launch(3, 11)];
        let pairs = matched(&reports, &firmware).unwrap();
        let ends: Vec<_> = pairs.iter().map(|(r, l)| (r.begin_ns, l.begin_ns)).collect();
        assert_eq!(ends, [(0, 1), (2, 3)]);
        assert!(matched(&reports, &[launch(1, 9), launch(3, 15)]).is_err());
        assert!(matched(&reports, &firmware[..1]).is_err());
    }
}
