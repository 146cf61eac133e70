//! # Reading and changing policies

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State as Extract, connect_info::Connected},
    http::StatusCode,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use guestreq_common::{
    message::Kind,
    policy::{Decision, Mode},
    vm::Vm,
};
use tokio::net::UnixListener;

use super::{
    policy::{Changed, Enforcement, Named, Policies, Request, VmPolicy},
    server::{answer, failure},
};
use crate::{
    agent::{Observer, Shared, State, observer::Snapshot},
    policy::{Book, Refusal, key_of},
};

/// Who is at the other end of the socket, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Peer {
    /// The uid, if it may change anything.
    fn root(self) -> Result<u32, String> {
        match self.uid {
            Some(0) => Ok(0),
            Some(uid) => Err(format!("uid {uid} may not change anything: use `sudo`")),
            None => Err("the kernel does not say who asks: nothing is changed".to_owned()),
        }
    }
}

pub async fn get_policy(Extract(shared): Extract<Shared>) -> Response {
    answer(&shared, policies)
}

pub async fn put_policy(
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extract(shared): Extract<Shared>,
    body: Bytes,
) -> Response {
    let uid = match peer.root() {
        Ok(uid) => uid,
        Err(why) => return failure(StatusCode::FORBIDDEN, &why),
    };
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &format!("the request: {error}")),
    };
    match &mut *shared.state() {
        State::Waiting { reason } => {
            failure(StatusCode::SERVICE_UNAVAILABLE, &format!("not observing: {reason}"))
        }
        State::Observing(observer) => match observer.change(&request, uid) {
            Ok(plan) => Json(Changed {
                target: request.target,
                old: plan.old,
                new: plan.new,
                warnings: plan.warnings,
            })
            .into_response(),
            Err(Refusal::UnknownVm(why)) => failure(StatusCode::NOT_FOUND, &why),
            Err(Refusal::Refused(why)) => failure(StatusCode::CONFLICT, &why),
            Err(Refusal::Failed(why)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &why),
        },
    }
}

pub fn policies(observer: &Observer, snapshot: &Snapshot) -> Policies {
    let book = observer.policies.book();
    let status = observer.enforcement_status();
    let tracked = observer.table.vms();
    let running = tracked.iter().zip(&snapshot.vms).filter(|(tracked, _)| !tracked.exited);
    let vms = running.map(|(tracked, record)| VmPolicy {
        vm: tracked.label.clone(),
        name: tracked.identity.name.clone(),
        uuid: tracked.identity.uuid.clone(),
        policy: book.resolve(&tracked.identity),
        decisions: record.as_deref().map_or_else(BTreeMap::new, decisions),
    });
    let is_absent = |key: &&String| {
        !tracked.iter().any(|vm| !vm.exited && key_of(&vm.identity) == Some(key.as_str()))
    };
    let absent = book.overrides.vms.keys().filter(is_absent);
    Policies {
        enforcement: Enforcement {
            backend: Named(status.backend),
            mode: Named(status.mode),
            verified: status.verified,
            reason: status.reason,
            bypassed: status.bypassed,
        },
        default: book.default(),
        vms: vms.collect(),
        absent: absent.map(|key| (key.clone(), book.resolve(&Book::absent(key)))).collect(),
        rules: book.file.rules.clone(),
    }
}

fn decisions(vm: &Vm) -> BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>> {
    let mut decisions: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>> = BTreeMap::new();
    for (kind, mode, decision, count) in each_decision(vm) {
        let of_mode = decisions.entry(mode.name().to_owned()).or_default();
        let of_kind = of_mode.entry(kind.name().to_owned()).or_default();
        of_kind.insert(decision.name().to_owned(), count);
    }
    decisions
}

/// Every decision that was taken for a VM, and how often.
pub fn each_decision(vm: &Vm) -> impl Iterator<Item = (Kind, Mode, Decision, u64)> {
    let cells = Kind::ALL.into_iter().flat_map(|kind| {
        let modes = [Mode::Audit, Mode::Enforce].into_iter();
        modes.flat_map(move |mode| Decision::ALL.map(|decision| (kind, mode, decision)))
    });
    cells
        .map(|(kind, mode, decision)| {
            (kind, mode, decision, vm.decisions[kind as usize].get(mode, decision))
        })
        .filter(|(.., count)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_changes_anything() {
        assert_eq!(Peer { uid: Some(0) }.root(), Ok(0));
        let error = Peer { uid: Some(1000) }.root().unwrap_err();
        assert_eq!(error, "uid 1000 may not change anything: use `sudo`");
        assert!(Peer { uid: None }.root().is_err());
    }
}
