//! # The API: policies

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use axum::{
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use guestreq_common::vm::Vm;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    background,
    policy::{Plan, PolicySet, Refusal, Replacement},
    serve::{
        answer::{Refused, answer, failure, observing},
        body::Body,
        json::Json,
    },
    state::{
        config_status::ConfigStatus,
        observer::Observer,
        shared::Shared,
        snapshot::{Snapshot, each_decision},
    },
    text::in_a_line,
    wire::{
        events::Time,
        policy::{Applied, Apply, Changed, Configuration, Failed, Policies, Request, VmPolicy},
    },
};

pub async fn get_policy(Extract(shared): Extract<Shared>) -> Response {
    let config = shared.config().clone();
    answer(&shared, |observer, snapshot| policies(observer, snapshot, &config))
}

pub async fn put_policy(Extract(shared): Extract<Shared>, body: Body) -> Response {
    let plan = |observer: &mut Observer, request: &Request, uid| {
        let plan = observer.plan(request, uid)?;
        Ok((plan.policy_set.clone(), plan))
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
        Ok((planned.policy_set.clone(), planned))
    };
    change(shared, body, plan, |observer, apply, planned, uid| {
        observer.apply(&apply, &planned, uid);
        let Replacement { changed, warnings, .. } = planned;
        Applied { changed, warnings }
    })
    .await
}

/// Makes a change: plans, saves and applies it. Atomic, also if the client disconnects; other
/// requests do not wait for the disk.
async fn change<R: DeserializeOwned + Send + 'static, P: Send + 'static, A>(
    shared: Shared,
    body: Body,
    plan: impl FnOnce(&mut Observer, &R, u32) -> Result<(PolicySet, P), Refusal>,
    make: impl FnOnce(&mut Observer, R, P, u32) -> A + Send + 'static,
) -> Response
where
    A: Serialize + Send + 'static,
{
    let request: R = match serde_json::from_slice(&body.bytes) {
        Ok(request) => request,
        Err(error) => {
            let why = format!("invalid request: {}", in_a_line(&error.to_string()));
            return failure(StatusCode::BAD_REQUEST, &why);
        }
    };
    let lock = Arc::clone(&shared.changing).lock_owned().await;
    let planned = observing(&shared, |observer| {
        let (policy_set, planned) = plan(observer, &request, body.uid)?;
        Ok((observer.policies.keep(&policy_set), planned))
    });
    let (keep, planned) = match planned {
        Ok(planned) => planned,
        Err(refused) => return refused.into_response(),
    };
    let done = tokio::spawn(async move {
        let _lock = lock;
        let kept = background::run("keep", keep).await;
        kept.unwrap_or_else(|error| Err(Refusal::Failed(format!("a thread: {error}"))))
            .map_err(Refused::Refusal)?;
        observing(&shared, |observer| Ok(make(observer, request, planned, body.uid)))
    });
    match done.await {
        Ok(answer) => answer.map(Json).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub fn policies(observer: &Observer, snapshot: &Snapshot, config: &ConfigStatus) -> Policies {
    let policy_set = observer.policies.policy_set();
    let tracked = observer.table.vms();
    let running = tracked.iter().zip(&snapshot.vms).filter(|(tracked, _)| !tracked.exited);
    let vms = running.map(|(tracked, record)| VmPolicy {
        vm: tracked.label.clone(),
        name: tracked.identity.name.clone(),
        uuid: tracked.identity.uuid.clone(),
        policy: policy_set.resolve(&tracked.identity),
        decisions: record.as_deref().map_or_else(BTreeMap::new, decisions),
    });
    let is_absent = |key: &&String| {
        let key = key.as_str();
        !tracked
            .iter()
            .any(|vm| !vm.exited && policy_set.overrides.key(&vm.identity).as_deref() == Some(key))
    };
    let absent = policy_set.overrides.vms.keys().filter(is_absent);
    Policies {
        enforcement: observer.enforcement.status().into(),
        config: configuration(config),
        default: policy_set.default(),
        vms: vms.collect(),
        absent: absent
            .map(|key| (key.clone(), policy_set.resolve(&PolicySet::absent(key))))
            .collect(),
        rules: policy_set.file.rules.clone(),
    }
}

fn configuration(status: &ConfigStatus) -> Configuration {
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
