//! # Builds answers from records

mod order;

use std::collections::BTreeMap;

use guestreq_common::{
    command::Class,
    ghcb::GuestStatus,
    histogram::{self, Slots},
    host::Host,
    message,
    outcome::Outcome,
    policy::Decision,
    request::STAGE_NAMES,
    sequence::Anomaly,
    units::MonotonicNs,
    vm::{Life, Results, Vm as Record},
    waiting::LostCause,
};

use crate::{
    host::system,
    kernel::snp::Asids,
    observe::{
        lost_vmpcks::{lost_vmpcks, oldest_refused_ns},
        tracked::TrackedVm,
    },
    state::{
        observer::Observer,
        snapshot::{Snapshot, lost, queue_length},
    },
    text::command_name,
    wire::{self, Command, Counts, Holder, LostVmpck, MessageStats, Psp, Recent, Stage, Vm, Vms},
};

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub fn vms(observer: &Observer, snapshot: &Snapshot) -> Vms {
    let rows = observer.table.vms().iter().zip(&snapshot.vms);
    let mut vms: Vec<Vm> = rows
        .filter_map(|(tracked, record)| Some(vm(observer, snapshot, tracked, record.as_ref()?)))
        .collect();
    // Ordered by share of the PSP: recent, then total.
    let order = |vm: &Vm| (vm.recent_psp_share, vm.psp_seconds.values().sum::<f64>());
    vms.sort_by(|a, b| order(b).partial_cmp(&order(a)).unwrap_or(std::cmp::Ordering::Equal));
    Vms { window_seconds: observer.window.seconds(&snapshot.sample), vms }
}

fn vm(observer: &Observer, snapshot: &Snapshot, tracked: &TrackedVm, record: &Record) -> Vm {
    let recent = observer.window.vm(&snapshot.sample, tracked.id);
    let quantile = |q: f64| histogram::quantile(&record.duration, q).map(seconds);
    let now = MonotonicNs(snapshot.sample.at_ns);
    let waiting = &record.limiter.waiting;
    Vm {
        vm: tracked.label.clone(),
        name: tracked.identity.name.clone(),
        uuid: tracked.identity.uuid.clone(),
        vmm: tracked.identity.vmm.clone(),
        namespace: tracked.identity.namespace.clone(),
        pod_uid: tracked.identity.pod_uid.clone(),
        pid: tracked.tgid,
        running: !tracked.exited && record.life != Life::Exited as u32,
        requests: record.total(),
        extended_requests: record.extended,
        tio_requests: record.tio_requests,
        results: counts(record),
        vmpck: record.vmpck.to_vec(),
        stage_seconds: stage_names().zip(record.stage_ns.map(seconds)).collect(),
        p50_seconds: quantile(0.5),
        p99_seconds: quantile(0.99),
        psp_seconds: Class::ALL
            .iter()
            .map(|class| (class.name().to_owned(), seconds(record.psp_ns[*class as usize])))
            .collect(),
        sequence_anomalies: Anomaly::ALL
            .iter()
            .map(|kind| (kind.name().to_owned(), record.anomalies[*kind as usize]))
            .collect(),
        rescued: record.rescued,
        lost_vmpcks: lost_vmpcks(waiting.lost)
            .map(|(vmpck, cause)| LostVmpck { vmpck, cause: cause.name().to_owned() })
            .collect(),
        vmpcks_lost: LostCause::ALL
            .iter()
            .map(|cause| (cause.name().to_owned(), waiting.losses[*cause as usize]))
            .collect(),
        oldest_refused_seconds: oldest_refused_ns(waiting, now)
            .filter(|_| !tracked.exited)
            .map(seconds),
        recent_requests_per_second: recent.requests_per_second,
        recent_psp_share: recent.psp_share,
        recent_messages_per_second: rates(
            message::MessageType::ALL
                .map(|kind| (kind.name(), recent.messages_per_second[kind as usize])),
        ),
        recent_decisions_per_second: rates(
            Decision::ALL.map(|of| (of.name(), recent.decisions_per_second[of as usize])),
        ),
        recent_p50_seconds: recent.quantiles.p50.map(seconds),
        recent_p99_seconds: recent.quantiles.p99.map(seconds),
        last_request_seconds_ago: (!record.last_request.is_never())
            .then(|| seconds(now.since(record.last_request))),
    }
}

/// Rates above zero.
fn rates<const N: usize>(rates: [(&str, f64); N]) -> BTreeMap<String, f64> {
    let some = rates.into_iter().filter(|(_, rate)| *rate > 0.0);
    some.map(|(name, rate)| (name.to_owned(), rate)).collect()
}

/// The command that occupies the PSP.
pub fn holder(observer: &Observer, snapshot: &Snapshot) -> Option<Holder> {
    let running = snapshot.host.commands.top()?;
    let vm = observer.table.find(running.vm).filter(|_| !running.vm.is_none());
    Some(Holder {
        command: command_name(running.command),
        vm: vm.map(|vm| vm.label.clone()),
        pid: running.thread.tgid(),
        seconds: seconds(MonotonicNs(snapshot.sample.at_ns).since(running.started)),
    })
}

pub fn psp(observer: &Observer, snapshot: &Snapshot) -> Psp {
    let host = &snapshot.host;
    let (recent_utilisation, recent_queue_length) = observer.window.host(&snapshot.sample);
    let mut commands: Vec<Command> = (0..)
        .zip(&host.totals.commands)
        .filter(|(_, totals)| totals.count > 0)
        .map(|(number, totals)| Command {
            command: command_name(number),
            count: totals.count,
            failed: totals.failed,
            busy_seconds: seconds(totals.busy_ns),
        })
        .collect();
    commands.sort_by(|a, b| b.busy_seconds.total_cmp(&a.busy_seconds));
    let names = ["plain", "extended"].map(str::to_owned);
    let (order, order_error) = match order::order(observer, snapshot) {
        Ok(order) => (order, None),
        Err(error) => (None, Some(error)),
    };
    Psp {
        window_seconds: observer.window.seconds(&snapshot.sample),
        holder: holder(observer, snapshot),
        queue_length: queue_length(host),
        recent_utilisation,
        recent_queue_length,
        recent_stages: recent_stages(observer, snapshot),
        busy_seconds: seconds(snapshot.sample.busy_ns),
        waited_seconds: seconds(snapshot.sample.queue_ns),
        commands,
        messages: messages(host),
        guest_requests: names.into_iter().zip(host.totals.exits).collect(),
        guest_answers: GuestStatus::ALL
            .iter()
            .map(|status| (status.name().to_owned(), host.totals.guest_statuses[*status as usize]))
            .collect(),
        order,
        order_error,
        asids: asids(),
        lost: lost(host, &observer.programs),
        probes: observer.programs.probes().map(|(name, on)| (name.to_owned(), on)).collect(),
    }
}

fn asids() -> Option<wire::Asids> {
    let asids = Asids::read(system::host()).ok()?;
    Some(wire::Asids { used: asids.used, available: asids.available() })
}

fn recent_stages(observer: &Observer, snapshot: &Snapshot) -> BTreeMap<String, Recent> {
    let stages = observer
        .window
        .stages(&snapshot.sample)
        .map(|of| Recent { p50_seconds: of.p50.map(seconds), p99_seconds: of.p99.map(seconds) });
    stage_names().zip(stages).collect()
}

fn stage_names() -> impl Iterator<Item = String> {
    STAGE_NAMES.iter().map(|name| (*name).to_owned())
}

fn results(counts: &Results) -> BTreeMap<String, u64> {
    Outcome::all()
        .map(|outcome| (outcome.name(), counts.get(outcome)))
        .filter(|(_, count)| *count > 0)
        .fold(BTreeMap::new(), |mut results, (name, count)| {
            // Unspecified numbers share a name.
            *results.entry(name.to_owned()).or_default() += count;
            results
        })
}

fn counts(record: &Record) -> Counts {
    message::MessageType::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), results(&record.requests[*kind as usize])))
        .filter(|(_, results)| !results.is_empty())
        .collect()
}

fn messages(host: &Host) -> Vec<MessageStats> {
    let stage = |slots: &Slots, ns: u64| Stage {
        seconds: seconds(ns),
        p50_seconds: histogram::quantile(slots, 0.5).map(seconds),
        p99_seconds: histogram::quantile(slots, 0.99).map(seconds),
    };
    message::MessageType::ALL
        .iter()
        .map(|kind| {
            let totals = &host.totals.messages[*kind as usize];
            let stages = totals.stage.iter().zip(totals.stage_ns);
            let stages = stages.map(|(slots, ns)| stage(slots, ns));
            MessageStats {
                message: kind.name().to_owned(),
                results: results(&totals.results),
                stages: stage_names().zip(stages).collect(),
            }
        })
        .filter(|message| !message.results.is_empty())
        .collect()
}
