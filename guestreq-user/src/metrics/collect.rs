//! # Records to series

#[cfg(test)]
mod scrape;

use std::collections::BTreeMap;

use guestreq_common::{
    command::Class,
    message::MessageType,
    outcome::Outcome,
    request::{STAGE_NAMES, STAGES},
    sequence::Anomaly,
    units::MonotonicNs,
    vm::{Results, Vm},
};

use super::{decisions, definitions as metric, families::Families, launches, order};
use crate::{
    enforce::enforcement::Status,
    host::{self, Identity},
    observe::tracked::TrackedVm,
    state::{
        observer::Observer,
        snapshot::{Snapshot, lost, maps, queue_length},
    },
    text::command_name,
    wire::status::Map,
};

/// Everything an observing agent exports.
pub fn observer(families: &mut Families, observer: &mut Observer, snapshot: &Snapshot) {
    of_host(families, snapshot);
    for (tracked, record) in observer.table.vms_mut().iter_mut().zip(&snapshot.vms) {
        if let Some(record) = record {
            vm(families, tracked, record, MonotonicNs(snapshot.sample.at_ns));
        }
    }
    launches::running(families, observer.launches.counts(snapshot.sample.at_ns));
    if let Ok(Some(order)) = &snapshot.order {
        order::of_gate(families, order);
    }
    enforcement(families, &observer.enforcement.status());
    agent(families, observer, snapshot);
}

/// Also for a waiting agent: its mode is known, and no self-test has run.
pub fn enforcement(families: &mut Families, status: &Status) {
    let verified = if status.verified { "true" } else { "false" };
    let labels = [status.backend.name(), status.mode.name(), verified];
    families.gauge(&metric::ENFORCEMENT_INFO, &labels, 1.0);
    if let Some(bypassed) = status.bypassed {
        families.counter(&metric::BYPASSED, &[], bypassed as f64);
    }
}

fn of_host(families: &mut Families, snapshot: &Snapshot) {
    let host = &snapshot.host;
    families.counter(&metric::MESSAGES_RESCUED, &[], host.totals.rescued as f64);
    for kind in MessageType::ALL {
        let ordinary = MessageType::ORDINARY.contains(&kind);
        let mut any = ordinary;
        let totals = &host.totals.messages[kind as usize];
        for (name, count) in results(&totals.results) {
            any |= count > 0;
            // Alerts need these series at 0 first: a new series is not an increase.
            let awaited =
                name == Outcome::OK.name() || ordinary && name == Outcome::HOST_ERROR.name();
            if count > 0 || awaited {
                families.counter(&metric::MESSAGES, &[kind.name(), name], count as f64);
            }
        }
        for stage in (0..STAGES).filter(|_| any) {
            families.histogram(
                &metric::STAGE_DURATION,
                &[STAGE_NAMES[stage], kind.name()],
                &totals.stage[stage],
                totals.stage_ns[stage],
            );
        }
    }
    for (number, totals) in (0..).zip(&host.totals.commands) {
        let known = number == guestreq_common::command::SNP_GUEST_REQUEST;
        if totals.count > 0 || known {
            let name = command_name(number);
            families.counter(&metric::PSP_COMMANDS, &[&name], totals.count as f64);
            families.counter(&metric::PSP_BUSY, &[&name], totals.busy_ns as f64 / 1e9);
        }
    }
    families.gauge(&metric::PSP_QUEUE, &[], queue_length(host) as f64);
    launches::of_host(families, &host.totals.launches);
}

/// A kind's counts by result name; unlisted numbers share one name.
fn results(counts: &Results) -> impl Iterator<Item = (&'static str, u64)> {
    let name = Outcome::UNKNOWN_STATUS.name();
    let unlisted: u64 = Outcome::all()
        .filter(|outcome| outcome.name() == name)
        .map(|outcome| counts.get(outcome))
        .sum();
    let listed = Outcome::all()
        .filter(move |outcome| outcome.name() != name)
        .map(move |outcome| (outcome.name(), counts.get(outcome)));
    listed.chain([(name, unlisted)])
}

pub fn vm(families: &mut Families, tracked: &mut TrackedVm, record: &Vm, now: MonotonicNs) {
    requests(families, tracked, record);
    decisions::of_vm(families, tracked, record, now);
    let label = tracked.label.as_str();
    families.histogram(
        &metric::REQUEST_DURATION,
        &[label],
        &record.duration,
        record.stage_ns.iter().sum(),
    );
    for (name, ns) in STAGE_NAMES.iter().zip(record.stage_ns) {
        families.counter(&metric::VM_STAGE, &[label, name], ns as f64 / 1e9);
    }
    for class in Class::ALL {
        let seconds = record.psp_ns[class as usize] as f64 / 1e9;
        families.counter(&metric::VM_PSP, &[label, class.name()], seconds);
    }
    if record.tio_requests > 0 {
        families.counter(&metric::VM_TIO, &[label], record.tio_requests as f64);
    }
    for kind in Anomaly::ALL {
        let count = record.anomalies[kind as usize] as f64;
        families.counter(&metric::ANOMALIES, &[label, kind.name()], count);
    }
    // Only backend vcpu holds and stops vCPUs.
    if record.kick != 0 || record.refused_runs > 0 {
        families.counter(&metric::VCPU_HELD, &[label], record.held as f64);
        families.counter(&metric::VCPU_STOPPED, &[label], record.stopped as f64);
        families.counter(&metric::RUNS_REFUSED, &[label], record.refused_runs as f64);
    }
    let first_seen = host::unix_seconds(record.first_seen.0);
    families.gauge(&metric::VM_FIRST_SEEN, &[label], first_seen as f64);
    let identity = &tracked.identity;
    let Identity { name, uuid, vmm, namespace, pod_uid, .. } = identity;
    let name = host::clean(name);
    let labels = [label, &name, uuid, vmm, namespace, pod_uid];
    families.gauge(&metric::VM_INFO, &labels, 1.0);
}

/// Guests choose message types and influence results, so further pairs are folded into one series:
/// a guest cannot flood Prometheus.
fn requests(families: &mut Families, tracked: &mut TrackedVm, record: &Vm) {
    const FOLDED: (MessageType, &str) = (MessageType::Unknown, Outcome::UNKNOWN_STATUS.name());
    let mut counts: BTreeMap<(MessageType, &str), u64> =
        tracked.pairs.iter().map(|pair| (*pair, 0)).collect();
    for kind in MessageType::ALL {
        for (result, count) in
            results(&record.requests[kind as usize]).filter(|(_, count)| *count > 0)
        {
            let pair = if tracked.admit(kind, result) { (kind, result) } else { FOLDED };
            *counts.entry(pair).or_default() += count;
        }
    }
    for ((kind, result), count) in counts {
        let labels = [tracked.label.as_str(), kind.name(), result];
        families.counter(&metric::REQUESTS, &labels, count as f64);
    }
}

fn agent(families: &mut Families, observer: &Observer, snapshot: &Snapshot) {
    for (name, attached) in observer.programs.probes() {
        families.gauge(&metric::PROBE_ATTACHED, &[name], f64::from(u8::from(attached)));
    }
    for (reason, count) in lost(&snapshot.host, &observer.programs) {
        families.counter(&metric::EVENTS_LOST, &[&reason], count as f64);
    }
    for Map { map, entries, capacity } in maps(&observer.programs, &observer.table, &snapshot.host)
    {
        families.gauge(&metric::MAP_ENTRIES, &[&map], entries as f64);
        families.gauge(&metric::MAP_CAPACITY, &[&map], capacity as f64);
    }
    families.gauge(&metric::VMS_UNREAD, &[], observer.table.unread() as f64);
    let states = observer.programs.states();
    if states.iter().any(|state| state.runs > 0) {
        for state in states {
            families.counter(&metric::PROGRAM_RUNS, &[state.name], state.runs as f64);
            families.counter(&metric::PROGRAM_RUN_SECONDS, &[state.name], state.run_seconds);
        }
    }
}
