//! # Simulated agents
//!
//! host.prom was exported by an agent in the rig, during the scenario of the dashboards; of its VMs
//! one is left, and of its limits the share. Each host here exports it with more VMs and growing
//! counters; some hosts are busy, some idle, and VMs have the same names on all.

mod families;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use families::Family;

const HOST: &str = include_str!("host.prom");
/// How fast load changes.
const TIDE: f64 = 200.0;

pub struct Agents {
    hosts: usize,
    families: Vec<Family>,
    vms: usize,
    start: Instant,
    sent: Arc<Sent>,
}

/// What the agents have sent.
#[derive(Default)]
pub struct Sent {
    pub scrapes: AtomicU64,
    pub bytes: AtomicU64,
}

impl Agents {
    pub fn new(hosts: usize, vms: usize) -> Result<Self> {
        let families = families::parse(HOST)?;
        Ok(Self { hosts, families, vms, start: Instant::now(), sent: Arc::default() })
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
        let names: Vec<_> = (0..self.vms).map(|vm| format!("\"vm-{vm}\"")).collect();
        let mut text = String::new();
        for family in &self.families {
            text += &family.head;
            if !family.is_of_vms {
                family.write(&mut text, None, share * seconds);
                continue;
            }
            for (vm, name) in names.iter().enumerate() {
                // The first VMs send most. Together they use the PSP as much as those in the rig did.
                let weight = share * 17.0 / (vm + 1) as f64;
                family.write(&mut text, Some(name), weight * seconds);
            }
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
            for line in text.lines().filter(|line| !line.starts_with('#')) {
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
        let lines = |of_vms| {
            let families = agents.families.iter().filter(move |it| it.is_of_vms == of_vms);
            families.map(|family| family.lines.len()).sum::<usize>()
        };
        let series = before.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(series, lines(false) + 3 * lines(true));
        assert_eq!(before.matches("# TYPE guestreq_request_duration_seconds histogram").count(), 1);
    }
}
