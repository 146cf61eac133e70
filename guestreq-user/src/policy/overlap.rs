//! # A rate beside a share
//!
//! A request must conform to both, so the one that allows more, in the long run and at once, never
//! refuses anything. Which one that is depends on how long the PSP takes.

use super::{Limit, RateLimit, ShareLimit, Throttle, safety::Service};
use crate::text::duration;

/// Why one of the two never applies at this host's mean service time.
pub fn never_applies(limit: Limit, service: Service) -> Option<String> {
    let Limit::On(Throttle { rate: Some(rate), share: Some(share), .. }) = limit else {
        return None;
    };
    let mean = service.mean.as_secs_f64();
    if mean <= 0.0 {
        return None;
    }
    let of_share = Allowance::of_share(limit, share, service);
    let of_rate = Allowance::of_rate(rate);
    let (idle, than, turning) = if of_rate.includes(&of_share) {
        ("rate", "no less", "less")
    } else if of_share.includes(&of_rate) {
        ("share", "no more", "more")
    } else {
        return None;
    };
    let ShareLimit { share, .. } = share;
    Some(format!(
        "the {idle} never applies: at {mean} per request ({source}), {share} of the PSP is {share} / \
         {mean} = {per_second:.1} per second, and {at_once} at once; {rate} allows {than} (the \
         {idle} would matter if a request took {turning} than {share} / {rate_alone} = {time})",
        mean = duration(mean),
        source = service.source("the mean"),
        per_second = of_share.per_second,
        at_once = of_share.at_once,
        rate_alone = rate.rate,
        time = duration(share.fraction() / of_rate.per_second),
    ))
}

/// What a limit admits: so many requests at once, then so many per second.
struct Allowance {
    per_second: f64,
    at_once: u64,
}

impl Allowance {
    fn of_rate(RateLimit { rate, burst }: RateLimit) -> Allowance {
        Allowance { per_second: rate.per_second(), at_once: burst }
    }

    fn of_share(limit: Limit, ShareLimit { share, .. }: ShareLimit, service: Service) -> Allowance {
        let mean_ns = u64::try_from(service.mean.as_nanos()).unwrap_or(u64::MAX).max(1);
        // A VM may send as long as it owes at most the burst.
        let at_once = limit.to_psp_share().burst(mean_ns) / mean_ns + 1;
        Allowance { per_second: share.fraction() / service.mean.as_secs_f64(), at_once }
    }

    fn includes(&self, other: &Allowance) -> bool {
        self.per_second >= other.per_second && self.at_once >= other.at_once
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn limit(text: &str) -> Limit {
        serde_json::from_str(text).unwrap()
    }

    fn service(ms: u64) -> Service {
        let time = Duration::from_millis(ms);
        Service { mean: time, p99: time, measured: true }
    }

    #[test]
    fn a_rate_that_allows_more_than_the_share_never_applies() {
        let both = limit(r#"{"rate": "100/s", "share": "1%"}"#);
        assert_eq!(
            never_applies(both, Service::PUBLISHED).unwrap(),
            "the rate never applies: at 7.70 ms per request (as published; none is measured here), 1% \
             of the PSP is 1% / 7.70 ms = 1.3 per second, and 26 at once; 100/s, burst 100 allows no \
             less (the rate would matter if a request took less than 1% / 100/s = 100 µs)"
        );
    }

    #[test]
    fn a_share_that_allows_more_than_the_rate_never_applies() {
        let both = limit(r#"{"rate": "5/s", "share": "10%", "burst": [5, "200ms"]}"#);
        let why = never_applies(both, service(10)).unwrap();
        assert!(why.starts_with("the share never applies: at 10.0 ms per request"), "{why}");
        assert!(why.contains("the mean measured on this host"), "{why}");
        assert!(why.contains("10% / 10.0 ms = 10.0 per second, and 21 at once"), "{why}");
        assert!(why.contains("5/s, burst 5 allows no more"), "{why}");
        assert!(why.contains("took more than 10% / 5/s = 20.0 ms"), "{why}");
        assert_eq!(never_applies(both, service(30)), None, "the share is the lower one then");
    }

    #[test]
    fn a_limit_that_only_holds_a_burst_applies() {
        let burst = limit(r#"{"rate": "100/s", "share": "1%", "burst": 4}"#);
        assert_eq!(never_applies(burst, service(8)), None);
        for one in [r#""off""#, r#"{"rate": "1/s"}"#, r#"{"share": "1%"}"#] {
            assert_eq!(never_applies(limit(one), service(8)), None, "{one}");
        }
    }

    proptest! {
        /// Whatever the numbers: the one that is said to be idle admits at least what the other does.
        #[test]
        fn at_most_one_of_the_two_is_idle(ms in 1u64..10_000, rate in 1u64..1000, share in 1u64..=100) {
            let both = limit(&format!(r#"{{"rate": "{rate}/s", "share": "{share}%"}}"#));
            if let Some(why) = never_applies(both, service(ms)) {
                let by_share = share as f64 / 100.0 / (ms as f64 / 1e3);
                let rate_is_idle = why.starts_with("the rate");
                let is_so = if rate_is_idle { rate as f64 >= by_share } else { rate as f64 <= by_share };
                prop_assert!(is_so, "{why}");
            }
        }
    }
}
