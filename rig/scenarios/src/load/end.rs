//! # The end of a load, which it may not reach
//!
//! A guest that hangs, in the gate or in KVM, would otherwise end a boot only by its time limit, and
//! nothing would say which load it was.

use std::{process::Output, sync::mpsc, thread, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::Load;
use crate::{
    agent,
    children::{self, KILL_TIMEOUT},
    host::cmdline,
    hung,
};

/// How long a load may take to end, beyond what it lasts: a multiple of what the slowest takes, and a
/// third of the time that a boot has.
const END_TIMEOUT: Duration = Duration::from_secs(600);

/// What `--seconds` or `--relaunch-for` say, and how long `--count` takes at `--rate`.
pub fn lasts(arguments: &str) -> Duration {
    let value = |option: &str| {
        let mut words = arguments.split_whitespace().skip_while(|word| *word != option);
        words.nth(1)?.parse::<f64>().ok()
    };
    let by_rate = value("--count").zip(value("--rate")).map(|(count, rate)| count / rate);
    let longest = [value("--seconds"), value("--relaunch-for"), by_rate]
        .into_iter()
        .flatten()
        .fold(0.0, f64::max);
    Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX)
}

impl Load {
    /// The same for a load that may fail.
    pub fn end(self) -> Result<Output> {
        // Where the kernel checks each of its steps, and where loads are larger.
        let slow = cmdline()?.split_whitespace().any(|it| matches!(it, "rig.debug" | "rig.long"));
        let limit = self.lasts.saturating_add(END_TIMEOUT * if slow { 2 } else { 1 });
        self.end_within(limit)
    }

    fn end_within(mut self, limit: Duration) -> Result<Output> {
        drop(self.input.take());
        let child = self.child.take().context("it has ended")?;
        let (sender, ended) = mpsc::channel();
        // What hangs in the kernel would keep a reader of its output, too.
        thread::spawn(move || sender.send(child.wait_with_output()));
        if let Ok(output) = ended.recv_timeout(limit) {
            return output.with_context(|| format!("snpload {}", self.arguments));
        }
        let processes = self.processes()?;
        let doing = hung::doing(&processes);
        // Some may have ended since.
        processes.iter().for_each(|pid| drop(agent::signal(*pid, libc::SIGKILL)));
        let left = match ended.recv_timeout(KILL_TIMEOUT) {
            Ok(_) => "was killed",
            Err(_) => "cannot be killed",
        };
        bail!("snpload {} did not end within {limit:?} and {left}: {doing}", self.arguments)
    }
}

/// A failed scenario leaves no load behind.
impl Drop for Load {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Its VMs' processes exit with it.
        let _ = child.kill();
        if children::wait(&mut child, "snpload", KILL_TIMEOUT).is_err() {
            let doing = hung::doing(&self.processes().unwrap_or_default());
            println!("snpload {} cannot be killed: {doing}", self.arguments);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_load_lasts_as_long_as_its_arguments_say() {
        for (arguments, seconds) in [
            ("--vmm qemu --name web --count 5", 0.0),
            ("--seconds 2.5 --rate 4", 2.5),
            ("--count 90 --rate 3", 30.0),
            ("--relaunch-for 30 --count 0 --rate 1", 30.0),
        ] {
            assert_eq!(lasts(arguments), Duration::from_secs_f64(seconds), "{arguments}");
        }
    }

    #[test]
    fn a_load_that_hangs_is_killed_and_named() {
        let mut sleeps = Command::new("sleep");
        let child = sleeps.arg("1000").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("sleep");
        let (pid, arguments, lasts) = (child.id(), "--count 7".to_owned(), Duration::ZERO);
        let load = Load { child: Some(child), pid, input: None, arguments, lasts };
        let error = load.end_within(Duration::from_millis(200)).unwrap_err().to_string();
        assert!(error.starts_with("snpload --count 7 did not end within 200ms"), "{error}");
        assert!(error.contains("was killed: ") && error.contains("sleep"), "{error}");
        assert!(agent::signal(pid, 0).is_err(), "it still runs");
    }
}
