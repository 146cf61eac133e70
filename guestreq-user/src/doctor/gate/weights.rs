//! # Whether the policy's weights have an effect

use super::{Finding, Host, Missing};
use crate::{
    doctor::host::is_denied,
    enforce::{gate::missing_for_weights, policies::Policies},
    policy::without_order,
};

/// Of weights in the configuration and overrides. Checked with every backend, as `order` is: weights
/// without an effect are an error in the policy.
pub fn weights(host: &Host<'_>) -> Finding {
    let has_weights = match host.config.as_ref().map(Policies::open) {
        Ok(Ok(policies)) => policies.policy_set().has_weights(),
        Ok(Err(error)) if is_denied(&error) => return Finding::hidden("overrides"),
        Ok(Err(_)) | Err(_) => return Finding::skip("the configuration cannot be read"),
    };
    if !has_weights {
        return Finding::pass("no policy sets a weight");
    }
    if let Some(why) = without_order(host.backend()) {
        return Finding::warn(why, "backend = \"gate\", or remove the weights");
    }
    match missing_for_weights(&host.system) {
        Ok(None) => Finding::pass("the gate's order knows the policy's weights"),
        Ok(Some(Missing { what, fix })) => {
            Finding::warn(format!("weights have no effect: {what}"), fix)
        }
        Err(error) => Finding::skip(format!("{error:#}")),
    }
}
