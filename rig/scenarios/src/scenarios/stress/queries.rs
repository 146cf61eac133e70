//! # Root's queries
//!
//! One query after the other while an agent is up. The emulator has one thread for everything and
//! shares its processor, so absolute times mean nothing: answers are compared with a baseline,
//! `guestreq --version`, which needs no agent, and with those of an idle agent in the same boot.
//! The command line's own deadlines hold as well. Times are printed.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::{
        PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Shared, round::STEP_TIMEOUT};
use crate::{
    agent::{self, cli, json},
    scenarios::faults::readers::SOCKET,
};

/// A command that does not contact the agent.
const BASELINE: &str = "baseline";

/// By how much the median answer may slow down compared with an idle agent, beyond the baseline's
/// slowdown.
const MEDIAN: f64 = 5.0;
/// The permitted ratio of the worst answer to the baseline's worst.
const WORST: f64 = 20.0;

type Query = fn(&Shared) -> Result<()>;

const QUERIES: [(&str, Query); 6] = [
    (BASELINE, |_| cli(&["--version"]).map(drop)),
    ("vms", vms),
    ("status", status),
    ("healthz", health),
    ("policy show", policy),
    ("limit set", limit),
];

/// Latencies by query.
#[derive(Default)]
pub struct Latencies(BTreeMap<&'static str, Vec<Duration>>);

pub fn run(shared: &Shared) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    while !shared.is_over() {
        latencies.run_all(shared)?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(latencies)
}

impl Latencies {
    /// With an idle agent.
    pub fn at_rest(shared: &Shared) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..10 {
            latencies.run_all(shared).context("at rest")?;
        }
        Ok(latencies)
    }

    fn run_all(&mut self, shared: &Shared) -> Result<()> {
        for (name, query) in QUERIES {
            let _up = shared.up.read().unwrap_or_else(PoisonError::into_inner);
            if name == "limit set" && shared.disk_hangs.load(Ordering::Relaxed) {
                continue;
            }
            let begin = Instant::now();
            query(shared).with_context(|| name.to_owned())?;
            self.0.entry(name).or_default().push(begin.elapsed());
        }
        Ok(())
    }
}

/// Each VM is listed once, under its own label.
fn vms(_: &Shared) -> Result<()> {
    let vms = json("vms")?;
    let vms = vms["vms"].as_array().context("no vms")?;
    let mut labels: Vec<&str> = vms.iter().filter_map(|vm| vm["vm"].as_str()).collect();
    let all = labels.len();
    labels.sort_unstable();
    labels.dedup();
    ensure!(labels.len() == all && all == vms.len(), "{all} labels, {} differ", labels.len());
    Ok(())
}

fn status(shared: &Shared) -> Result<()> {
    let mut stream = UnixStream::connect(SOCKET).context(SOCKET)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.write_all(b"GET /v1/agent HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let answer: Value = serde_json::from_str(body).context("no JSON")?;
    ensure!(answer["pid"] == shared.pid.load(Ordering::Relaxed), "{body}");
    is_verified(&answer["enforcement"])
}

fn health(_: &Shared) -> Result<()> {
    let (status, why) = agent::get("/healthz")?;
    ensure!(status == 200, "{status}: {why}");
    Ok(())
}

fn policy(_: &Shared) -> Result<()> {
    let answer: Value = serde_json::from_str(&cli(&["policy", "show", "-o", "json"])?)?;
    let configuration = &answer["config"];
    ensure!(configuration["failed"].is_null(), "{configuration}");
    is_verified(&answer["enforcement"])
}

/// A new limit each time, too high to matter.
fn limit(_: &Shared) -> Result<()> {
    static BURST: AtomicU32 = AtomicU32::new(1000);
    let burst = BURST.fetch_add(1, Ordering::Relaxed).to_string();
    cli(&["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", &burst]).map(drop)
}

fn is_verified(enforcement: &Value) -> Result<()> {
    ensure!(enforcement["mode"] == "enforce" && enforcement["verified"] == true, "{enforcement}");
    ensure!(enforcement["bypassed"] == 0, "{enforcement}");
    Ok(())
}

impl Latencies {
    fn of(&self, name: &str) -> Result<(Duration, Duration)> {
        let mut times = self.0.get(name).with_context(|| format!("{name} has no answers"))?.clone();
        times.sort_unstable();
        let last = times.last().copied().context("no answer")?;
        Ok((times[times.len() / 2], last))
    }

    pub fn worst(&self) -> Duration {
        let of_agent = self.0.iter().filter(|(name, _)| **name != BASELINE);
        of_agent.flat_map(|(_, times)| times).max().copied().unwrap_or_default()
    }

    /// Median and worst latencies, now and idle.
    pub fn compared(&self, idle: &Latencies) -> Result<String> {
        let mut text = String::from("median and worst answers, and at rest:");
        for (name, _) in QUERIES {
            let (answers, now, rest) = (self.0[name].len(), self.of(name)?, idle.of(name)?);
            text += &format!(
                " {name} ({answers}) {:.0?} {:.0?}, {:.0?} {:.0?};",
                now.0, now.1, rest.0, rest.1
            );
        }
        Ok(text)
    }

    /// The emulator slows the baseline down as well, so answers may take a multiple of it. An agent
    /// blocked by a VMM, a reader, a log or a disk would exceed it by far.
    pub fn check_latencies(&self, idle: &Latencies) -> Result<()> {
        let ratio = |time: Duration, other: Duration| time.as_secs_f64() / other.as_secs_f64();
        let (baseline, at_rest) = (self.of(BASELINE)?, idle.of(BASELINE)?);
        for (name, _) in QUERIES {
            let (now, rest) = (self.of(name)?, idle.of(name)?);
            let median = ratio(now.0, baseline.0) / ratio(rest.0, at_rest.0);
            let worst = ratio(now.1, baseline.1);
            ensure!(median <= MEDIAN, "{name}: the median is {median:.1} times that at rest");
            ensure!(worst <= WORST, "{name}: the worst is {worst:.1} times the baseline's");
        }
        Ok(())
    }
}
