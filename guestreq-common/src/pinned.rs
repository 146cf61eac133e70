//! # Test of pinned layouts
//!
//! Maps survive the agent: the next one, perhaps of another version, trusts [`crate::SCHEMA`] alone.
//! guestreq-common/pinned/ lists what each schema covers. A record that changes without it
//! fails a test; a new schema writes its own file, with UPDATE_DOCS=1.

use core::mem::{align_of, offset_of, size_of};
use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

use crate::{
    SCHEMA, command, event, gate,
    gcra::GcraLimit,
    ghcb, histogram, host, launch,
    message::{self, MessageType},
    outcome::{self, Outcome},
    policy::{self, AfterDenial, Allowed, Backend, Decision, Mode, Rules},
    request::{self, DecidedBy, SequenceCheck, State},
    sequence::{self, Anomaly},
    share::PspShare,
    tail_calls,
    vm::{self, ContextUse, Life, VmRef},
    waiting,
};

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Writes the offset and size of each field. Destructuring makes the list complete.
macro_rules! record {
    ($text:ident, $path:path { $($field:ident),* $(,)? }) => {{
        type Record = $path;
        #[allow(clippy::no_effect_underscore_binding, reason = "it is taken apart for its fields")]
        fn _has_no_other_field(record: &Record) {
            let $path { $($field: _),* } = record;
        }
        let (size, align) = (size_of::<Record>(), align_of::<Record>());
        let _ = writeln!($text, "\nstruct {} ({size} bytes, aligned to {align})", stringify!($path));
        $(
            let at = offset_of!(Record, $field);
            let size = size_of_field(|record: &Record| &record.$field);
            let _ = writeln!($text, "  {at} {} {size}", stringify!($field));
        )*
    }};
}

/// Writes each value of an enum; the match makes the list complete.
macro_rules! values {
    ($text:ident, $path:path { $($variant:ident),* $(,)? }) => {{
        type Values = $path;
        fn _has_no_other_value(value: Values) {
            match value {
                $(Values::$variant => {})*
            }
        }
        let _ = writeln!($text, "\nenum {} ({} bytes)", stringify!($path), size_of::<Values>());
        $(let _ = writeln!($text, "  {} {}", Values::$variant as u64, stringify!($variant));)*
    }};
}

macro_rules! numbers {
    ($text:ident, $($number:expr),* $(,)?) => {{
        let _ = writeln!($text);
        $(let _ = writeln!($text, "const {} {:#x}", stringify!($number), $number as i64);)*
    }};
}

#[rustfmt::skip]
fn records(it: &mut String) {
    record!(it, vm::VmRef { slot, generation });
    record!(it, vm::Vm {
        generation, life, tgid, taken_by, started, context, counters, runner, used, policy, limiter,
        rescued, tsc_infos, throttled, kick, refused_runs, held, stopped, decisions, first_seen,
        last_request, exited, vmpck, extended, tio_requests, duration, stage_ns, psp_ns, launch, anomalies, requests,
    });
    record!(it, request::Thread {
        wants_lock, queued, context, message, tid, tgid, vm, state, decided, held_until, launch_queued,
    });
    record!(it, request::Running {
        thread, stack, started, nested, status_at, wants_lock, queued, context, message, command,
        vm, outcome, held_until, ended, ret, sequence, charged, reserved,
    });
    record!(it, request::Stack { depth, counting, running });
    record!(it, message::Summary { seqno, message_type, row, vmpck });
    record!(it, policy::Policy { rules, rate, share });
    record!(it, policy::Limiter { rate, debt, waiting, first_seen, place, credit, conforms_for, message, evaluation_bits, until });
    record!(it, waiting::WaitingMessages { by_vmpck, waits, lost, reported, reserved, losses });
    record!(it, waiting::Waiting { seqno, first_refused, last_refused });
    record!(it, launch::Launch {
        started, latest, stage_ns, commands, pages, state, failed_command, failed_outcome, process_exited, partial, reserved,
    });
    record!(it, launch::EndedLaunch { number, launch, context, vm, tgid, reserved });
    record!(it, launch::LaunchTotals { ended, duration, duration_ns, stage_ns, history });
    record!(it, host::Host {
        schema, totals, commands, page_offset, encryption_mask, signal_of_task,
        live_of_signal, enforcement, report_all, slow_ns, service_ns, turn, turn_refused, turn_holder, queued, dequeued, threads,
        contexts,
    });
    record!(it, host::HostTotals { messages, commands, exits, guest_statuses, lost, bypassed, rescued, launches });
    record!(it, host::MessageTotals { results, stage, stage_ns });
    record!(it, host::CommandTotals { count, busy_ns, failed });
    record!(it, host::EnforcementRecord {
        policy, backend, after_denial, gate_file, gate_cookie, gate_weights, armed_at, heartbeat, waits, challenge, self_test,
    });
    record!(it, event::Event {
        time, seqno, stage_ns, tgid, vm, ret, kind, message_type, vmpck, outcome, reserved,
    });
    record!(it, gate::Question { cookie, nonce, context, header });
}

#[rustfmt::skip]
fn enums(it: &mut String) {
    values!(it, message::MessageType {
        Cpuid, Key, Report, Export, Import, Absorb, Vmrk, AbsorbNoma, TscInfo, TioTdiInfo,
        TioMmioValidate, TioMmioConfig, TioSdteWrite, Unknown,
    });
    values!(it, event::EventKind {
        Request, Slow, Replay, Gap, HostError, NewVm, Denied, Throttled, Unthrottled, Bypassed,
        Rescued, Launched,
    });
    values!(it, Life { Free, Running, Exited, Clearing });
    values!(it, ContextUse { Created, Launched, Decided });
    values!(it, State { Idle, WantsLock, Queued });
    values!(it, DecidedBy { Nobody, Gate, GateCharged });
    values!(it, waiting::LostCause { Denied, Busy });
    values!(it, launch::LaunchState { Unseen, Running, Finished, Failed, Abandoned, ProcessExited });
    values!(it, SequenceCheck { Unchecked, InOrder, Replay, Gap });
    values!(it, Mode { Observe, Audit, Enforce });
    values!(it, Backend { None, Gate, Vcpu });
    values!(it, AfterDenial { Hold, Stop });
    values!(it, Decision { Admit, Deny, Busy });
    values!(it, Anomaly { Replay, Gap });
    values!(it, ghcb::GuestStatus { Ok, FirmwareError, InvalidLength, Busy, Generic });
    values!(it, command::Class { Request, Launch, Other });
    values!(it, host::Loss {
        VmTableFull, ThreadTableFull, ContextTableFull, RingBufferFull, CommandUnmatched,
        HeaderUnreadable, LimiterContended, RequestUnmatched,
    });
}

/// Everything that a schema stands for.
#[rustfmt::skip]
fn layout() -> String {
    let mut text = String::from(
        "# Made by guestreq-common/src/pinned.rs. Never changed: a change is another SCHEMA.\n",
    );
    let it = &mut text;
    records(it);
    enums(it);
    numbers!(
        it,
        message::MESSAGE_TYPES, message::VMPCKS, outcome::OUTCOMES, Outcome::OK.0,
        Outcome::UNKNOWN_STATUS.0, Outcome::DENIED.0, Outcome::BUSY.0, Outcome::HOST_ERROR.0,
        policy::DECISIONS, sequence::ANOMALIES,
        histogram::SLOTS, command::COMMANDS, command::CLASSES, request::STAGES, request::DEPTH,
        VmRef::NONE.slot, request::STOPPED.0, request::until_allowed(0).0, host::LOSSES, launch::LAUNCH_STATES,
        launch::LAUNCH_STAGES, launch::HISTORY, launch::BOUND_SCALE, waiting::LOST_CAUSES, ghcb::GUEST_STATUSES, vm::NO_KICK,
    );
    numbers!(
        it,
        tail_calls::kprobe::GUEST_REQUEST, tail_calls::kprobe::ISSUE_COMMAND, tail_calls::kprobe::COMMAND_START,
        tail_calls::kprobe::COMMAND_END, tail_calls::kprobe::UNDECIDED, tail_calls::kprobe::GUEST_REQUEST_SLOW,
        tail_calls::kprobe::ISSUE_COMMAND_SLOW, tail_calls::kprobe::COMMAND_START_SLOW,
        tail_calls::kprobe::COMMAND_END_SLOW, tail_calls::kprobe::HOLD, tail_calls::kprobe::UNDECIDED_UNKNOWN, tail_calls::kprobe::SLOTS,
        tail_calls::tracepoint::VMGEXIT_ENTER, tail_calls::tracepoint::VMGEXIT_EXIT,
        tail_calls::tracepoint::USERSPACE_EXIT, tail_calls::tracepoint::THREAD_EXIT, tail_calls::tracepoint::SLOTS,
        tail_calls::lsm::FILE_IOCTL, tail_calls::lsm::FILE_IOCTL_SLOW,
        tail_calls::lsm::FILE_IOCTL_DECIDE, tail_calls::lsm::FILE_IOCTL_DECIDE_UNKNOWN,
        tail_calls::lsm::SLOTS,
    );
    let rules = Rules::new(Mode::Enforce, Allowed::NONE.with(MessageType::Unknown, true), 0x89ab_cdef);
    let _ = writeln!(it, "\nRules::new(Enforce, unknown, 0x89abcdef) {:#x}", rules.to_bits());
    if let Some(weight) = gate::Weight::new(7) {
        let _ = writeln!(it, "….with_weight(7) {:#x}", rules.with_weight(weight).to_bits());
    }
    let _ = writeln!(it, "GcraLimit::new(…) {:#x}", GcraLimit::new(1_000_000, 5).map_or(0, GcraLimit::to_bits));
    let _ = writeln!(it, "PspShare::new(…) {:#x}", PspShare::new(100_000, 5_000_000).map_or(0, PspShare::to_bits));
    text
}

fn file(schema: u32) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(format!("{root}/pinned/schema-{schema}.txt"))
}

/// Writes the file of a new schema; never overwrites one.
fn write_if_asked() {
    let file = file(SCHEMA);
    if env::var_os("UPDATE_DOCS").is_some() && !file.exists() {
        fs::write(&file, layout()).unwrap();
    }
}

#[test]
fn pinned_layouts_change_only_with_the_schema() {
    write_if_asked();
    let file = file(SCHEMA);
    let before = fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("{}: {error}; UPDATE_DOCS=1 cargo test -p guestreq-common writes it", file.display())
    });
    let now = layout();
    let changed: Vec<_> =
        now.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert!(
        before == now,
        "a pinned record is not what schema {SCHEMA} says, so raise SCHEMA in \
         guestreq-common/src/lib.rs; what is new: {changed:#?}"
    );
}

/// Policies and counts of other versions use these numbers.
#[test]
fn a_message_type_never_changes_its_number() {
    let types = |text: &str| -> BTreeMap<String, String> {
        let of_enum =
            text.lines().skip_while(|line| !line.starts_with("enum message::MessageType")).skip(1);
        let rows = of_enum.take_while(|line| line.starts_with("  "));
        rows.filter_map(|row| row.trim().split_once(' '))
            .map(|(number, name)| (name.to_owned(), number.to_owned()))
            .collect()
    };
    let now = types(&layout());
    assert_eq!(now.len(), MessageType::ALL.len());
    write_if_asked();
    let mut seen = 0;
    for schema in 0..=SCHEMA {
        let Ok(text) = fs::read_to_string(file(schema)) else { continue };
        for (name, number) in types(&text) {
            assert_eq!(now.get(&name), Some(&number), "{name} in schema {schema}");
            seen += 1;
        }
    }
    assert!(seen > 0, "no schema is written down");
}
