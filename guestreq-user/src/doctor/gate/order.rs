//! # Whether the gate puts requests in an order

use super::{Finding, Host, PARAMETERS, is_loaded};
use crate::{config::OrderSwitch, enforce::gate::read_number};

/// By the parameters that everybody may read. Checked with every backend: a loaded gate has the order
/// without being asked for it.
pub fn order(host: &Host<'_>) -> Finding {
    if !is_loaded(host) {
        return Finding::skip("the gate is not loaded");
    }
    let parameters = host.system.path(PARAMETERS);
    let [depth, share] = ["depth", "launch_share"].map(|name| parameters.join(name));
    if !depth.exists() {
        return match parameters.join("protocol").exists() {
            false if host.system.is_collected() => {
                Finding::skip(format!("{PARAMETERS}/depth was not collected"))
            }
            _ => Finding::warn(
                "the loaded gate has no order: requests reach the PSP in the order of arrival",
                "load the gate of this release",
            ),
        };
    }
    let (depth, share) = match (read_number(&depth), read_number(&share)) {
        (Ok(depth), Ok(share)) => (depth, share),
        (Err(error), _) | (_, Err(error)) => return Finding::skip(format!("{error:#}")),
    };
    let wanted = host.config.as_ref().ok().and_then(|config| config.order());
    match (depth, wanted) {
        (0, Some(OrderSwitch::Off)) => Finding::pass("off, as configured"),
        (0, _) => Finding::warn(
            "off (depth=0): requests reach the PSP in the order of arrival",
            format!("`echo 1 > {PARAMETERS}/depth`, or set order = \"off\" in the configuration"),
        ),
        (_, Some(OrderSwitch::Off)) => Finding::warn(
            format!("on (depth={depth}), although the configuration says order = \"off\""),
            format!("`echo 0 > {PARAMETERS}/depth`; the agent needs CAP_SYS_ADMIN to set it"),
        ),
        _ if share == 0 => Finding::pass(format!("on, depth {depth}; launches hold no requests")),
        _ => Finding::pass(format!(
            "on, depth {depth}; launches may hold requests for {share} % of the PSP's time"
        )),
    }
}
