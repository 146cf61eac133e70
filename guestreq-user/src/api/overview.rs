//! # The API: all of it, at one moment
//!
//! `GET /v1/overview` is [`Overview`]: what `guestreq top` shows. Its parts are what
//! `/v1/vms`, `/v1/psp` and `/v1/policy` answer, but of one moment, so that a VM's rate, its
//! policy and the queue go together.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{Psp, Vms, control, events::Time, policy::Policies, report};
use crate::agent::{Observer, observer::Snapshot, reload};

#[derive(Debug, Deserialize, Serialize)]
pub struct Overview {
    pub agent: About,
    pub vms: Vms,
    pub psp: Psp,
    pub policy: Policies,
}

/// Who answers, and when.
#[derive(Debug, Deserialize, Serialize)]
pub struct About {
    pub version: String,
    pub host: String,
    /// RFC 3339, by the host's clock.
    pub at: String,
    /// The same moment by a clock that nobody sets, for differences between two answers.
    pub monotonic_seconds: f64,
}

pub fn overview(observer: &Observer, snapshot: &Snapshot, config: &reload::Status) -> Overview {
    Overview {
        agent: About {
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
