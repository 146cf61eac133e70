//! # guestreq events

mod follow;
mod line;
mod nearest;
mod out;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Format, Reading, socket};
use crate::wire::events::{Event, Filter, Kind, Query, Since};
use follow::Follow;
use line::Lines;
use out::Out;

/// Past events that are shown before following.
const LAST: usize = 10;

/// Follow events: refusals, anomalies, policy changes, losses
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the last ten events, then follows until Ctrl-C (exit status 0). Times are UTC. The agent keeps \
the last 10,000 events (without those of --all) until it stops, and reports missing ones as `lost`. \
If the agent stops, this waits for the next one.

--all is for root only: while it runs, every request of every VM costs more.

Examples:
  guestreq events --since 1h --no-follow --kind policy_changed
  guestreq events -o json --vm web-1 | jq 'select(.kind == \"denied\")'")]
pub struct Args {
    /// Show events since TIME: 10m (ago), 2026-01-31T12:00:00Z or …+02:00 (UTC without an offset),
    /// or @1769860800
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only this VM: its name in `guestreq vms` or its UUID; repeatable
    #[arg(long, value_name = "VM")]
    vm: Vec<String>,
    /// Only this kind (`lost` is always shown); repeatable
    #[arg(long, value_name = "KIND", requires_if("request", "all"))]
    kind: Vec<Kind>,
    /// Also show every request
    #[arg(long)]
    all: bool,
    /// Show past events, then exit
    #[arg(long)]
    no_follow: bool,
    /// How many past events to show [default: 10; all with --since or --no-follow]
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
        let everything = self.since.is_some() || self.no_follow;
        Query {
            filter: Filter { kinds: self.kind.clone(), vms: self.vm.clone(), all: self.all },
            since: self.since,
            last: self.last.or((!everything).then_some(LAST)),
            after: None,
            follow: !self.no_follow,
        }
    }
}

/// Events as in a file.
pub fn table(events: &[Event]) -> String {
    let mut lines = Lines::plain();
    events.iter().map(|event| lines.line(event) + "\n").collect()
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
    fn the_last_ten_are_shown_unless_more_are_requested() {
        let options = |line| query(line).map(|query| (query.last, query.follow)).unwrap();
        assert_eq!(options(""), (Some(10), true));
        assert_eq!(options("--since 10m"), (None, true));
        assert_eq!(options("--no-follow"), (None, false));
        assert_eq!(options("--since 10m -n 3 --no-follow"), (Some(3), false));
        let query = query("--vm a --vm b --kind new_vm --kind gap --all").unwrap();
        assert_eq!(query.filter.vms, ["a", "b"]);
        assert_eq!(query.filter.kinds, [Kind::NewVm, Kind::Gap]);
        assert!(query.filter.all);
    }

    #[test]
    fn usage_errors_list_what_is_allowed() {
        for (line, what) in [
            ("--kind policy", "policy_changed"),
            ("--kind request", "--all"),
            ("--since yesterday", "give 10m or 1h30m"),
            ("-n -1", "unexpected argument"),
            ("-n many", "invalid digit"),
            ("-o yaml", "table, json"),
        ] {
            let error = query(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
