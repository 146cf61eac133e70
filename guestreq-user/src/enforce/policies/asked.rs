//! # What is asked for, also where that cannot be read

use guestreq_common::policy::Mode;

use super::Policies;
use crate::{
    config::Config,
    enforce::enforcement::Status,
    policy::{Overrides, Store},
};

/// What is asked for, whatever comes of it. Where that cannot be read, it is the strictest that may
/// be asked for: to say less would be to say that nothing is missing.
pub fn asked(config: &Config) -> Status {
    let (mode, reason) = match Policies::open(config) {
        Ok(policies) => (policies.policy_set.strictest(), None),
        Err(error) => (strictest(config), Some(format!("{error:#}"))),
    };
    Status { backend: config.backend.0, mode, verified: false, reason, bypassed: None }
}

fn strictest(config: &Config) -> Mode {
    let store = Store::new(&config.state);
    match store.read() {
        Ok(overrides) => config.policy_set(overrides).strictest(),
        Err(_) if store.may_enforce() => Mode::Enforce,
        Err(_) => config.policy_set(Overrides::default()).strictest(),
    }
}
