use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

fn share(ppm: u64, burst_ns: u64) -> PspShare {
    PspShare::new(ppm, burst_ns).expect("within bounds")
}

const TENTH: u64 = 100_000;

#[test]
fn a_share_keeps_what_it_was_made_of_and_has_bounds() {
    let some = share(TENTH, 200 * MS);
    assert_eq!((some.ppm(), some.burst_ns()), (TENTH, 200 * MS));
    assert_eq!(PspShare::from_bits(some.to_bits()), some);
    assert!(PspShare::OFF.is_off() && !some.is_off());
    for (ppm, burst_ns) in [(MIN_PPM, MIN_BURST_NS), (MAX_PPM, MAX_BURST_NS), (1_000, 0)] {
        let it = share(ppm, burst_ns);
        assert_eq!((it.ppm(), it.burst_ns()), (ppm, burst_ns));
    }
    for (ppm, burst_ns) in [
        (0, 0),
        (MIN_PPM - 1, 0),
        (MAX_PPM + 1, 0),
        (TENTH, MIN_BURST_NS - 1),
        (TENTH, MAX_BURST_NS + 1),
        (TENTH, u64::MAX),
    ] {
        assert_eq!(PspShare::new(ppm, burst_ns), None);
    }
}

#[test]
fn the_default_burst_follows_the_psp_s_speed() {
    let default = share(TENTH, 0);
    assert_eq!(default.burst(0), 200 * MS);
    assert_eq!(default.burst(50 * MS), 200 * MS);
    assert_eq!(default.burst(51 * MS), 204 * MS);
    assert_eq!(share(TENTH, 7 * MS).burst(500 * MS), 7 * MS, "a configured one does not");
    assert_eq!(default.burst(u64::MAX), 4 * MAX_OWED_NS, "nor overflows");
}

#[test]
fn a_vm_owes_what_its_requests_took_and_repays_its_share_of_the_time() {
    let (limit, mut debt) = (share(TENTH, 200 * MS), Debt::default());
    let credit = |debt: &mut Debt, now| debt.credit(limit, 0, 0, MonotonicNs(now));
    assert_eq!(credit(&mut debt, 9 * S), Credit::since(2 * S), "the whole burst, at a tenth");
    debt.charge(limit, 0, 200 * MS, MonotonicNs(9 * S));
    assert_eq!(credit(&mut debt, 9 * S), Credit::since(0), "owes as much as the burst");
    debt.charge(limit, 0, 30 * MS, MonotonicNs(9 * S));
    assert_eq!(credit(&mut debt, 9 * S), Credit::after(300 * MS));
    assert_eq!(
        credit(&mut debt, 9 * S + 300 * MS - 1),
        Credit::after(10),
        "rounded to what it owes"
    );
    assert_eq!(credit(&mut debt, 9 * S + 300 * MS), Credit::since(0));
    assert!(credit(&mut debt, 9 * S).is_over() && !credit(&mut debt, 10 * S).is_over());
}

#[test]
fn a_credit_is_one_word() {
    let (since, after) = (Credit::since(7), Credit::after(7));
    assert_eq!((since.is_over(), since.conforms_for(), since.wait_ns()), (false, 7, 0));
    assert_eq!((after.is_over(), after.conforms_for(), after.wait_ns()), (true, 0, 7));
    assert!(!Credit::UNLIMITED.is_over());
}

#[test]
fn for_older_messages_time_is_kept() {
    let limit = share(TENTH, 20 * MS);
    let mut debt = Debt::default();
    debt.charge(limit, 0, 10 * MS, MonotonicNs(S));
    let mut credit = |reserved| debt.credit(limit, 0, reserved, MonotonicNs(S));
    assert_eq!(credit(10 * MS), Credit::since(0));
    assert_eq!(credit(10 * MS + 1), Credit::after(10));
}

#[test]
fn a_lower_limit_does_not_refuse_for_what_a_higher_one_allowed() {
    let (high, low) = (share(MAX_PPM, MAX_BURST_NS), share(MIN_PPM, MIN_BURST_NS));
    let mut debt = Debt::default();
    debt.charge(high, 0, 60 * S, MonotonicNs(S));
    assert_eq!(debt.credit(low, 0, 0, MonotonicNs(S)), Credit::since(0));
    debt.settle(low, 0, MonotonicNs(S));
    assert_eq!(debt.credit(low, 0, 1, MonotonicNs(S)), Credit::after(10_000));
    // Repaid under the share under which it was owed.
    debt.charge(high, 0, S, MonotonicNs(2 * S));
    assert_eq!(debt.credit(low, 0, 0, MonotonicNs(3 * S + MS)), Credit::since(10 * S));
}

#[test]
fn a_clock_that_went_back_locks_nobody_out() {
    let limit = share(TENTH, 20 * MS);
    let mut debt = Debt::default();
    debt.charge(limit, 0, 30 * MS, MonotonicNs(1 << 62));
    debt.settle(limit, 0, MonotonicNs(S));
    assert_eq!(debt.credit(limit, 0, 0, MonotonicNs(S)), Credit::after(100 * MS));
    assert_eq!(debt.credit(limit, 0, 0, MonotonicNs(S + 100 * MS)), Credit::since(0));
}

#[test]
fn settling_under_the_same_limit_changes_nothing() {
    let limit = share(TENTH, 20 * MS);
    let mut debt = Debt::default();
    debt.charge(limit, 0, 30 * MS, MonotonicNs(S));
    let before = debt;
    debt.settle(limit, 0, MonotonicNs(2 * S));
    assert_eq!(debt, before, "or rounding would add up");
}

#[test]
fn how_long_a_vm_could_have_sent_has_no_end() {
    let (limit, mut debt) = (share(TENTH, 20 * MS), Debt::default());
    debt.charge(limit, 0, 30 * MS, MonotonicNs(S));
    let mut since = |reserved, now| debt.conforms_for(limit, 0, reserved, MonotonicNs(now));
    assert_eq!(since(0, S + 99 * MS), 0, "not yet");
    assert_eq!(since(0, S + 100 * MS), 0, "from now on");
    assert_eq!(since(0, 61 * S + 100 * MS), 60 * S);
    assert_eq!(since(5 * MS, 61 * S + 100 * MS), 60 * S - 50 * MS, "room is kept for others");
}

#[test]
fn a_faster_psp_forgives_nothing() {
    // A default burst is four services: 4 s, and then 200 ms.
    let (limit, mut debt) = (share(TENTH / 10, 0), Debt::default());
    debt.charge(limit, S, 4 * S, MonotonicNs(9 * S));
    debt.charge(limit, MS, MS, MonotonicNs(9 * S));
    let all = limit.time_to_repay(4 * S - 200 * MS);
    assert_eq!(debt.credit(limit, MS, 0, MonotonicNs(9 * S)), Credit::after(all));
}

#[test]
fn what_could_not_be_refused_is_owed_up_to_a_minute_s_repayment() {
    let limit = share(TENTH, 200 * MS);
    let mut debt = Debt::default();
    for _ in 0..1_000 {
        debt.charge(limit, 0, 40 * MS, MonotonicNs(9 * S));
    }
    let minute = limit.time_to_repay(6 * S + 40 * MS);
    assert_eq!(debt.credit(limit, 0, 0, MonotonicNs(9 * S)), Credit::after(minute));
    // One request is owed whatever it took.
    let mut debt = Debt::default();
    debt.charge(limit, 0, 100 * S, MonotonicNs(9 * S));
    let all = limit.time_to_repay(100 * S - 200 * MS);
    assert_eq!(debt.credit(limit, 0, 0, MonotonicNs(9 * S)), Credit::after(all));
}

/// A VM that sends whenever it may: each service, and how long it waits before it asks again.
fn use_psp(
    limit: PspShare,
    mean_ns: u64,
    mut debt: Debt,
    services: &[(u64, u64)],
) -> Vec<(u64, u64)> {
    let mut now = S;
    let mut used = Vec::new();
    for &(service, pause) in services {
        if !debt.credit(limit, mean_ns, 0, MonotonicNs(now)).is_over() {
            // Charged when it completes.
            used.push((now, service));
            now += service;
            debt.charge(limit, mean_ns, service, MonotonicNs(now));
        }
        now += pause;
    }
    used
}

fn any_share() -> impl Strategy<Value = PspShare> {
    let burst = prop_oneof![Just(0), MIN_BURST_NS..=MAX_BURST_NS];
    (MIN_PPM..=MAX_PPM, burst).prop_map(|(ppm, burst)| share(ppm, burst))
}

proptest! {
    /// The limit's promise, for services that vary a hundredfold.
    #[test]
    fn in_any_time_a_vm_receives_at_most_its_share_the_burst_and_one_service(
        limit in any_share(),
        mean in MS..100 * MS,
        services in proptest::collection::vec((MS..100 * MS, 0..2 * S), 1..200),
    ) {
        let used = use_psp(limit, mean, Debt::default(), &services);
        let longest = services.iter().map(|(service, _)| *service).max().unwrap_or(0);
        for (i, (start, _)) in used.iter().enumerate() {
            let mut received = 0;
            for (begun, service) in &used[i..] {
                received += service;
                let time = begun + service - start;
                let of_time = u128::from(time) * u128::from(limit.ppm()) / u128::from(MAX_PPM);
                let most = of_time + u128::from(limit.burst(mean) + longest);
                prop_assert!(u128::from(received) <= most, "{received} ns in {time} ns");
            }
        }
    }

    /// A VM that asks as often as it can gets what it is entitled to. With a burst below what it
    /// repays during a service, it would get less.
    #[test]
    fn a_vm_that_always_asks_gets_its_share(
        ppm in 1_000u64..=MAX_PPM, service in MS..100 * MS,
    ) {
        let limit = share(ppm, 100 * MS);
        let (mut debt, mut now, mut received) = (Debt::default(), S, 0u64);
        for _ in 0..500 {
            let credit = debt.credit(limit, 0, 0, MonotonicNs(now));
            if credit.is_over() {
                now += credit.wait_ns();
            } else {
                now += service;
                received += service;
                debt.charge(limit, 0, service, MonotonicNs(now));
            }
        }
        let due = (now - S) as f64 * ppm as f64 / 1e6;
        prop_assert!((received + 2 * service) as f64 >= due * 0.999, "{received} of {due}");
    }

    #[test]
    fn whoever_waits_for_the_answered_time_may_send(
        limit in any_share(), mean in 0..S, owed in 0..MAX_OWED_NS, now in 0u64..1 << 62,
    ) {
        let mut debt = Debt::default();
        debt.charge(limit, mean, owed, MonotonicNs(now));
        let ns = debt.credit(limit, mean, 0, MonotonicNs(now)).wait_ns();
        if ns > 0 {
            let then = debt.credit(limit, mean, 0, MonotonicNs(now + ns));
            prop_assert!(!then.is_over(), "{then:?}");
            let before = debt.credit(limit, mean, 0, MonotonicNs(now + ns - 1));
            // A nanosecond of time repays less than one of PSP time.
            prop_assert!(before.is_over() || ns == 1 || limit.ppm() < MAX_PPM);
        }
    }

    #[test]
    fn no_word_is_too_strange(
        bits: u64, under: u64, owed: u64, at: u64, now: u64, mean: u64, service: u64, kept: u64,
    ) {
        let (limit, now) = (PspShare::from_bits(bits), MonotonicNs(now));
        let mut debt = Debt { owed_ns: owed, at: MonotonicNs(at), under, scratch: 0 };
        debt.settle(limit, mean, now);
        debt.credit(limit, mean, kept, now);
        debt.charge(limit, mean, service, now);
        prop_assert!(debt.owed_ns <= MAX_OWED_NS);
    }
}
