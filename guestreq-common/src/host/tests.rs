use super::*;
use crate::{
    message::{Header, MessageType, Summary},
    policy::{Allowed, Mode},
    units::PidTgid,
};
use proptest::prelude::*;

fn zeroed<T>() -> Box<T> {
    // SAFETY: Host and Vm consist of integers, for which all zeros is a value.
    unsafe { Box::<T>::new_zeroed().assume_init() }
}

fn host_total(host: &Host) -> u64 {
    host.totals.messages.iter().map(|message| message.results.total()).sum()
}

/// A command returns `ret`, and its status is `status`.
fn finish(
    host: &mut Host,
    vm: Option<&mut Vm>,
    command: &Running,
    now: u64,
    ret: i32,
    status: u32,
) -> Completion {
    host.finish(vm, command, MonotonicNs(now), ret, Outcome::of_command(ret, status))
}

fn request(message_type: u8, times: [u64; 3]) -> Running {
    Running {
        command: command::SNP_GUEST_REQUEST,
        wants_lock: MonotonicNs(times[0]),
        queued: MonotonicNs(times[1]),
        started: MonotonicNs(times[2]),
        message: Summary::of(&Header { message_type, seqno: 1, ..Header::default() }),
        ..Running::default()
    }
}

#[test]
fn an_answered_request_counts_once_everywhere() {
    let (mut host, mut vm) = (zeroed::<Host>(), zeroed::<Vm>());
    let completion = finish(&mut host, Some(&mut vm), &request(5, [100, 300, 600]), 1_000, 0, 0);
    assert_eq!(completion.outcome, Outcome::OK);
    assert_eq!(completion.stages.ns, [200, 300, 400]);
    assert_eq!(vm.requests(MessageType::Report as u8).get(Outcome::OK), 1);
    assert_eq!((vm.total(), host_total(&host)), (1, 1));
    assert_eq!(vm.stage_ns, [200, 300, 400]);
    assert_eq!(vm.duration.iter().sum::<u64>(), 1);
    assert_eq!(vm.psp_ns, [400, 0, 0]);
    assert_eq!(vm.vmpck, [1, 0, 0, 0, 0]);
    let row = &host.totals.commands[command::SNP_GUEST_REQUEST as usize];
    assert_eq!((row.count, row.busy_ns, row.failed), (1, 400, 0));
}

#[test]
fn a_stage_is_counted_by_how_long_it_took_and_adds_up() {
    let mut host = zeroed::<Host>();
    let ms = 1_000_000;
    // 30 µs for the VM's lock, 1.17 ms for the PSP, 200 ms of its work.
    let times = [ms, ms + 30_000, ms + 1_200_000];
    for _ in 0..2 {
        finish(&mut host, None, &request(5, times), times[2] + 200 * ms, 0, 0);
    }
    let report = host.totals.messages[MessageType::Report as usize];
    for (stage, ns) in [30_000, 1_170_000, 200 * ms].into_iter().enumerate() {
        let slots = report.stage[stage];
        assert_eq!((slots[histogram::slot(ns)], slots.iter().sum()), (2, 2), "{stage}");
        assert_eq!(report.stage_ns[stage], 2 * ns);
    }
}

#[test]
fn how_long_the_psp_takes_follows_the_last_requests_by_an_eighth_each() {
    let mut host = zeroed::<Host>();
    let mut after = |service: u64| {
        finish(&mut host, None, &request(5, [0, 0, 100]), 100 + service, 0, 0);
        host.service_ns
    };
    assert_eq!(after(800), 800, "the first one is all that is known");
    assert_eq!(after(1_600), 900);
    assert_eq!(after(900), 900 - 112 + 112);
}

#[test]
fn a_host_error_has_no_duration_but_its_time_was_the_psp_s() {
    let (mut host, mut vm) = (zeroed::<Host>(), zeroed::<Vm>());
    let completion = finish(&mut host, Some(&mut vm), &request(5, [0, 0, 0]), 9_000, -110, 0);
    assert_eq!(completion.outcome, Outcome::HOST_ERROR);
    assert_eq!((vm.total(), host_total(&host)), (0, 0), "the caller's to count");
    assert_eq!(vm.duration.iter().sum::<u64>(), 0);
    assert_eq!(vm.psp_ns[0], 9_000);
    assert_eq!(host.totals.commands[0x94].failed, 1);
}

#[test]
fn another_command_touches_no_message() {
    let (mut host, mut vm) = (zeroed::<Host>(), zeroed::<Vm>());
    let launch = Running { command: 0xa1, ..Running::default() };
    finish(&mut host, Some(&mut vm), &launch, 70, 0, 0);
    assert_eq!((vm.total(), host_total(&host)), (0, 0));
    assert_eq!(vm.psp_ns, [0, 70, 0]);
    assert_eq!(host.totals.commands[0xa1].count, 1);
}

#[test]
fn a_message_about_devices_counts_for_its_vm_and_is_no_guest_request() {
    let (mut host, mut vm) = (zeroed::<Host>(), zeroed::<Vm>());
    let tio = Running {
        command: command::TIO_GUEST_REQUEST,
        started: MonotonicNs(30),
        ..Running::default()
    };
    let completion = finish(&mut host, Some(&mut vm), &tio, 100, 0, 0);
    finish(&mut host, Some(&mut vm), &tio, 100, -5, 0x16);
    assert_eq!(vm.tio_requests, 2);
    assert!(!vm.is_launched_again(), "another VM of its process may have asked, before its launch");
    assert_eq!((vm.total(), host_total(&host)), (0, 0));
    assert_eq!((vm.psp_ns, completion.stages.total()), ([0, 0, 140], 0));
    let row = &host.totals.commands[0xe0];
    assert_eq!((row.count, row.failed), (2, 1));
}

#[test]
fn a_nested_command_s_time_is_not_counted_twice() {
    let mut host = zeroed::<Host>();
    for (stack, command, started) in [(0x2000, 4, 100), (0x1000, 0xc7, 300)] {
        host.commands.push(PidTgid(1), stack);
        let running = host.commands.begin(host.commands.depth, PidTgid(1), stack);
        (running.command, running.started) = (command, MonotonicNs(started));
    }
    let inner = *host.commands.pop(PidTgid(1)).expect("the inner one");
    finish(&mut host, None, &inner, 500, 0, 0);
    let outer = *host.commands.pop(PidTgid(1)).expect("the outer one");
    finish(&mut host, None, &outer, 1_000, 0, 0);
    assert_eq!(host.totals.commands[0xc7].busy_ns, 200);
    assert_eq!(host.totals.commands[4].busy_ns, 700);
}

#[test]
fn events_depend_on_who_follows() {
    let mut host = zeroed::<Host>();
    host.slow_ns = 1_000;
    let usual = Completion { stages: Stages { ns: [1, 2, 3] }, ..Completion::default() };
    assert_eq!(event_of(&host, &usual), None);
    let slow = Completion { stages: Stages { ns: [1, 2, 3_000] }, ..Completion::default() };
    assert_eq!(event_of(&host, &slow), Some(EventKind::Slow));
    let as_long = Completion { stages: Stages { ns: [1, 2, 997] }, ..Completion::default() };
    assert_eq!(event_of(&host, &as_long), None, "it takes no longer");
    let replay = Completion { anomaly: Some(Anomaly::Replay), ..slow };
    assert_eq!(event_of(&host, &replay), Some(EventKind::Replay));
    host.report_all = 1;
    assert_eq!(event_of(&host, &usual), Some(EventKind::Request));
}

proptest! {
    /// Whatever guests put into headers: counts add up, and stay where they belong.
    #[test]
    fn counts_add_up(
        requests in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u16>()), 1..300),
    ) {
        let (mut host, mut vm) = (zeroed::<Host>(), zeroed::<Vm>());
        let mut answered = 0;
        for &(message_type, vmpck, status) in &requests {
            let mut request = request(message_type, [1, 2, 3]);
            request.message.vmpck = vmpck;
            let ret = if status == 0 { 0 } else { -5 };
            let completion = finish(&mut host, Some(&mut vm), &request, 10, ret, u32::from(status));
            answered += u64::from(completion.outcome.is_answered());
        }
        let count = requests.len() as u64;
        prop_assert_eq!(answered, count);
        prop_assert_eq!(host_total(&host), count);
        prop_assert_eq!(vm.total(), count);
        prop_assert_eq!(vm.vmpck.iter().sum::<u64>(), count);
        prop_assert_eq!(vm.duration.iter().sum::<u64>(), count);
        for stage in 0..STAGES {
            prop_assert_eq!(host.totals.messages.iter().flat_map(|m| m.stage[stage]).sum::<u64>(), count);
        }
        prop_assert_eq!(vm.stage_ns.iter().sum::<u64>(), 9 * count);
        prop_assert_eq!(host.totals.commands[0x94].count, count);
    }
}

#[test]
fn a_gate_that_knows_no_weights_is_answered_none() {
    let mut host = zeroed::<Host>();
    for weight in [1, 2, gate::Weight::MAX].map(|weight| gate::Weight::new(weight).unwrap()) {
        let rules = Rules::new(Mode::Enforce, Allowed::DEFAULT, 7).with_weight(weight);
        host.enforcement.gate_weights = 0;
        assert_eq!(host.enforcement.admit(rules), gate::ADMIT);
        host.enforcement.gate_weights = gate::Weight::MAX.into();
        let answer = if weight.get() == 1 { gate::ADMIT } else { gate::admit_weighted(weight) };
        assert_eq!(host.enforcement.admit(rules), answer);
    }
}
