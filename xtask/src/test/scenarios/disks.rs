//! # Complete hosts, made only if a group that needs one is due

use std::collections::BTreeMap;

use anyhow::Result;

use super::groups::{Group, Groups, Needs, is_due};
use crate::rig::debian::Debian;
use crate::setup::Rig;
use crate::setup::debian::is_possible;
use crate::test::Args;

/// Debian hosts by kernel.
pub fn prepare(args: &Args, rig: &Rig, groups: &Groups) -> Result<BTreeMap<String, Debian>> {
    let mut disks = BTreeMap::new();
    for (kernel, _) in &rig.kernels {
        let needs_one = |(name, group): (&String, &Group)| {
            matches!(group.needs, Needs::Debian) && is_due(args, kernel.is_realtime(), name, group)
        };
        if is_possible(kernel) && groups.iter().any(needs_one) {
            disks.insert(kernel.abi.clone(), Debian::prepare(rig, kernel)?);
        }
    }
    Ok(disks)
}
