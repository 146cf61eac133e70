//! # Fuzzing the API
//!
//! Through the agent's router, without a connection or a kernel; and the effect of accepted changes.

#![allow(clippy::expect_used, reason = "as in tests: promises are asserted")]

use std::cell::OnceCell;

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode, Uri},
};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::{Builder, Runtime};

use crate::{
    config::{Config, fuzz::in_the_kernel},
    fuzz::assert_a_line,
    host::Identity,
    json,
    policy::{
        Apply, Candidate, KnownVm, Overrides, PolicySet, Refusal, Stamp, Types, safety::Service,
    },
    serve::{peer::Peer, server},
    state::shared::Shared,
    wire::{Failure, events},
};

/// Input: `#` (root) or `$`, `METHOD PATH` and a newline, then the body.
pub fn api(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut words = line.split(|byte| *byte == b' ');
    let root = words.next() == Some(b"#");
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let uri = words.next().and_then(|word| Uri::try_from(word).ok());
    let (Some(method), Some(uri)) = (method, uri) else { return };
    query(uri.query().unwrap_or_default());
    let changes = method == Method::PUT && uri.path().starts_with("/v1/policy");
    let path = uri.path().to_owned();
    let (status, answer) = ask(root, method, uri, body);
    assert!(!status.is_success() || !changes, "a change without observing");
    let accepted = match status {
        StatusCode::OK => answer.iter().all(|part| is_json_lines(part)),
        // From the router, without a body of ours.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => false,
        _ => {
            let error = failure(&answer.concat());
            assert!(root || !changes || error.contains("may not change"), "{error}");
            status == StatusCode::SERVICE_UNAVAILABLE
        }
    };
    match path.as_str() {
        "/v1/policy" if accepted && changes => change(body),
        "/v1/policy/applied" if accepted && changes => apply(body),
        _ => {}
    }
}

thread_local! {
    static AGENT: OnceCell<Shared> = const { OnceCell::new() };
    /// For its clock.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
}

/// Polled once: only followers wait.
fn ask(root: bool, method: Method, uri: Uri, body: &[u8]) -> (StatusCode, Vec<Vec<u8>>) {
    let agent = AGENT.with(|agent| {
        let new = || Shared::new(&Config::default(), "it has no kernel");
        agent.get_or_init(new).clone()
    });
    let clock = RUNTIME.with(|runtime| runtime.handle().clone());
    let _clock = clock.enter();
    let service = TowerToHyperService::new(server::private(agent));
    let mut request = Request::new(Body::from(body.to_vec()));
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let uid = Some(if root { 0 } else { 1000 });
    request.extensions_mut().insert(ConnectInfo(Peer { uid }));
    let answer = service.call(request).now_or_never().expect("the API waits");
    let answer = answer.expect("a router does not fail");
    let status = answer.status();
    let mut body = answer.into_body();
    let mut parts = Vec::new();
    while let Some(Some(part)) = body.frame().now_or_never() {
        let part = part.expect("a body that is in memory").into_data();
        parts.push(part.expect("no trailers").to_vec());
    }
    (status, parts)
}

fn is_json_lines(part: &[u8]) -> bool {
    let text = std::str::from_utf8(part).expect("not UTF-8");
    let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(text.lines().all(is_json), "no JSON: {text}");
    let obeyed = |c: char| c != '\n' && json::is_obeyed(c);
    assert!(!text.chars().any(obeyed), "control characters: {text:?}");
    true
}

fn failure(answer: &[u8]) -> String {
    let failure: Failure = serde_json::from_slice(answer).expect("an error without a message");
    assert_a_line(&failure.error);
    failure.error
}

/// A query survives encoding.
fn query(text: &str) {
    match events::Query::parse(text) {
        Ok(query) => assert_eq!(events::Query::parse(&query.to_string()).as_ref(), Ok(&query)),
        Err(error) => assert_a_line(&error),
    }
}

/// An accepted change has the reported effect; a refusal has one line.
fn change(body: &[u8]) {
    let request = serde_json::from_slice(body).expect("the router has read it");
    with_vms(|policy_set, stamp, vms| {
        match policy_set.plan(&request, stamp, vms, Service::PUBLISHED) {
            Ok(plan) => {
                in_the_kernel(&plan.new);
                assert_survives_saving(&plan.policy_set);
                assert_a_line(&plan.new.to_string());
                plan.warnings.iter().for_each(|warning| assert_a_line(warning));
                let again = plan
                    .policy_set
                    .plan(&request, stamp, vms, Service::PUBLISHED)
                    .map(|plan| plan.old);
                assert!(again.is_ok_and(|old| old == plan.new), "the effect is not as reported");
            }
            Err(refusal) => assert_refusal(&refusal),
        }
    });
}

fn apply(body: &[u8]) {
    let apply: Apply = serde_json::from_slice(body).expect("the router has read it");
    with_vms(|policy_set, stamp, vms| {
        match policy_set.with_applied(&apply, stamp, vms, Service::PUBLISHED) {
            Ok(replacement) => {
                assert_survives_saving(&replacement.policy_set);
                for changed in &replacement.changed {
                    in_the_kernel(&changed.new);
                    assert!(!changed.old.has_same_values(&changed.new), "no change");
                }
            }
            Err(refusal) => assert_refusal(&refusal),
        }
    });
}

fn assert_refusal(refusal: &Refusal) {
    assert_a_line(&refusal.to_string());
    assert!(!matches!(refusal, Refusal::Failed(_)), "nothing was written yet");
}

/// A policy set is read back as it was saved.
fn assert_survives_saving(policy_set: &PolicySet) {
    assert!(policy_set.contradiction().is_none());
    let bytes = policy_set.overrides.to_bytes().expect("it cannot be saved");
    assert_eq!(Overrides::from_bytes(&bytes).ok().as_ref(), Some(&policy_set.overrides));
}

/// A host with an ordinary VM, one of a pod, one with a hostile name, one without a name.
fn with_vms(run: impl FnOnce(&PolicySet, &Stamp, &[KnownVm<'_>])) {
    let evil = "a\"b\n\u{1b}[31m";
    let names = ["web", "prod/web", evil, ""];
    let vms = names.map(|name| Identity { named: !name.is_empty(), ..Identity::called(name) });
    let labels = ["web", "prod/web", "a\"b__[31m", "snpload-7"];
    let seen: Vec<_> = labels
        .into_iter()
        .zip(&vms)
        .zip(7..)
        .map(|((label, identity), pid)| {
            let sent = Types(guestreq_common::policy::Allowed::DEFAULT);
            let vm = Candidate { label, identity, pid, exited: false };
            KnownVm { vm, sent, was_over: pid == 8 }
        })
        .collect();
    let stamp = Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() };
    run(&Config::default().policy_set(Overrides::default()), &stamp, &seen);
}
