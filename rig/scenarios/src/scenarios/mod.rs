//! # Groups of scenarios
//!
//! One file per subject, one boot per group.

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
mod launch_load;
pub mod launches;
mod libvirt;
pub mod limits;
mod lockdown;
mod losses;
pub mod lost_vmpcks;
mod missing_prerequisites;
mod module_reload;
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

use crate::{
    host,
    scenario::{Group, Needs},
};

pub const GROUPS: &[Group] = &[
    Group {
        name: "observe",
        memory_mib: 3072,
        scenarios: &[
            counting::COUNTS_EQUAL_THE_FIRMWARE,
            stages::ADD_UP,
            stages::BUSY_TIME,
            stages::VM_LOCK,
            stages::PSP_QUEUE,
            guests::SEQUENCE_NUMBERS,
            guests::VMPCKS,
            guests::EXTENDED,
            guests::CERTIFICATES,
            guests::HOST_ERRORS,
            guests::EXIT_MID_REQUEST,
            guests::ORDINARY,
            launch_load::COUNTS,
            launch_load::PAGE_TIME,
            launch_load::REFUSED_PAGE,
            launch_load::VANISHED,
            losses::LOST_RETURN,
            losses::MISSED_PROBES,
            skipped_probes::START,
            operation::STOPS_CLEANLY,
            cost::BPF_TIME,
        ],
        once: &[
            counting::TWO_HUNDRED_VMS,
            guests::HOSTILE_HEADERS,
            counting::EVERY_STATUS,
            vm_names::VMMS,
            vm_names::OTHER_NAME,
            vm_names::SAME_NAME,
            vm_names::RETENTION,
            losses::NO_PROBE,
            losses::VM_TABLE,
            losses::THREAD_TABLE,
            losses::SEVERAL_VMS,
            losses::RING_BUFFER,
            losses::MISSED_EXIT,
            operation::METRICS_ARE_CLEAN,
            operation::COMMAND_LINE,
            operation::BAD_INPUT,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "launches",
        memory_mib: 3072,
        scenarios: &[
            launches::exact::EXACT,
            launches::exact::CONCURRENT,
            launches::TOTALS,
            launches::FAILED,
            launches::NAMES,
            launches::edge_cases::PAGES,
            launches::edge_cases::VANISHED,
            launches::restart::RESTART,
        ],
        once: &[launches::edge_cases::CHURN, launches::stalled::STALLED],
        ..Group::DEFAULT
    },
    Group { name: "module_reload", scenarios: &[module_reload::RELOADED], ..Group::DEFAULT },
    Group {
        name: "hung_psp",
        prepare: || host::load_with(&["psp_cmd_timeout=1"]),
        scenarios: &[hung_psp::HUNG_PSP, order::hung::HUNG],
        ..Group::DEFAULT
    },
    Group {
        name: "missing_prerequisites",
        prepare: || Ok(()),
        scenarios: &[missing_prerequisites::NO_KVM_AMD],
        once: &[
            missing_prerequisites::NO_ROOT,
            missing_prerequisites::NO_BPF,
            missing_prerequisites::STAY,
            missing_prerequisites::NO_SNP,
            missing_prerequisites::STAY_RECOVERS,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "gate",
        memory_mib: 2048,
        scenarios: &[
            gate::NOBODY_ANSWERS,
            gate::ANSWERS,
            gate::SELF_TEST,
            gate::parameters::PARAMETERS,
            gate::parameters::ATTACKER,
            gate::capabilities::CAPABILITIES,
            gate::capabilities::LOADER,
            gate::loading::FTRACE,
            gate::loading::LOADED_TWICE,
            gate::loading::LIVE_PATCH,
            gate::loading::PINS,
            gate::protocols::PROTOCOLS,
            gate::tracers::TRACED,
            gate::unloading::UNDER_LOAD,
            gate::unloading::WHILE_BUSY,
            gate::unloading::UNLOAD_FORGED,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "order",
        memory_mib: 2048,
        scenarios: &[
            order::QUIET_VM,
            order::LAUNCH,
            order::under_load::KILLED,
            order::under_load::SIGNALS,
            order::under_load::PARAMETERS,
            order::unloading::UNLOADED,
            order::waiting::LISTED,
            order::starved::QUOTA,
            order::stopped::STOPPED,
            order::stopped::SUSPENDED,
            order::figures::LAUNCHES,
            order::figures::CONCURRENT,
            order::figures::BUSY,
            order::starved::OVERSOLD,
        ],
        once: &[
            order::under_load::OVERDUE,
            order::waiting::WEIGHTS,
            order::weights::POLICY,
            order::observed::SHOWN,
            order::observed::CONFIGURED,
            order::checked::LOCKDEP,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "enforce",
        memory_mib: 2048,
        scenarios: &[
            enforce::DENIED_AND_BUSY,
            limits::ADMITTED_RATE,
            limits::FIRST_REQUEST,
            enforce::RACE,
            enforce::ATTACKER,
        ],
        once: &[limits::FAIRNESS, enforce::AUDIT],
        ..Group::DEFAULT
    },
    Group {
        name: "shares",
        once: &[
            shares::PSP_TIME,
            shares::quiet::QUIET_VM,
            shares::VCPU,
            shares::AUDIT,
            shares::returning::RETURNING,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "overload",
        memory_mib: 4096,
        scenarios: &[lost_vmpcks::OVERLOAD],
        ..Group::DEFAULT
    },
    Group {
        name: "verification",
        memory_mib: 2048,
        scenarios: &[
            verification::GATE_REMOVED,
            verification::FOREIGN_ANSWER,
            skipped_probes::CALL,
            skipped_probes::DECIDED,
            edge_cases::COST,
            vcpu_backend::HELD,
            vcpu_backend::DENIED,
            vcpu_backend::STOPPED,
            vcpu_backend::COMPAT,
            vcpu_backend::UNKNOWN_VMM,
            unresolved_vms::FIRST_REQUEST,
            tio::UNDECIDED,
        ],
        once: &[
            verification::REFUSES,
            verification::STAYS,
            verification::CHANGES,
            policy_changes::CHANGES,
            policy_changes::ONLY_ROOT,
            policy_changes::ONE_REPORT,
            edge_cases::TABLE_FULL,
            edge_cases::CLOCK_STEPS,
            unresolved_vms::AGENT_STOPPED,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "no_lsm",
        // Debian's default, without bpf.
        cmdline: "lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor",
        scenarios: &[verification::NO_LSM],
        once: &[doctor::NO_LSM],
        ..Group::DEFAULT
    },
    Group {
        name: "takeover",
        memory_mib: 2048,
        scenarios: &[takeover::restarts::SURVIVES, takeover::restarts::FLOOD],
        once: &[
            takeover::versions::OTHER_PROGRAMS,
            takeover::versions::OTHER_ENTRIES,
            takeover::failpoints::AT_START,
            takeover::failpoints::AT_TAKEOVER,
            takeover::failpoints::AT_CHANGE,
            takeover::failpoints::AT_STOP,
            takeover::failpoints::AT_DETACH,
            takeover::versions::OTHER_SCHEMA,
            takeover::unchanged::UNCHANGED,
            takeover::unchanged::RELOADED,
            takeover::unchanged::REPLACED,
            takeover::unchanged::REFUSED,
            takeover::foreign_pins::FOREIGN,
            takeover::single_agent::SECOND_AGENT,
            takeover::single_agent::PID_REUSE,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "attack",
        memory_mib: 2048,
        scenarios: &[
            attack::processes::LIMIT,
            attack::processes::DENIED,
            attack::processes::SCRIBBLED,
            attack::new_vms::HASTY,
            attack::capacity::PARKED,
            attack::contexts::SEVERAL,
            attack::contexts::UNSEEN,
            attack::agents::MOVES,
        ],
        once: &[
            attack::processes::FREE,
            attack::capacity::THOUSAND,
            attack::capacity::CHURN,
            attack::capacity::CONTEXTS_FULL,
            attack::capacity::THREADS_FULL,
            attack::capacity::EVICTED,
            attack::capacity::FLOOD,
            attack::contexts::RESET,
            attack::contexts::BURST,
            attack::contexts::REUSE,
            attack::agents::REPLACED,
            attack::hidden_processes::VANISH,
            attack::hidden_processes::HIDEPID,
            attack::hidden_processes::HIDDEN,
            attack::hidden_processes::HIDDEN_LONG,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "config",
        memory_mib: 2048,
        once: &[
            config::RELOADED,
            config::AT_RELOAD,
            config::APPLIED,
            config::FULL_DISK,
            config::WRONG_REQUESTS,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "doctor",
        scenarios: &[doctor::COMPILER, doctor::READY, capacity::ASIDS],
        once: &[doctor::BROKEN, doctor::COMPLETION, doctor::HUNG_PSP],
        ..Group::DEFAULT
    },
    Group {
        name: "events",
        memory_mib: 2048,
        once: &[events::KINDS, events_all::EXACT, events_all::COST],
        ..Group::DEFAULT
    },
    Group {
        name: "lockdown",
        scenarios: &[lockdown::INTEGRITY, lockdown::CONFIDENTIALITY],
        ..Group::DEFAULT
    },
    Group {
        name: dashboards::GROUP,
        // It is scraped from outside.
        cmdline: "rig.ip=10.0.2.15/24",
        once: &[dashboards::WATCHED],
        ..Group::DEFAULT
    },
    Group { name: "pods", once: &[pods::RULES, pods::MOVED, packages::UPGRADE], ..Group::DEFAULT },
    Group { name: "top", once: &[top::LIVE], ..Group::DEFAULT },
    Group {
        name: "faults",
        once: &[
            faults::THOUSAND,
            faults::SOCKET,
            faults::CLOCK,
            faults::NEVER_READ,
            faults::READERS,
            faults::MEMORY,
            faults::SLOW_DISK,
            faults::LOG,
            faults::DESCRIPTORS,
            faults::PINS_REMOVED,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "qemu",
        needs: Needs::Vmm,
        memory_mib: 2048,
        scenarios: &[
            qemu::COUNTED,
            qemu::gate::DENIED,
            qemu::vcpu::HELD,
            qemu::vcpu::DENIED,
            qemu::launch::KILLED,
            qemu::firmware::VCPUS,
            qemu::firmware::GHCB,
            qemu::newer::COUNTED,
        ],
        once: &[
            qemu::SIX,
            qemu::RESTARTED_AGENT,
            qemu::gate::LIMITED,
            qemu::gate::LONG,
            qemu::vcpu::STOPPED,
            qemu::vcpu::KILLED,
            qemu::vcpu::ENDED,
            qemu::waiting::MONITOR,
            qemu::waiting::KILLED,
            qemu::waiting::RESET,
            qemu::load::SHARE,
            qemu::load::ORDER,
            qemu::load::LAUNCHES,
            qemu::newer::RESET,
            qemu::newer::DENIED,
            qemu::newer::ENDED,
            qemu::newer::NAMES,
            qemu::firmware::OVMF,
            qemu::firmware::NO_METADATA,
            qemu::firmware::SILENT,
        ],
        ..Group::DEFAULT
    },
    debian::GROUP,
    libvirt::GROUP,
    Group { name: "hostile", once: &[hostile::AT_FULL_SPEED], ..Group::DEFAULT },
    Group { name: "soak", memory_mib: 2048, once: &[soak::SOAK], ..Group::DEFAULT },
    Group { name: "stress", memory_mib: 2048, once: &[stress::ALL_AT_ONCE], ..Group::DEFAULT },
    Group {
        name: "daemonset",
        memory_mib: 2048,
        prepare: daemonset::prepare,
        once: &[
            daemonset::DOES_EVERYTHING,
            daemonset::runtimes::DEFAULT_PROFILES,
            daemonset::runtimes::OWN_PROFILE,
            daemonset::missing::ONE_CAPABILITY,
            daemonset::missing::THE_NODE,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "containerd",
        memory_mib: 3072,
        needs: Needs::Nodes,
        long: true,
        prepare: containerd::prepare,
        once: &[
            containerd::COUNTS_1,
            containerd::COUNTS_2,
            containerd::enforced::CONFIG_MAP_1,
            containerd::enforced::CONFIG_MAP_2,
            containerd::enforced::VCPU,
            containerd::enforced::REPLACED,
            containerd::enforced::DETACHED,
            containerd::enforced::OWN_PROFILE,
            containerd::bad_input::MISSING_IMAGE,
            containerd::two::TWO,
            podman::OWN_PROFILE,
            podman::DEFAULT_PROFILE,
            containerd::bad_input::NO_CGROUP_V2,
        ],
        ..Group::DEFAULT
    },
    realtime::GROUP,
];
