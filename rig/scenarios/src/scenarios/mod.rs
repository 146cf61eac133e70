//! # What guestreq promises
//!
//! One file per subject; a group is a boot.

mod attack;
mod bare;
mod config;
pub mod cost;
mod dashboards;
mod doctor;
mod enforce;
mod events;
mod events_all;
mod exact;
pub mod exactness;
mod faults;
mod gate;
mod gate_capabilities;
mod gate_loading;
mod gate_tracers;
mod gate_unloading;
mod guests;
mod hang;
mod hold;
mod honest;
mod hostile;
pub mod limits;
mod lockdown;
mod losses;
mod modules;
mod names;
mod odd;
mod operation;
mod outlive;
mod packages;
mod pod;
mod pods;
pub mod realtime;
mod refusals;
mod skipped;
mod soak;
mod stages;
mod storm;
#[cfg(test)]
mod tests;
mod tio;
mod top;
mod unresolved;

use exact::{assert_exact, assert_exact_but, counted, expected, losses};

use crate::{host, scenario::Group};

pub const GROUPS: &[Group] = &[
    Group {
        name: "observe",
        memory_mib: 3072,
        scenarios: &[
            exactness::COUNTS_EQUAL_THE_FIRMWARE,
            stages::ADD_UP,
            stages::BUSY_TIME,
            stages::VM_LOCK,
            stages::PSP_QUEUE,
            guests::SEQUENCE_NUMBERS,
            guests::VMPCKS,
            guests::EXTENDED,
            guests::CERTIFICATES,
            guests::HOST_ERRORS,
            guests::DIES_MID_REQUEST,
            guests::ORDINARY,
            losses::LOST_RETURN,
            losses::MISSED_PROBES,
            skipped::START,
            losses::NO_PROBE,
            operation::STOPS_CLEANLY,
            cost::BPF_TIME,
        ],
        once: &[
            exactness::TWO_HUNDRED_VMS,
            guests::HOSTILE_HEADERS,
            exactness::EVERY_STATUS,
            names::VMMS,
            names::OTHER_NAME,
            names::SAME_NAME,
            names::RETENTION,
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
    Group { name: "modules", scenarios: &[modules::RELOADED], ..Group::DEFAULT },
    Group {
        name: "hang",
        prepare: || host::load_with(&["psp_cmd_timeout=1"]),
        scenarios: &[hang::HUNG_PSP],
        ..Group::DEFAULT
    },
    Group {
        name: "bare",
        prepare: || Ok(()),
        scenarios: &[bare::NO_KVM_AMD],
        once: &[bare::NO_ROOT, bare::NO_BPF, bare::STAY, bare::NO_SNP, bare::STAY_RECOVERS],
        ..Group::DEFAULT
    },
    Group {
        name: "gate",
        memory_mib: 2048,
        scenarios: &[
            gate::NOBODY_ANSWERS,
            gate::ANSWERS,
            gate::SELF_TEST,
            gate::PARAMETERS,
            gate::ATTACKER,
            gate_capabilities::CAPABILITIES,
            gate_capabilities::LOADER,
            gate_loading::FTRACE,
            gate_loading::LOADED_TWICE,
            gate_loading::LIVE_PATCH,
            gate_loading::PINS,
            gate_tracers::TRACED,
            gate_unloading::UNDER_LOAD,
            gate_unloading::WHILE_BUSY,
            gate_unloading::BESIDE_A_FORGER,
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
            limits::FAIRNESS,
            enforce::RACE,
            enforce::ATTACKER,
        ],
        once: &[enforce::AUDIT],
        ..Group::DEFAULT
    },
    Group {
        name: "honest",
        memory_mib: 2048,
        scenarios: &[
            honest::GATE_GONE,
            honest::FOREIGN_ANSWER,
            skipped::CALL,
            skipped::DECIDED,
            odd::COST,
            hold::HELD,
            hold::STOPPED,
            hold::COMPAT,
            hold::STRANGER,
            unresolved::FIRST_REQUEST,
            tio::UNDECIDED,
        ],
        once: &[
            honest::REFUSES,
            honest::STAYS,
            honest::CHANGES,
            refusals::CHANGES,
            refusals::NOBODY,
            refusals::ONE_REPORT,
            odd::TABLE_FULL,
            odd::CLOCK_STEPS,
            unresolved::AGENT_STOPPED,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "no_lsm",
        // Debian's own, without bpf.
        cmdline: "lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor",
        scenarios: &[honest::NO_LSM],
        once: &[doctor::NO_LSM],
        ..Group::DEFAULT
    },
    Group {
        name: "outlive",
        memory_mib: 2048,
        scenarios: &[
            outlive::takeover::GOES_ON,
            outlive::takeover::FLOOD,
            outlive::versions::OTHER_PROGRAMS,
            outlive::versions::OTHER_ENTRIES,
        ],
        once: &[
            outlive::faults::AT_START,
            outlive::faults::AT_TAKEOVER,
            outlive::faults::AT_CHANGE,
            outlive::faults::AT_STOP,
            outlive::faults::AT_DETACH,
            outlive::versions::OTHER_SCHEMA,
            outlive::foreign::FOREIGN,
            outlive::alone::SECOND_AGENT,
            outlive::alone::PID_REUSE,
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
            attack::room::PARKED,
            attack::contexts::SEVERAL,
            attack::contexts::UNSEEN,
            attack::agents::MOVES,
        ],
        once: &[
            attack::processes::FREE,
            attack::room::THOUSAND,
            attack::room::CHURN,
            attack::room::CONTEXTS_FULL,
            attack::room::THREADS_FULL,
            attack::room::EVICTED,
            attack::room::FLOOD,
            attack::contexts::RESET,
            attack::contexts::BURST,
            attack::contexts::REUSE,
            attack::agents::REPLACED,
            attack::names::VANISH,
            attack::names::HIDEPID,
            attack::names::HIDDEN,
            attack::names::HIDDEN_LONG,
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
            config::ASKED,
        ],
        ..Group::DEFAULT
    },
    Group {
        name: "doctor",
        scenarios: &[doctor::READY],
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
        // Who looks at it is outside.
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
            faults::PINS_GONE,
        ],
        ..Group::DEFAULT
    },
    Group { name: "hostile", once: &[hostile::AT_FULL_SPEED], ..Group::DEFAULT },
    Group { name: "soak", memory_mib: 2048, once: &[soak::SOAK], ..Group::DEFAULT },
    Group { name: "storm", memory_mib: 2048, once: &[storm::STORM], ..Group::DEFAULT },
    Group {
        name: "pod",
        memory_mib: 2048,
        prepare: pod::prepare,
        once: &[
            pod::DOES_EVERYTHING,
            pod::runtimes::DEFAULT_PROFILES,
            pod::runtimes::OWN_PROFILE,
            pod::lacking::ONE_CAPABILITY,
            pod::lacking::THE_NODE,
        ],
        ..Group::DEFAULT
    },
    realtime::GROUP,
];
