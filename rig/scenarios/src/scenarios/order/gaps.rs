//! # How long the PSP has no command
//!
//! The kernel's own trace of ccp, with and without the gate's order.

use std::fs;

use anyhow::{Context as _, Result};

const TRACING: &str = "/sys/kernel/tracing";

fn write(file: &str, text: &str) -> Result<()> {
    let path = format!("{TRACING}/{file}");
    fs::write(&path, text).with_context(|| format!("{path} = {text:?}"))
}

/// Traces the function that gives a command to the PSP and waits for its end; until dropped.
pub struct Trace;

impl Trace {
    pub fn start() -> Result<Trace> {
        let function = "__sev_do_cmd_locked";
        write("kprobe_events", &format!("p:begins {function}\nr:ends {function}\n"))?;
        write("events/kprobes/enable", "1")?;
        Ok(Trace)
    }

    pub fn clear(&self) -> Result<()> {
        write("trace", "")
    }

    /// From the end of each command to the begin of the next one, in µs.
    pub fn gaps(&self) -> Result<Vec<f64>> {
        let text = fs::read_to_string(format!("{TRACING}/trace")).context("trace")?;
        Ok(gaps(&text))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // The boot ends soon if this fails.
        let _ = write("events/kprobes/enable", "0");
        let _ = write("kprobe_events", "");
    }
}

/// Lines `TASK [CPU] FLAGS SECONDS: EVENT: …`, where a task's name may contain anything.
fn gaps(trace: &str) -> Vec<f64> {
    let mut ended = None;
    let mut gaps = Vec::new();
    for line in trace.lines() {
        for (event, ends) in [(": begins: ", false), (": ends: ", true)] {
            let Some((before, _)) = line.split_once(event) else { continue };
            let time = before.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok());
            let Some(time) = time else { continue };
            if ends {
                ended = Some(time);
            } else {
                gaps.extend(ended.take().map(|ended| (time - ended) * 1e6));
            }
        }
    }
    gaps
}

/// Sorts, and returns the median, the 90th and the 99th percentile.
pub fn quantiles(gaps: &mut [f64]) -> Result<[f64; 3]> {
    gaps.sort_by(f64::total_cmp);
    let last = gaps.len().checked_sub(1).context("no command was traced")?;
    Ok([50, 90, 99].map(|percent| gaps[last * percent / 100]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_between_commands() {
        let trace = "# tracer: nop\n\
             exe: 1-101 [001] d.... 7.000100: ends: (a+0x1/0x2 <- b)\n\
             exe-102 [000] d.... 7.000350: begins: (b+0x0/0x3)\n\
             exe-102 [000] d.... 7.008000: ends: (a+0x1/0x2 <- b)\n\
             exe-101 [001] d.... 7.009000: begins: (b+0x0/0x3)\n";
        let mut gaps = gaps(trace);
        assert_eq!(gaps.iter().map(|us| us.round()).collect::<Vec<_>>(), [250.0, 1000.0]);
        assert!(quantiles(&mut gaps).unwrap()[0] < 251.0);
        assert!(quantiles(&mut []).is_err());
    }
}
