use super::*;

const S: u64 = 1_000_000_000;

const VM: VmRef = VmRef { slot: 3, generation: 1 };

fn sample(second: u64, busy: u64, vm: Option<Totals>) -> Sample {
    Sample {
        at_ns: second * S,
        busy_ns: busy,
        queue_ns: 2 * busy,
        vms: vm.map(|totals| (VM, totals)).into_iter().collect(),
        ..Sample::default()
    }
}

/// A VM that sent so many requests of the first kind, and of the second.
fn totals(requests: [u64; 2], psp_ns: u64) -> Totals {
    let mut totals = Totals { psp_ns, ..Totals::default() };
    totals.requests[..2].copy_from_slice(&requests);
    totals
}

#[test]
fn only_the_window_counts() {
    let mut window = Window::default();
    for second in 0..=30 {
        window.push(sample(second, second * S / 2, Some(totals([second * 4, second * 3], 0))));
    }
    let now = sample(30, 15 * S, Some(totals([120, 90], 0)));
    assert_eq!(window.seconds(&now), 10.0);
    assert_eq!(window.host(&now), (0.5, 1.0));
    let recent = window.vm(&now, VM);
    assert_eq!(recent.requests_per_second, 7.0);
    assert_eq!(recent.messages_per_second[..3], [4.0, 3.0, 0.0]);
}

#[test]
fn launches_held_requests_for_a_share_of_the_window() {
    let held = |from: Option<u64>, to: Option<u64>| {
        let mut window = Window::default();
        window.push(Sample { held_ns: from, ..sample(0, 0, None) });
        window.held(&Sample { held_ns: to, ..sample(4, 0, None) })
    };
    assert_eq!(held(Some(7 * S), Some(8 * S)), 0.25);
    assert_eq!(held(Some(7 * S), Some(S)), 0.0, "another gate");
    assert_eq!(held(None, Some(900 * S)), 0.0, "it could not be read before");
    assert_eq!(held(Some(S), None), 0.0, "there is none any more");
    assert_eq!(Window::default().held(&sample(4, 0, None)), 0.0);
}

#[test]
fn requests_that_became_overdue_count_only_within_the_window() {
    let overdue = |from: Option<u64>, to: Option<u64>| {
        let mut window = Window::default();
        window.push(Sample { overdue: from, ..sample(0, 0, None) });
        window.overdue(&Sample { overdue: to, ..sample(4, 0, None) })
    };
    assert_eq!(overdue(Some(7), Some(7)), 0, "before");
    assert_eq!(overdue(Some(7), Some(9)), 2);
    assert_eq!(overdue(Some(7), Some(3)), 3, "another gate");
    assert_eq!(overdue(None, Some(9)), 0, "it could not be read before");
    assert_eq!(overdue(Some(7), None), 0, "there is none any more");
    assert_eq!(Window::default().overdue(&sample(4, 0, None)), 0);
}

#[test]
fn a_new_vm_began_at_zero() {
    let mut window = Window::default();
    window.push(sample(0, 0, None));
    let mut vm = totals([10, 0], S);
    vm.decisions = [6, 4, 0, 0];
    let recent = window.vm(&sample(2, 0, Some(vm)), VM);
    assert_eq!((recent.requests_per_second, recent.psp_share), (5.0, 0.5));
    assert_eq!(recent.decisions_per_second, [3.0, 2.0, 0.0, 0.0]);
}

#[test]
fn quantiles_ignore_what_was_slow_before_the_window() {
    let ms = 1_000_000;
    let [quick, slow] = [10 * ms, 900 * ms].map(histogram::slot);
    let mut old = Sample::default();
    old.stages[1][slow] = 1000;
    let mut now = Sample { at_ns: S, ..old.clone() };
    now.stages[1][quick] = 100;
    let mut window = Window::default();
    window.push(old);
    let [lock, queue, _] = window.stages(&now);
    assert_eq!(lock, Quantiles::default(), "of no request there is no quantile");
    assert!(queue.p99.is_some_and(|p99| p99 <= 10 * ms), "{queue:?}");
    assert!(queue.p50 < queue.p99);
}

#[test]
fn reset_counters_yield_zero() {
    let mut window = Window::default();
    window.push(sample(0, 5, Some(totals([100, 0], 100))));
    let recent = window.vm(&sample(1, 0, Some(totals([1, 0], 1))), VM);
    assert_eq!(recent, Recent::default());
}

#[test]
fn without_samples_all_is_zero() {
    let now = sample(5, 9, Some(totals([1, 0], 1)));
    assert_eq!(Window::default().host(&now), (0.0, 0.0));
    assert_eq!(Window::default().vm(&now, VM), Recent::default());
    assert_eq!(Window::default().stages(&now), [Quantiles::default(); 3]);
}
