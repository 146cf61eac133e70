//! # Series of the gate's order

use super::{definitions as metric, families::Families};
use crate::enforce::gate::order::{Counts, Order};

pub fn of_gate(families: &mut Families, order: &Order) {
    let Counts { waiting, in_flight, overdue, killed, .. } = order.counts;
    for (gauge, value) in [
        (&metric::ORDER_DEPTH, order.depth as f64),
        (&metric::ORDER_LAUNCH_SHARE, order.launch_share as f64 / 100.0),
        (&metric::ORDER_WAITING, waiting as f64),
        (&metric::ORDER_IN_FLIGHT, in_flight as f64),
    ] {
        families.gauge(gauge, &[], value);
    }
    // The gate takes a grant back if its task is killed, and a counter must not decrease.
    for (counter, count) in [
        (&metric::ORDER_REQUESTS, order.ended()),
        (&metric::ORDER_OVERDUE, overdue),
        (&metric::ORDER_KILLED, killed),
    ] {
        families.counter(counter, &[], count as f64);
    }
    let Counts { wait_ns, held_ns, launch_ns, request_ns, .. } = order.counts;
    families.counter(&metric::ORDER_WAIT, &[], wait_ns as f64 / 1e9);
    families.counter(&metric::ORDER_HELD, &[], held_ns as f64 / 1e9);
    for (class, ns) in [("launch", launch_ns), ("request", request_ns)] {
        families.counter(&metric::ORDER_PSP, &[class], ns as f64 / 1e9);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn series(order: &Order) -> Vec<String> {
        let mut families = Families::default();
        of_gate(&mut families, order);
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn the_order_is_11_series_as_docs_fleets_md_has_it() {
        let counts = Counts {
            waiting: 3,
            in_flight: 1,
            grants: 40,
            overdue: 2,
            killed: 5,
            wait_ns: 1_500_000_000,
            held_ns: 250_000_000,
            launch_ns: 3_000_000_000,
            request_ns: 1_000_000_000,
        };
        assert_eq!(
            series(&Order { depth: 1, launch_share: 75, counts }),
            [
                "guestreq_order_depth 1",
                "guestreq_order_held_seconds_total 0.25",
                "guestreq_order_in_flight_requests 1",
                "guestreq_order_killed_total 5",
                "guestreq_order_launch_share 0.75",
                "guestreq_order_overdue_total 2",
                "guestreq_order_psp_seconds_total{class=\"launch\"} 3",
                "guestreq_order_psp_seconds_total{class=\"request\"} 1",
                "guestreq_order_requests_total 45",
                "guestreq_order_wait_seconds_total 1.5",
                "guestreq_order_waiting_requests 3",
            ]
        );
    }

    /// Prometheus would take a lower value for a reset, and add all of it.
    #[test]
    fn a_grant_that_is_taken_back_from_a_killed_task_lowers_no_counter() {
        let of = |grants, killed| {
            let counts = Counts { grants, killed, ..Counts::default() };
            let all = series(&Order { depth: 1, launch_share: 75, counts });
            all.into_iter().find(|line| line.starts_with("guestreq_order_requests_total"))
        };
        assert_eq!(of(40, 5), of(39, 6));
    }
}
