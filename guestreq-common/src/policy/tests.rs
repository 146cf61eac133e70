use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn each_mode_is_itself_alone() {
    for mode in Mode::ALL {
        assert_eq!(mode.is_observe(), mode == Mode::Observe);
        assert_eq!(mode.is_enforce(), mode == Mode::Enforce);
    }
}

fn policy(mode: Mode, allowed: Allowed, limit: GcraLimit) -> Policy {
    Policy::new(Rules::new(mode, allowed, 1), limit)
}

/// The same, where no other VM asks.
fn decide(policy: &Policy, input: &PolicyInput, limiter: &AtomicU64) -> Evaluation {
    let turn = Turn { next: &AtomicU64::new(0), spacing_ns: 0 };
    super::decide(policy, input, limiter, &turn)
}

fn input(message: MessageType, now: u64) -> PolicyInput {
    PolicyInput {
        row: message as u8,
        now: MonotonicNs(now),
        tsc_infos: FREE_TSC_INFOS,
        unresolved: false,
        spent: false,
    }
}

#[test]
fn rules_keep_what_they_were_made_of() {
    for mode in Mode::ALL {
        for message in MessageType::ALL {
            let rules = Rules::new(mode, Allowed::NONE.with(message, true), u32::MAX - 1);
            assert_eq!(rules.mode(), mode);
            assert_eq!(rules.generation(), u32::MAX - 1);
            for other in MessageType::ALL {
                assert_eq!(rules.allows(other as u8), other == message);
                assert_eq!(rules.allowed().has(other), other == message);
            }
        }
    }
}

#[test]
fn the_default_allows_what_linux_guests_use() {
    let allowed: Vec<_> =
        MessageType::ALL.into_iter().filter(|message| Allowed::DEFAULT.has(*message)).collect();
    assert_eq!(allowed, [MessageType::Key, MessageType::Report, MessageType::TscInfo]);
}

#[test]
fn what_is_allowed_or_taken_away_again_changes_nothing_else() {
    let without_key = Allowed::DEFAULT.with(MessageType::Key, false);
    for message in MessageType::ALL {
        assert_eq!(
            without_key.has(message),
            Allowed::DEFAULT.has(message) && message != MessageType::Key
        );
        let twice = Allowed::DEFAULT.with(message, true).with(message, true);
        assert!(twice.has(message) && twice.has(MessageType::Report));
        let never = Allowed::NONE.with(message, false);
        assert_eq!(never, Allowed::NONE);
    }
}

proptest! {
    #[test]
    fn what_passes_by_its_policy_alone_is_admitted_and_leaves_the_limiter_as_it_is(
        rules: u64, limit: u64, limited: bool, row in 0u8..16, now: u64, state: u64, next: u64,
        tsc_infos: u64, spent: bool,
    ) {
        let policy = Policy { rules, limit: if limited { limit } else { 0 } };
        let (limiter, turn) = (AtomicU64::new(state), AtomicU64::new(next));
        let input = PolicyInput { row, now: MonotonicNs(now), tsc_infos, unresolved: false, spent };
        let evaluation = super::decide(&policy, &input, &limiter, &Turn { next: &turn, spacing_ns: 5 });
        if policy.passes(row) {
            prop_assert_eq!((evaluation.decision, evaluation.contended, evaluation.until), (Decision::Admit, false, MonotonicNs::NEVER));
            prop_assert_eq!((limiter.into_inner(), turn.into_inner()), (state, next));
        } else {
            let limits = !policy.limit().is_off();
            prop_assert!(limits || evaluation.decision == Decision::Deny, "nothing stands in its way");
        }
    }
}

#[test]
fn a_type_that_is_not_allowed_is_denied_and_takes_nothing_from_the_limit() {
    let limit = GcraLimit::new(SECOND, 1).unwrap();
    let policy = policy(Mode::Enforce, Allowed::DEFAULT, limit);
    let state = AtomicU64::new(0);
    for _ in 0..5 {
        let evaluation = decide(&policy, &input(MessageType::Export, 9 * SECOND), &state);
        assert_eq!(evaluation.effect(), Decision::Deny);
    }
    let first = decide(&policy, &input(MessageType::Report, 9 * SECOND), &state);
    assert_eq!(first.effect(), Decision::Admit);
    let second = decide(&policy, &input(MessageType::Report, 9 * SECOND), &state);
    assert_eq!(second.effect(), Decision::Busy);
}

#[test]
fn the_first_tsc_infos_are_never_throttled_but_may_be_denied() {
    let limit = GcraLimit::new(SECOND, 1).unwrap();
    let state = AtomicU64::new(u64::MAX);
    for (before, expected) in [(0, Decision::Admit), (3, Decision::Admit), (4, Decision::Busy)] {
        let input = PolicyInput { tsc_infos: before, ..input(MessageType::TscInfo, SECOND) };
        let allowed = policy(Mode::Enforce, Allowed::DEFAULT, limit);
        assert_eq!(decide(&allowed, &input, &state).effect(), expected);
        let denied = policy(Mode::Enforce, Allowed::NONE, limit);
        assert_eq!(decide(&denied, &input, &state).effect(), Decision::Deny);
    }
}

#[test]
fn a_spent_message_is_charged_and_its_sender_held_until_the_reported_time() {
    let policy = policy(Mode::Enforce, Allowed::DEFAULT, GcraLimit::new(SECOND, 1).unwrap());
    let state = AtomicU64::new(0);
    let spent = |now| {
        let evaluation = decide(
            &policy,
            &PolicyInput { spent: true, ..input(MessageType::Report, now) },
            &state,
        );
        (evaluation.effect(), evaluation.until.0)
    };
    assert_eq!(spent(9 * SECOND), (Decision::Admit, 0));
    assert_eq!(spent(9 * SECOND), (Decision::Busy, 11 * SECOND));
    assert_eq!(spent(11 * SECOND), (Decision::Admit, 0));
}

/// Somebody else writes this state each time.
struct NeverMine;

impl Cell for NeverMine {
    fn load(&self) -> u64 {
        0
    }

    fn replace(&self, _: u64, _: u64) -> bool {
        false
    }
}

#[test]
fn a_message_overtaken_each_time_gets_busy_with_the_reason() {
    let policy = policy(Mode::Enforce, Allowed::DEFAULT, GcraLimit::new(SECOND, 1).unwrap());
    let turn = Turn { next: &AtomicU64::new(0), spacing_ns: 0 };
    let evaluation =
        super::decide(&policy, &input(MessageType::Report, 9 * SECOND), &NeverMine, &turn);
    assert_eq!((evaluation.effect(), evaluation.contended), (Decision::Busy, true));
}

#[test]
fn observe_decides_nothing() {
    let policy = policy(Mode::Observe, Allowed::NONE, GcraLimit::new(SECOND, 1).unwrap());
    let state = AtomicU64::new(77);
    assert_eq!(decide(&policy, &input(MessageType::Export, 1), &state).decision, Decision::Admit);
    assert_eq!(state.load(Ordering::SeqCst), 77);
}

#[test]
fn a_vm_waits_for_the_agent_ten_seconds_and_only_while_it_lives() {
    let seen = 100 * SECOND;
    let waits = |after, heartbeat_age| {
        let now = seen + after;
        is_unresolved(
            true,
            false,
            MonotonicNs(seen),
            MonotonicNs(now - heartbeat_age),
            MonotonicNs(now),
        )
    };
    assert!(waits(0, 0));
    assert!(waits(9 * SECOND, 2 * SECOND));
    assert!(!waits(10 * SECOND, 0), "the default decides");
    assert!(!waits(0, 3 * SECOND), "the agent is dead or stopped");
    let now = MonotonicNs(seen);
    assert!(!is_unresolved(false, false, now, now, now), "no rule names a VM");
    assert!(!is_unresolved(true, true, now, now, now), "resolved");
    let waiting = PolicyInput { unresolved: true, ..input(MessageType::Report, seen) };
    let audit = policy(Mode::Audit, Allowed::DEFAULT, GcraLimit::OFF);
    assert_eq!(decide(&audit, &waiting, &AtomicU64::new(0)).effect(), Decision::Busy);
}

proptest! {
    #[test]
    fn audit_decides_what_enforce_would(
        allowed: u16,
        interval in 1_000u64..SECOND,
        burst in 1u64..20,
        spent: bool,
        spacing_ns: u64,
        requests in proptest::collection::vec((0u8..14, 0u64..SECOND, 0u64..8), 1..200),
    ) {
        let limit = GcraLimit::new(interval, burst).unwrap();
        let (audit, enforce) = (AtomicU64::new(0), AtomicU64::new(0));
        let (audit_turn, enforce_turn) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut now = 0;
        for (row, later, tsc_infos) in requests {
            now += later;
            let input = PolicyInput { row, now: MonotonicNs(now), tsc_infos, unresolved: false, spent };
            let of = |mode, state, next| {
                let turn = Turn { next, spacing_ns };
                super::decide(&policy(mode, Allowed(allowed), limit), &input, state, &turn)
            };
            let would = of(Mode::Audit, &audit, &audit_turn);
            let did = of(Mode::Enforce, &enforce, &enforce_turn);
            prop_assert_eq!(would.decision, did.decision);
            prop_assert_eq!(would.effect(), Decision::Admit);
            prop_assert_eq!(did.effect(), did.decision);
            prop_assert_eq!(audit.load(Ordering::SeqCst), enforce.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn no_word_is_too_strange_for_a_policy(rules: u64, limit: u64, row: u8, now: u64) {
        let policy = Policy { rules, limit };
        let input = PolicyInput { row, now: MonotonicNs(now), tsc_infos: 9, unresolved: false, spent: now % 2 == 0 };
        decide(&policy, &input, &AtomicU64::new(now ^ limit));
    }
}
