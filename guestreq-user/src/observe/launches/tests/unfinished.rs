use super::*;

/// SNP_DECOMMISSION was missed: the record still says that the launch runs.
#[test]
fn a_launch_whose_process_is_gone_ends_after_a_minute_without_a_command() {
    let gone = |_| Ok(false);
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 0);
    assert!(agent.refresh_at(5_000 + STALLED_NS, |_| Ok(true)).is_empty());
    assert_eq!(agent.launches.counts(5_000 + STALLED_NS), (0, 1), "its process exists");
    assert!(agent.refresh_at(4_999 + STALLED_NS, gone).is_empty(), "another one may continue it");
    let events = agent.refresh_at(5_000 + STALLED_NS, gone);
    let [(event_vm, EventData::Launched(launched), at)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event_vm.vm.as_deref(), *at), (Some("web"), 5_000));
    assert_eq!((&*launched.result, launched.inferred), ("process_exited", true));
    assert_eq!(agent.launches.counts(5_000 + STALLED_NS), (0, 0));
    // Its address is reused at last.
    assert!(agent.refresh_at(6_000 + STALLED_NS, gone).is_empty(), "only once");
    agent.records.fake_vm(0, &vm(0, 2, launch(LaunchState::Running, 0), 0).1);
    agent.end(1, web, LaunchState::ProcessExited);
    assert!(agent.refresh().is_empty(), "it was reported");
    assert_eq!(agent.pages(), [3]);
}

#[test]
fn a_launch_that_continues_without_its_process_has_not_ended() {
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 0);
    agent.refresh();
    assert_eq!(agent.refresh_at(5_000 + STALLED_NS, |_| Ok(false)).len(), 1);
    let latest = MonotonicNs(5_000 + STALLED_NS);
    agent.put(0, Some("web"), Launch { latest, ..launch(LaunchState::Running, 4) }, 0);
    assert!(agent.refresh_at(5_001 + STALLED_NS, |_| Ok(false)).is_empty());
    assert_eq!((agent.launches.counts(latest.0), agent.pages()), ((1, 0), Vec::new()));
    agent.end(1, web, LaunchState::Finished);
    assert_eq!(agent.refresh().len(), 1);
}

#[test]
fn a_launch_is_not_taken_for_ended_while_nobody_knows_whether_its_process_exists() {
    let mut agent = Agent::new();
    agent.put(0, Some("web"), launch(LaunchState::Running, 3), 0);
    let unknown = |_| Err(io::Error::from_raw_os_error(libc::EAGAIN));
    assert!(agent.refresh_at(5_000 + STALLED_NS, unknown).is_empty());
    assert_eq!((agent.launches.counts(5_000 + STALLED_NS), agent.orphans()), ((0, 1), vec![]));
}

#[test]
fn all_launches_of_a_process_that_has_exited_are_marked() {
    let mut agent = Agent::new();
    for slot in 0..3 {
        let (_, mut record) = vm(slot, 1, launch(LaunchState::Running, 3), 0);
        record.tgid = if slot == 1 { 8 } else { 7 };
        record.launch.failed_outcome = 0x16;
        agent.records.fake_vm(slot, &record);
    }
    agent.refresh_at(5_001, |pid| Ok(pid != 7));
    assert_eq!(agent.orphans(), [0, 2]);
    let outcomes = (0..3).map(|slot| agent.records.vm(slot).unwrap().launch.failed_outcome);
    assert_eq!(outcomes.collect::<Vec<_>>(), [0x16; 3], "the other half of the word");
}

#[test]
fn a_launch_whose_guest_sends_requests_has_finished_unseen() {
    let mut agent = Agent::new();
    let (web, mut record) = vm(0, 1, launch(LaunchState::Running, 3), 0);
    record.last_request = MonotonicNs(7_000);
    agent.records.fake_vm(0, &record);
    agent.refresh_at(5_000 + STALLED_NS - 1, |_| Ok(true));
    assert_eq!((agent.launches.running().count(), agent.launches.ended().count()), (1, 0));
    agent.refresh_at(5_000 + STALLED_NS, |_| Ok(true));
    assert_eq!(agent.launches.running().count(), 0);
    let ended = agent.launches.ended().next().unwrap();
    assert_eq!((ended.id, ended.inferred), (web, true));
    assert_eq!((ended.launch.state, ended.launch.partial), (LaunchState::Finished as u32, 1));
}
