//! # guestreq events

mod follow;
mod line;
mod nearest;
mod out;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use super::{Format, Reading, socket};
use crate::api::events::{Filter, Kind, Query, Since};
use follow::Follow;
use line::Lines;
use out::Out;

/// So many of the last events are shown before those to come.
const LAST: usize = 10;

/// Follow what happens: refusals, anomalies, changes of policy, losses
#[derive(clap::Args)]
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
    /// What happened since then, too: 10m for so long ago, 2026-01-31T12:00:00Z, or @1769860800
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
