//! # What groups need beside the rig's own programs

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::groups::{Groups, Needs, is_due};
use crate::rig::boot::Host;
use crate::rig::debian::Debian;
use crate::setup::debian::is_possible;
use crate::setup::{Kernel, Rig};
use crate::test::Args;
use crate::{image, setup};

/// Made once for all boots, and only what a group that is due needs.
pub struct Hosts {
    /// Debian hosts by kernel.
    disks: BTreeMap<String, Debian>,
    /// Files of Kubernetes nodes: their paths in the guest and here.
    nodes: Vec<(String, PathBuf)>,
}

impl Hosts {
    pub fn prepare(args: &Args, rig: &Rig, groups: &Groups) -> Result<Self> {
        let mut hosts = Self { disks: BTreeMap::new(), nodes: Vec::new() };
        let needs = |needs: Needs, kernel: &Kernel| {
            let due = |name: &str, group| is_due(args, kernel.is_realtime(), name, group);
            groups.iter().any(|(name, group)| group.needs == needs && due(name, group))
        };
        for (kernel, _) in &rig.kernels {
            if is_possible(kernel) && needs(Needs::Debian, kernel) {
                hosts.disks.insert(kernel.abi.clone(), Debian::prepare(rig, kernel)?);
            }
        }
        if rig.kernels.iter().any(|(kernel, _)| needs(Needs::Nodes, kernel)) {
            hosts.nodes = nodes(rig)?;
        }
        Ok(hosts)
    }

    /// None if this kernel cannot have such a host.
    pub fn get(&self, rig: &Rig, kernel: &Kernel, needs: Needs) -> Option<Host<'_>> {
        match needs {
            Needs::Rig => Some(Host::Rig(Vec::new())),
            Needs::Vmm => Some(Host::Rig(rig.vmm.clone())),
            Needs::Nodes => Some(Host::Rig(self.nodes.clone())),
            Needs::Debian => self.disks.get(&kernel.abi).map(Host::Debian),
        }
    }
}

/// containerd and others, with the images of a pod.
fn nodes(rig: &Rig) -> Result<Vec<(String, PathBuf)>> {
    let mut files = setup::nodes()?;
    let busybox = rig.tools.path.join("usr/bin/busybox");
    files.push(("nodes/images/guestreq.tar".into(), image::archive()?));
    files.push(("nodes/images/pause.tar".into(), image::pause(&busybox)?));
    Ok(files)
}
