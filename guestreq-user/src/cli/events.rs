//! # guestreq events

mod follow;
mod line;
mod nearest;
mod out;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Format, Reading, socket};
use crate::wire::events::{Filter, Kind, Query, Since};
use follow::Follow;
use line::Lines;
use out::Out;

/// So many of the last events are shown before those to come.
const LAST: usize = 10;

/// Follow what happens: refusals, anomalies, changes of policy, losses
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the last ten events, then each as it happens, until Ctrl-C, which is how one ends it: exit \
status 0. Times are UTC, as in the agent's log. The agent keeps the last 10,000 events (not those of \
--all), and forgets them when it stops; it says what is missing as `lost`. While it is gone, this \
waits for the next one.

With --all, which only root may use, each request of each VM costs more while it is followed.

Examples:
  guestreq events --since 1h --no-follow --kind policy_changed
  guestreq events -o json --vm web-1 | jq 'select(.kind == \"denied\")'")]
pub struct Args {
    /// What happened since then, too: 10m for so long ago, 2026-01-31T12:00:00Z or …+02:00 (without
    /// an offset it is UTC), or @1769860800
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only of this VM, by its name in `guestreq vms`, or its UUID; may be given several times
    #[arg(long, value_name = "VM")]
    vm: Vec<String>,
    /// Only of this kind; may be given several times. `lost` is always shown
    #[arg(long, value_name = "KIND", requires_if("request", "all"))]
    kind: Vec<Kind>,
    /// Every request, too
    #[arg(long)]
    all: bool,
    /// Show what has happened, and end
    #[arg(long)]
    no_follow: bool,
    /// How many of the events that have happened [default: 10; all, with --since or --no-follow]
    #[arg(short = 'n', long = "last", value_name = "N")]
    last: Option<usize>,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let query = self.query();
        let out = match self.reading.output {
            Format::Json => Out::json(),
            Format::Table => Out::table(Lines::default()),
        };
        let follow = Follow { socket: socket(self.reading.socket), query, out };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        runtime.block_on(follow.run())?;
        Ok(ExitCode::SUCCESS)
    }

    fn query(&self) -> Query {
        let all_of_it = self.since.is_some() || self.no_follow;
        Query {
            filter: Filter { kinds: self.kind.clone(), vms: self.vm.clone(), all: self.all },
            since: self.since,
            last: self.last.or((!all_of_it).then_some(LAST)),
            after: None,
            follow: !self.no_follow,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn query(line: &str) -> Result<Query, String> {
        let words = std::iter::once("events").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.args.query())
    }

    #[test]
    fn the_last_ten_are_shown_unless_more_was_asked_for() {
        let asked = |line| query(line).map(|query| (query.last, query.follow)).unwrap();
        assert_eq!(asked(""), (Some(10), true));
        assert_eq!(asked("--since 10m"), (None, true));
        assert_eq!(asked("--no-follow"), (None, false));
        assert_eq!(asked("--since 10m -n 3 --no-follow"), (Some(3), false));
        let query = query("--vm a --vm b --kind new_vm --kind gap --all").unwrap();
        assert_eq!(query.filter.vms, ["a", "b"]);
        assert_eq!(query.filter.kinds, [Kind::NewVm, Kind::Gap]);
        assert!(query.filter.all);
    }

    #[test]
    fn what_is_wrong_is_a_usage_error_that_says_what_is_allowed() {
        for (line, what) in [
            ("--kind policy", "policy_changed"),
            ("--kind request", "--all"),
            ("--since yesterday", "as 10m or 1h30m"),
            ("-n -1", "unexpected argument"),
            ("-n many", "invalid digit"),
            ("-o yaml", "table, json"),
        ] {
            let error = query(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
