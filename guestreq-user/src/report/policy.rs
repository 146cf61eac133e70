//! # The policy without an agent
//!
//! That which an agent would use that started now, of the VMs whose processes were found.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::processes::Processes;
use crate::{
    config::Config,
    enforce::policies::{self, Policies as Stored},
    json,
    policy::PolicySet,
    wire::{
        events::Time,
        policy::{Configuration, Policies, VmPolicy},
    },
};

pub fn configured(config: &Result<Config>, processes: &Processes, now: Time) -> Result<Value> {
    let config = config.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let stored = Stored::open(config)?;
    let policy_set = stored.policy_set();
    let vms = processes.found.iter().map(|process| VmPolicy {
        vm: process.vm.clone(),
        name: process.identity.name.clone(),
        uuid: process.identity.uuid.clone(),
        policy: policy_set.resolve(&process.identity),
        decisions: BTreeMap::new(),
    });
    let runs = |key: &str| {
        let key_of = |vm| policy_set.overrides.key(vm);
        processes.found.iter().any(|process| key_of(&process.identity).as_deref() == Some(key))
    };
    let absent = policy_set.overrides.vms.keys().filter(|key| !runs(key));
    let answer = Policies {
        enforcement: policies::configured(config).into(),
        config: Configuration {
            files: config.files.iter().map(|file| file.display().to_string()).collect(),
            read_at: now.to_the_second(),
            failed: None,
            pending: Vec::new(),
        },
        default: policy_set.default(),
        vms: vms.collect(),
        absent: absent
            .map(|key| (key.clone(), policy_set.resolve(&PolicySet::absent(key))))
            .collect(),
        rules: policy_set.file.rules.clone(),
    };
    Ok(json::to_value(&answer)?)
}
