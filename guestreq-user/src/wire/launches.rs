//! # The API: launches
//!
//! `GET /v1/launches` is [`Launches`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::events::{EventVm, Time, Work};

/// `guestreq launches -o json`, `GET /v1/launches`
#[derive(Debug, Deserialize, Serialize)]
pub struct Launches {
    /// Those that run, the earliest first; then those that have ended, the latest first.
    pub launches: Vec<Launch>,
}

/// A launch of an SNP guest: from its first command to SNP_LAUNCH_FINISH, or to the end of its guest
/// context.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Launch {
    /// Its VM. If the VM was not named before its launch failed, only `pid` is known.
    #[serde(flatten)]
    pub vm: EventVm,
    /// `running`; `stalled`: it runs, but had no command for 60 s; `finished`; or as `result` of the
    /// event `launched`.
    pub state: Cow<'static, str>,
    /// When its first command began to wait for the PSP.
    pub started: Time,
    /// Since then: until now, or until its last command returned.
    pub seconds: f64,
    /// Since its last command returned.
    pub seconds_ago: f64,
    /// As in the event `launched`; false while it runs.
    #[serde(default)]
    pub inferred: bool,
    #[serde(flatten)]
    pub work: Work,
}

impl Launch {
    pub const RUNNING: &'static str = "running";
    pub const STALLED: &'static str = "stalled";

    pub fn runs(&self) -> bool {
        self.state == Launch::RUNNING || self.state == Launch::STALLED
    }
}
