//! # Explanation of a VM's identity and policy
//!
//! `GET /v1/explain?vm=VM` is [`Explained`].

use serde::{Deserialize, Serialize};

use super::{
    identity::{Evidence, Identity},
    policy::{Effective, RuleResult},
};

/// `GET /v1/explain`: a VM as the agent knows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Explained {
    /// Unique label.
    pub vm: String,
    pub pid: u32,
    /// Start of the process in ticks since boot; null if it exited before it was read.
    pub started: Option<u64>,
    pub running: bool,
    /// Its process cannot be read yet: nothing is known of it.
    pub unread: bool,
    pub identity: Identity,
    /// Empty if read by an older agent.
    pub evidence: Vec<Evidence>,
    pub rules: Vec<RuleResult>,
    pub policy: Effective,
    /// Further remarks.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The request's path and query.
pub fn path(vm: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("vm", vm).finish();
    format!("/v1/explain?{query}")
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    #[test]
    fn any_name_can_be_requested() {
        for name in ["web", "prod/web", "a b&vm=c", "\u{fc}+%", "pid:7"] {
            let path = path(name);
            let uri: Uri = path.parse().unwrap();
            let query = uri.query().unwrap().as_bytes();
            let pairs: Vec<_> = form_urlencoded::parse(query).collect();
            assert_eq!(pairs, [("vm".into(), name.into())], "{path}");
        }
    }
}
