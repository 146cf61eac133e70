//! # Simulated agents
//!
//! host.prom was exported by an agent in the rig, during the scenario of the dashboards; of its VMs
//! one is left, and of its limits the share. Each host here exports it with more VMs and growing
//! counters; some hosts are busy, some idle, and VMs have the same names on all.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

const HOST: &str = include_str!("host.prom");
/// The VM in it.
const VM: &str = "\"web-0\"";
/// For how many seconds there was load.
const AGE: f64 = 10.5;
/// What sets apart the series of launches, of which the rig had more than a host has.
const LAUNCH: &str = "guestreq_launch";
const FEWER_LAUNCHES: f64 = 0.01;
/// How fast load changes.
const TIDE: f64 = 200.0;
/// Suffixes of counters' names.
const COUNTERS: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

pub struct Agents {
    hosts: usize,
    /// Lines of a host and of its VM.
    host: Vec<Line>,
    vm: Vec<Line>,
    vms: usize,
    start: Instant,
    sent: Arc<Sent>,
}

struct Line {
    series: String,
    value: f64,
    grows: Grows,
}

/// How a value grows. Counts stay whole numbers: fractions would compress worse.
#[derive(Clone, Copy, PartialEq)]
enum Grows {
    No,
    InTime,
    InCounts,
    /// The value is the bucket's own. If a sum of buckets were rounded, a bucket could shrink, which
    /// is a reset of a native histogram.
    Bucket,
    /// The sum of the buckets before.
    Count,
}

/// What the agents have sent.
#[derive(Default)]
pub struct Sent {
    pub scrapes: AtomicU64,
    pub bytes: AtomicU64,
}

impl Agents {
    pub fn new(hosts: usize, vms: usize) -> Result<Self> {
        let (mut host, mut vm) = (Vec::new(), Vec::new());
        let mut below = 0.0;
        for text in HOST.lines().filter(|text| !text.starts_with('#')) {
            let (series, text) = text.rsplit_once(' ').context("host.prom: no value")?;
            let mut value = text.parse().with_context(|| format!("host.prom: {series}"))?;
            let name = series.split('{').next().unwrap_or_default();
            let grows = match COUNTERS.iter().find(|end| name.ends_with(**end)) {
                Some(&"_bucket") => Grows::Bucket,
                Some(&"_count") => Grows::Count,
                Some(_) if text.contains('.') => Grows::InTime,
                Some(_) => Grows::InCounts,
                None => Grows::No,
            };
            if grows == Grows::Bucket {
                (value, below) = (value - below, value);
            } else {
                below = 0.0;
            }
            let to = if series.contains(VM) { &mut vm } else { &mut host };
            to.push(Line { series: series.to_owned(), value, grows });
        }
        Ok(Self { hosts, host, vm, vms, start: Instant::now(), sent: Arc::default() })
    }

    /// Answers `GET /metrics/N` on a port of 127.0.0.1, until the process ends.
    pub fn serve(self) -> Result<(u16, Arc<Sent>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("a port of 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        let sent = self.sent.clone();
        let agents = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let agents = agents.clone();
                thread::spawn(move || agents.answer(stream));
            }
        });
        Ok((port, sent))
    }

    fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone()?);
        reader.read_line(&mut request)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).and_then(|path| path.strip_prefix("/metrics/"));
        let host = path.and_then(|path| path.parse().ok()).filter(|host| *host < self.hosts);
        let (status, body) = match host {
            Some(host) => ("200 OK", self.text(host, self.start.elapsed().as_secs_f64())),
            None => ("404 Not Found", String::new()),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        self.sent.scrapes.fetch_add(1, Ordering::Relaxed);
        self.sent.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }

    /// A host's metrics this many seconds after the start.
    fn text(&self, host: usize, seconds: f64) -> String {
        // From idle to two thirds as busy as the host in the rig, in no order, and varying.
        let share = ((host * 37) % self.hosts + 1) as f64 / self.hosts as f64 / 1.5;
        let tide = |seconds: f64| (seconds / TIDE + host as f64).sin() * TIDE / 2.0;
        let seconds = seconds + tide(seconds) - tide(0.0);
        let mut text = String::new();
        let mut sum = 0.0;
        let mut write = |line: &Line, series: &str, share: f64| {
            let fewer = if series.starts_with(LAUNCH) { FEWER_LAUNCHES } else { 1.0 };
            let grown = line.value * (1.0 + share * fewer * seconds / AGE);
            let value = match line.grows {
                Grows::No => line.value,
                // Nanoseconds, as agents export.
                Grows::InTime => (grown * 1e9).round() / 1e9,
                Grows::InCounts => grown.floor(),
                Grows::Bucket => {
                    sum += grown.floor();
                    sum
                }
                // It comes last of a histogram.
                Grows::Count => mem::take(&mut sum),
            };
            let _ = writeln!(text, "{series} {value}");
        };
        self.host.iter().for_each(|line| write(line, &line.series, share));
        for vm in 0..self.vms {
            let name = format!("\"vm-{vm}\"");
            // The first VMs send most. Together they use the PSP as much as those in the rig did.
            let weight = share * 17.0 / (vm + 1) as f64;
            self.vm.iter().for_each(|line| write(line, &line.series.replace(VM, &name), weight));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::project;

    fn value(text: &str, series: &str) -> f64 {
        let line = text.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_simulated_agent_exports_only_metrics_of_agents() {
        let reference = fs::read_to_string(project::root().join("docs/metrics.md")).unwrap();
        let types: BTreeSet<_> = HOST.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        for name in types.iter().filter_map(|line| line.split(' ').next()) {
            assert!(reference.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    /// A bucket that shrinks, or a count that is not theirs, is a reset of a native histogram.
    #[test]
    fn buckets_never_shrink() {
        let agents = Agents::new(3, 2).unwrap();
        let of = |seconds| {
            let text = agents.text(1, seconds);
            let mut below = 0.0;
            let mut own = Vec::new();
            for line in text.lines() {
                let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
                if line.contains("_bucket{") {
                    own.push(value - below);
                    below = value;
                } else if line.contains("_duration_seconds_count") {
                    assert_eq!(value, below, "{line}");
                    below = 0.0;
                }
            }
            own
        };
        let mut last = of(0.0);
        for seconds in 1..60 {
            let next = of(f64::from(seconds));
            assert!(last.iter().zip(&next).all(|(last, next)| last <= next), "{seconds} s");
            last = next;
        }
    }

    #[test]
    fn counters_grow_and_vms_have_their_own_names() {
        let agents = Agents::new(2, 3).unwrap();
        let (before, after) = (agents.text(1, 0.0), agents.text(1, 60.0));
        let busy = "guestreq_psp_busy_seconds_total{command=\"snp_guest_request\"}";
        assert!(value(&after, busy) > value(&before, busy));
        assert!(value(&after, "guestreq_vm_info{vm=\"vm-2\"") == 1.0);
        let count = "guestreq_psp_commands_total{command=\"snp_guest_request\"}";
        assert_eq!(value(&after, count).fract(), 0.0);
        assert_eq!(before.lines().count(), agents.host.len() + 3 * agents.vm.len());
    }
}
