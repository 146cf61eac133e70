//! # The API: all of it, at one moment
//!
//! `GET /v1/overview` is [`Overview`]: what `guestreq top` shows. Its parts are what
//! `/v1/vms`, `/v1/psp` and `/v1/policy` answer, but of one moment, so that a VM's rate, its
//! policy and the queue go together.

use std::fs;

use crate::agent::config_status::ConfigStatus;
use crate::wire::overview::{AgentInfo, Overview};
use crate::{
    agent::{observer::Observer, snapshot::Snapshot},
    serve::{control, report},
    wire::events::Time,
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
    }
}

/// The host's name; in a container, what it was given.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
