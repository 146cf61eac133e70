//! # Streams of requests
//!
//! Calls what the programs call, in any order: a VM's requests pass its thread's record, policy,
//! limiter, the stack of running commands and the sequence counters. Each request is counted once,
//! and decided as policy.rs, gcra.rs and sequence.rs document.

mod bucket;

use guestreq_common::{
    gcra::GcraLimit,
    message::{Header, MessageType, Summary},
    policy::{self, Allowed, Decision, FREE_TSC_INFOS, Mode, Policy, PolicyInput, Rules},
    request::{Abandoned, DEPTH, Stack, Stages, Thread},
    sequence::{Anomaly, Counters},
    share::{Credit, PspShare},
    turn::Turn,
    units::{GuestContext, MonotonicNs, PidTgid},
    waiting::Place,
};

use self::bucket::{Bucket, State};
use super::Input;

/// One VM, with the expected state, computed independently of the tested functions.
struct Vm {
    policy: Policy,
    limiter: State,
    turn: State,
    last_refused: State,
    holder: State,
    tsc_infos: u64,
    bucket: Bucket,
    thread: Thread,
    stack: Stack,
    counters: Counters,
    /// The number that succeeded last, by VMPCK.
    last: [Option<u64>; 4],
    begun: u64,
    ended: u64,
}

/// Input: a policy, then requests with their times, types and outcomes.
pub fn decisions(data: &[u8]) {
    let mut input = Input(data);
    let mut vm = Vm::new(&mut input);
    // Far below 2^63, as a host's clock.
    let mut now = u64::from(input.u32());
    let steps = 4096;
    for _ in 0..steps {
        if input.is_empty() {
            break;
        }
        now += u64::from(input.u32()) << (input.byte() % 12);
        vm.request(&mut input, now);
    }
    vm.bucket.is_within(vm.policy.rate());
    let open = u64::from(vm.thread.abandon().is_some());
    assert_eq!(vm.begun, vm.ended + open, "a request is lost, or counted twice");
}

impl Vm {
    fn new(input: &mut Input<'_>) -> Vm {
        let mode = Mode::ALL[usize::from(input.byte() % 3)];
        let allowed =
            Allowed(u16::from_le_bytes(input.bytes()) & ((1 << MessageType::ALL.len()) - 1));
        let interval = u64::from(input.u32()) << (input.byte() % 12);
        let limit = GcraLimit::new(interval, u64::from(input.byte())).unwrap_or(GcraLimit::OFF);
        Vm {
            policy: Policy::new(Rules::new(mode, allowed, 1), limit, PspShare::OFF),
            limiter: State::default(),
            turn: State::default(),
            last_refused: State::default(),
            holder: State::default(),
            tsc_infos: 0,
            bucket: Bucket::default(),
            thread: Thread::default(),
            stack: Stack::default(),
            counters: Counters::launched(),
            last: [None; 4],
            begun: 0,
            ended: 0,
        }
    }

    /// One request, which may end early.
    fn request(&mut self, input: &mut Input<'_>, now: u64) {
        let how = input.byte();
        let message = Summary::of(&Header {
            seqno: u64::from(input.byte()),
            message_type: input.byte(),
            vmpck: input.byte(),
            ..Header::default()
        });
        let had_one = self.ended + 1 == self.begun;
        let abandoned = self.thread.want_lock(MonotonicNs(now));
        assert_eq!(abandoned.is_some(), had_one, "an open request is closed by the next");
        self.ended += u64::from(abandoned.is_some());
        self.begun += 1;
        if how & 1 == 1 {
            // It ends here; the next one closes it.
            return;
        }
        self.thread.queue(MonotonicNs(now), GuestContext(0x1000), message);
        let spent = how & 2 == 2;
        let admitted = self.decide(&message, now, spent);
        if !admitted && !spent {
            let abandoned = self.thread.abandon();
            assert_eq!(abandoned, Some(Abandoned { message, queued: true, decided: false }));
            self.ended += 1;
            return;
        }
        self.thread.set_admitted(false);
        assert_eq!(self.thread.take_decided(), (true, false));
        assert!(!self.thread.take_decided().0, "decided once");
        self.run(&message, input, now, how);
    }

    fn decide(&mut self, message: &Summary, now: u64, spent: bool) -> bool {
        let kind = MessageType::of(message.message_type);
        assert_eq!(message.row, kind as u8);
        let input = PolicyInput {
            row: kind as u8,
            now: MonotonicNs(now),
            tsc_infos: self.tsc_infos,
            unresolved: false,
            spent,
            place: Place::default(),
            credit: Credit::UNLIMITED,
            conforms_for: u64::MAX,
        };
        let turn = Turn {
            next: &self.turn,
            last_refused: &self.last_refused,
            holder: &self.holder,
            context: GuestContext(0x1000),
            spacing_ns: 0,
        };
        let evaluation = policy::decide(&self.policy, &input, &self.limiter, &turn);
        let rules = self.policy.rules();
        let free = kind == MessageType::TscInfo && self.tsc_infos < FREE_TSC_INFOS;
        let limited = !free && !self.policy.rate().is_off();
        match evaluation.decision {
            _ if rules.mode() == Mode::Observe => {
                assert_eq!(evaluation.decision, Decision::Admit, "nothing is decided");
            }
            Decision::Deny => assert!(!rules.allowed().has(kind), "an allowed type is denied"),
            Decision::Busy => assert!(rules.allowed().has(kind) && limited, "nothing limits it"),
            Decision::Admit => assert!(rules.allowed().has(kind), "a forbidden type is admitted"),
        }
        assert!(!evaluation.contended, "nobody else asks");
        let passes = self.policy.passes(kind as u8);
        assert!(!passes || evaluation.decision == Decision::Admit, "it passes by its policy alone");
        if rules.mode() != Mode::Observe && rules.allowed().has(kind) && limited {
            let spent = spent && rules.mode() == Mode::Enforce;
            let conforms = self.bucket.charge(self.policy.rate(), now, spent);
            assert_eq!(evaluation.decision == Decision::Admit, conforms, "not what GCRA says");
        }
        let admitted = evaluation.effect() == Decision::Admit;
        assert!(admitted || rules.mode() == Mode::Enforce, "only enforce refuses");
        self.tsc_infos += u64::from(admitted && kind == MessageType::TscInfo);
        admitted
    }

    fn run(&mut self, message: &Summary, input: &mut Input<'_>, now: u64, how: u8) {
        let depth = self.stack.depth;
        let nested = how & 4 == 4;
        let (thread, sp) = (PidTgid(7), if nested { 0x1000 - depth * 8 } else { 0x2000 });
        let lost = self.stack.push(thread, sp);
        assert!(lost <= depth && self.stack.depth <= DEPTH as u64 && self.stack.depth > 0);
        let running = self.stack.begin(self.stack.depth, thread, sp);
        assert!(running.take_from(&mut self.thread, MonotonicNs(now)), "the PSP takes it over");
        assert_eq!((running.message, self.thread.abandon()), (*message, None));
        self.ended += 1;
        if how & 8 == 8 {
            // Its return is missed: the thread's next command drops or encloses it.
            return;
        }
        let took = u64::from(input.byte());
        assert!(self.stack.pop(PidTgid(8)).is_none(), "another thread's");
        let stages =
            self.stack.pop(thread).map(|running| Stages::of(running, MonotonicNs(now + took)));
        assert_eq!(stages.map(|stages| stages.total()), Some(took));
        self.sequence(message, how & 16 == 16);
    }

    /// The first number is 1, then each is two more than the last that succeeded.
    fn sequence(&mut self, message: &Summary, succeeded: bool) {
        let anomaly = self.counters.check(message.vmpck, message.seqno, succeeded);
        let Some(last) = self.last.get_mut(usize::from(message.vmpck)) else {
            return assert_eq!(anomaly, None, "such a key has no counter");
        };
        let next = last.map_or(1, |last| last + 2);
        let expected = match message.seqno {
            seqno if seqno == next => None,
            seqno if seqno < next => Some(Anomaly::Replay),
            _ => Some(Anomaly::Gap),
        };
        assert_eq!(anomaly, expected);
        if succeeded {
            *last = Some(message.seqno);
        }
    }
}
