//! # Snapshots
//!
//! Copies of the records, and figures derived from them for metrics and the API.

use std::{collections::BTreeMap, time::Duration};

use guestreq_common::{
    histogram::{self, SLOTS},
    host::{Host, Loss},
    message::MessageType,
    policy::{Decision, Mode},
    request::STAGES,
    units::MonotonicNs,
    vm::Vm,
};

use crate::{
    bpf::{programs::Programs, records::now_ns},
    enforce::gate::order::Order,
    host::system,
    observe::{
        tracked::TrackedVm,
        vms::VmTable,
        window::{self, Sample, Totals},
    },
    policy::safety::Service,
    wire::status::Map,
};

/// Copies of the records at one moment; `vms` are in the table's order.
pub struct Snapshot {
    pub host: Box<Host>,
    pub vms: Vec<Option<Box<Vm>>>,
    pub sample: Sample,
    /// The gate's order, if it has one; or why it cannot be read.
    pub order: Result<Option<Order>, String>,
}

/// The gate's order at this moment.
pub fn read_order() -> Result<Option<Order>, String> {
    Order::read(system::host()).map_err(|error| format!("{error:#}"))
}

pub fn sample(
    host: &Host,
    tracked: &[TrackedVm],
    vms: &[Option<Box<Vm>>],
    order: Option<&Order>,
) -> Sample {
    let now = now_ns();
    // A command that has not returned yet is the PSP's present, not its past.
    let running = host.commands.top().map_or(0, |command| MonotonicNs(now).since(command.started));
    let of_vm = |(tracked, vm): (&TrackedVm, &Option<Box<Vm>>)| {
        Some((tracked.id, Totals::of(vm.as_deref()?)))
    };
    Sample {
        at_ns: now,
        busy_ns: host.totals.commands.iter().map(|totals| totals.busy_ns).sum::<u64>() + running,
        queue_ns: host.totals.messages.iter().map(|message| message.stage_ns[1]).sum(),
        held_ns: order.map(|order| order.counts.held_ns),
        overdue: order.map(|order| order.counts.overdue),
        stages: window::stages(host),
        vms: tracked.iter().zip(vms).filter_map(of_vm).collect(),
    }
}

/// Requests that must be measured before their mean and p99 say something.
const MIN_MEASURED: u64 = 100;

/// How long the PSP takes for a request, over all types together.
pub fn service(host: &Host) -> Service {
    let (mut slots, mut ns) = ([0; SLOTS], 0u64);
    for message in &host.totals.messages {
        ns = ns.saturating_add(message.stage_ns[STAGES - 1]);
        for (sum, count) in slots.iter_mut().zip(message.stage[STAGES - 1]) {
            *sum += count;
        }
    }
    let requests = slots.iter().sum::<u64>();
    match histogram::quantile(&slots, 0.99).filter(|_| requests >= MIN_MEASURED) {
        Some(p99) => {
            let [mean, p99] = [ns / requests, p99].map(Duration::from_nanos);
            Service { mean, p99, measured: true }
        }
        None => Service::PUBLISHED,
    }
}

/// Losses by reason, the kernel's own included.
pub fn lost(host: &Host, programs: &Programs) -> BTreeMap<String, u64> {
    let mut lost: BTreeMap<String, u64> = Loss::ALL
        .iter()
        .map(|loss| (loss.name().to_owned(), host.totals.lost[*loss as usize]))
        .collect();
    let missed = programs.missed();
    lost.insert("probe_missed".to_owned(), missed.probes);
    lost.insert("tracepoint_missed".to_owned(), missed.tracepoints);
    lost
}

/// Guest requests waiting for the PSP. The two counters are read one after the other, so the
/// difference may be slightly off.
pub fn queue_length(host: &Host) -> u64 {
    host.queued.saturating_sub(host.dequeued)
}

/// Every decision that was taken for a VM, and how often.
pub fn each_decision(vm: &Vm) -> impl Iterator<Item = (MessageType, Mode, Decision, u64)> {
    let cells = MessageType::ALL.into_iter().flat_map(|kind| {
        let modes = [Mode::Audit, Mode::Enforce].into_iter();
        modes.flat_map(move |mode| Decision::ALL.map(|decision| (kind, mode, decision)))
    });
    cells
        .map(|(kind, mode, decision)| {
            (kind, mode, decision, vm.decisions[kind as usize].get(mode, decision))
        })
        .filter(|(.., count)| *count > 0)
}

/// The maps that can fill up, by the names that users see.
pub fn maps(programs: &Programs, vms: &VmTable, host: &Host) -> Vec<Map> {
    let (running, exited) = vms.counts();
    let maps = [
        ("vms", "VMS", (running + exited) as u64),
        ("threads", "THREADS", host.threads),
        ("contexts", "CONTEXTS", host.contexts),
    ];
    let map = |(name, map, entries): (&str, &str, u64)| {
        let capacity = u64::from(programs.capacity(map)?);
        Some(Map { map: name.to_owned(), entries, capacity })
    };
    maps.into_iter().filter_map(map).collect()
}
