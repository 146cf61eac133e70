//! # The VMs of one process
//!
//! Creates them, runs each vCPU in its own thread, and adds up the results.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::attack;
use crate::behavior::{STOPPED, behave};
use crate::cli::{Behavior, Options};
use crate::cpu_time::cpu_time;
use crate::keys::Keys;
use crate::launch::{LaunchOptions, LaunchReport};
use crate::ordinary::OrdinaryVm;
use crate::outcome::Action;
use crate::pace::Pace;
use crate::report::Report;
use crate::signals::stopping;
use crate::sim::Sim;
use crate::tally::Tally;
use crate::values::Vmm;
use crate::vcpu::Vcpu;
use crate::vm::SnpVm;

/// A thread's results, and what must live until the end.
type Worker = JoinHandle<Result<(Tally, Kept)>>;

#[expect(dead_code, reason = "held, so that the VM lives on, and not used")]
enum Kept {
    Vm(SnpVm),
    Vcpu(Vcpu),
    Ordinary(OrdinaryVm),
    Nothing,
}

pub struct Guests {
    names: Vec<String>,
    /// each with its VM's index
    workers: Vec<(usize, Worker)>,
    kept: Vec<Kept>,
    launches: Vec<LaunchReport>,
    line: Arc<Barrier>,
}

impl Guests {
    /// Creates VMs with these names, whose vCPUs wait for `run`.
    pub fn new(options: &Options, names: Vec<String>) -> Result<Self> {
        let vcpus = if options.ordinary { 1 } else { options.vcpus };
        let line = Arc::new(Barrier::new(names.len() * vcpus as usize + 1));
        let vms = names.len();
        let (workers, kept, launches) = (Vec::new(), Vec::new(), Vec::new());
        let mut guests = Self { names, workers, kept, launches, line };
        for i in 0..vms {
            let added = if options.ordinary {
                guests.add_ordinary(options, i)
            } else {
                guests.add(options, i)
            };
            added.with_context(|| format!("VM {i}"))?;
        }
        Ok(guests)
    }

    fn add(&mut self, options: &Options, vm_index: usize) -> Result<()> {
        let behavior = &options.behavior;
        for i in 0..options.launch.failed_launches {
            SnpVm::fail(options, i).with_context(|| format!("failed launch {i}"))?;
        }
        let name = self.names[vm_index].clone();
        let (report, launched) = attack::launch(behavior, || SnpVm::launch(options, &name))?;
        self.launches.push(report);
        let mut vm = match launched {
            Ok(Some(vm)) => vm,
            Err(refused) if !options.launch.may_fail => return Err(refused.into()),
            Ok(None) | Err(_) => return self.add_nothing(options, vm_index),
        };
        // Not in the launching process: newer kernels start a thread that lives as long as the VM
        // in the process of the first KVM_RUN.
        vm.boot()?;
        let keys = Keys::default();
        for (index, mut vcpu) in (0..).zip(vm.take_vcpus()) {
            let (keys, behavior) = (keys.clone(), behavior.clone());
            self.worker(vm_index, thread_name(options.vmm, index), move || {
                let tally = behave(&mut vcpu, index, &keys, &behavior)?;
                Ok((tally, Kept::Vcpu(vcpu)))
            })?;
        }
        self.kept.push(Kept::Vm(vm));
        Ok(())
    }

    /// In place of a VM that was not launched.
    fn add_nothing(&mut self, options: &Options, vm_index: usize) -> Result<()> {
        (0..options.vcpus).try_for_each(|index| {
            let name = thread_name(options.vmm, index);
            self.worker(vm_index, name, || Ok((Tally::default(), Kept::Nothing)))
        })
    }

    fn add_ordinary(&mut self, options: &Options, vm_index: usize) -> Result<()> {
        let mut vm = OrdinaryVm::new()?;
        let behavior = options.behavior.clone();
        self.worker(vm_index, thread_name(options.vmm, 0), move || {
            let tally = run_ordinary(&mut vm, &behavior)?;
            Ok((tally, Kept::Ordinary(vm)))
        })
    }

    fn worker(
        &mut self,
        vm_index: usize,
        name: String,
        work: impl FnOnce() -> Result<(Tally, Kept)> + Send + 'static,
    ) -> Result<()> {
        let line = self.line.clone();
        let body = move || {
            line.wait();
            work()
        };
        let thread = Builder::new().name(name).stack_size(128 << 10).spawn(body);
        self.workers.push((vm_index, thread.context("no thread for a vCPU")?));
        Ok(())
    }

    /// Runs them and then their replacements, like a VMM that resets its guests. The last ones
    /// stay.
    pub fn run_lives(mut self, options: &Options) -> Result<(Report, Self)> {
        if options.tio > 0 {
            let sim = Sim::open()?;
            (0..options.tio).try_for_each(|_| sim.tio_guest_request())?;
        }
        let mut report = self.run()?;
        let (begin, mut life) = (Instant::now(), 0);
        let LaunchOptions { relaunch, relaunch_for, .. } = options.launch;
        let in_time = || relaunch_for.is_some_and(|s| begin.elapsed().as_secs_f64() < s);
        while (life < relaunch || in_time()) && !stopping() {
            life += 1;
            let names = std::mem::take(&mut self.names);
            // closed first, so that the next may reuse its resources
            drop(self);
            self = Self::new(options, names).with_context(|| format!("life {life}"))?;
            report.follow(self.run()?);
        }
        Ok((report, self))
    }

    /// Starts all vCPUs at once and waits for all. The VMs live until `self` is dropped.
    pub fn run(&mut self) -> Result<Report> {
        let (begin, cpu_begin) = (Instant::now(), cpu_time());
        self.line.wait();
        let mut tallies = BTreeMap::<usize, Tally>::new();
        for (vm_index, worker) in std::mem::take(&mut self.workers) {
            let done = worker.join().map_err(|_| anyhow!("a vCPU's thread panicked"))?;
            let (tally, kept) = done?;
            tallies.entry(vm_index).or_default().merge(tally);
            self.kept.push(kept);
        }
        let mut total = Report::default();
        for (tally, name) in tallies.into_values().zip(&self.names) {
            total.add(tally.report(name.clone()));
        }
        total.launches = std::mem::take(&mut self.launches);
        total.cpu_us = cpu_time().saturating_sub(cpu_begin).as_micros() as u64;
        total.elapsed_s = begin.elapsed().as_secs_f64();
        Ok(total)
    }
}

fn run_ordinary(vm: &mut OrdinaryVm, behavior: &Behavior) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut pace = Pace::new(behavior);
    while pace.next() {
        let start = Instant::now();
        let outcome = vm.run()?;
        tally.add(Action::Ordinary, outcome, start.elapsed());
        if outcome == STOPPED {
            break;
        }
    }
    tally.reruns = vm.reruns;
    Ok(tally)
}

/// As real VMMs name their vCPU threads.
fn thread_name(vmm: Option<Vmm>, index: u32) -> String {
    match vmm {
        Some(Vmm::Qemu | Vmm::Kvm) => format!("CPU {index}/KVM"),
        Some(Vmm::Firecracker) => format!("fc_vcpu {index}"),
        Some(Vmm::CloudHypervisor) | None => format!("vcpu{index}"),
    }
}
