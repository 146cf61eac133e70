//! # guestreq policy apply

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    cli::socket,
    client, config,
    text::quoted,
    wire::policy::{Applied, Apply, Difference},
};

/// Apply a policy file atomically
#[derive(clap::Args)]
#[command(after_help = help())]
pub struct Args {
    /// Policy file
    #[arg(value_name = "FILE", required_unless_present = "clear", conflicts_with = "clear")]
    file: Option<PathBuf>,
    /// Remove the applied file; the configuration applies again
    #[arg(long)]
    clear: bool,
    /// Proceed even if running VMs lose VMPCKs, or need rescues
    #[arg(long)]
    yes: bool,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn help() -> String {
    format!(
        "\
FILE contains {} as in the configuration. It overrides the configuration, survives a restart and \
replaces the file applied before. Overrides (`limit set`, `policy allow`, `deny` and `mode`) take \
precedence over it.

Examples:
  guestreq policy apply incident.toml
  guestreq policy apply --clear",
        config::policy_keys()
    )
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let policy_file = self.file.as_deref().map(config::policy_file).transpose()?;
        let apply = Apply { policy_file, yes: self.yes };
        let applied: Applied = client::put(&socket(self.socket), "/v1/policy/applied", &apply)?;
        for warning in &applied.warnings {
            eprintln!("guestreq: warning: {warning}");
        }
        print!("{}", text(&applied.changed));
        Ok(ExitCode::SUCCESS)
    }
}

fn text(changed: &[Difference]) -> String {
    if changed.is_empty() {
        return "No change for the default or running VMs.\n".to_owned();
    }
    let line = |Difference { vm, old, new }: &Difference| {
        let who =
            vm.as_deref().map_or_else(|| "default".to_owned(), |vm| format!("VM {}", quoted(vm)));
        format!("{who}: {old} -> {new}\n")
    };
    changed.iter().map(line).collect()
}
