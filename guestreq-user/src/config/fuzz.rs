//! # Configuration files with any content

#![allow(clippy::expect_used, reason = "as in tests: what is promised is asserted")]

use std::path::PathBuf;

use super::{Config, Layer};
use crate::{
    fuzz::assert_a_line,
    host::Identity,
    policy::{Effective, Limit, Overrides, PolicyFile, Throttle, safety},
};

/// Separates two files.
const NEXT: char = '\0';

/// One file, or two with a zero byte between them.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let names = ["config.toml", "conf.d/later.toml"];
    let texts: Vec<_> = names.into_iter().zip(text.splitn(2, NEXT)).collect();
    let readable = texts.iter().all(|(name, text)| file(name, text));
    let files = texts.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned()));
    match Config::of(files.collect()) {
        Ok(config) => {
            assert!(readable, "an unreadable file is accepted");
            means_something(&config);
        }
        Err(error) => {
            let error = format!("{error:#}");
            assert_a_line(&error);
            let (file, place) = error.split_once(": line ").expect("the error has no place");
            assert!(names.contains(&file), "{error}");
            assert!(place.contains(", column "), "{error}");
        }
    }
}

/// Reads one file, or checks that its errors have places.
fn file(name: &str, text: &str) -> bool {
    let layer = match Layer::parse(name, text) {
        Ok(layer) => layer,
        Err(faults) => {
            assert!(!faults.is_empty(), "{name} is wrong, and nothing is wrong with it");
            let lines = text.split('\n').count();
            for fault in &faults {
                assert_a_line(&fault.to_string());
                assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "{fault}");
            }
            return false;
        }
    };
    // As `policy apply` sends it and the overrides' file stores it.
    let json = serde_json::to_string(&layer.policy).expect("a file that cannot be JSON");
    let again: PolicyFile = serde_json::from_str(&json).expect("a file that cannot be read again");
    assert_eq!(again, layer.policy);
    true
}

/// A VM's policy can be shown, read again, and written to the kernel unchanged.
fn means_something(config: &Config) {
    let policy_set = config.policy_set(Overrides::default());
    let web = Identity { namespace: "prod".to_owned(), ..Identity::called("web-1") };
    for policy in
        [policy_set.default(), policy_set.resolve(&web), policy_set.resolve(&Identity::default())]
    {
        assert_a_line(&policy.to_string());
        let Effective { mode, limit, weight, .. } = &policy;
        assert_a_line(&format!("{} {} {}", mode.origin, limit.origin, weight.origin));
        let json = serde_json::to_string(&policy).expect("a policy that cannot be JSON");
        let again: Effective = serde_json::from_str(&json).expect("a policy is not read again");
        assert_eq!(again, policy);
        in_the_kernel(&policy);
        assert!(
            safety::too_slow(policy.limit.value, safety::Service::PUBLISHED).is_none(),
            "an unforced limit is too slow"
        );
        assert!(policy.mode.value.0 <= policy_set.strictest(), "stricter than the strictest");
    }
    policy_set
        .warnings(safety::Service::PUBLISHED)
        .iter()
        .for_each(|warning| assert_a_line(warning));
    assert_eq!(config.pending(config), Vec::<&str>::new());
}

pub fn in_the_kernel(policy: &Effective) {
    let words = policy.to_policy(7);
    let Effective { mode, allow, limit, weight } = policy;
    assert_eq!(words.rules().mode(), mode.value.0);
    assert_eq!(words.rules().allowed(), allow.value.0);
    assert_eq!(words.rules().generation(), 7);
    assert_eq!(words.rules().weight(), weight.value.0);
    let throttle = match limit.value {
        Limit::Off => Throttle::default(),
        Limit::On(throttle) => throttle,
    };
    let rate = throttle.rate.map_or((0, 0), |of| (of.rate.interval_ns(), of.burst));
    assert_eq!((words.rate().interval_ns(), words.rate().burst()), rate, "another rate");
    let share = throttle
        .share
        .map_or((0, 0), |of| (of.share.ppm(), of.burst.map_or(0, |burst| burst.ns())));
    assert_eq!((words.share().ppm(), words.share().burst_ns()), share, "another share");
}
