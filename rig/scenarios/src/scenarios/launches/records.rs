//! # What the agent knows of a launch, and what the firmware and the VMM do

use anyhow::{Context as _, Result, ensure};
use guestreq_common::launch::{LAUNCH_STAGE_NAMES, LAUNCH_STAGES};
use serde_json::Value;

use crate::{host, load::LaunchReport, scenarios::launch_load};

/// The agent's record.
#[derive(Clone, Debug)]
pub struct Record {
    pub name: Option<String>,
    pub state: String,
    pub commands: u64,
    pub pages: u64,
    pub duration_ns: u64,
    /// In the order of their names.
    pub stage_ns: [u64; LAUNCH_STAGES],
    /// The command that failed, and its result.
    pub failed: Option<(String, String)>,
}

/// Those that run, then those that have ended, the latest first.
pub fn all() -> Result<Vec<Record>> {
    super::all()?.iter().map(|it| Record::parse(it).with_context(|| it.to_string())).collect()
}

/// Those that finished, in order.
pub fn finished() -> Result<Vec<Record>> {
    let of = |all: Vec<Record>| all.into_iter().rev().filter(|it| it.state == "finished");
    Ok(of(all()?).collect())
}

impl Record {
    fn parse(launch: &Value) -> Result<Record> {
        let text = |key: &str| launch[key].as_str().map(str::to_owned);
        let count = |key: &str| launch[key].as_u64().context("a count");
        let mut stage_ns = [0; LAUNCH_STAGES];
        for (ns, stage) in stage_ns.iter_mut().zip(LAUNCH_STAGE_NAMES) {
            *ns = nanoseconds(&launch["stage_seconds"][stage])?;
        }
        let record = Record {
            name: text("name"),
            state: text("state").context("a state")?,
            commands: count("commands")?,
            pages: count("pages")?,
            duration_ns: nanoseconds(&launch["seconds"])?,
            stage_ns,
            failed: text("failed_command").zip(text("failed_result")),
        };
        let (sum, duration) = (record.stage_ns.iter().sum::<u64>(), record.duration_ns);
        ensure!(record.runs() || sum == duration, "{sum} ns in the stages of {duration} ns");
        Ok(record)
    }

    pub fn runs(&self) -> bool {
        self.state == "running" || self.state == "stalled"
    }

    pub fn service_ns(&self) -> u64 {
        self.stage_ns[1]
    }

    pub fn vmm_ns(&self) -> u64 {
        self.stage_ns[2]
    }

    /// The firmware saw the same. The agent's clocks stop later: the driver waits for its interrupt.
    pub fn is_exactly(&self, firmware: &host::Launch) -> Result<()> {
        let both = || format!("{self:?}, the firmware: {firmware:?}");
        ensure!(self.commands == firmware.commands, "commands: {}", both());
        ensure!(self.pages == firmware.pages, "pages: {}", both());
        ensure!(self.service_ns() >= firmware.busy_ns, "service: {}", both());
        ensure!(self.duration_ns >= firmware.end_ns - firmware.begin_ns, "duration: {}", both());
        Ok(())
    }
}

/// JSON has seconds; a double holds each nanosecond of months.
fn nanoseconds(seconds: &Value) -> Result<u64> {
    Ok((seconds.as_f64().context("seconds")? * 1e9).round() as u64)
}

/// How far the agent's times are from the others', at most; 0.01 is 1 %.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deviation {
    pub launches: usize,
    pub commands: u64,
    pub pages: u64,
    /// The PSP's time of a launch: the agent's is longer than the firmware's.
    pub service: f64,
    /// The same of the launch that was disturbed least. Whatever keeps a thread from the emulated
    /// processor only adds.
    pub least_service: f64,
    /// A launch's duration: the agent's is shorter than the VMM's.
    pub duration: f64,
}

/// Compares launches that all finished, each of a VM with its own name.
pub fn compare(
    records: &[Record],
    firmware: &[host::Launch],
    reports: &[LaunchReport],
) -> Result<Deviation> {
    let counts = [records.len(), firmware.len(), reports.len()];
    ensure!(counts == [counts[0]; 3], "agent, firmware and VMMs have {counts:?} launches");
    // The PSP finishes one after the other, and the agent keeps this order.
    let mut firmware = firmware.to_vec();
    firmware.sort_by_key(|launch| launch.end_ns);
    let mut worst =
        Deviation { launches: counts[0], least_service: f64::INFINITY, ..Deviation::default() };
    for (record, launch) in records.iter().zip(&firmware) {
        record.is_exactly(launch)?;
        ensure!(launch.failed == 0 && record.failed.is_none(), "{record:?}: {launch:?}");
        let report = reports.iter().find(|it| Some(&it.name) == record.name.as_ref());
        let report = report.with_context(|| format!("no VMM has {record:?}"))?;
        ensure!(report.result == "ok" && launch_load::is_within(launch, report), "{report:?}");
        ensure!(record.pages == report.pages + report.vcpus, "{record:?}: {report:?}");
        ensure!(record.duration_ns <= report.duration_ns, "{record:?}: {report:?}");
        worst.commands += record.commands;
        worst.pages += record.pages;
        let service = excess(record.service_ns(), launch.busy_ns);
        worst.service = worst.service.max(service);
        worst.least_service = worst.least_service.min(service);
        worst.duration = worst.duration.max(excess(report.duration_ns, record.duration_ns));
    }
    Ok(worst)
}

fn excess(longer: u64, shorter: u64) -> f64 {
    (longer - shorter) as f64 / shorter.max(1) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(queue: f64) -> Result<Record> {
        Record::parse(&json!({
            "pid": 1, "name": "a", "state": "finished", "commands": 7, "pages": 3, "seconds": 3.5,
            "stage_seconds": { "psp_queue": queue, "psp_service": 2.02, "vmm": 0.48 },
        }))
    }

    fn report(duration_ns: u64) -> LaunchReport {
        let (name, result) = ("a".to_owned(), "ok".to_owned());
        LaunchReport { name, begin_ns: 0, duration_ns, pages: 2, vcpus: 1, result }
    }

    const LAUNCH: host::Launch = host::Launch {
        address: 0x1000,
        commands: 7,
        pages: 3,
        busy_ns: 2_000_000_000,
        begin_ns: 1_000_000,
        end_ns: 3_400_000_000,
        failed: 0,
    };

    #[test]
    fn stages_are_the_duration() {
        assert_eq!(record(1.0).unwrap().stage_ns, [1_000_000_000, 2_020_000_000, 480_000_000]);
        assert!(record(1.000_000_001).is_err());
    }

    #[test]
    fn every_count_and_the_order_of_clocks_is_compared() {
        let agent = [record(1.0).unwrap()];
        let found = compare(&agent, &[LAUNCH], &[report(3_535_000_000)]).unwrap();
        assert!((found.service - 0.01).abs() < 1e-9 && (found.duration - 0.01).abs() < 1e-9);
        let fails = |launch, duration| compare(&agent, &[launch], &[report(duration)]).is_err();
        assert!(fails(LAUNCH, 3_499_999_999), "it cannot be shorter than the agent's");
        assert!(fails(host::Launch { commands: 8, ..LAUNCH }, 3_535_000_000));
        assert!(fails(host::Launch { pages: 4, ..LAUNCH }, 3_535_000_000));
        assert!(fails(host::Launch { busy_ns: 2_020_000_001, ..LAUNCH }, 3_535_000_000));
        assert!(compare(&agent, &[], &[]).is_err());
    }
}
