//! # guestreq detach

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::agent::{Lock, fault, pins, programs};

/// End what goes on without an agent: enforcement and counting
#[derive(clap::Args)]
#[command(after_help = "\
Detaches all programs and removes everything under /sys/fs/bpf/guestreq, so that the host is as it \
was before guestreq's first start. What was counted is gone. A gate that is still loaded then \
decides by its `closed` parameter.

Example: systemctl stop guestreq && guestreq detach")]
pub struct Args {
    /// Die by SIGKILL at this point
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(point) = &self.die_at {
            fault::die_at(point);
        }
        // Held to the end: no agent starts meanwhile.
        let _lock = match Lock::take()? {
            Ok(lock) => lock,
            Err(held) => {
                bail!("an agent is running{}, which would attach again: stop it first", held.by())
            }
        };
        if pins::remove_all(&programs::detach_order())? {
            println!("Detached. Nothing is counted or enforced any more.");
        } else {
            println!("Nothing was attached.");
        }
        Ok(ExitCode::SUCCESS)
    }
}
