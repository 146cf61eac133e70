use super::*;

fn line(event: &Event) -> String {
    what(event).unwrap().to_string()
}

#[test]
fn an_ended_request_has_result_and_stages() {
    let event = Event {
        kind: EventKind::Replay as u8,
        message_type: 5,
        vmpck: 2,
        seqno: 41,
        outcome: Outcome(0x1d),
        ret: -5,
        stage_ns: [1_000, 2_000_000, 35_000_000],
        ..Event::default()
    };
    assert_eq!(
        line(&event),
        "report (type 5), VMPCK 2, sequence number 41, aead_oflow (-5), vm_lock 1.000µs, \
         psp_queue 2.000ms, psp_service 35.000ms"
    );
}

#[test]
fn an_unanswered_request_has_no_stages() {
    for (kind, outcome) in
        [(EventKind::HostError, Outcome::HOST_ERROR), (EventKind::Request, Outcome::BUSY)]
    {
        let event = Event { kind: kind as u8, message_type: 5, outcome, ..Event::default() };
        assert!(!line(&event).contains("psp_service"), "{}", line(&event));
    }
}

#[test]
fn a_decision_has_neither_result_nor_times() {
    let event =
        Event { kind: EventKind::Denied as u8, message_type: 7, seqno: 3, ..Event::default() };
    assert_eq!(line(&event), "export (type 7), VMPCK 0, sequence number 3");
    let Some(EventData::Denied(decided)) = what(&event) else { panic!() };
    assert_eq!((&*decided.decision, decided.mode), ("deny", Named(Mode::Enforce)));
}

#[test]
fn every_kind_of_the_programs_has_one_of_the_api_with_the_same_name() {
    for kind in EventKind::ALL {
        let event = Event { kind: kind as u8, ..Event::default() };
        match what(&event) {
            Some(what) => assert_eq!(what.kind().name(), kind.name()),
            None => assert!(matches!(kind, EventKind::NewVm | EventKind::Launched), "{kind:?}"),
        }
    }
    assert!(what(&Event { kind: 99, ..Event::default() }).is_none());
}

#[test]
fn a_short_record_is_rejected() {
    assert!(decode(&[0; 8]).is_none());
}
