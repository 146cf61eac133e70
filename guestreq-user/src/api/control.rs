//! # Reading and changing policies

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use axum::{
    extract::{State as Extract, connect_info::Connected},
    http::StatusCode,
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use guestreq_common::{
    message::MessageType,
    policy::{Decision, Mode},
    vm::Vm,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    body::Body,
    door::Door,
    events::Time,
    policy::{
        Applied, Apply, Changed, Configuration, Enforcement, Failed, Named, Policies, Request,
        VmPolicy,
    },
    server::{answer, failure},
    socket::Socket,
};
use crate::{
    agent::{Observer, Shared, State, aside, observer::Snapshot, reload},
    config::in_a_line,
    json::Json,
    policy::{Book, Plan, Refusal, Replacement},
};

/// Who is at the other end of the socket, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, Door<Socket>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door<Socket>>) -> Peer {
        Peer { uid: stream.io().stream().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Peer {
    /// The uid, if it may change anything.
    pub fn root(self) -> Result<u32, String> {
        match self.uid {
            Some(0) => Ok(0),
            Some(uid) => Err(format!("uid {uid} may not change anything: use `sudo`")),
            None => Err("the kernel does not say who asks: nothing is changed".to_owned()),
        }
    }
}

pub async fn get_policy(Extract(shared): Extract<Shared>) -> Response {
    let config = shared.config().clone();
    answer(&shared, |observer, snapshot| policies(observer, snapshot, &config))
}

pub async fn put_policy(Extract(shared): Extract<Shared>, body: Body) -> Response {
    let plan = |observer: &mut Observer, request: &Request, uid| {
        let plan = observer.plan(request, uid)?;
        Ok((plan.book.clone(), plan))
    };
    change(shared, body, plan, |observer, _, plan, uid| {
        observer.change(&plan, uid);
        let Plan { target, old, new, warnings, .. } = plan;
        Changed { target, old, new, warnings }
    })
    .await
}

pub async fn put_applied(Extract(shared): Extract<Shared>, body: Body) -> Response {
    let plan = |observer: &mut Observer, apply: &Apply, uid| {
        let planned = observer.plan_apply(apply, uid)?;
        Ok((planned.book.clone(), planned))
    };
    change(shared, body, plan, |observer, apply, planned, uid| {
        observer.apply(&apply, &planned, uid);
        let Replacement { changed, warnings, .. } = planned;
        Applied { changed, warnings }
    })
    .await
}

/// Makes a change: plans it, keeps it, and has it hold. All or nothing, also where whoever asked
/// does not wait for the answer; and nobody waits for the disk who asks for something else.
async fn change<R: DeserializeOwned + Send + 'static, P: Send + 'static, A>(
    shared: Shared,
    body: Body,
    plan: impl FnOnce(&mut Observer, &R, u32) -> Result<(Book, P), Refusal>,
    make: impl FnOnce(&mut Observer, R, P, u32) -> A + Send + 'static,
) -> Response
where
    A: Serialize + Send + 'static,
{
    let request: R = match serde_json::from_slice(&body.bytes) {
        Ok(request) => request,
        Err(error) => {
            let why = format!("the request: {}", in_a_line(&error.to_string()));
            return failure(StatusCode::BAD_REQUEST, &why);
        }
    };
    let turn = Arc::clone(&shared.changing).lock_owned().await;
    let planned = observing(&shared, |observer| {
        let (book, planned) = plan(observer, &request, body.uid)?;
        Ok((observer.policies.keep(&book), planned))
    });
    let (keep, planned) = match planned {
        Ok(planned) => planned,
        Err(refused) => return refused.answer(),
    };
    let done = tokio::spawn(async move {
        let _turn = turn;
        let kept = aside::done("keep", keep).await;
        kept.unwrap_or_else(|error| Err(Refusal::Failed(format!("a thread: {error}"))))
            .map_err(Refused::Refusal)?;
        observing(&shared, |observer| Ok(make(observer, request, planned, body.uid)))
    });
    match done.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refused)) => refused.answer(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(super) enum Refused {
    Waiting(String),
    Refusal(Refusal),
}

impl Refused {
    pub(super) fn answer(self) -> Response {
        let (status, why) = match self {
            Refused::Waiting(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not observing: {reason}"))
            }
            Refused::Refusal(Refusal::UnknownVm(why)) => (StatusCode::NOT_FOUND, why),
            Refused::Refusal(Refusal::Refused(why)) => (StatusCode::CONFLICT, why),
            Refused::Refusal(Refusal::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why),
        };
        failure(status, &why)
    }
}

/// Does something with the observer, if there is one.
pub(super) fn observing<T>(
    shared: &Shared,
    what: impl FnOnce(&mut Observer) -> Result<T, Refusal>,
) -> Result<T, Refused> {
    match &mut *shared.state() {
        State::Waiting { reason } => Err(Refused::Waiting(reason.clone())),
        State::Observing(observer) => what(observer).map_err(Refused::Refusal),
    }
}

pub fn policies(observer: &Observer, snapshot: &Snapshot, config: &reload::Status) -> Policies {
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
        let key = key.as_str();
        !tracked
            .iter()
            .any(|vm| !vm.exited && book.overrides.key(&vm.identity).as_deref() == Some(key))
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
        config: configuration(config),
        default: book.default(),
        vms: vms.collect(),
        absent: absent.map(|key| (key.clone(), book.resolve(&Book::absent(key)))).collect(),
        rules: book.file.rules.clone(),
    }
}

fn configuration(status: &reload::Status) -> Configuration {
    let time = |at: &SystemTime| Time::from(*at).to_the_second();
    let failed = status.failed.as_ref();
    Configuration {
        files: status.files.clone(),
        read_at: time(&status.read_at),
        failed: failed.map(|(at, error)| Failed { at: time(at), error: error.clone() }),
        pending: status.pending.iter().map(|key| (*key).to_owned()).collect(),
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
pub fn each_decision(vm: &Vm) -> impl Iterator<Item = (MessageType, Mode, Decision, u64)> {
    let cells = MessageType::ALL.into_iter().flat_map(|kind| {
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
