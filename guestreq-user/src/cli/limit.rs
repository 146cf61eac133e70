//! # guestreq limit

mod derive;
mod suggest;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Subcommand;

use super::{
    Reading,
    change::{Insist, Writing},
    table::{self, name},
};
use crate::{
    text::printable,
    wire::policy::{
        Burst, Change, Effective, Limit, Origin, Policies, Rate, Share, Throttle, Weight,
    },
};

/// Show, set and clear limits on VMs' guest requests
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show each VM's limit and weight and where they come from
    #[command(after_help = "Example: guestreq limit show")]
    Show {
        #[command(flatten)]
        reading: Reading,
    },
    Set(Set),
    /// Remove limit and weight set by `limit set`; the configuration applies again
    #[command(after_help = "Example: guestreq limit clear --vm web-1")]
    Clear {
        #[command(flatten)]
        writing: Writing,
    },
    Suggest(suggest::Args),
}

/// Set the limit or the weight of a VM, or the default; effective from the next request
#[derive(clap::Args)]
#[command(after_help = "\
Requests over the limit get BUSY in mode enforce (`guestreq policy mode`); in audit they are only \
counted. What is set here overrides the configuration and survives a restart. Without --weight the \
weight stays, and with --weight alone the limit does.

Example: guestreq limit set --vm web-1 --share 10%

Example: guestreq limit set --vm web-1 --rate 5/s --burst 10

Example: guestreq limit set --vm web-1 --weight 4")]
struct Set {
    #[command(flatten)]
    writing: Writing,
    /// Requests per second, minute or hour: 5/s, 0.5/s, 30/min
    #[arg(long, value_name = "RATE", required_unless_present_any = ["off", "share", "weight"], allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// Share of the PSP's time: 10%, 0.5%
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    share: Option<Share>,
    /// Requests that may come at once at --rate [default: one second's worth, at least 4: one per
    /// VMPCK], or PSP time that may be used at once under --share, such as 200ms [default: 200 ms, or
    /// the time of 4 requests if that is longer], and one request beyond it; once for each
    #[arg(long, value_name = "REQUESTS|TIME", allow_negative_numbers = true)]
    burst: Vec<Burst>,
    /// No limit
    #[arg(long, conflicts_with_all = ["rate", "share", "burst"])]
    off: bool,
    /// Share of the PSP in relation to other VMs that wait for it, 1 to 255, in each mode: a VM of
    /// weight 4 gets four times what one of weight 1 gets. Needs the gate
    #[arg(long, value_name = "WEIGHT", allow_hyphen_values = true)]
    weight: Option<Weight>,
    /// Proceed even if the limit is so low that well-behaved guests get BUSY until their messages are
    /// admitted over the limit, after 30 s
    #[arg(long)]
    force: bool,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Show { reading } => reading.print(&reading.get("/v1/policy")?, text),
            Verb::Set(set) => {
                let change = set.change().map_err(|why| anyhow!("{why}"))?;
                set.writing.put(change, Insist { force: set.force, yes: false }, summary)
            }
            Verb::Suggest(args) => args.run(),
            Verb::Clear { writing } => writing.put(Change::ClearLimit, Insist::default(), summary),
        }
    }
}

impl Set {
    fn change(&self) -> Result<Change, String> {
        let only_weight =
            !self.off && self.rate.is_none() && self.share.is_none() && self.burst.is_empty();
        match self.weight {
            Some(weight) if only_weight => Ok(Change::Weight(weight)),
            Some(weight) => Ok(Change::LimitAndWeight { limit: self.limit()?, weight }),
            None => self.limit().map(Change::Limit),
        }
    }

    fn limit(&self) -> Result<Limit, String> {
        if self.off {
            return Ok(Limit::Off);
        }
        Throttle::new(self.rate, self.share, &self.burst, false).map(Limit::On)
    }
}

fn summary(effective: &Effective) -> String {
    effective.limit_and_weight()
}

fn text(policies: &Policies) -> String {
    let mut table = table::new(&["VM", "LIMIT", "WEIGHT", "FROM"], &[]);
    let mut row = |vm: String, policy: &Effective| {
        let (limit, weight) = (&policy.limit.value, policy.weight.value);
        table.add_row([vm, limit.to_string(), weight.to_string(), printable(&origins(policy))]);
    };
    row("(default)".to_owned(), &policies.default);
    for vm in &policies.vms {
        row(name(&vm.vm), &vm.policy);
    }
    for (vm, policy) in &policies.absent {
        row(format!("{} (not running)", name(vm)), policy);
    }
    table::text(&table)
}

/// The limit's origin, and the weight's if it is another one than the built-in.
fn origins(Effective { limit, weight, .. }: &Effective) -> String {
    match weight.origin == Origin::Default || weight.origin == limit.origin {
        true => limit.origin.to_string(),
        false => format!("limit: {}; weight: {}", limit.origin, weight.origin),
    }
}

#[cfg(test)]
mod tests {
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
}
