//! # The VMs of one process
//!
//! Makes them, runs each vCPU in a thread of its own, and adds up what they say.

use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::cli::{Manner, Options, Vmm};
use crate::manner::{Keys, Pace, behave};
use crate::ordinary::OrdinaryVm;
use crate::report::{Deed, Report, Tally};
use crate::vm::{SnpVm, Vcpu};

/// What a thread gives back: its count, and what is to live until the end.
type Worker = JoinHandle<Result<(Tally, Kept)>>;

#[expect(dead_code, reason = "held, so that the VM lives on, and not used")]
enum Kept {
    Vm(SnpVm),
    Vcpu(Vcpu),
    Ordinary(OrdinaryVm),
}

pub struct Guests {
    vms: u32,
    workers: Vec<Worker>,
    kept: Vec<Kept>,
    line: Arc<Barrier>,
}

impl Guests {
    /// Makes so many VMs, with their vCPUs waiting for `run`.
    pub fn new(options: &Options, vms: u32) -> Result<Self> {
        let vcpus = if options.ordinary { 1 } else { options.vcpus };
        let line = Arc::new(Barrier::new((vms * vcpus) as usize + 1));
        let mut guests = Self { vms, workers: Vec::new(), kept: Vec::new(), line };
        for i in 0..vms {
            let added =
                if options.ordinary { guests.add_ordinary(options) } else { guests.add(options) };
            added.with_context(|| format!("VM {i}"))?;
        }
        Ok(guests)
    }

    fn add(&mut self, options: &Options) -> Result<()> {
        let manner = &options.manner;
        let mut vm = SnpVm::new(options.vcpus, manner.certs, manner.certs_error)?;
        let keys = Keys::default();
        for (index, mut vcpu) in (0..).zip(vm.take_vcpus()) {
            let (keys, manner) = (keys.clone(), manner.clone());
            self.worker(thread_name(options.vmm, index), move || {
                let tally = behave(&mut vcpu, index, &keys, &manner)?;
                Ok((tally, Kept::Vcpu(vcpu)))
            })?;
        }
        self.kept.push(Kept::Vm(vm));
        Ok(())
    }

    fn add_ordinary(&mut self, options: &Options) -> Result<()> {
        let mut vm = OrdinaryVm::new()?;
        let manner = options.manner.clone();
        self.worker(thread_name(options.vmm, 0), move || {
            let tally = behave_ordinarily(&mut vm, &manner)?;
            Ok((tally, Kept::Ordinary(vm)))
        })
    }

    fn worker(
        &mut self,
        name: String,
        work: impl FnOnce() -> Result<(Tally, Kept)> + Send + 'static,
    ) -> Result<()> {
        let line = self.line.clone();
        let body = move || {
            line.wait();
            work()
        };
        let thread = Builder::new().name(name).stack_size(128 << 10).spawn(body);
        self.workers.push(thread.context("no thread for a vCPU")?);
        Ok(())
    }

    /// Lets all vCPUs go at once, and waits for the last. The VMs live on until
    /// `self` goes.
    pub fn run(&mut self) -> Result<Report> {
        let begin = Instant::now();
        self.line.wait();
        let mut total = Report::default();
        for worker in std::mem::take(&mut self.workers) {
            let done = worker.join().map_err(|_| anyhow!("a vCPU's thread panicked"))?;
            let (tally, kept) = done?;
            total.add(tally.report(Duration::ZERO));
            self.kept.push(kept);
        }
        total.vms = self.vms;
        total.elapsed_s = begin.elapsed().as_secs_f64();
        Ok(total)
    }
}

fn behave_ordinarily(vm: &mut OrdinaryVm, manner: &Manner) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut pace = Pace::new(manner);
    while pace.next() {
        let start = Instant::now();
        let outcome = vm.run()?;
        tally.add(Deed::Ordinary, outcome, start.elapsed());
    }
    Ok(tally)
}

/// As the real ones name their vCPU threads.
fn thread_name(vmm: Option<Vmm>, index: u32) -> String {
    match vmm {
        Some(Vmm::Qemu) => format!("CPU {index}/KVM"),
        Some(Vmm::Firecracker) => format!("fc_vcpu {index}"),
        Some(Vmm::CloudHypervisor) | None => format!("vcpu{index}"),
    }
}
