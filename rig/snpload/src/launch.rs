//! # Launches
//!
//! How VMs are launched, and what became of each launch.

use std::ops::Range;
use std::path::PathBuf;
use std::{fmt, io};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// The status that ccp passes on if the firmware was not asked, SEV_RET_NO_FW_CALL.
const NO_FIRMWARE_CALL: u32 = u32::MAX;

/// How a process launches its VMs.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
pub struct LaunchOptions {
    /// Pages of 4 KiB that each launch measures: 256 are 1 MiB of firmware, which the VM occupies
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub pages: u32,
    /// When done, replace the VMs by new ones in the same process, this many times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub relaunch: u32,
    /// The same, for this many seconds
    #[arg(long, value_name = "S", conflicts_with = "relaunch")]
    pub relaunch_for: Option<f64>,
    /// Failed launches before each launch: refused by KVM, refused by the PSP, and not finished, in
    /// turn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub failed_launches: u32,
    /// Close each VM before its launch is finished
    #[arg(long, value_name = "AFTER")]
    pub abandon: Option<Abandon>,
    /// Leave abandoned VMs open until the process ends
    #[arg(long, requires = "abandon")]
    pub leave_open: bool,
    /// Wait for this file when half of a launch's pages are measured
    #[arg(long, value_name = "FILE")]
    pub launch_cue: Option<PathBuf>,
    /// Go on when a launch fails
    #[arg(long)]
    pub may_fail: bool,
}

/// The last step of a launch that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Abandon {
    /// After KVM_SEV_SNP_LAUNCH_START
    Start,
    /// When half of the pages are measured
    Update,
}

impl LaunchOptions {
    /// The pages that are measured before the cue or the end of an abandoned launch.
    pub fn first_half(&self) -> Range<u32> {
        0..self.pages / 2
    }

    pub fn second_half(&self) -> Range<u32> {
        self.pages / 2..self.pages
    }
}

/// What became of a launch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchReport {
    pub name: String,
    /// CLOCK_MONOTONIC before KVM_SEV_SNP_LAUNCH_START, which creates the guest context
    pub begin_ns: u64,
    /// from then to the end of KVM_SEV_SNP_LAUNCH_FINISH or the last step before
    pub duration_ns: u64,
    /// measured by KVM_SEV_SNP_LAUNCH_UPDATE, without the vCPUs' state
    pub pages: u32,
    pub vcpus: u32,
    /// ok, abandoned, fw:0x16 (the firmware's status), errno:22 (KVM's)
    pub result: String,
}

/// KVM or the firmware refused a step.
#[derive(Debug)]
pub struct Refused {
    step: &'static str,
    outcome: Outcome,
}

impl Refused {
    /// By the ioctl's errno and the status that KVM passes on.
    pub fn new(step: &'static str, errno: i32, status: u32) -> Self {
        let outcome = match status {
            0 | NO_FIRMWARE_CALL => Outcome::Errno(errno),
            status => Outcome::Firmware(status),
        };
        Self { step, outcome }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.outcome {
            Outcome::Errno(errno) => {
                write!(f, "{}: {}", self.step, io::Error::from_raw_os_error(errno))
            }
            outcome => write!(f, "{}: {}", self.step, outcome.key()),
        }
    }
}

impl std::error::Error for Refused {}

/// A launch's end: Some if it finished, None if it was abandoned, as `--abandon` asks.
pub type Launched<T> = Result<Option<T>, Refused>;

pub fn result<T>(launched: &Launched<T>) -> String {
    match launched {
        Ok(Some(_)) => "ok".into(),
        Ok(None) => "abandoned".into(),
        Err(refused) => refused.outcome.key(),
    }
}

/// CLOCK_MONOTONIC, as the kernel's and the agent's clocks.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime() fills in one timespec, which outlives it; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_has_the_result_of_the_step_that_was_refused() {
        let refused = |errno, status| result::<()>(&Err(Refused::new("step", errno, status)));
        assert_eq!(result(&Ok(Some(()))), "ok");
        assert_eq!(result::<()>(&Ok(None)), "abandoned");
        assert_eq!(refused(libc::EIO, 0x16), "fw:0x16");
        assert_eq!(refused(libc::EINVAL, 0), "errno:22");
        assert_eq!(refused(libc::EBUSY, u32::MAX), "errno:16");
    }

    #[test]
    fn an_error_names_the_step() {
        assert_eq!(Refused::new("START", libc::EIO, 7).to_string(), "START: fw:0x7");
        let text = Refused::new("START", libc::EINVAL, 0).to_string();
        assert!(text.starts_with("START: Invalid argument"), "{text}");
    }

    #[test]
    fn time_passes() {
        let before = monotonic_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(monotonic_ns() >= before + 2_000_000);
    }
}
