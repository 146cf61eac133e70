//! # guestreq launches

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Reading,
    table::{self, name},
};
use crate::{
    text::{duration, percent},
    wire::{
        events::PspUser,
        launches::{Launch, Launches},
    },
};

/// Show VMs' launches: which run, how long they took, and what they waited for
#[derive(clap::Args)]
#[command(after_help = "\
Shows the launches that run, and those that ended within the last hour, at least 20. The agent knows \
the latest 512.

A launch begins with its first command to the PSP and ends with SNP_LAUNCH_FINISH, or when its guest \
context ends without it. DURATION is the sum of QUEUE (its commands waited for the PSP, with the share \
of the launch), SERVICE (the PSP worked on them) and VMM (the VMM prepared the next command). A \
running launch's DURATION includes the time since its latest command. > before it: the launch's \
beginning or end was not observed, and it took longer. WAITED FOR names the up to \
three that used the PSP most meanwhile, and how long: VMs, or the host for commands that name no VM. \
stalled: no command for 60 s. A stalled launch whose process has exited is shown as \
process_exited (inferred), one whose guest sends requests as finished (inferred).

Why did this launch take a minute? If QUEUE is most of it, WAITED FOR took the PSP; if VMM is, look at \
the VMM and its disk; if SERVICE is, the VM has many PAGES.

Examples:
guestreq launches
guestreq launches --all -o json | jq '.launches[] | select(.state == \"failed\")'")]
pub struct Args {
    /// Show all launches that the agent knows
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let mut launches: Launches = self.reading.get("/v1/launches")?;
        if !self.all {
            launches.launches = recent(launches.launches);
        }
        self.reading.print(&launches, table)
    }
}

/// How many of those that have ended are shown in any case, and up to which age in seconds.
const LATEST: usize = 20;
const RECENT: f64 = 3600.0;

/// The running ones, the latest ones, and all of the last hour.
fn recent(launches: Vec<Launch>) -> Vec<Launch> {
    let (mut shown, ended): (Vec<_>, Vec<_>) = launches.into_iter().partition(Launch::runs);
    let is_recent = |(i, launch): &(usize, Launch)| *i < LATEST || launch.seconds_ago <= RECENT;
    shown.extend(ended.into_iter().enumerate().filter(is_recent).map(|(_, launch)| launch));
    shown
}

pub const HEADER: [&str; 11] = [
    "VM",
    "STATE",
    "STARTED",
    "DURATION",
    "PAGES",
    "QUEUE",
    "%",
    "SERVICE",
    "VMM",
    "WAITED FOR",
    "FAILED",
];

/// Right-aligned columns.
pub const RIGHT: [usize; 6] = [3, 4, 5, 6, 7, 8];

pub fn table(answer: &Launches) -> String {
    if answer.launches.is_empty() {
        return "No launch was seen.\n".to_owned();
    }
    let mut table = table::new(&HEADER, &RIGHT);
    table.add_rows(answer.launches.iter().map(row));
    table::fold(&mut table);
    table::text(&table)
}

pub fn row(Launch { vm, state, started, seconds, inferred, work, .. }: &Launch) -> Vec<String> {
    let stages = work.stage_seconds;
    let how = if *inferred { " (inferred)" } else { "" };
    vec![
        name(&vm.label_or_pid()),
        format!("{state}{how}"),
        started.to_the_second(),
        format!("{}{}", if work.partial { ">" } else { "" }, duration(*seconds)),
        work.pages.to_string(),
        duration(stages.psp_queue),
        percent(stages.waiting_share()),
        duration(stages.psp_service),
        duration(stages.vmm),
        waited_for(work.psp_used_by.as_deref()),
        work.failure().unwrap_or_default(),
    ]
}

/// `web 12.0 s, the host 35.2 ms`
fn waited_for(users: Option<&[PspUser]>) -> String {
    let user = |user: &PspUser| {
        let who = user.vm.as_ref().map_or_else(|| "the host".to_owned(), |vm| name(vm));
        format!("{who} {}", duration(user.seconds))
    };
    match users {
        None => "-".to_owned(),
        Some([]) => "nobody".to_owned(),
        Some(users) => users.iter().map(user).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests;
