//! # guestreq policy apply

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cli::socket,
    client,
    config::{self, Layer},
    policy::PolicyFile,
    text::quoted,
    wire::policy::{Applied, Apply, Difference},
};

/// Apply a policy file atomically
#[derive(clap::Args)]
#[command(after_help = "\
FILE contains mode, allow, limit and [[vm]] as in the configuration. It overrides the configuration, \
survives a restart and replaces the file applied before. Overrides (`limit set`, `policy allow`, `deny` \
and `mode`) take precedence over it.

Examples:
  guestreq policy apply incident.toml
  guestreq policy apply --clear")]
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

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let policy_file = self.file.as_deref().map(policy_file).transpose()?;
        let apply = Apply { policy_file, yes: self.yes };
        let applied: Applied = client::put(&socket(self.socket), "/v1/policy/applied", &apply)?;
        for warning in &applied.warnings {
            eprintln!("guestreq: warning: {warning}");
        }
        print!("{}", text(&applied.changed));
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a policy file; other keys are an error.
fn policy_file(path: &Path) -> Result<PolicyFile> {
    let name = path.display().to_string();
    let text = config::read_file(path).with_context(|| name.clone())?;
    let layer = match Layer::parse(&name, &text) {
        Ok(layer) => layer,
        Err(faults) => return Err(config::first_of(&name, &faults)),
    };
    if let Some((key, at)) = layer.others.first() {
        bail!(
            "{at}: {key} cannot be applied, only mode, allow, limit and [[vm]]: set it in the \
             configuration"
        );
    }
    Ok(layer.policy)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<PolicyFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        std::fs::write(&path, text).unwrap();
        policy_file(&path)
    }

    #[test]
    fn an_applied_file_contains_only_policy() {
        let policy_file =
            of("mode = \"audit\"\n[[vm]]\nmatch = { name = \"a\" }\nlimit = \"off\"\n");
        assert_eq!(policy_file.unwrap().rules.len(), 1);
        let error = format!("{:#}", of("mode = \"audit\"\nlisten = \"[::]:1\"\n").unwrap_err());
        assert!(error.contains("f.toml:2: listen cannot be applied"), "{error}");
        let error = format!("{:#}", of("mode = \"on\"").unwrap_err());
        assert!(error.contains("f.toml: line 1, column 8: unknown mode"), "{error}");
    }
}
