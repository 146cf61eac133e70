//! # The API: why a VM is who it is
//!
//! `GET /v1/explain?vm=VM` is [`Explained`]: what the agent has read of the VM's process, what of
//! it told that, and what follows. As it holds: nothing is read anew.

use axum::{
    extract::State as Extract,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{control::observing, server::failure};
use crate::{
    agent::{Observer, Shared, table::Tracked},
    host::{Because, Identity},
    json::Json,
    policy::{Effective, Refusal, Tried, find},
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
    /// What of its process told that.
    pub because: Vec<Because>,
    pub rules: Vec<Tried>,
    pub policy: Effective,
}

/// Where that is asked.
pub fn path(vm: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("vm", vm).finish();
    format!("/v1/explain?{query}")
}

pub async fn get_explain(Extract(shared): Extract<Shared>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default().as_bytes();
    let Some((_, vm)) = form_urlencoded::parse(query).find(|(key, _)| key == "vm") else {
        return failure(StatusCode::BAD_REQUEST, "which VM: /v1/explain?vm=VM");
    };
    match observing(&shared, |observer| explain(observer, &vm)) {
        Ok(explained) => Json(explained).into_response(),
        Err(refused) => refused.answer(),
    }
}

fn explain(observer: &mut Observer, vm: &str) -> Result<Explained, Refusal> {
    observer.refresh().map_err(|error| Refusal::Failed(format!("{error:#}")))?;
    let vms = observer.table.vms();
    let all: Vec<_> = vms.iter().map(Tracked::candidate).collect();
    let vm = &vms[find(vm, &all)?];
    let book = observer.policies.book();
    Ok(Explained {
        vm: vm.label.clone(),
        pid: vm.tgid,
        started: vm.started,
        running: !vm.exited,
        unread: vm.unread,
        identity: vm.identity.clone(),
        because: vm.because.clone(),
        rules: book.tried(&vm.identity),
        policy: book.resolve(&vm.identity),
    })
}

#[cfg(test)]
mod tests {
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
