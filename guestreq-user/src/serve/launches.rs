//! # The API: launches

use std::time::Duration;

use guestreq_common::{launch, units::MonotonicNs};

use super::report::seconds;
use crate::{
    observe::launches::{Ended, Running, Users},
    state::{observer::Observer, snapshot::Snapshot},
    wire::{
        events::{EventVm, Time, Work, state_name},
        launches::{Launch, Launches},
    },
};

pub fn launches(observer: &Observer, snapshot: &Snapshot) -> Launches {
    let mut launches = running(observer, snapshot);
    launches.extend(observer.launches.ended().map(|it| ended(it, snapshot.sample.at_ns)));
    Launches { launches }
}

/// Those that run, the earliest first.
pub fn running(observer: &Observer, snapshot: &Snapshot) -> Vec<Launch> {
    let now = snapshot.sample.at_ns;
    let mut running: Vec<&Running> = observer.launches.running().collect();
    running.sort_by_key(|running| running.launch.started.0);
    let launch = |running: &&Running| {
        let Running { vm, launch, users } = running;
        let state = if running.is_stalled(now) { Launch::STALLED } else { Launch::RUNNING };
        let ns = MonotonicNs(now).since(launch.started);
        as_shown(vm, launch, Some(users), now, (state, ns))
    };
    running.iter().map(launch).collect()
}

fn ended(Ended { vm, launch, users, inferred, .. }: &Ended, now: u64) -> Launch {
    let end = (state_name(launch), launch.duration_ns());
    Launch { inferred: *inferred, ..as_shown(vm, launch, users.as_ref(), now, end) }
}

/// A launch in a state, which has taken so many ns.
fn as_shown(
    vm: &EventVm,
    launch: &launch::Launch,
    users: Option<&Users>,
    now: u64,
    (state, ns): (&'static str, u64),
) -> Launch {
    let ago = |at| MonotonicNs(now).since(at);
    Launch {
        vm: vm.clone(),
        state: state.into(),
        started: Time::ago(Duration::from_nanos(ago(launch.started))),
        seconds: seconds(ns),
        seconds_ago: seconds(ago(launch.latest)),
        inferred: false,
        work: Work::of(launch, users.map(Users::most)),
    }
}
