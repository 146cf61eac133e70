//! # Every panel's queries on a real Prometheus that scrapes the rig
//!
//! The scenario in the guest (rig/scenarios, `dashboards`) starts an agent, and guests after the
//! checks without any. Prometheus is Debian 12's; newer ones can evaluate what it can.

mod panels;

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::port;
use crate::prometheus::{self, Server, Settings};
use crate::rig::boot::Boot;
use crate::rig::console::{ScenarioReport, Status};
use panels::Panels;

/// The group that is scraped from outside.
const GROUP: &str = "dashboards";
/// Ids and descriptions of the results, like scenarios'.
const EMPTY: (&str, &str) =
    ("dashboards/without_vms", "no query of a dashboard fails on hosts without VMs");
const BUSY: (&str, &str) =
    ("dashboards/under_load", "every query of every panel has data under load");
/// The guest's ports for metrics and for continuing.
const METRICS: u16 = 9940;
const CONTINUE: u16 = 9941;
/// Short, for a short test; a scrape on a busy machine may take as long.
const SCRAPE: &str = "4s";
const WATCH_TIMEOUT: Duration = Duration::from_secs(300);

/// The fleet dashboard's panels and queries.
pub fn fleet_queries() -> Result<Vec<(String, String)>> {
    let all = Panels::read("", "")?.queries.into_iter();
    let fleet = all.filter(|query| query.of.contains("fleet.json"));
    Ok(fleet.map(|query| (query.of, query.expression)).collect())
}

/// The forwarded ports of a group's guest.
pub fn forward(group: &str) -> Result<Vec<(u16, u16)>> {
    match group {
        GROUP => Ok(vec![(METRICS, port::free()?), (CONTINUE, port::free()?)]),
        _ => Ok(Vec::new()),
    }
}

/// Checks a guest from outside while its scenario runs.
pub struct Watch {
    thread: JoinHandle<Vec<ScenarioReport>>,
    over: Arc<AtomicBool>,
}

impl Watch {
    /// None without forwarded ports.
    pub fn start(boot: &Boot) -> Result<Option<Self>> {
        let &[(_, metrics), (_, continue_port)] = boot.forward.as_slice() else {
            return Ok(None);
        };
        // Under two names, like two hosts whose VMs have the same names.
        let targets = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{metrics}"));
        let config = prometheus::config(&targets, SCRAPE)?;
        let fixtures = boot.rig.fixtures.as_ref().context("the rig has no Prometheus")?;
        let packages = &fixtures.prometheus;
        let port = port::free()?;
        let settings = Settings { packages, name: GROUP, config: &config, port, options: &[] };
        let server = Server::start(&settings)?;
        let over = Arc::new(AtomicBool::new(false));
        let session = Session { server, continue_port, over: over.clone() };
        let thread = thread::spawn(move || session.reports(&targets));
        Ok(Some(Self { thread, over }))
    }

    /// The results, after the guest's end.
    pub fn finish(self) -> Vec<ScenarioReport> {
        self.over.store(true, Ordering::Relaxed);
        let panicked = |_| vec![report(EMPTY, Err(anyhow!("the watch has panicked")))];
        self.thread.join().unwrap_or_else(panicked)
    }
}

struct Session {
    server: Server,
    continue_port: u16,
    over: Arc<AtomicBool>,
}

impl Session {
    fn reports(&self, targets: &[String]) -> Vec<ScenarioReport> {
        let empty = self.empty(targets);
        // The guest waits, whatever the result.
        let busy = self.next().and_then(|()| self.busy(targets));
        let end = self.next();
        let reports = [(EMPTY, empty), (BUSY, busy.and_then(|seen| end.map(|()| seen)))];
        reports.map(|(of, result)| report(of, result)).into()
    }

    /// Lets the guest continue; it closes the connection in reply.
    fn next(&self) -> Result<()> {
        let mut guest = TcpStream::connect((Ipv4Addr::LOCALHOST, self.continue_port))?;
        guest.set_read_timeout(Some(WATCH_TIMEOUT))?;
        guest.read(&mut [0]).map(|_| ()).context("the guest does not continue")
    }

    fn empty(&self, targets: &[String]) -> Result<String> {
        let hosts = targets.len() as f64;
        self.wait_until("both hosts are scraped, without VMs", || {
            let vms = self.server.number("sum(instance:guestreq_vms:count)")?;
            let hosts_up = self.server.number("sum(up)")?;
            ensure!(hosts_up == hosts && vms == 0.0, "{hosts_up} hosts, {vms} VMs");
            Ok(())
        })?;
        let panels = Panels::read(&targets[0], panels::VM)?;
        for query in &panels.queries {
            self.server.query(&query.expression).with_context(|| query.of.clone())?;
        }
        Ok(format!("{} queries", panels.queries.len()))
    }

    fn busy(&self, targets: &[String]) -> Result<String> {
        let panels = Panels::read(&targets[0], panels::VM)?;
        self.wait_until("every query has data", || {
            panels.have_data(&self.server)?;
            panels.names_are_right(&self.server)
        })?;
        let (all, substituted) = (panels.queries.len(), panels::SUBSTITUTES.len());
        Ok(format!("{all} queries, {substituted} of them by a substitute"))
    }

    /// Retries while the guest runs, up to WATCH_TIMEOUT.
    fn wait_until(&self, what: &str, check: impl Fn() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while let Err(error) = check() {
            if self.over.load(Ordering::Relaxed) {
                bail!("the guest ended before {what}: {error:#}");
            }
            if start.elapsed() > WATCH_TIMEOUT {
                return Err(anyhow!("not in {WATCH_TIMEOUT:?}: {what}: {error:#}"));
            }
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}

fn report((id, description): (&str, &str), result: Result<String>) -> ScenarioReport {
    let (status, detail) = match result {
        Ok(seen) => (Status::Passed, seen),
        Err(error) => (Status::Failed, format!("{error:#}")),
    };
    ScenarioReport { id: id.to_owned(), description: description.to_owned(), status, detail }
}
