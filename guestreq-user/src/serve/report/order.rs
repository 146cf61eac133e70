//! # The API: the gate's order

use anyhow::Result;
use guestreq_common::units::GuestContext;

use super::{holder, seconds};
use crate::{
    enforce::gate::order::{self, Counts},
    host::system,
    state::{observer::Observer, snapshot::Snapshot},
    wire::order::{Order, Waiter},
};

/// The order and who waits in it; `None` without a gate that has an order.
pub fn order(observer: &Observer, snapshot: &Snapshot) -> Result<Option<Order>, String> {
    let Some(order) = snapshot.order.clone()? else { return Ok(None) };
    let waiters = order::waiters(system::host());
    let launching = observer.launches.running().map(|it| it.vm.label_or_pid());
    let others = Others {
        has_psp: holder(observer, snapshot).and_then(|holder| holder.vm),
        launching: launching.collect(),
    };
    let list = waiters.map(|waiters| {
        let first = waiters.iter().take(Order::MOST_LISTED);
        let named = first.map(|it| (it, vm(observer, snapshot, it))).collect();
        listed(&order, named, &others)
    });
    let recent_held_share = observer.window.held(&snapshot.sample);
    let recent_overdue = observer.window.overdue(&snapshot.sample);
    Ok(Some(with_list(counted(&order, recent_held_share, recent_overdue), list)))
}

/// The counts need no capability, so they are known even if the list is not.
fn with_list(counted: Order, list: Result<Vec<Waiter>>) -> Order {
    match list {
        Ok(waiters) => Order { waiters, ..counted },
        Err(error) => Order { waiters_error: Some(format!("{error:#}")), ..counted },
    }
}

/// The VM with that guest context, or else the only one of that process.
fn vm(observer: &Observer, snapshot: &Snapshot, waiter: &order::Waiter) -> Option<String> {
    let of_context = |context: GuestContext| {
        let all = observer.table.vms().iter().zip(&snapshot.vms);
        let mut running = all.filter(|(tracked, _)| !tracked.exited);
        running.find(|(_, record)| record.as_ref().is_some_and(|vm| vm.context == context))
    };
    if let Some((tracked, _)) = of_context(waiter.context) {
        return Some(tracked.label.clone());
    }
    let is_its = |tgid| waiter.tgid != 0 && tgid == waiter.tgid;
    let mut of_process =
        observer.table.vms().iter().filter(|tracked| !tracked.exited && is_its(tracked.tgid));
    let first = of_process.next()?;
    of_process.next().is_none().then(|| first.label.clone())
}

fn counted(order: &order::Order, recent_held_share: f64, recent_overdue: u64) -> Order {
    let Counts { waiting, in_flight, grants, overdue, killed, .. } = order.counts;
    let Counts { wait_ns, held_ns, launch_ns, request_ns, .. } = order.counts;
    Order {
        depth: order.depth,
        launch_share: order.launch_share as f64 / 100.0,
        waiting,
        in_flight,
        held: order.held_slots() > 0,
        recent_held_share,
        grants,
        overdue,
        recent_overdue,
        killed,
        waited_seconds: seconds(wait_ns),
        held_seconds: seconds(held_ns),
        launch_seconds: seconds(launch_ns),
        request_seconds: seconds(request_ns),
        waiters: Vec::new(),
        waiters_error: None,
    }
}

/// Who may be before those that wait.
struct Others {
    /// The VM whose command the PSP executes.
    has_psp: Option<String>,
    /// The VMs that launch.
    launching: Vec<String>,
}

/// Says of each why it waits. As many are held for a launch as there are free slots.
fn listed(
    order: &order::Order,
    waiters: Vec<(&order::Waiter, Option<String>)>,
    others: &Others,
) -> Vec<Waiter> {
    let held = usize::try_from(order.held_slots()).unwrap_or(usize::MAX);
    let mut listed: Vec<Waiter> = Vec::with_capacity(waiters.len());
    for (at, (waiter, vm)) in waiters.into_iter().enumerate() {
        let (reason, behind) = match listed.last() {
            _ if at < held => (Waiter::LAUNCH, only(&others.launching)),
            None => (Waiter::SLOT, others.has_psp.clone()),
            Some(before) => (Waiter::TURN, Some(before.label_or_pid())),
        };
        listed.push(Waiter {
            vm,
            pid: waiter.tgid,
            weight: waiter.weight.get(),
            waited_seconds: seconds(waiter.waited_ns),
            reason: reason.into(),
            behind,
        });
    }
    listed
}

/// With several launches it is not known which one is awaited.
fn only(launching: &[String]) -> Option<String> {
    match launching {
        [one] => Some(one.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use guestreq_common::gate::Weight;

    use super::*;

    fn order(depth: u64, in_flight: u64, waiting: u64) -> order::Order {
        let counts = Counts { waiting, in_flight, held_ns: 1_500_000_000, ..Counts::default() };
        order::Order { depth, launch_share: 75, counts }
    }

    fn why(order: &order::Order, vms: &[Option<&str>], others: &Others) -> Vec<String> {
        let waiter = order::Waiter {
            context: GuestContext(7),
            tgid: 9,
            weight: Weight::DEFAULT,
            start: 0,
            waited_ns: 2_000_000,
        };
        let named = vms.iter().map(|vm| (&waiter, vm.map(str::to_owned))).collect();
        let why = |it: &Waiter| format!("{} {}", it.reason, it.behind.as_deref().unwrap_or("-"));
        listed(order, named, others).iter().map(why).collect()
    }

    #[test]
    fn each_waits_for_its_turn_the_next_one_for_a_slot_or_a_launch() {
        let others = |has_psp: Option<&str>, launching: &[&str]| Others {
            has_psp: has_psp.map(str::to_owned),
            launching: launching.iter().map(|vm| (*vm).to_owned()).collect(),
        };
        let vms = [Some("web"), None, Some("db")];
        let greedy = others(Some("greedy"), &["new"]);
        assert_eq!(why(&order(1, 1, 3), &vms, &greedy), ["slot greedy", "turn web", "turn pid 9"]);
        assert_eq!(why(&order(1, 0, 3), &vms, &greedy), ["launch new", "turn web", "turn pid 9"]);
        assert_eq!(why(&order(2, 0, 3), &vms, &greedy), ["launch new", "launch new", "turn pid 9"]);
        let many = others(None, &["new", "newer"]);
        assert_eq!(why(&order(1, 0, 3), &vms[..1], &many), ["launch -"]);
        assert_eq!(why(&order(1, 2, 3), &vms[..1], &many), ["slot -"], "one is overdue");
        assert_eq!(why(&order(1, 0, 0), &[], &many), [""; 0]);
    }

    #[test]
    fn times_are_in_seconds_and_shares_from_0_to_1() {
        let shown = counted(&order(1, 0, 2), 0.25, 7);
        assert_eq!((shown.depth, shown.launch_share, shown.waiting), (1, 0.75, 2));
        assert_eq!((shown.held, shown.held_seconds, shown.recent_held_share), (true, 1.5, 0.25));
        assert_eq!(shown.recent_overdue, 7);
        assert!(!counted(&order(1, 1, 2), 0.0, 0).held);
    }

    #[test]
    fn without_the_list_the_counts_remain() {
        let error = anyhow::anyhow!("grant CAP_SYSLOG").context("/proc/guestreq_gate");
        let shown = with_list(counted(&order(1, 1, 2), 0.25, 0), Err(error));
        assert_eq!((shown.depth, shown.waiting, shown.held_seconds), (1, 2, 1.5));
        assert_eq!(shown.waiters, []);
        assert_eq!(shown.waiters_error.as_deref(), Some("/proc/guestreq_gate: grant CAP_SYSLOG"));
        assert_eq!(with_list(counted(&order(1, 1, 0), 0.0, 0), Ok(Vec::new())).waiters_error, None);
    }
}
