//! # guestreq agent

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};

use super::trees::Trees;
use crate::{daemon, failpoint};

/// Watch this host's guest requests and serve what was counted (the daemon)
#[derive(clap::Args)]
#[command(after_help = "Example: guestreq agent --listen 127.0.0.1:9940")]
pub struct Args {
    /// The configuration; conf.d/*.toml beside it are read, too [default:
    /// /etc/guestreq/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve /metrics, /healthz and /readyz, instead of the configuration's `listen`
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Stay up, not ready, where this host cannot be watched, and try again each minute
    #[arg(long)]
    stay: bool,
    /// Leave a probe out, by its name in guestreq_probe_attached
    #[arg(long, value_name = "PROBE")]
    without_probe: Vec<String>,
    #[command(flatten)]
    trees: Trees,
    /// Die by SIGKILL at this point of start or stop
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
    /// Load the programs of this eBPF object, another version's
    #[arg(long, value_name = "FILE", hide = true)]
    object: Option<PathBuf>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if self.die_at.as_deref() == Some("list") {
            print!("{}", failpoint::list());
            return Ok(ExitCode::SUCCESS);
        }
        ensure!(
            !self.trees.choose()?.is_collected(),
            "--procfs and --sysfs lead to copies of files, of which only doctor makes something"
        );
        daemon::run(daemon::Options {
            config: self.config,
            listen: self.listen,
            stay: self.stay,
            without: self.without_probe,
            die_at: self.die_at,
            object: self.object,
        })
    }
}
