//! # What the agent reads and shows, in one boot
//!
//! Configuration, events, names of pods, packages, the terminal: the same on each kernel.

use super::{config, events, events_all, packages, pods, top};
use crate::scenario::Group;

pub const GROUP: Group = Group {
    name: "interfaces",
    memory_mib: 2048,
    once: &[
        config::reload::RELOADED,
        config::reload::AT_RELOAD,
        config::applied::APPLIED,
        config::applied::FULL_DISK,
        config::applied::WRONG_REQUESTS,
        events::KINDS,
        events_all::EXACT,
        events_all::COST,
        pods::RULES,
        pods::MOVED,
        packages::UPGRADE,
        top::LIVE,
    ],
    ..Group::DEFAULT
};
