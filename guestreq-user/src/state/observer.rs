//! # The observer
//!
//! Owns programs, records and the table of VMs, and takes snapshots of them.

mod changes;
mod lost_vmpcks;
mod order;
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

use super::snapshot::{Snapshot, queue_length, read_order, sample, service};
use crate::{
    bpf::{
        pins::Pins,
        programs::{Programs, Wanted},
        records::{Records, now_ns},
    },
    config::Config,
    enforce::{enforcement::Enforcement, order::ConfiguredOrder, policies::Policies},
    failpoint::{self, Point},
    kernel,
    observe::{
        journal::Journal,
        launches::Launches,
        losses::Losses,
        overdue::Overdue,
        psp_watch::{Counts, PspWatch},
        ring_buffer::{Readers, Sink},
        tracked::TrackedVm,
        vms::VmTable,
        window::Window,
    },
    throttle::{ReportThrottle, without_numbers},
    wire::status::PspState,
};

pub struct Observer {
    pub programs: Programs,
    records: Records,
    pub enforcement: Enforcement,
    pub policies: Policies,
    order: ConfiguredOrder,
    pub table: VmTable,
    pub launches: Launches,
    pub window: Window,
    keep: Duration,
    last_sample: u64,
    journal: Arc<Journal>,
    losses: Losses,
    /// Why the table could not be refreshed.
    table_failure: ReportThrottle<Option<String>>,
    overdue: Overdue,
    psp: PspWatch,
    /// Why the gate's order could not be read.
    order_failure: ReportThrottle<Option<String>>,
    /// Reads the ring buffers until the observer is dropped.
    _readers: Readers,
}

impl Observer {
    /// Checks this host, loads and attaches. If it should enforce but cannot, it fails, or with
    /// `stay` only observes and is not ready.
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
        let mut policies = Policies::open(config)?;
        let (pins, unpinned) = match Pins::open() {
            Ok(pins) => (Some(pins), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let lsm = config.backend.0 != Backend::None;
        let wanted = Wanted { max_vms: config.max_vms, without, lsm, object };
        let mut programs = Programs::load(&wanted, pins)?;
        let records = Records::new(programs.ebpf())?;
        // An earlier agent may have died while it had followers.
        records.set_report_all(journal.wants_requests());
        let losses = Losses::before_now(&records);
        records.set_slow(slow_ns(config));
        let mut enforcement = Enforcement::new(config, &records, unpinned);
        programs.fill_free_slots(&records)?;
        failpoint::point(Point::Slots);
        enforcement.set_mode(policies.policy_set().strictest());
        if !programs.adopted() {
            // Before anything that reads them is attached.
            policies.apply_default(&records);
            enforcement.apply(&records);
        }
        failpoint::point(Point::Policies);
        let readers = Readers::start(programs.ebpf(), events)?;
        enforcement.prepare(&records, programs.will_replace());
        programs.follow_modules();
        if let Some(reason) = programs.not_ready() {
            anyhow::bail!("{reason}");
        }
        failpoint::point(Point::AllAttached);
        programs.remove_replaced();
        failpoint::point(Point::OldDropped);
        enforcement.verify(&records, &programs, journal);
        let not_ready = enforcement.not_ready();
        let works = not_ready.is_none();
        if let (Some(reason), false) = (not_ready, stay) {
            programs.forget_placed();
            // An earlier agent's pins stay; what is new is detached with `programs`.
            anyhow::bail!("{reason}");
        }
        if programs.adopted() {
            // An earlier agent's policies apply until this one is sure to start.
            policies.take_over(&records);
            enforcement.apply(&records);
        }
        programs.drop_unwanted();
        programs.commit(works);
        let host = records.host()?;
        policies.warn(service(&host));
        let psp = PspWatch::new(Counts::of(&host, queue_length(&host)), Instant::now());
        let mut order = ConfiguredOrder::new(config.order());
        order.apply();
        Ok(Observer {
            programs,
            records,
            enforcement,
            policies,
            order,
            table: VmTable::new(Arc::clone(wake)),
            launches: Launches::default(),
            window: Window::default(),
            keep: config.keep_exited_vms,
            last_sample: 0,
            journal: Arc::clone(journal),
            losses,
            table_failure: ReportThrottle::default(),
            overdue: Overdue::default(),
            psp,
            order_failure: ReportThrottle::default(),
            _readers: readers,
        })
    }

    /// Why this agent cannot observe or enforce everything.
    pub fn not_ready(&self) -> Option<String> {
        self.programs.not_ready().or_else(|| self.enforcement.not_ready())
    }

    /// Whether the PSP answers, as of the last second.
    pub fn psp(&self) -> &PspState {
        self.psp.state()
    }

    /// Stops: enforcement continues, programs that only count are detached.
    pub fn stop(mut self) -> Result<()> {
        failpoint::point(Point::Stopping);
        // Nobody reads the ring buffer any more.
        self.records.set_report_all(false);
        if self.enforcement.status().mode == Mode::Enforce && self.programs.are_pinned() {
            info!("stopping: enforcement continues without an agent; `guestreq detach` ends it");
            return Ok(());
        }
        if let Some(why) = self.enforcement.detach_would_deny() {
            warn!(
                "stopping: {why} and would refuse every request, so our program stays attached; \
                 `guestreq detach` removes it"
            );
            return Ok(());
        }
        info!("stopping: detaching all programs");
        self.programs.detach()
    }

    /// Several times a second: follows modules. Once a second: refreshes VMs and takes a sample.
    pub fn tick(&mut self) {
        self.programs.follow_modules();
        let now = now_ns();
        if now.saturating_sub(self.last_sample) < 1_000_000_000 {
            return;
        }
        self.last_sample = now;
        self.programs.follow_pins();
        self.policies.finish_change(&self.records);
        self.verify();
        self.order.apply();
        self.report_losses();
        self.report_missed();
        self.refresh_vms();
        if let Ok(snapshot) = self.snapshot() {
            self.report_lost_vmpcks(&snapshot);
            self.report_order(&snapshot);
            let host = &snapshot.host;
            self.psp.update(Counts::of(host, queue_length(host)), Instant::now());
            self.window.push(snapshot.sample);
        }
    }

    /// Names new VMs. The programs report each at once, so its process is most likely still there.
    pub fn refresh_vms(&mut self) {
        let refreshed = self.refresh_table();
        let failure = refreshed.err().map(|error| format!("{error:#}"));
        if self.table_failure.is_due(failure.as_deref().map(without_numbers), Instant::now())
            && let Some(failure) = failure
        {
            warn!("cannot refresh the table of VMs: {failure}");
        }
    }

    fn refresh_table(&mut self) -> Result<()> {
        let Observer { table, launches, records, programs, policies, keep, .. } = self;
        launches.collect(records, table.vms());
        let identified = |vm: &TrackedVm| policies.apply(records, vm);
        let signals = policies.kick();
        let refreshed = table.refresh(records, programs, &identified, signals, *keep, now_ns());
        self.report_events();
        refreshed
    }

    /// Whether a launch has ended that was not reported.
    pub fn has_new_launches(&self) -> bool {
        self.launches.is_behind(&self.records)
    }

    fn verify(&mut self) {
        self.enforcement.verify(&self.records, &self.programs, &self.journal);
    }

    /// Copies all records.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let host = self.records.host()?;
        let mut vms = Vec::with_capacity(self.table.vms().len());
        for tracked in self.table.vms() {
            // The slot may have been taken over since: then its VM is not this one.
            let record = self.records.vm(tracked.id.index());
            vms.push(record.filter(|vm| vm.generation == tracked.id.generation));
        }
        let order = read_order();
        let known = order.as_ref().ok().and_then(Option::as_ref);
        let sample = sample(&host, self.table.vms(), &vms, known);
        Ok(Snapshot { host, vms, sample, order })
    }

    /// Runs the self-test, names new VMs and copies all records.
    pub fn refresh(&mut self) -> Result<Snapshot> {
        self.verify();
        self.refresh_table()?;
        self.snapshot()
    }
}

fn slow_ns(config: &Config) -> u64 {
    u64::try_from(config.slow_request.as_nanos()).unwrap_or(u64::MAX)
}
