//! # Groups of scenarios
//!
//! One file per subject, one boot per group. A group is listed in the file of its subject; `observe`
//! and `realtime` are selections.

mod attack;
mod capacity;
mod config;
mod containerd;
pub mod cost;
pub mod counting;
mod daemonset;
mod dashboards;
mod debian;
mod doctor;
mod edge_cases;
mod enforce;
mod events;
mod events_all;
mod faults;
mod gate;
mod guests;
mod hostile;
mod hung_psp;
mod interfaces;
mod launch_load;
pub mod launches;
mod libvirt;
pub mod limits;
mod lockdown;
mod losses;
pub mod lost_vmpcks;
mod missing_prerequisites;
mod module_reload;
mod no_lsm;
mod observe;
mod operation;
mod order;
#[cfg(test)]
mod overview;
mod packages;
mod podman;
mod pods;
mod policy_changes;
mod qemu;
pub mod realtime;
mod report;
mod shares;
mod skipped_probes;
mod soak;
mod stages;
mod stress;
mod takeover;
#[cfg(test)]
mod tests;
mod tio;
mod top;
mod unresolved_vms;
mod vcpu_backend;
mod verification;
mod vm_names;

use counting::{assert_exact, assert_exact_but, counted, exact, expected, losses};

use crate::scenario::Group;

/// In the order of rig/groups.md.
pub const GROUPS: &[Group] = &[
    observe::GROUP,
    launches::GROUP,
    hung_psp::GROUP,
    missing_prerequisites::GROUP,
    gate::GROUP,
    order::GROUP,
    enforce::GROUP,
    shares::GROUP,
    lost_vmpcks::GROUP,
    verification::GROUP,
    no_lsm::GROUP,
    takeover::GROUP,
    attack::GROUP,
    interfaces::GROUP,
    doctor::GROUP,
    lockdown::GROUP,
    dashboards::GROUP,
    faults::GROUP,
    qemu::GROUP,
    debian::GROUP,
    libvirt::GROUP,
    hostile::GROUP,
    soak::GROUP,
    stress::GROUP,
    daemonset::GROUP,
    containerd::GROUP,
    realtime::GROUP,
];
