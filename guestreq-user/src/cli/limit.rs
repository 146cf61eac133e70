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
    wire::policy::{Burst, Change, Effective, Limit, Policies, Rate, Share, Throttle},
};

/// Show, set and clear limits on VMs' guest requests
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show each VM's limit and where it comes from
    #[command(after_help = "Example: guestreq limit show")]
    Show {
        #[command(flatten)]
        reading: Reading,
    },
    Set(Set),
    /// Remove a limit set by `limit set`; the configuration applies again
    #[command(after_help = "Example: guestreq limit clear --vm web-1")]
    Clear {
        #[command(flatten)]
        writing: Writing,
    },
    Suggest(suggest::Args),
}

/// Set the limit of a VM, or the default; effective from the next request
#[derive(clap::Args)]
#[command(after_help = "\
Requests over the limit get BUSY in mode enforce (`guestreq policy mode`); in audit they are only \
counted. A limit set here overrides the configuration and survives a restart.

Example: guestreq limit set --vm web-1 --share 10%

Example: guestreq limit set --vm web-1 --rate 5/s --burst 10")]
struct Set {
    #[command(flatten)]
    writing: Writing,
    /// Requests per second, minute or hour: 5/s, 0.5/s, 30/min
    #[arg(long, value_name = "RATE", required_unless_present_any = ["off", "share"], allow_hyphen_values = true)]
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
                let change = Change::Limit(set.limit().map_err(|why| anyhow!("{why}"))?);
                set.writing.put(change, Insist { force: set.force, yes: false }, summary)
            }
            Verb::Suggest(args) => args.run(),
            Verb::Clear { writing } => writing.put(Change::ClearLimit, Insist::default(), summary),
        }
    }
}

impl Set {
    fn limit(&self) -> Result<Limit, String> {
        if self.off {
            return Ok(Limit::Off);
        }
        Throttle::new(self.rate, self.share, &self.burst, false).map(Limit::On)
    }
}

fn summary(effective: &Effective) -> String {
    format!("limit {}", effective.limit.value)
}

fn text(policies: &Policies) -> String {
    let mut table = table::new(&["VM", "LIMIT", "FROM"], &[]);
    let mut row = |vm: String, policy: &Effective| {
        let from = printable(&policy.limit.origin.to_string());
        table.add_row([vm, policy.limit.value.to_string(), from]);
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn set(line: &str) -> Result<Limit, String> {
        let words = ["set"].into_iter().chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.set.limit()
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
        ] {
            let error = set(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
