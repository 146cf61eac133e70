use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proptest::prelude::*;

use super::*;
use crate::units::GuestContext;

/// Also for the tests of turns and policies.
impl Cell for AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::SeqCst)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

fn limit(interval_ns: u64, burst: u64) -> GcraLimit {
    GcraLimit::new(interval_ns, burst).expect("within bounds")
}

/// A request with a new message, of a VM whose messages do not wait.
fn ask<C: Cell>(limit: GcraLimit, state: &C, now: u64) -> Admission {
    let unused = AtomicU64::new(0);
    let turn = Turn {
        next: &unused,
        last_refused: &unused,
        holder: &unused,
        context: GuestContext(1),
        spacing_ns: 0,
    };
    limit.ask(state, &turn, &Arrival { now, ..Arrival::default() })
}

/// How many of requests at these times are admitted, each with its time.
fn admitted(limit: GcraLimit, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let state = AtomicU64::new(0);
    times.into_iter().filter(|&now| ask(limit, &state, now) == Admission::Admitted).collect()
}

fn any_limit() -> impl Strategy<Value = GcraLimit> {
    (MIN_INTERVAL_NS..=MAX_INTERVAL_NS, 1..=MAX_BURST).prop_map(|(i, b)| limit(i, b))
}

#[test]
fn a_limit_keeps_what_it_was_made_of_and_has_bounds() {
    let some = limit(200_000_000, 10);
    assert_eq!((some.interval_ns(), some.burst()), (200_000_000, 10));
    assert_eq!(GcraLimit::from_bits(some.to_bits()), some);
    let most = limit(MAX_INTERVAL_NS, MAX_BURST);
    assert_eq!((most.interval_ns(), most.burst()), (MAX_INTERVAL_NS, MAX_BURST));
    assert!(most.tolerance() < u64::MAX / 2, "no overflow");
    for (interval, burst) in [(0, 1), (MAX_INTERVAL_NS + 1, 1), (1_000, 0), (1_000, 1 << 20)] {
        assert_eq!(GcraLimit::new(interval, burst), None);
    }
}

#[test]
fn a_quiet_vm_may_burst_and_then_keeps_to_the_rate() {
    let times: Vec<u64> = (0..1_000).map(|ms| 1_000_000_000 + ms * 1_000_000).collect();
    let admitted = admitted(limit(100_000_000, 5), times);
    assert_eq!(admitted.len(), 5 + 9, "five at once, then ten a second");
}

#[test]
fn off_admits_everything() {
    assert_eq!(admitted(GcraLimit::OFF, [7; 1_000]).len(), 1_000);
    // Whatever a limit has left.
    let state = AtomicU64::new(u64::MAX);
    assert_eq!(ask(GcraLimit::OFF, &state, 7), Admission::Admitted);
    assert_eq!(GcraLimit::OFF.take(&state, 7), None);
    assert_eq!(Cell::load(&state), u64::MAX);
}

#[test]
fn racing_callers_get_no_more_than_one_caller_would() {
    let limit = limit(1_000_000_000, 100);
    for round in 0..50 {
        let state = AtomicU64::new(0);
        let now = 1_000_000_000_000 + round;
        let count: usize = thread::scope(|scope| {
            let ask =
                || (0..500).filter(|_| ask(limit, &state, now) == Admission::Admitted).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a caller")).sum()
        });
        assert_eq!(count, 100);
    }
}

#[test]
fn a_stricter_limit_s_past_does_not_starve_a_vm() {
    let state = AtomicU64::new(0);
    let now = 5_000_000_000;
    assert_eq!(ask(limit(MAX_INTERVAL_NS, 1), &state, now), Admission::Admitted);
    // The new limit: ten a second. An hour's debt is not its own.
    let new = limit(100_000_000, 1);
    let first = (0..100)
        .map(|tenth| now + tenth * 100_000_000)
        .find(|&now| ask(new, &state, now) == Admission::Admitted);
    assert!(first.expect("within ten seconds") <= now + 1_200_000_000);
}

#[test]
fn of_what_is_charged_a_burst_costs_no_wait_and_the_next_one_does() {
    let (limit, state) = (limit(1_000, 2), AtomicU64::new(0));
    assert_eq!([7_000, 7_000].map(|now| limit.take(&state, now)), [None, None]);
    assert_eq!(limit.take(&state, 7_000), Some(9_000), "then there is room for one again");
    assert_eq!(limit.take(&state, 9_000), None);
}

/// A state that somebody else writes, between when it is read and when it is replaced, so often.
pub struct Contended(AtomicU64, AtomicU64);

impl Cell for Contended {
    fn load(&self) -> u64 {
        Cell::load(&self.0)
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let left = Cell::load(&self.1);
        if left > 0 {
            self.1.store(left - 1, Ordering::SeqCst);
            return false;
        }
        self.0.replace(old, new)
    }
}

pub fn contended(state: u64, times: u32) -> Contended {
    Contended(AtomicU64::new(state), AtomicU64::new(times.into()))
}

#[test]
fn a_sender_overtaken_each_time_gets_busy() {
    let limit = limit(1_000, 2);
    assert_eq!(ask(limit, &contended(0, TRIES - 1), 7_000), Admission::Admitted);
    assert_eq!(ask(limit, &contended(0, TRIES), 7_000), Admission::Contended);
    // It cannot be refused any more: it waits for as long as one request takes.
    assert_eq!(limit.take(&contended(0, TRIES - 1), 7_000), None);
    assert_eq!(limit.take(&contended(0, TRIES), 7_000), Some(8_000));
}

#[test]
fn for_each_older_message_one_request_is_kept() {
    let (limit, state) = (limit(1_000, 3), AtomicU64::new(0));
    let ask = |older, now| {
        let unused = AtomicU64::new(0);
        let turn = Turn {
            next: &unused,
            last_refused: &unused,
            holder: &unused,
            context: GuestContext(1),
            spacing_ns: 0,
        };
        limit.ask(&state, &turn, &Arrival { now, older, ..Arrival::default() })
    };
    assert_eq!(ask(2, 9_000), Admission::Admitted, "two are left");
    assert_eq!(ask(2, 9_000), Admission::Early(1_000));
    assert_eq!(ask(1, 9_000), Admission::Admitted);
    assert_eq!(ask(0, 9_000), Admission::Admitted, "the last one is the oldest's");
    assert_eq!(ask(0, 9_000), Admission::Early(1_000));
    assert_eq!(ask(3, 1_000_000), Admission::Early(1_000), "the burst has room for three");
}

#[test]
fn a_refusal_drops_what_another_limit_left_far_ahead_and_nothing_else() {
    let (limit, now) = (limit(1_000_000, 1), 9_000_000_000);
    let state = AtomicU64::new(now + MAX_INTERVAL_NS);
    assert_eq!(ask(limit, &state, now), Admission::Early(SLACK_NS + 1_000_000));
    assert_eq!(Cell::load(&state), now + SLACK_NS + 1_000_000);
    let state = AtomicU64::new(now + 500_000);
    assert_eq!(ask(limit, &state, now), Admission::Early(500_000));
    assert_eq!(Cell::load(&state), now + 500_000);
}

proptest! {
    #[test]
    fn never_more_than_burst_and_rate_times_time(
        interval in 1_000u64..1_000_000,
        burst in 1u64..50,
        gaps in proptest::collection::vec(0u64..2_000_000, 1..400),
    ) {
        let mut now = 1_000_000_000;
        let times = gaps.iter().map(|gap| { now += gap; now });
        let admitted = admitted(limit(interval, burst), times);
        // Of every window, not only of the whole.
        for (i, first) in admitted.iter().enumerate() {
            for (n, last) in admitted[i..].iter().enumerate() {
                prop_assert!((n as u64) < burst + (last - first) / interval);
            }
        }
    }

    #[test]
    fn whoever_keeps_to_the_rate_is_always_admitted(
        limit in any_limit(),
        start in 0u64..1 << 40,
        more in proptest::collection::vec(0u64..1 << 30, 1..100),
    ) {
        let mut now = start;
        let times: Vec<u64> =
            more.iter().map(|more| { now += limit.interval_ns() + more; now }).collect();
        prop_assert_eq!(admitted(limit, times.iter().copied()), times);
    }

    #[test]
    fn a_sender_that_waits_until_the_reported_time_is_admitted(limit in any_limit(), state: u64, now in 0u64..1 << 62) {
        let cell = AtomicU64::new(state);
        if let Admission::Early(wait) = ask(limit, &cell, now) {
            prop_assert!(wait <= limit.interval_ns() + SLACK_NS);
            prop_assert_eq!(ask(limit, &cell, now + wait), Admission::Admitted);
        }
    }

    #[test]
    fn no_clock_and_no_state_is_too_extreme(limit in any_limit(), state: u64, now: u64) {
        for state in [0, 1, state, u64::MAX - 1, u64::MAX] {
            for now in [0, 1, now, u64::MAX - 1, u64::MAX] {
                let cell = AtomicU64::new(state);
                ask(limit, &cell, now);
                limit.take(&cell, now);
                // A clock that went back does not lock the VM out.
                prop_assert!(Cell::load(&cell).saturating_sub(now)
                    <= (limit.interval_ns() * limit.burst()).saturating_add(SLACK_NS)
                        .saturating_add(2 * limit.interval_ns()));
            }
        }
    }

    #[test]
    fn what_is_charged_and_held_keeps_to_the_rate_too(
        interval in 1_000u64..1_000_000,
        burst in 1u64..50,
    ) {
        let limit = limit(interval, burst);
        let cell = AtomicU64::new(0);
        let start = 1_000_000_000;
        let mut now = start;
        for n in 1..=200u64 {
            // One vCPU that sends as soon as it may: the one that is too much is the last.
            let until = limit.take(&cell, now);
            prop_assert!(n <= burst + 1 + (now - start) / interval);
            now = now.max(until.unwrap_or(0));
        }
    }
}
