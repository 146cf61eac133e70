//! # guestreq agent

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};

use super::trees::Trees;
use crate::{daemon, failpoint};

/// Run the agent: observe guest requests, enforce policies, serve metrics
#[derive(clap::Args)]
#[command(after_help = "Example: guestreq agent --listen 127.0.0.1:9940")]
pub struct Args {
    /// Configuration file; conf.d/*.toml in its folder are also read [default:
    /// /etc/guestreq/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of /metrics, /healthz and /readyz [default: the configuration's `listen`]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// If this host cannot be observed, stay up without being ready and retry each minute
    #[arg(long)]
    stay: bool,
    /// Do not attach this probe, named as in guestreq_probe_attached
    #[arg(long, value_name = "PROBE")]
    without_probe: Vec<String>,
    #[command(flatten)]
    trees: Trees,
    /// Die by SIGKILL at this failpoint
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
    /// Load the programs of this eBPF object
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
            "--procfs and --sysfs are copies of files: the agent needs mounts"
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
