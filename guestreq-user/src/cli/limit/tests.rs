use clap::Parser;

use super::*;
use crate::wire::policy::Source;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    set: Set,
}

fn change(line: &str) -> Result<Change, String> {
    let words = ["set"].into_iter().chain(line.split(' '));
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    line.set.change()
}

fn set(line: &str) -> Result<Limit, String> {
    change(line).map(|change| change.limit().expect("a limit"))
}

#[test]
fn a_weight_is_set_alone_or_with_a_limit() {
    let four: Weight = "4".parse().unwrap();
    assert_eq!(change("--vm web --weight 4"), Ok(Change::Weight(four)));
    let off = Change::LimitAndWeight { limit: Limit::Off, weight: four };
    assert_eq!(change("--vm web --off --weight 4"), Ok(off));
    let both = change("--default --share 10% --weight 4").unwrap();
    assert_eq!(both.limit().unwrap().to_string(), "10% of the PSP");
    assert_eq!(both.weight(), Some(four));
    assert_eq!(change("--vm web --share 10%").unwrap().weight(), None, "it stays");
}

#[test]
fn each_origin_is_shown_once() {
    let mut policy = Effective::built_in();
    assert_eq!(origins(&policy), "default");
    policy.limit.origin = Origin::Config {
        at: Source { file: "c.toml".to_owned(), line: 3 },
        rule: None,
        matches: None,
    };
    assert_eq!(origins(&policy), "c.toml:3", "a built-in weight says nothing");
    policy.weight.origin = policy.limit.origin.clone();
    assert_eq!(origins(&policy), "c.toml:3");
    policy.limit.origin = Origin::Default;
    assert_eq!(origins(&policy), "limit: default; weight: c.toml:3");
}

#[test]
fn a_limit_is_a_rate_or_off() {
    assert_eq!(set("--default --rate 20/s").unwrap().to_string(), "20/s, burst 20");
    assert_eq!(set("--vm web --rate 5/s --burst 10").unwrap().to_string(), "5/s, burst 10");
    assert_eq!(set("--vm web --off"), Ok(Limit::Off));
    let share = set("--vm web --share 10% --burst 200ms").unwrap();
    assert_eq!(share.to_string(), "10% of the PSP, burst 200ms");
    let both = set("--vm web --share 10% --rate 5/s --burst 200ms --burst 10").unwrap();
    assert_eq!(both.to_string(), "5/s, burst 10, and 10% of the PSP, burst 200ms");
}

#[test]
fn usage_errors_list_what_is_allowed() {
    for (line, what) in [
        ("--rate 5/s", "--vm <VM>|--default"),
        ("--vm web", "--rate <RATE>"),
        ("--vm web --default --off", "cannot be used with"),
        ("--vm web --off --rate 5/s", "cannot be used with"),
        ("--vm web --off --burst 3", "cannot be used with"),
        ("--vm web --rate 5", "a number per s, m or h"),
        ("--vm web --rate -1/s", "a number per s, m or h"),
        ("--vm web --rate NaN/s", "a number per s, m or h"),
        ("--vm web --rate 0/s", "allowed are 1/h to 1000000/s"),
        ("--vm web --rate 5/s --burst 0", "1 to 1048575 requests"),
        ("--vm web --rate 5/s --burst -1", "1 to 1048575 requests"),
        ("--vm web --rate 5/s --burst 200ms", "needs a share"),
        ("--vm web --share 5% --burst 4", "needs a rate"),
        ("--vm web --share 5% --burst 0ms", "1ms to 60s"),
        ("--vm web --share 5% --burst 1y", "1ms to 60s"),
        ("--vm web --share 10", "such as \"10%\""),
        ("--vm web --share 0%", "allowed are 0.01% to 100%"),
        ("--vm web --share 101%", "allowed are 0.01% to 100%"),
        ("--vm web --off --share 5%", "cannot be used with"),
        ("--vm web --weight 0", "an integer from 1 to 255"),
        ("--vm web --weight 256", "an integer from 1 to 255"),
        ("--vm web --weight -1", "an integer from 1 to 255"),
        ("--vm web --weight 1.5", "an integer from 1 to 255"),
        ("--vm web --weight 4 --burst 4", "a limit needs a rate"),
    ] {
        let error = set(line).unwrap_err();
        assert!(error.contains(what), "{line}: {error}");
    }
}
