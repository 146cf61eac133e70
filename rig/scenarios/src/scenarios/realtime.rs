//! # The selection for PREEMPT_RT kernels
//!
//! Spinlocks sleep there, interrupts are threads, and nearly everything can be preempted. These are
//! the scenarios that depend on how the kernel locks and schedules: counting, the gate, decisions,
//! holding vCPUs. One boot, as a boot takes three times as long there. `cargo xtask test
//! --kernel rt` runs all others, too.

use super::{attack, gate, guests, limits, losses, order, stages, vcpu_backend};
use crate::scenario::Group;

pub const GROUP: Group = Group {
    name: "realtime",
    memory_mib: 2048,
    scenarios: &[
        stages::ADD_UP,
        stages::VM_LOCK,
        guests::HOST_ERRORS,
        guests::EXIT_MID_REQUEST,
        losses::MISSED_PROBES,
        gate::ANSWERS,
        gate::unloading::UNDER_LOAD,
        order::under_load::KILLED,
        order::under_load::SIGNALS,
        order::under_load::PARAMETERS,
        order::unloading::UNLOADED,
        attack::processes::DENIED,
        attack::capacity::PARKED,
        limits::FIRST_REQUEST,
        vcpu_backend::HELD,
        vcpu_backend::STOPPED,
    ],
    ..Group::DEFAULT
};

#[cfg(test)]
mod tests {
    use super::{super::GROUPS, *};

    #[test]
    fn it_is_a_selection_of_other_groups() {
        for scenario in GROUP.scenarios {
            let has = |group: &&Group| group.all().any(|other| other.id == scenario.id);
            let groups: Vec<_> = GROUPS.iter().filter(has).map(|group| group.name).collect();
            assert_eq!(groups.len(), 2, "{} is in {groups:?}", scenario.id);
        }
    }
}
