//! # What a later version finds in the maps
//!
//! Maps outlive the agent: the next one, of another version perhaps, reads what stands in them by
//! [`crate::SCHEMA`] alone. Here everything that this number stands for is written down, for each
//! number that there was, in guestreq-common/pinned/. A record that changes without it is a failed
//! test; a new number writes its own file, with UPDATE_DOCS=1.

use core::mem::{align_of, offset_of, size_of};
use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf};

use crate::{
    SCHEMA, command, event, gate,
    gcra::Limit,
    ghcb, histogram, hook, host,
    message::{self, Kind},
    outcome,
    policy::{self, Allowed, Backend, Decision, Mode, Rules},
    request::{self, Decided, Numbered, State},
    sequence::{self, Anomaly},
    vm::{self, Life, Used},
};

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Writes where each field of a record is. Taking it apart sees to it that none is left out.
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

/// Writes each value of an enum, in which none is left out either.
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
    ($text:ident, $($path:path),* $(,)?) => {{
        let _ = writeln!($text);
        $(let _ = writeln!($text, "const {} {:#x}", stringify!($path), $path as i64);)*
    }};
}

#[rustfmt::skip]
fn records(it: &mut String) {
    record!(it, vm::VmRef { slot, generation });
    record!(it, vm::Vm {
        generation, life, tgid, taken_by, started, context, counters, runner, used, policy, limiter,
        tsc_infos, throttled, kick, refused_runs, held, stopped, decisions, first_seen,
        last_request, exited, vmpck, extended, tio_requests, duration, stage_ns, psp_ns, anomalies, requests,
    });
    record!(it, request::Thread {
        wants_lock, queued, context, message, tid, tgid, vm, generation, state, decided, held_until,
    });
    record!(it, request::Running {
        thread, stack, started, nested, status_at, wants_lock, queued, context, message, command,
        vm, generation, outcome, held_until, ended, ret, numbered,
    });
    record!(it, request::Stack { depth, counting, running });
    record!(it, message::Summary { seqno, message_type, kind, vmpck });
    record!(it, policy::Policy { rules, limit });
    record!(it, host::Host {
        schema, totals, now, page_offset, encryption_mask, signal_of_task,
        live_of_signal, enforcement, tell_all, slow_ns, service_ns, turn, queued, dequeued, threads,
        contexts, full_since,
    });
    record!(it, host::Totals { messages, commands, exits, told, lost, bypassed });
    record!(it, host::Message { results, stage, stage_ns });
    record!(it, host::CommandTotals { count, busy_ns, failed });
    record!(it, host::Enforcement {
        policy, backend, gate_file, gate_cookie, armed_at, heartbeat, waits, challenge, self_test,
    });
    record!(it, event::Event {
        time, seqno, stage_ns, tgid, vm, generation, ret, kind, message_type, vmpck, outcome,
        reserved,
    });
    record!(it, gate::Question { cookie, nonce, context, header });
}

#[rustfmt::skip]
fn enums(it: &mut String) {
    values!(it, message::Kind {
        Cpuid, Key, Report, Export, Import, Absorb, Vmrk, AbsorbNoma, TscInfo, TioTdiInfo,
        TioMmioValidate, TioMmioConfig, TioSdteWrite, Unknown,
    });
    values!(it, event::Kind {
        Request, Slow, Replay, Gap, HostError, NewVm, Denied, Throttled, Unthrottled, Bypassed,
    });
    values!(it, Life { Free, Running, Exited, Clearing });
    values!(it, Used { Not, Launched, Decided });
    values!(it, State { Idle, WantsLock, Queued });
    values!(it, Decided { NotYet, AtTheGate });
    values!(it, Numbered { NotYet, Right, Replay, Gap });
    values!(it, Mode { Observe, Audit, Enforce });
    values!(it, Backend { None, Gate, Vcpu });
    values!(it, Decision { Admit, Deny, Busy });
    values!(it, Anomaly { Replay, Gap });
    values!(it, ghcb::Told { Ok, FirmwareError, InvalidLength, Busy, Generic });
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
        message::KINDS, message::VMPCKS, outcome::OUTCOMES, outcome::OK, outcome::UNKNOWN_STATUS,
        outcome::DENIED, outcome::BUSY, outcome::HOST_ERROR, policy::DECISIONS, sequence::ANOMALIES,
        histogram::SLOTS, command::COMMANDS, command::CLASSES, request::STAGES, request::DEPTH,
        request::NO_VM, request::STOPPED, host::LOSSES, ghcb::TOLD, vm::NO_KICK,
    );
    numbers!(
        it,
        hook::kprobe::GUEST_REQUEST, hook::kprobe::ISSUE_COMMAND, hook::kprobe::COMMAND_START,
        hook::kprobe::COMMAND_END, hook::kprobe::UNDECIDED, hook::kprobe::GUEST_REQUEST_SLOW,
        hook::kprobe::ISSUE_COMMAND_SLOW, hook::kprobe::COMMAND_START_SLOW,
        hook::kprobe::COMMAND_END_SLOW, hook::kprobe::HOLD, hook::kprobe::PLACES,
        hook::tracepoint::VMGEXIT_ENTER, hook::tracepoint::VMGEXIT_EXIT,
        hook::tracepoint::USERSPACE_EXIT, hook::tracepoint::THREAD_EXIT, hook::tracepoint::PLACES,
        hook::lsm::FILE_IOCTL, hook::lsm::FILE_IOCTL_SLOW, hook::lsm::PLACES,
    );
    let rules = Rules::new(Mode::Enforce, Allowed::NONE.with(Kind::Unknown, true), 0x89ab_cdef);
    let _ = writeln!(it, "\nRules::new(Enforce, unknown, 0x89abcdef) {:#x}", rules.to_bits());
    let _ = writeln!(it, "Limit::new(…) {:#x}", Limit::new(1_000_000, 5).map_or(0, Limit::to_bits));
    text
}

fn file(schema: u32) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(format!("{root}/pinned/schema-{schema}.txt"))
}

/// Writes down what a new schema stands for, and never anew what another one does.
fn write_if_asked() {
    let file = file(SCHEMA);
    if env::var_os("UPDATE_DOCS").is_some() && !file.exists() {
        fs::write(&file, layout()).unwrap();
    }
}

#[test]
fn what_is_pinned_changes_only_with_the_schema() {
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

/// Policies of other versions name message kinds by these numbers, and so do their counts.
#[test]
fn a_kind_of_message_has_the_number_that_it_always_had() {
    let kinds = |text: &str| -> BTreeMap<String, String> {
        let of_enum =
            text.lines().skip_while(|line| !line.starts_with("enum message::Kind")).skip(1);
        let rows = of_enum.take_while(|line| line.starts_with("  "));
        rows.filter_map(|row| row.trim().split_once(' '))
            .map(|(number, name)| (name.to_owned(), number.to_owned()))
            .collect()
    };
    let now = kinds(&layout());
    assert_eq!(now.len(), Kind::ALL.len());
    write_if_asked();
    let mut seen = 0;
    for schema in 0..=SCHEMA {
        let Ok(text) = fs::read_to_string(file(schema)) else { continue };
        for (name, number) in kinds(&text) {
            assert_eq!(now.get(&name), Some(&number), "{name} in schema {schema}");
            seen += 1;
        }
    }
    assert!(seen > 0, "no schema is written down");
}
