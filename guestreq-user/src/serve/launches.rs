//! # The API: launches

use std::time::Duration;

use guestreq_common::units::MonotonicNs;

use super::report::seconds;
use crate::{
    observe::launches::{Ended, Running, Users},
    state::{observer::Observer, snapshot::Snapshot},
    wire::{
        events::{Time, Work, state_name},
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
    let wire = |running: &&Running| {
        let Running { vm, launch, users } = running;
        let state = if running.is_stalled(now) { Launch::STALLED } else { Launch::RUNNING };
        Launch {
            vm: vm.clone(),
            state: state.into(),
            started: time(launch.started, now),
            seconds: seconds(MonotonicNs(now).since(launch.started)),
            seconds_ago: seconds(MonotonicNs(now).since(launch.latest)),
            work: Work::of(launch, Some(users.most())),
        }
    };
    running.iter().map(wire).collect()
}

fn ended(Ended { vm, launch, users }: &Ended, now: u64) -> Launch {
    Launch {
        vm: vm.clone(),
        state: state_name(launch).into(),
        started: time(launch.started, now),
        seconds: seconds(launch.duration_ns()),
        seconds_ago: seconds(MonotonicNs(now).since(launch.latest)),
        work: Work::of(launch, users.as_ref().map(Users::most)),
    }
}

fn time(at: MonotonicNs, now: u64) -> Time {
    Time::ago(Duration::from_nanos(MonotonicNs(now).since(at)))
}
