//! # The observer
//!
//! Programs, records and the table of VMs, and what is known of them at one moment.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use guestreq_common::{host::Host, vm::Vm};
use log::warn;

use super::{
    State,
    events::Readers,
    kernel,
    programs::{ProgramState, Programs},
    records::{Records, now_ns},
    table::{Table, Tracked},
    window::{Sample, Window},
};
use crate::config::Config;

pub struct Observer {
    pub programs: Programs,
    records: Records,
    pub table: Table,
    pub window: Window,
    keep: Duration,
    last_sample: u64,
    /// Reads the ring buffers until the observer goes.
    _readers: Readers,
}

impl Observer {
    /// Checks this host, loads and attaches.
    pub fn start(
        config: &Config,
        without: &[String],
        state: &Arc<Mutex<State>>,
    ) -> Result<Observer> {
        kernel::check()?;
        let mut programs = Programs::load(config.max_vms, without)?;
        let records = Records::new(programs.ebpf(), config.max_vms)?;
        records.set_slow(u64::try_from(config.slow_request.as_nanos()).unwrap_or(u64::MAX));
        let readers = Readers::start(programs.ebpf(), state)?;
        programs.follow_modules();
        if let Some(reason) = programs.not_ready() {
            anyhow::bail!("{reason}");
        }
        Ok(Observer {
            programs,
            records,
            table: Table::default(),
            window: Window::default(),
            keep: config.keep_exited_vms,
            last_sample: 0,
            _readers: readers,
        })
    }

    /// Several times a second: follows modules; once a second: VMs, and a sample.
    pub fn tick(&mut self) {
        self.programs.follow_modules();
        let now = now_ns();
        if now.saturating_sub(self.last_sample) < 1_000_000_000 {
            return;
        }
        self.last_sample = now;
        self.look_for_vms();
        if let Ok(snapshot) = self.snapshot() {
            self.window.push(snapshot.sample);
        }
    }

    /// Names VMs that are new. A program tells of each as it sees it first, so that its process
    /// most likely still lives.
    pub fn look_for_vms(&mut self) {
        let refreshed = self.table.refresh(&self.records, &mut self.programs, self.keep, now_ns());
        if let Err(error) = refreshed {
            warn!("the VMs' table: {error:#}");
        }
    }

    /// The VM's label, if it is known yet.
    pub fn label(&self, slot: u32, generation: u32) -> Option<String> {
        self.table.label(slot, generation).map(str::to_owned)
    }

    /// All there is to know now.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let host = self.records.host()?;
        let mut vms = Vec::with_capacity(self.table.vms().len());
        for tracked in self.table.vms() {
            // The slot may have been taken over since: then its VM is not this one.
            let record = self.records.vm(tracked.slot);
            vms.push(record.filter(|vm| vm.generation == tracked.generation));
        }
        let sample = sample(&host, self.table.vms(), &vms);
        Ok(Snapshot { host, vms, sample })
    }

    /// Fresh VMs are named before they are shown.
    pub fn refresh(&mut self) -> Result<Snapshot> {
        self.table.refresh(&self.records, &mut self.programs, self.keep, now_ns())?;
        self.snapshot()
    }

    pub fn program_states(&self) -> Vec<ProgramState> {
        self.programs.states()
    }
}

/// Copies of the records at one moment; `vms` go with the table's.
pub struct Snapshot {
    pub host: Box<Host>,
    pub vms: Vec<Option<Box<Vm>>>,
    pub sample: Sample,
}

fn sample(host: &Host, tracked: &[Tracked], vms: &[Option<Box<Vm>>]) -> Sample {
    let now = now_ns();
    // A command that has not returned yet is the PSP's present, not its past.
    let running = host.now.top().map_or(0, |command| now.saturating_sub(command.started));
    let of_vm = |(tracked, vm): (&Tracked, &Option<Box<Vm>>)| {
        let vm = vm.as_ref()?;
        let key = (tracked.slot as u32, tracked.generation);
        Some((key, (vm.total(), vm.psp_ns.iter().sum())))
    };
    Sample {
        at_ns: now,
        busy_ns: host.commands.iter().map(|totals| totals.busy_ns).sum::<u64>() + running,
        queue_ns: host.messages.iter().map(|message| message.stage_ns[1]).sum(),
        vms: tracked.iter().zip(vms).filter_map(of_vm).collect(),
    }
}
