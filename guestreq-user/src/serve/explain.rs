//! # The API: explaining a VM
//!
//! `GET /v1/explain?vm=VM` is [`Explained`], as the agent knows it: nothing is reread.

use axum::{
    extract::State as Extract,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};

use crate::{
    enforce::denial,
    observe::tracked::TrackedVm,
    policy::{Refusal, find, never_applies},
    serve::{
        answer::{failure, observing},
        json::Json,
    },
    state::{observer::Observer, shared::Shared, snapshot::service},
    wire::explain::Explained,
};

pub async fn get_explain(Extract(shared): Extract<Shared>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default().as_bytes();
    let Some((_, vm)) = form_urlencoded::parse(query).find(|(key, _)| key == "vm") else {
        return failure(StatusCode::BAD_REQUEST, "parameter vm is missing: /v1/explain?vm=VM");
    };
    observing(&shared, |observer| explain(observer, &vm)).map(Json).into_response()
}

fn explain(observer: &mut Observer, vm: &str) -> Result<Explained, Refusal> {
    let snapshot = observer.refresh()?;
    let vms = observer.table.vms();
    let all: Vec<_> = vms.iter().map(TrackedVm::candidate).collect();
    let vm = &vms[find(vm, &all)?];
    let policy_set = observer.policies.policy_set();
    let policy = policy_set.resolve(&vm.identity);
    let idle = never_applies(policy.limit.value, service(&snapshot.host));
    let unused = observer.no_weights().filter(|_| !policy.weight.value.is_default());
    let denied = denial::note(&policy, observer.enforcement.status().after_denial);
    let notes = idle.into_iter().chain(unused).chain(denied).collect();
    Ok(Explained {
        vm: vm.label.clone(),
        pid: vm.tgid,
        started: vm.started,
        running: !vm.exited,
        unread: vm.unread,
        identity: vm.identity.clone(),
        evidence: vm.evidence.clone(),
        rules: policy_set.rule_results(&vm.identity),
        policy,
        notes,
    })
}
