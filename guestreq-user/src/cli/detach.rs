//! # guestreq detach

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};

use crate::{agent, config::Config};

/// End what goes on without an agent: enforcement and counting
#[derive(clap::Args)]
#[command(after_help = "\
Detaches all programs and removes everything under /sys/fs/bpf/guestreq, so that the host is as it \
was before guestreq's first start. What was counted is gone. A gate that is still loaded then \
decides by its `closed` parameter.

Example: systemctl stop guestreq && guestreq detach")]
pub struct Args {
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Die by SIGKILL at this point
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(point) = &self.die_at {
            agent::fault::die_at(point);
        }
        let socket = self.socket.unwrap_or_else(|| Config::load(None).unwrap_or_default().socket);
        if answers(&socket) {
            bail!("an agent is running, which would attach again: stop it first");
        }
        if agent::pins::remove_all(&agent::programs::detach_order())? {
            println!("Detached. Nothing is counted or enforced any more.");
        } else {
            println!("Nothing was attached.");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
