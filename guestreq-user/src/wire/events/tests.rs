use clap::ValueEnum as _;
use guestreq_common::{
    message,
    policy::{Backend, Mode},
};
use serde_json::{Value, json};

use super::*;
use crate::wire::policy::{Effective, Named, Target};

/// One of each kind, in their order.
pub fn examples() -> Vec<EventData> {
    let message = || Message {
        message: Named(message::MessageType::Report),
        message_type: 5,
        vmpck: 1,
        seqno: 9,
    };
    let stage_seconds =
        Some(StageSeconds { vm_lock: 0.000_1, psp_queue: 0.002, psp_service: 0.017 });
    let ended = || Ended { message: message(), result: "ok".into(), ret: 0, stage_seconds };
    let decided = |decision: &'static str| Decided {
        message: message(),
        decision: decision.into(),
        mode: Named(Mode::Enforce),
    };
    let changed = PolicyChanged {
        uid: 0,
        target: Target::Vm("web-1".to_owned()),
        old: Effective::built_in(),
        new: Effective::built_in(),
    };
    vec![
        EventData::Request(ended()),
        EventData::Slow(ended()),
        EventData::Replay(ended()),
        EventData::Gap(ended()),
        EventData::HostError(Ended { stage_seconds: None, ..ended() }),
        EventData::Denied(decided("deny")),
        EventData::Throttled(decided("busy")),
        EventData::Unthrottled(decided("admit")),
        EventData::Rescued(decided("admit")),
        EventData::VmpckLost(VmpckLost { vmpck: 1, cause: "busy".into(), inferred: true }),
        EventData::Bypassed(message()),
        EventData::NewVm { vmm: "qemu".to_owned() },
        EventData::ExitedVm {},
        EventData::PolicyChanged(Box::new(changed)),
        EventData::Enforcement(EnforcementChanged {
            verified: false,
            backend: Named(Backend::Gate),
            reason: Some("the gate is not loaded".to_owned()),
        }),
        EventData::AgentStarted { version: "0.1.0".to_owned(), agent_pid: 1 },
        EventData::Lost(Lost { reason: Lost::SLOW_READER.into(), count: 3 }),
        EventData::ConfigReloaded {
            files: vec!["/etc/guestreq/config.toml".to_owned()],
            changed: "default: limit off -> 5/s".to_owned(),
        },
        EventData::ConfigFailed { error: "line 1: no".to_owned() },
        EventData::Launched(Box::new(launched())),
        EventData::Overdue(Overdue { count: 2, waiting: 5 }),
    ]
}

pub fn example(kind: Kind) -> EventData {
    examples().into_iter().find(|what| what.kind() == kind).unwrap()
}

/// A launch that failed.
pub fn launched() -> Launched {
    Launched {
        result: "failed".into(),
        seconds: 12.0,
        inferred: false,
        work: Work {
            commands: 102,
            pages: 100,
            stage_seconds: LaunchStages { psp_queue: 9.0, psp_service: 2.0, vmm: 1.0 },
            partial: true,
            failed_command: Some("snp_launch_finish".to_owned()),
            failed_result: Some("bad_measurement".to_owned()),
            psp_used_by: Some(vec![PspUser { vm: Some("web".to_owned()), seconds: 8.0 }]),
        },
    }
}

pub fn event(id: u64, vm: Option<EventVm>, what: EventData) -> Event {
    let agent = "00000000000000aa".parse().unwrap();
    let time = "2026-01-31T12:00:00.5Z".parse().unwrap();
    Event { id, agent, time, monotonic_ns: 7, vm, what }
}

pub fn event_vm(name: &str) -> EventVm {
    EventVm { vm: Some(format!("{name}@7")), name: Some(name.to_owned()), uuid: None, pid: 7 }
}

#[test]
fn every_kind_survives_serialization_and_has_its_own_name() {
    let examples = examples();
    let kinds: Vec<_> = examples.iter().map(EventData::kind).collect();
    assert_eq!(kinds, Kind::value_variants());
    for what in examples {
        for vm in
            [None, Some(event_vm("web")), Some(EventVm { vm: None, name: None, ..event_vm("") })]
        {
            let event = event(1, vm, what.clone());
            let json: Value = serde_json::to_value(&event).unwrap();
            assert_eq!(json["kind"], event.kind().name());
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }
}

#[test]
fn an_event_s_fields_keep_their_names() {
    let slow = event(3, Some(event_vm("web")), example(Kind::Slow));
    assert_eq!(
        serde_json::to_value(&slow).unwrap(),
        json!({
            "id": 3, "agent": "00000000000000aa", "time": "2026-01-31T12:00:00.500Z",
            "monotonic_ns": 7, "vm": "web@7", "name": "web", "pid": 7, "kind": "slow",
            "message": "report", "message_type": 5, "vmpck": 1, "seqno": 9, "result": "ok",
            "ret": 0,
            "stage_seconds": {"vm_lock": 0.000_1, "psp_queue": 0.002, "psp_service": 0.017},
        })
    );
    let lost = event(4, None, example(Kind::Lost));
    assert_eq!(
        serde_json::to_value(&lost).unwrap(),
        json!({
            "id": 4, "agent": "00000000000000aa", "time": "2026-01-31T12:00:00.500Z",
            "monotonic_ns": 7, "kind": "lost", "reason": "slow_reader", "count": 3,
        })
    );
}

#[test]
fn an_event_is_displayed_in_one_line() {
    let line = |kind, vm| event(1, vm, example(kind)).to_string();
    assert_eq!(
        line(Kind::Denied, Some(event_vm("a\nb"))),
        "denied: VM \"a\\nb@7\", report (type 5), VMPCK 1, sequence number 9"
    );
    let without_record = EventVm { vm: None, name: None, uuid: None, pid: 9 };
    assert_eq!(
        line(Kind::ExitedVm, Some(without_record)),
        "exited_vm: VM of pid 9, decommissioned, pid 9"
    );
    assert_eq!(line(Kind::NewVm, Some(event_vm("web"))), "new_vm: VM \"web@7\", qemu, pid 7");
    assert!(
        line(Kind::PolicyChanged, None)
            .starts_with("uid 0 changed the policy of VM \"web-1\": mode audit,")
    );
    assert_eq!(
        line(Kind::VmpckLost, Some(event_vm("web"))),
        "vmpck_lost: VM \"web@7\", VMPCK 1, busy (inferred): no attestation with it until a reboot"
    );
    assert_eq!(line(Kind::Enforcement, None), "not enforced: the gate is not loaded");
    assert_eq!(
        line(Kind::Overdue, None),
        "2 requests went to the PSP without a slot, because the order stood still for 10 s; 5 still wait"
    );
}

#[test]
fn a_launch_is_displayed_with_its_stages_and_what_ended_it() {
    let what = EventData::Launched(Box::new(launched()));
    assert_eq!(
        event(1, Some(event_vm("web")), what).to_string(),
        "launched: VM \"web@7\", failed after more than 12.0 s: 102 commands, 100 pages, psp_queue 9.00 s, \
         psp_service 2.00 s, vmm 1.00 s; snp_launch_finish: bad_measurement"
    );
    let inferred = Launched { inferred: true, result: "process_exited".into(), ..launched() };
    let text = event(1, None, EventData::Launched(Box::new(inferred))).to_string();
    assert!(text.starts_with("process_exited (inferred) after more than 12.0 s: "), "{text}");
}

#[test]
fn a_name_counts_with_its_length() {
    let [short, long] = ["x".to_owned(), "x".repeat(4000)]
        .map(|name| event(1, Some(event_vm(&name)), example(Kind::Request)).weight());
    assert_eq!(long - short, 2 * 3999);
}
