//! # The observer
//!
//! Programs, records and the table of VMs, and what is known of them at one moment.

mod changes;
mod report;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use guestreq_common::policy::{Backend, Mode};
use log::{info, warn};
use tokio::sync::Notify;

use super::snapshot::{Snapshot, sample};
use crate::{
    bpf::{
        pins::Pins,
        programs::{ProgramState, Programs, Wanted},
        records::{Records, now_ns},
    },
    config::Config,
    enforce::{
        enforcement::{self, Enforcement},
        policies::Policies,
    },
    failpoint::{self, Point},
    kernel,
    observe::{
        journal::Journal,
        losses::Losses,
        ring_buffer::{Readers, Sink},
        tracked::TrackedVm,
        vms::VmTable,
        window::Window,
    },
    throttle::{ReportThrottle, without_numbers},
};

pub struct Observer {
    pub programs: Programs,
    records: Records,
    pub enforcement: Enforcement,
    pub policies: Policies,
    pub table: VmTable,
    pub window: Window,
    keep: Duration,
    last_sample: u64,
    journal: Arc<Journal>,
    losses: Losses,
    /// Why the table could not be renewed.
    table_told: ReportThrottle<Option<String>>,
    /// Reads the ring buffers until the observer goes.
    _readers: Readers,
}

impl Observer {
    /// Checks this host, loads and attaches. Where it is to enforce and cannot, it fails, or with
    /// `stay` observes and says so.
    pub fn start(
        config: &Config,
        without: &[String],
        object: Option<&Path>,
        stay: bool,
        journal: &Arc<Journal>,
        wake: &Arc<Notify>,
        events: &impl Sink,
    ) -> Result<Observer> {
        kernel::check()?;
        let policies = Policies::open(config)?;
        let (pins, unpinned) = match Pins::open() {
            Ok(pins) => (Some(pins), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let lsm = config.backend.0 != Backend::None;
        let wanted = Wanted { max_vms: config.max_vms, without, lsm, object };
        let mut programs = Programs::load(&wanted, pins)?;
        let records = Records::new(programs.ebpf())?;
        // An earlier agent may have died while somebody listened to it.
        records.set_report_all(journal.wants_requests());
        let losses = Losses::before_now(&records);
        records.set_slow(slow_ns(config));
        let mut enforcement = Enforcement::new(config.backend.0, &records, unpinned);
        programs.settle_slots(&records)?;
        failpoint::point(Point::Slots);
        enforcement.require(policies.policy_set().strictest());
        if !programs.adopted() {
            // The policies stand before anything is attached that would ask for them.
            policies.apply_default(&records);
        }
        failpoint::point(Point::Policies);
        let readers = Readers::start(programs.ebpf(), events)?;
        enforcement.prepare(&records, programs.will_replace());
        programs.follow_modules();
        if let Some(reason) = programs.not_ready() {
            anyhow::bail!("{reason}");
        }
        failpoint::point(Point::AllAttached);
        programs.drop_old();
        failpoint::point(Point::OldDropped);
        enforcement.verify(&records, &programs, journal);
        if let (Some(reason), false) = (enforcement.not_ready(), stay) {
            // What an earlier agent left goes on; what is new goes with `programs`.
            anyhow::bail!("{reason}");
        }
        if programs.adopted() {
            // An earlier agent's policies hold until it is sure that this one starts.
            policies.apply_default(&records);
        }
        programs.drop_unwanted();
        programs.commit();
        policies.warn();
        Ok(Observer {
            programs,
            records,
            enforcement,
            policies,
            table: VmTable::new(Arc::clone(wake)),
            window: Window::default(),
            keep: config.keep_exited_vms,
            last_sample: 0,
            journal: Arc::clone(journal),
            losses,
            table_told: ReportThrottle::default(),
            _readers: readers,
        })
    }

    pub fn enforcement_status(&self) -> enforcement::Status {
        self.enforcement.status()
    }

    /// Why this agent does not do all that it was asked for.
    pub fn not_ready(&self) -> Option<String> {
        self.programs.not_ready().or_else(|| self.enforcement.not_ready())
    }

    /// Stops: what is enforced goes on without us, what is only counted ends.
    pub fn stop(mut self) -> Result<()> {
        failpoint::point(Point::Stopping);
        // Nobody reads any more what goes on.
        self.records.set_report_all(false);
        if self.enforcement.status().mode == Mode::Enforce && self.programs.outlive_us() {
            info!("stopping: enforcement goes on without an agent; `guestreq detach` ends it");
            return Ok(());
        }
        if let Some(why) = self.enforcement.would_be_missed() {
            warn!(
                "stopping: {why} and would refuse every request, so our program goes on answering \
                 it; `guestreq detach` ends that"
            );
            return Ok(());
        }
        info!("stopping: detaching all programs");
        self.programs.detach()
    }

    /// Several times a second: follows modules; once a second: VMs, and a sample.
    pub fn tick(&mut self) {
        self.programs.follow_modules();
        let now = now_ns();
        if now.saturating_sub(self.last_sample) < 1_000_000_000 {
            return;
        }
        self.last_sample = now;
        self.programs.follow_pins();
        self.policies.settle(&self.records);
        self.verify();
        self.report_losses();
        self.report_missed();
        self.refresh_vms();
        if let Ok(snapshot) = self.snapshot() {
            self.window.push(snapshot.sample);
        }
    }

    /// Names VMs that are new. A program tells of each as it sees it first, so that its process
    /// most likely still lives.
    pub fn refresh_vms(&mut self) {
        let refreshed = self.refresh_table();
        let trouble = refreshed.err().map(|error| format!("{error:#}"));
        if self.table_told.is_due(trouble.as_deref().map(without_numbers), Instant::now())
            && let Some(trouble) = trouble
        {
            warn!("the VMs' table: {trouble}");
        }
    }

    fn refresh_table(&mut self) -> Result<()> {
        let Observer { table, records, programs, policies, keep, .. } = self;
        let identified = |vm: &TrackedVm| policies.apply(records, vm);
        let signals = policies.kick();
        let refreshed = table.refresh(records, programs, &identified, signals, *keep, now_ns());
        self.report_events();
        refreshed
    }

    fn verify(&mut self) {
        self.enforcement.verify(&self.records, &self.programs, &self.journal);
    }

    /// All there is to know now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let host = self.records.host()?;
        let mut vms = Vec::with_capacity(self.table.vms().len());
        for tracked in self.table.vms() {
            // The slot may have been taken over since: then its VM is not this one.
            let record = self.records.vm(tracked.id.index());
            vms.push(record.filter(|vm| vm.generation == tracked.id.generation));
        }
        let sample = sample(&host, self.table.vms(), &vms);
        Ok(Snapshot { host, vms, sample })
    }

    /// Fresh VMs are named before they are shown.
    pub fn refresh(&mut self) -> Result<Snapshot> {
        // What is told of enforcement was tried just now.
        self.verify();
        self.refresh_table()?;
        self.snapshot()
    }

    pub fn program_states(&self) -> Vec<ProgramState> {
        self.programs.states()
    }
}

fn slow_ns(config: &Config) -> u64 {
    u64::try_from(config.slow_request.as_nanos()).unwrap_or(u64::MAX)
}
