//! # Configured enforcement, even if the overrides cannot be read

use guestreq_common::policy::Mode;

use super::Policies;
use crate::{
    config::Config,
    enforce::{denial::after_denial, enforcement::Status},
    policy::{Overrides, Store},
};

/// The configured backend and mode. If the overrides cannot be read, the strictest mode that they
/// may set: alerts must fire.
pub fn configured(config: &Config) -> Status {
    let (mode, reason) = match Policies::open(config) {
        Ok(policies) => (policies.policy_set.strictest(), None),
        Err(error) => (strictest(config), Some(format!("{error:#}"))),
    };
    let backend = config.backend.0;
    let after_denial = after_denial(backend, config.vcpu_denied.0);
    Status { backend, after_denial, mode, verified: false, reason, bypassed: None }
}

fn strictest(config: &Config) -> Mode {
    let store = Store::new(&config.state);
    match store.read() {
        Ok(overrides) => config.policy_set(overrides).strictest(),
        Err(_) if store.may_enforce() => Mode::Enforce,
        Err(_) => config.policy_set(Overrides::default()).strictest(),
    }
}
