//! # What all verbs that change policies share

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use super::socket;
use crate::{
    client,
    wire::policy::{Change, Changed, Effective, Request, Target},
};

#[derive(clap::Args)]
pub struct Writing {
    #[command(flatten)]
    target: TargetArgs,
    /// The agent's socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// The VM: its name in `guestreq vms`, its UUID or its pid
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
    /// All VMs without an override or rule of their own
    #[arg(long)]
    default: bool,
}

/// Confirmations.
#[derive(Default)]
pub struct Insist {
    pub force: bool,
    pub yes: bool,
}

impl Writing {
    /// Sends a change to the agent and prints its result.
    pub fn put(
        self,
        change: Change,
        Insist { force, yes }: Insist,
        summary: fn(&Effective) -> String,
    ) -> Result<ExitCode> {
        let target = self.target.vm.map_or(Target::Default, Target::Vm);
        let request = Request { target, change, force, yes };
        let changed: Changed = client::put(&socket(self.socket), "/v1/policy", &request)?;
        for warning in &changed.warnings {
            eprintln!("guestreq: warning: {warning}");
        }
        println!("{}", sentence(&changed, summary));
        Ok(ExitCode::SUCCESS)
    }
}

fn sentence(changed: &Changed, summary: fn(&Effective) -> String) -> String {
    let (old, new) = (summary(&changed.old), summary(&changed.new));
    if old == new {
        format!("{}: {new} (unchanged)", changed.target)
    } else {
        format!("{}: {old} -> {new}", changed.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::policy::Limit;

    #[test]
    fn a_change_is_printed_as_one_line() {
        let old: Effective = serde_json::from_str(
            r#"{"mode": {"value": "audit", "origin": {"from": "default"}},
                "allow": {"value": ["key"], "origin":
                          {"from": "config", "file": "c.toml", "line": 1}},
                "limit": {"value": {"rate": "5/s", "burst": 10}, "origin": {"from": "default"}}}"#,
        )
        .unwrap();
        let mut new = old.clone();
        new.limit.value = Limit::Off;
        let target = Target::Vm("we\tb".to_owned());
        let changed = Changed { target, old: old.clone(), new, warnings: Vec::new() };
        let summary = |effective: &Effective| format!("limit {}", effective.limit.value);
        assert_eq!(sentence(&changed, summary), "VM \"we\\tb\": limit 5/s, burst 10 -> limit off");
        let same =
            Changed { target: Target::Default, old: old.clone(), new: old, warnings: Vec::new() };
        assert_eq!(sentence(&same, summary), "default: limit 5/s, burst 10 (unchanged)");
    }
}
