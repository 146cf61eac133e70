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
    /// weight 4 gets four times what one of weight 1 gets, but at most half beside others. Needs the gate
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

pub const HEADER: [&str; 4] = ["VM", "LIMIT", "WEIGHT", "FROM"];

pub fn text(policies: &Policies) -> String {
    let mut table = table::new(&HEADER, &[]);
    table.add_rows(rows(policies));
    table::text(&table)
}

/// The default's, then those of VMs.
pub fn rows(policies: &Policies) -> Vec<Vec<String>> {
    let row = |vm: String, policy: &Effective| {
        let (limit, weight) = (&policy.limit.value, policy.weight.value);
        vec![vm, limit.to_string(), weight.to_string(), printable(&origins(policy))]
    };
    let mut rows = vec![row("(default)".to_owned(), &policies.default)];
    rows.extend(policies.vms.iter().map(|vm| row(name(&vm.vm), &vm.policy)));
    let absent =
        |(vm, policy): (&String, &Effective)| row(format!("{} (not running)", name(vm)), policy);
    rows.extend(policies.absent.iter().map(absent));
    rows
}

/// The limit's origin, and the weight's if it is another one than the built-in.
fn origins(Effective { limit, weight, .. }: &Effective) -> String {
    match weight.origin == Origin::Default || weight.origin == limit.origin {
        true => limit.origin.to_string(),
        false => format!("limit: {}; weight: {}", limit.origin, weight.origin),
    }
}

#[cfg(test)]
mod tests;
