use std::time::Duration;

use guestreq_common::gcra::MAX_BURST;
use proptest::prelude::*;

use super::*;
use crate::{
    policy::safety,
    wire::policy::{Effective, Limit, Rate, Share},
};

/// A PSP that has answered `requests` reports, each in `seconds`.
fn psp(requests: u64, seconds: f64) -> Psp {
    let stage = |seconds: f64| {
        serde_json::json!({"psp_service": {
            "seconds": seconds * requests as f64, "p50_seconds": seconds, "p99_seconds": 2.0 * seconds
        }})
    };
    serde_json::from_value(serde_json::json!({
        "window_seconds": 10.0, "holder": null, "queue_length": 0, "recent_utilisation": 0.0,
        "recent_queue_length": 0.0, "recent_stages": {}, "busy_seconds": 0.0,
        "waited_seconds": 0.0, "commands": [], "guest_requests": {}, "guest_answers": {},
        "lost": {}, "probes": {},
        "messages": [
            {"message": "report", "results": {"ok": requests, "busy": 7000}, "stages": stage(seconds)},
            {"message": "export", "results": {"ok": 500}, "stages": stage(100.0)},
        ],
    }))
    .unwrap()
}

fn suggest(psp: &Psp, vms: u64, share: f64) -> Result<Suggestion> {
    Suggestion::of(psp, &Effective::built_in(), (vms, true), share, As::Share)
}

fn suggest_rate(psp: &Psp, vms: u64, share: f64) -> Result<Suggestion> {
    Suggestion::of(psp, &Effective::built_in(), (vms, true), share, As::Rate)
}

#[test]
fn a_share_is_suggested_with_its_arithmetic_and_the_rate_that_it_is_today() {
    let suggestion = suggest(&psp(1000, 0.02), 8, 0.5).unwrap();
    assert_eq!((suggestion.rate.as_ref(), suggestion.burst), (None, None));
    let text = text(&suggestion);
    for line in [
        "Service time             20.0 ms on average, 40.0 ms at p99 (1000 requests: report)",
        "All VMs together         50.0 % of the PSP",
        "One of 8 VMs             50.0 % / 8 = 6.250 % (running now; override with --vms)",
        "Rounded down             6.2%",
        "At present that is       6.2% / 20.0 ms = 3.10 requests per second",
        "guestreq limit set --default --share 6.2%",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
    }
}

#[test]
fn a_share_is_raised_to_the_smallest_that_no_guest_starves_under() {
    // Four requests at 40 ms within 57.5 s: 0.28 %.
    let suggestion = suggest(&psp(1000, 0.02), 1000, 0.5).unwrap();
    assert_eq!(suggestion.limit_share.as_deref(), Some("0.28%"));
    let text = text(&suggestion);
    assert!(
        text.contains("Raised to                0.28%: under less, guests could wait"),
        "{text}"
    );
    assert!(text.contains("all VMs may take 280.0 %"), "{text}");
    let error = suggest(&psp(1000, 10.0), 1, 0.5).unwrap_err().to_string();
    assert!(
        error.starts_with("no share can be suggested: 100% of the PSP is too small"),
        "{error}"
    );
}

#[test]
fn the_arithmetic_of_a_rate_is_printed_line_by_line() {
    let suggestion = suggest_rate(&psp(1000, 0.02), 8, 0.5).unwrap();
    assert_eq!(
        (suggestion.requests, suggestion.messages.as_slice()),
        (1000, ["report".to_owned()].as_slice())
    );
    let text = text(&suggestion);
    for line in [
        "Service time             20.0 ms on average, 40.0 ms at p99 (1000 requests: report)",
        "The PSP can answer       1 / 20.0 ms = 50.0 per second",
        "All VMs together         50.0 % of that = 25.0 per second",
        "One of 8 VMs             25.0 / 8 = 3.125 per second (running now; override with --vms)",
        "Rounded down             3.1/s",
        "guestreq limit set --default --rate 3.1/s --burst 4",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
    }
}

#[test]
fn a_burst_is_what_the_psp_answers_in_half_a_second_and_at_least_one_per_vmpck() {
    let burst = |seconds, vms, share| suggest_rate(&psp(1000, seconds), vms, share).unwrap().burst;
    assert_eq!(burst(0.001, 2, 0.5), Some(250));
    assert_eq!(burst(0.1, 1, 1.0), Some(4));
}

#[test]
fn too_few_measurements_are_an_error() {
    let error = suggest(&psp(99, 0.02), 8, 0.5).unwrap_err().to_string();
    assert!(error.starts_with("only 99 requests of allowed types measured, 100 needed"));
    let error = suggest(&psp(100, 0.02), 0, 0.5).unwrap_err().to_string();
    assert!(error.contains("no VM is running") && error.contains("--vms"), "{error}");
}

#[test]
fn a_rate_that_would_starve_guests_is_raised_and_reported() {
    let suggestion = suggest_rate(&psp(1000, 0.02), 1000, 0.5).unwrap();
    assert_eq!(suggestion.rate.as_deref(), Some(safety::SLOWEST));
    let text = text(&suggestion);
    assert!(text.contains("admitted over the limit; all VMs may take 160.0 %"), "{text}");
}

#[test]
fn a_share_is_a_percentage() {
    assert_eq!(share("50%"), Ok(0.5));
    assert_eq!(share("7.5"), Ok(0.075));
    for text in ["0", "101%", "half", "-5", "", "NaN", "inf", "0.5"] {
        assert!(share(text).unwrap_err().contains("1% to 100%"), "{text}");
    }
}

proptest! {
    #[test]
    fn no_rate_is_suggested_that_limit_set_would_refuse(
        requests in 100u64..1_000_000, seconds in 1e-7..100f64, vms in 1u64..65_536, percent in 1f64..100.0
    ) {
        let suggestion = suggest_rate(&psp(requests, seconds), vms, percent / 100.0).unwrap();
        let (text, burst) = (suggestion.rate.unwrap(), suggestion.burst.unwrap());
        let rate: Rate = text.parse().unwrap();
        let limit = Limit::of_rate(rate, burst);
        prop_assert_eq!(safety::too_slow(limit, safety::Service::PUBLISHED), None);
        prop_assert!((4..=MAX_BURST).contains(&burst));
        // Above the target share only where guests would starve.
        let target = suggestion.requests_per_second_of_vm;
        prop_assert!(rate.per_second() <= target * 1.000_001 || text == safety::SLOWEST);
        prop_assert!(rate.per_second() >= target.min(1e6) * 0.9 || text == safety::SLOWEST);
    }

    #[test]
    fn no_share_is_suggested_that_limit_set_would_refuse(
        requests in 100u64..1_000_000, seconds in 1e-7..7f64, vms in 1u64..65_536, percent in 1f64..100.0
    ) {
        let suggestion = suggest(&psp(requests, seconds), vms, percent / 100.0).unwrap();
        let share: Share = suggestion.limit_share.unwrap().parse().unwrap();
        let [mean, p99] = [seconds, 2.0 * seconds].map(Duration::from_secs_f64);
        let service = safety::Service { mean, p99, measured: true };
        prop_assert_eq!(safety::too_slow(Limit::of_share(share), service), None);
        let smallest = safety::smallest_share(service);
        prop_assert!(share.fraction() <= suggestion.share_of_vm * 1.000_001 || share == smallest);
        prop_assert!(share.fraction() >= suggestion.share_of_vm * 0.9 || share.ppm() < 1_000);
    }
}
