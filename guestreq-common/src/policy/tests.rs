use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::units::GuestContext;

const SECOND: u64 = 1_000_000_000;

#[test]
fn each_mode_is_itself_alone() {
    for mode in Mode::ALL {
        assert_eq!(mode.is_observe(), mode == Mode::Observe);
        assert_eq!(mode.is_enforce(), mode == Mode::Enforce);
    }
}

fn policy(mode: Mode, allowed: Allowed, limit: GcraLimit) -> Policy {
    Policy::new(Rules::new(mode, allowed, 1), limit, PspShare::OFF)
}

/// The PSP's mean time for a request.
const MEAN_NS: u64 = 10_000_000;

/// A VM's, with all of its words in one.
fn turn(word: &AtomicU64, spacing_ns: u64) -> Turn<'_, AtomicU64> {
    let context = GuestContext(0x1000);
    Turn { next: word, last_refused: word, holder: word, context, spacing_ns }
}

/// The same, where no other VM asks.
fn decide(policy: &Policy, input: &PolicyInput, rate: &AtomicU64) -> Evaluation {
    decide_with(policy, input, rate, &mut Debt::default())
}

fn decide_with(
    policy: &Policy,
    input: &PolicyInput,
    rate: &AtomicU64,
    debt: &mut Debt,
) -> Evaluation {
    let unused = AtomicU64::new(0);
    let turn = turn(&unused, MEAN_NS);
    decide_of(policy, input, rate, debt, &turn)
}

/// With the credit of a debt.
fn decide_of<C: Cell>(
    policy: &Policy,
    input: &PolicyInput,
    rate: &C,
    debt: &mut Debt,
    turn: &Turn<'_, AtomicU64>,
) -> Evaluation {
    let mut credit = Credit::UNLIMITED;
    // The programs do not ask for what passes.
    if !policy.passes(input.row) && !policy.share().is_off() {
        let mut limiter = Limiter { debt: *debt, ..Limiter::default() };
        limiter.examine(policy.share(), &message(input.row), turn.spacing_ns, input.now);
        *debt = limiter.debt;
        let reserved = turn.spacing_ns.saturating_mul(input.place.older);
        credit = debt.credit(policy.share(), turn.spacing_ns, reserved, input.now);
    }
    super::decide(policy, &PolicyInput { credit, ..*input }, rate, turn)
}

fn message(row: u8) -> Summary {
    Summary { row, ..Summary::UNKNOWN }
}

fn input(kind: MessageType, now: u64) -> PolicyInput {
    PolicyInput {
        row: kind as u8,
        now: MonotonicNs(now),
        tsc_infos: FREE_TSC_INFOS,
        unresolved: false,
        spent: false,
        place: Place::default(),
        credit: Credit::UNLIMITED,
        conforms_for: u64::MAX,
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

proptest! {
    #[test]
    fn a_weight_changes_nothing_else_and_nothing_else_changes_it(
        bits: u64, mode in 0..Mode::ALL.len(), allowed: u16, generation: u32, weights in (1u8.., 1u8..),
    ) {
        let [first, second] = [weights.0, weights.1].map(|weight| Weight::new(weight).unwrap());
        let any = Rules::from_bits(bits);
        let weighted = any.with_weight(first).with_weight(second);
        prop_assert_eq!(weighted.weight(), second);
        prop_assert_eq!(weighted.to_bits() & !0xff00, bits & !0xff00);
        let rules = Rules::new(Mode::ALL[mode], Allowed(allowed), generation);
        prop_assert_eq!(rules.weight(), Weight::DEFAULT, "without a weight");
        let weighted = rules.with_weight(first);
        prop_assert_eq!(weighted.mode(), rules.mode());
        prop_assert_eq!(weighted.allowed(), rules.allowed());
        prop_assert_eq!(weighted.generation(), generation);
        for row in 0..16 {
            prop_assert_eq!(weighted.allows(row), rules.allows(row));
            let policy = Policy::new(weighted, GcraLimit::OFF, PspShare::OFF);
            let without = Policy::new(rules, GcraLimit::OFF, PspShare::OFF);
            prop_assert_eq!(policy.passes(row), without.passes(row));
            prop_assert_eq!(policy.without_state(row), without.without_state(row));
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
fn without_a_state_only_what_a_limit_would_judge_is_refused() {
    let (report, export) = (MessageType::Report as u8, MessageType::Export as u8);
    let rate = GcraLimit::new(SECOND, 1).unwrap();
    let share = PspShare::new(1_000, 0).unwrap();
    for mode in Mode::ALL {
        let of = |rate, share, row| {
            Policy::new(Rules::new(mode, Allowed::DEFAULT, 1), rate, share).without_state(row)
        };
        let (denied, busy) = match mode {
            Mode::Enforce => (Decision::Deny, Decision::Busy),
            Mode::Observe | Mode::Audit => (Decision::Admit, Decision::Admit),
        };
        assert_eq!(of(GcraLimit::OFF, PspShare::OFF, report), Decision::Admit);
        assert_eq!(of(GcraLimit::OFF, PspShare::OFF, export), denied);
        assert_eq!(of(rate, PspShare::OFF, report), busy);
        assert_eq!(of(GcraLimit::OFF, share, report), busy);
        assert_eq!(of(rate, share, export), denied);
    }
}

#[test]
fn only_an_enforced_share_is_charged_for_whatever_has_the_psp() {
    let share = PspShare::new(1_000, 0).unwrap();
    let charges = |mode, share| {
        Policy::new(Rules::new(mode, Allowed::DEFAULT, 1), GcraLimit::OFF, share).charges()
    };
    assert!(charges(Mode::Enforce, share));
    for (mode, share) in
        [(Mode::Enforce, PspShare::OFF), (Mode::Audit, share), (Mode::Observe, share)]
    {
        assert!(!charges(mode, share), "{mode:?}");
    }
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
        rules: u64, rate: u64, share: u64, limited: (bool, bool), row in 0u8..16, now: u64,
        state: u64, next: u64, tsc_infos: u64, spent: bool,
    ) {
        let word = |limits, word| if limits { word } else { 0 };
        let policy = Policy { rules, rate: word(limited.0, rate), share: word(limited.1, share) };
        let (limiter, cell) = (AtomicU64::new(state), AtomicU64::new(next));
        let input = PolicyInput {
            row, now: MonotonicNs(now), tsc_infos, unresolved: false, spent: false, place: Place::default(),
            credit: Credit::UNLIMITED, conforms_for: u64::MAX,
        };
        let mut debt = Debt::default();
        let turns = turn(&cell, 5);
        let evaluation = decide_of(&policy, &input, &limiter, &mut debt, &turns);
        if policy.passes(row) {
            prop_assert_eq!((evaluation.decision, evaluation.contended, evaluation.until), (Decision::Admit, false, MonotonicNs::NEVER));
            prop_assert_eq!((limiter.into_inner(), cell.into_inner(), debt), (state, next, Debt::default()));
            prop_assert!(!evaluation.charged);
        } else {
            let limits = policy.rate | policy.share != 0;
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
    let unused = AtomicU64::new(0);
    let turn = turn(&unused, 0);
    let input = input(MessageType::Report, 9 * SECOND);
    let evaluation = decide_of(&policy, &input, &NeverMine, &mut Debt::default(), &turn);
    assert_eq!((evaluation.effect(), evaluation.contended), (Decision::Busy, true));
}

proptest! {
    #[test]
    fn what_is_taken_of_a_rate_the_decision_would_have_admitted(
        row in 0..MessageType::ALL.len(),
        enforced in any::<bool>(),
        interval in 1..3 * SECOND,
        burst in 1u64..4,
        (state, now) in (0..8 * SECOND, 0..8 * SECOND),
    ) {
        let mode = if enforced { Mode::Enforce } else { Mode::Audit };
        let limit = GcraLimit::new(interval.max(1_000), burst).unwrap();
        let policy = policy(mode, Allowed::DEFAULT, limit);
        let (short, long) = (AtomicU64::new(state), AtomicU64::new(state));
        if policy.takes_of_rate(row as u8, &short, MonotonicNs(now)) {
            let evaluation = decide(&policy, &input(MessageType::ALL[row], now), &long);
            prop_assert_eq!(evaluation.decision, Decision::Admit);
            prop_assert!(!evaluation.rescued && !evaluation.charged && !evaluation.contended);
            prop_assert_eq!(short.into_inner(), long.into_inner());
        } else {
            prop_assert_eq!(short.into_inner(), state);
        }
    }
}

#[test]
fn a_request_that_has_the_psp_is_charged_before_its_vm_s_policy_is_known() {
    let share = PspShare::new(1_000, 0).unwrap();
    let evaluation = |mode, share, spent| {
        let rules = Rules::new(mode, Allowed::DEFAULT, 1);
        let policy = Policy::new(rules, GcraLimit::OFF, share);
        let input = PolicyInput { spent, unresolved: true, ..input(MessageType::Report, SECOND) };
        decide(&policy, &input, &AtomicU64::new(0))
    };
    let of = |mode, share, spent| evaluation(mode, share, spent).charged;
    assert!(of(Mode::Enforce, share, true));
    assert!(!of(Mode::Enforce, share, false), "it gets BUSY");
    assert!(!of(Mode::Enforce, PspShare::OFF, true));
    assert_eq!(
        evaluation(Mode::Audit, share, true).effect(),
        Decision::Busy,
        "whatever it will be"
    );
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

/// A tenth of the PSP, of which 20 ms may be used at once.
fn tenth() -> PspShare {
    PspShare::new(100_000, 20_000_000).unwrap()
}

fn with_share(mode: Mode, rate: GcraLimit) -> Policy {
    Policy::new(Rules::new(mode, Allowed::DEFAULT, 1), rate, tenth())
}

#[test]
fn a_share_admits_while_the_vm_owes_no_more_than_the_burst() {
    let (state, mut debt) = (AtomicU64::new(0), Debt::default());
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    let decide = |debt: &mut Debt, now| {
        let evaluation = decide_with(&policy, &input(MessageType::Report, now), &state, debt);
        (evaluation.decision, evaluation.charged)
    };
    assert_eq!(decide(&mut debt, SECOND), (Decision::Admit, true));
    debt.charge(tenth(), MEAN_NS, 20_000_000, MonotonicNs(SECOND));
    assert_eq!(decide(&mut debt, SECOND), (Decision::Admit, true));
    debt.charge(tenth(), MEAN_NS, 10_000_000, MonotonicNs(SECOND));
    assert_eq!(decide(&mut debt, SECOND), (Decision::Busy, false));
    assert_eq!(decide(&mut debt, SECOND + 99_999_999), (Decision::Busy, false));
    assert_eq!(decide(&mut debt, SECOND + 100_000_000), (Decision::Admit, true));
}

#[test]
fn of_rate_and_share_the_stricter_decides_and_a_refusal_by_one_costs_nothing_of_the_other() {
    let rate = GcraLimit::new(SECOND, 1).unwrap();
    let policy = with_share(Mode::Enforce, rate);
    let report = |now| input(MessageType::Report, now);
    let (state, mut debt) = (AtomicU64::new(0), Debt::default());
    debt.charge(tenth(), MEAN_NS, 30_000_000, MonotonicNs(SECOND));
    let over_share = decide_with(&policy, &report(SECOND), &state, &mut debt);
    assert_eq!(over_share.decision, Decision::Busy);
    assert_eq!(state.load(Ordering::SeqCst), 0, "the rate still has its request");
    let later = SECOND + 100_000_000;
    assert_eq!(decide_with(&policy, &report(later), &state, &mut debt).decision, Decision::Admit);
    let over_rate = decide_with(&policy, &report(later), &state, &mut debt);
    assert_eq!((over_rate.decision, over_rate.charged), (Decision::Busy, false));
}

#[test]
fn a_vm_that_has_used_more_than_half_of_its_burst_pushes() {
    let mut limiter = Limiter::default();
    let mut pushes = |owed| {
        limiter.debt = Debt::default();
        limiter.debt.charge(tenth(), MEAN_NS, owed, MonotonicNs(SECOND));
        limiter.examine(tenth(), &message(2), MEAN_NS, MonotonicNs(SECOND));
        limiter.place.pushes != 0
    };
    assert_eq!(
        [0, 10_000_000, 10_000_001, 20_000_001].map(&mut pushes),
        [false, false, true, true]
    );
}

#[test]
fn a_free_tsc_info_is_charged_to_the_share() {
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    let (state, mut debt) = (AtomicU64::new(0), Debt::default());
    debt.charge(tenth(), MEAN_NS, SECOND, MonotonicNs(SECOND));
    let free = PolicyInput { tsc_infos: 3, ..input(MessageType::TscInfo, SECOND) };
    let evaluation = decide_with(&policy, &free, &state, &mut debt);
    assert_eq!((evaluation.decision, evaluation.charged), (Decision::Admit, true));
    let fifth = PolicyInput { tsc_infos: 4, ..free };
    assert_eq!(decide_with(&policy, &fifth, &state, &mut debt).decision, Decision::Busy);
}

#[test]
fn what_is_denied_before_the_psp_is_not_charged_and_what_has_the_psp_is() {
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    for spent in [false, true] {
        let export = PolicyInput { spent, ..input(MessageType::Export, SECOND) };
        let evaluation = decide(&policy, &export, &AtomicU64::new(0));
        assert_eq!((evaluation.decision, evaluation.charged), (Decision::Deny, spent));
    }
}

#[test]
fn a_spent_message_over_the_share_waits_until_its_own_time_is_repaid_too() {
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    let (state, mut debt) = (AtomicU64::new(0), Debt::default());
    let spent = PolicyInput { spent: true, ..input(MessageType::Report, SECOND) };
    let first = decide_with(&policy, &spent, &state, &mut debt);
    assert_eq!((first.decision, first.charged), (Decision::Admit, true));
    debt.charge(tenth(), MEAN_NS, 21_000_000, MonotonicNs(SECOND));
    let over = decide_with(&policy, &spent, &state, &mut debt);
    // It owes 1 ms more than it may, and 10 ms are the mean.
    assert_eq!((over.decision, over.charged), (Decision::Busy, true));
    assert_eq!(over.until, MonotonicNs(SECOND + 110_000_000));
}

fn returning(first_refused: u64, now: u64) -> PolicyInput {
    let place = Place { first_refused: MonotonicNs(first_refused), ..Place::default() };
    PolicyInput { place, ..input(MessageType::Report, now) }
}

#[test]
fn a_message_refused_thirty_seconds_ago_is_admitted_whatever_limits_it() {
    for policy in [
        with_share(Mode::Enforce, GcraLimit::OFF),
        with_share(Mode::Enforce, GcraLimit::new(3_600 * SECOND, 1).unwrap()),
        policy(Mode::Enforce, Allowed::DEFAULT, GcraLimit::new(3_600 * SECOND, 1).unwrap()),
    ] {
        let (state, mut debt) = (AtomicU64::new(900 * SECOND), Debt::default());
        debt.charge(tenth(), MEAN_NS, 60 * SECOND, MonotonicNs(SECOND));
        let mut decide = |now| decide_with(&policy, &returning(SECOND, now), &state, &mut debt);
        let before = decide(31 * SECOND - 1);
        assert_eq!((before.decision, before.rescued), (Decision::Busy, false));
        let after = decide(31 * SECOND);
        assert_eq!((after.decision, after.rescued), (Decision::Admit, true));
        assert_eq!(after.charged, !policy.share().is_off());
        if !policy.rate().is_off() {
            let state = state.load(Ordering::SeqCst);
            assert!(state > 900 * SECOND, "charged as debt");
        }
    }
}

#[test]
fn a_message_that_conforms_is_not_rescued_however_long_it_has_waited() {
    let policy = with_share(Mode::Enforce, GcraLimit::new(SECOND, 1).unwrap());
    let evaluation = decide(&policy, &returning(SECOND, 99 * SECOND), &AtomicU64::new(0));
    assert_eq!((evaluation.decision, evaluation.rescued), (Decision::Admit, false));
}

#[test]
fn an_evaluation_that_went_through_the_state_is_the_same() {
    let mut limiter = Limiter::default();
    for mode in Mode::ALL {
        for decision in Decision::ALL {
            for flags in 0..8u8 {
                let [contended, rescued, charged] = [1, 2, 4].map(|flag| flags & flag != 0);
                let until = MonotonicNs(u64::from(flags) * 7);
                let it = Evaluation { mode, decision, contended, rescued, charged, until };
                limiter.set_evaluation(it);
                assert_eq!(limiter.evaluation(), it);
            }
        }
    }
}

#[test]
fn a_denied_type_is_not_rescued_and_an_unresolved_vm_waits() {
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    let it = returning(SECOND, 99 * SECOND);
    let export = PolicyInput { row: MessageType::Export as u8, ..it };
    assert_eq!(decide(&policy, &export, &AtomicU64::new(0)).decision, Decision::Deny);
    let unresolved = PolicyInput { unresolved: true, ..it };
    let evaluation = decide(&policy, &unresolved, &AtomicU64::new(0));
    assert_eq!((evaluation.decision, evaluation.charged), (Decision::Busy, false));
}

#[test]
fn for_messages_that_wait_longer_the_share_keeps_a_service_each() {
    let policy = with_share(Mode::Enforce, GcraLimit::OFF);
    let (state, mut debt) = (AtomicU64::new(0), Debt::default());
    let mut with = |older| {
        let place = Place { older, ..Place::default() };
        let input = PolicyInput { place, ..input(MessageType::Report, SECOND) };
        decide_with(&policy, &input, &state, &mut debt).decision
    };
    assert_eq!([0, 1, 2].map(&mut with), [Decision::Admit; 3], "20 ms are two services");
    assert_eq!(with(3), Decision::Busy);
}

proptest! {
    #[test]
    fn audit_decides_what_enforce_would(
        allowed: u16,
        interval in 1_000u64..SECOND,
        burst in 1u64..20,
        spent: bool,
        spacing_ns: u64,
        ppm in 100u64..1_000_000,
        service in 0u64..SECOND,
        requests in proptest::collection::vec((0u8..14, 0u64..SECOND, 0u64..8), 1..200),
    ) {
        let limit = GcraLimit::new(interval, burst).unwrap();
        let (audit, enforce) = (AtomicU64::new(0), AtomicU64::new(0));
        let (audit_turn, enforce_turn) = (AtomicU64::new(0), AtomicU64::new(0));
        let share = PspShare::new(ppm, 0).unwrap();
        let mut debts = [Debt::default(); 2];
        let mut now = 0;
        for (row, later, tsc_infos) in requests {
            now += later;
            let input = PolicyInput {
                row, now: MonotonicNs(now), tsc_infos, unresolved: false, spent: false, place: Place::default(),
            credit: Credit::UNLIMITED, conforms_for: u64::MAX,
            };
            let of = |mode, state, debt: &mut Debt, next| {
                // Where nothing can be refused, audit counts what would be, if it could.
                let spent = spent && mode == Mode::Audit;
                let input = PolicyInput { spent, ..input };
                let policy = Policy::new(Rules::new(mode, Allowed(allowed), 1), limit, share);
                let turn = turn(next, spacing_ns);
                let evaluation = decide_of(&policy, &input, state, debt, &turn);
                if evaluation.charged {
                    debt.charge(share, spacing_ns, service, MonotonicNs(now));
                }
                evaluation
            };
            let would = of(Mode::Audit, &audit, &mut debts[0], &audit_turn);
            let did = of(Mode::Enforce, &enforce, &mut debts[1], &enforce_turn);
            prop_assert_eq!((would.decision, would.charged), (did.decision, did.charged));
            prop_assert_eq!(debts[0], debts[1]);
            prop_assert_eq!(would.effect(), Decision::Admit);
            prop_assert_eq!(did.effect(), did.decision);
            prop_assert_eq!(audit.load(Ordering::SeqCst), enforce.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn no_word_is_too_strange_for_a_policy(
        rules: u64, rate: u64, share: u64, row: u8, now: u64, first: u64, older: u64, debt: i64,
    ) {
        let policy = Policy { rules, rate, share };
        let input = PolicyInput {
            row, now: MonotonicNs(now), tsc_infos: 9, unresolved: false, spent: now % 2 == 0,
            place: Place { first_refused: MonotonicNs(first), older, ..Place::default() },
            conforms_for: u64::MAX, credit: Credit(debt),
        };
        let unused = AtomicU64::new(0);
        let turn = turn(&unused, older);
        super::decide(&policy, &input, &AtomicU64::new(now ^ rate), &turn);
        decide(&policy, &input, &AtomicU64::new(now ^ rate));
    }
}
