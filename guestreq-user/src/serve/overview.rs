//! # The API: overview for `guestreq top`

use std::fs;

use crate::{
    serve::{control, launches, report},
    state::{config_status::ConfigStatus, observer::Observer, snapshot::Snapshot},
    wire::{
        events::Time,
        overview::{AgentInfo, Overview},
    },
};

pub fn overview(observer: &Observer, snapshot: &Snapshot, config: &ConfigStatus) -> Overview {
    Overview {
        agent: AgentInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            at: Time::now().to_string(),
            monotonic_seconds: report::seconds(snapshot.sample.at_ns),
        },
        vms: report::vms(observer, snapshot),
        psp: report::psp(observer, snapshot),
        policy: control::policies(observer, snapshot, config),
        launches: launches::running(observer, snapshot),
    }
}

/// The host's name, or the container's.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
