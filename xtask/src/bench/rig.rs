//! # Measurements in the rig
//!
//! A part is a boot. Its figures are JSON objects on lines that start with `BENCH`.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::rig::boot::{Boot, Event, Host};
use crate::rig::console::{Console, Status};
use crate::{project, setup};

const LIMIT: Duration = Duration::from_secs(1800);
const LONG_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// The part whose guest counts instructions instead of time.
pub const INSTRUCTIONS: &str = "instructions";

/// Boots and returns the figures, and why some are missing.
pub fn measure(
    host: &setup::Rig,
    part: &str,
    memory_mib: u32,
    long: bool,
) -> Result<(Vec<Value>, Option<String>)> {
    let kernel = host.kernels.last().context("no kernel")?;
    let mut cmdline = format!("rig.run=bench rig.only={part}");
    if long {
        cmdline += " rig.long";
    }
    println!("  {:<9}{part} on {}", "measure", kernel.0.abi);
    let path = project::logs().join(format!("{}-bench-{part}.log", kernel.0.abi));
    let mut log =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let (mut console, mut measured) = (Console::default(), Vec::new());
    let until = Instant::now() + if long { LONG_LIMIT } else { LIMIT };
    let mut guest = Boot {
        cmdline,
        memory_mib,
        forward: Vec::new(),
        counts_instructions: part == INSTRUCTIONS,
        host: Host::Rig(Vec::new()),
        rig: host,
        kernel,
    }
    .start()?;
    // What was measured until then is not lost.
    let ended = loop {
        match guest.next(Some(until)) {
            Ok(Event::Line(line)) => {
                writeln!(log, "{line}")
                    .with_context(|| format!("cannot write {}", path.display()))?;
                match figure(&line) {
                    Ok(figure) => measured.extend(figure),
                    Err(error) => break Some(format!("{error:#}")),
                }
                console.line(&line);
            }
            Ok(Event::PoweredOff) => break None,
            Ok(Event::Deadline) => break Some("it ran into its time limit".to_owned()),
            Err(error) => break Some(format!("{error:#}")),
        }
    };
    let fault = ended.or_else(|| fault(&console));
    Ok((measured, fault.map(|fault| format!("{fault}; see {}", path.display()))))
}

fn figure(line: &str) -> Result<Option<Value>> {
    let Some(json) = line.strip_prefix("BENCH ") else { return Ok(None) };
    serde_json::from_str(json).map(Some).with_context(|| format!("not JSON: {line}"))
}

fn fault(console: &Console) -> Option<String> {
    let failed = console.reports.iter().find(|report| report.status == Status::Failed);
    if let Some(report) = failed {
        return Some(report.detail.clone());
    }
    if let Some(line) = console.trouble() {
        return Some(format!("kernel: {line}"));
    }
    (!console.done).then(|| "the guest ended too early".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_other_console_lines() {
        assert_eq!(figure("[    4.2] BENCH {").unwrap(), None);
        assert_eq!(figure(r#"BENCH {"a":1.5}"#).unwrap().unwrap()["a"], 1.5);
        assert!(figure("BENCH {\"a\":").is_err(), "cut off");
    }

    #[test]
    fn a_failed_part_says_why() {
        let read = |lines: &[&str]| {
            let mut console = Console::default();
            for line in lines {
                console.line(line);
            }
            fault(&console)
        };
        assert_eq!(read(&["RIG: ok cost", "RIG: done 1"]), None);
        assert_eq!(read(&["RIG: ok cost"]).unwrap(), "the guest ended too early");
        assert_eq!(read(&["RIG: FAILED cost: no room", "RIG: done 1"]).unwrap(), "no room");
    }
}
