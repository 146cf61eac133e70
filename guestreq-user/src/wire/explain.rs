//! # Why a VM has its identity and its policy
//!
//! `GET /v1/explain?vm=VM` is [`Explained`].

use serde::{Deserialize, Serialize};

use super::{
    identity::{Evidence, Identity},
    policy::{Effective, RuleResult},
};

/// A VM as the agent knows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Explained {
    /// By which it is told from all others.
    pub vm: String,
    pub pid: u32,
    /// When the process began, in ticks since boot; null if it was gone when it was looked at.
    pub started: Option<u64>,
    pub running: bool,
    /// Its process does not answer, so that nothing is known of it yet.
    pub unread: bool,
    pub identity: Identity,
    /// Empty if an agent of an older version has read it.
    pub evidence: Vec<Evidence>,
    pub rules: Vec<RuleResult>,
    pub policy: Effective,
}

/// Where that is asked.
pub fn path(vm: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("vm", vm).finish();
    format!("/v1/explain?{query}")
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    #[test]
    fn any_name_can_be_asked_for() {
        for name in ["web", "prod/web", "a b&vm=c", "\u{fc}+%", "pid:7"] {
            let path = path(name);
            let uri: Uri = path.parse().unwrap();
            let query = uri.query().unwrap().as_bytes();
            let pairs: Vec<_> = form_urlencoded::parse(query).collect();
            assert_eq!(pairs, [("vm".into(), name.into())], "{path}");
        }
    }
}
