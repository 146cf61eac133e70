//! # guestreq top

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;

use super::socket;
use crate::top;

/// Show VMs, requests, latencies and the PSP live
#[derive(clap::Args)]
#[command(after_help = "\
Keys: arrows or j k select a VM, Enter shows its details, / filters, s sorts, p pauses, ? shows help, \
q quits. Without a terminal use `guestreq vms -o json`. NO_COLOR=1 disables colours.

Example: guestreq top --interval 500ms")]
pub struct Args {
    /// Refresh interval, 200ms to 1min
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Panic once the screen is drawn
    #[arg(long, hide = true)]
    panic: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let Args { interval, socket: given, panic } = self;
        top::run(top::Options { socket: socket(given), interval, panic })
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(200)..=Duration::from_secs(60);
    match humantime::parse_duration(text) {
        Ok(interval) if allowed.contains(&interval) => Ok(interval),
        Ok(_) => Err("out of range: allowed are 200ms to 1min".to_owned()),
        Err(_) => Err("not a duration such as 500ms, 1s or 1min".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_bounded() {
        for text in ["200ms", "1s", "1min"] {
            assert!(interval(text).is_ok(), "{text}");
        }
        for text in ["199ms", "0s", "61s", "", "1", "x"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
