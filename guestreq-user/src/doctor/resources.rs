//! # Room for more

use super::{Check, Finding, Host};
use crate::config::Config;

/// Of kernel memory, for each VM that there is room for: its record, its threads' and contexts'.
const BYTES_PER_VM: u64 = 13_000;
/// What the agent opens: maps, programs, links, and a few clients.
const DESCRIPTORS: u64 = 256;
/// Overrides and the agent's log need little; a full disk is what is to be noticed.
const FREE_BYTES: u64 = 16 << 20;

const KEYS: &str = "docs/reference/keys.md#configuration";
const LOST: &str = "docs/reference/losses.md#losses";

pub const CHECKS: &[Check] = &[
    Check {
        id: "map_room",
        title: "Room in the maps",
        needed: "A VM, thread or guest context that finds its map full is counted for the host only: raise `max_vms`; `guestreq detach` before the agent's next start.",
        docs: LOST,
        look: map_room,
    },
    Check {
        id: "memory",
        title: "Kernel memory",
        needed: "The maps take about 13 kB for each of `max_vms`, of the agent's memory cgroup (RLIMIT_MEMLOCK does not count since Linux 5.11).",
        docs: KEYS,
        look: memory,
    },
    Check {
        id: "state_folder",
        title: "State folder",
        needed: "What `limit set` and `policy` set is kept there, or not set: 16 MiB free under `state`.",
        docs: "docs/policy.md#on-the-command-line",
        look: state_folder,
    },
    Check {
        id: "descriptors",
        title: "File descriptors",
        needed: "The agent holds about a hundred, and one for each client: 256 under its limit (LimitNOFILE=).",
        docs: KEYS,
        look: descriptors,
    },
];

fn map_room(host: &Host<'_>) -> Finding {
    let Some(agent) = host.agent() else { return Finding::skip("no agent has answered") };
    if agent.maps.is_empty() {
        return Finding::skip("the agent does not observe");
    }
    let texts =
        agent.maps.iter().map(|map| format!("{} of {} {}", map.entries, map.capacity, map.map));
    let text = texts.collect::<Vec<_>>().join(", ");
    const FIX: &str = "raise max_vms, stop the agent, `guestreq detach`, start it again";
    // Hash tables may refuse a little earlier.
    if agent.maps.iter().any(|map| map.entries >= map.capacity) {
        Finding::fail(format!("full: {text}"), FIX)
    } else if agent.maps.iter().any(|map| map.entries * 10 >= map.capacity * 9) {
        Finding::warn(format!("nearly full: {text}"), FIX)
    } else {
        Finding::pass(text)
    }
}

fn memory(host: &Host<'_>) -> Finding {
    let Ok(Config { max_vms, .. }) = host.config.as_ref() else {
        return Finding::skip("the configuration cannot be read");
    };
    let needed = u64::from(*max_vms) * BYTES_PER_VM;
    let text = host.system.read("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| {
        let kilobytes: u64 =
            line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes.saturating_mul(1024))
    });
    let Some(available) = available else { return Finding::skip("/proc/meminfo does not say") };
    let text = format!("{} for {max_vms} VMs, {} available", mib(needed), mib(available));
    if host.agent().is_none_or(|agent| agent.maps.is_empty()) && available < needed {
        return Finding::fail(text, "a smaller max_vms, or more memory");
    }
    Finding::pass(text)
}

fn state_folder(host: &Host<'_>) -> Finding {
    let Ok(config) = &host.config else { return Finding::skip("the configuration cannot be read") };
    // The agent makes the folder when it first has something to keep.
    let existing = config.state.ancestors().find(|folder| folder.exists());
    let Some(folder) = existing else { return Finding::skip("no folder") };
    match host.live.free_bytes(folder) {
        Ok(free) if free >= FREE_BYTES => {
            Finding::pass(format!("{} free at {}", mib(free), folder.display()))
        }
        Ok(free) => Finding::fail(
            format!("{} free at {}: changes are refused", mib(free), folder.display()),
            "free some space, or set `state` to another folder",
        ),
        Err(error) => Finding::skip(format!("{}: {error}", folder.display())),
    }
}

fn descriptors(host: &Host<'_>) -> Finding {
    let process = host.agent().map_or("self".to_owned(), |agent| agent.pid.to_string());
    let Ok(limits) = host.system.read(&format!("/proc/{process}/limits")) else {
        return Finding::hidden("the agent's limits");
    };
    let soft = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?.split_whitespace().next().map(str::to_owned)
    });
    let whose = if process == "self" { "this shell" } else { "the agent" };
    match soft.as_deref().map(|soft| (soft, soft.parse::<u64>())) {
        Some((soft, Ok(number))) if number < DESCRIPTORS => Finding::fail(
            format!("{whose} may open only {soft}"),
            "`ulimit -n 1024`, LimitNOFILE=1024",
        ),
        Some((soft, _)) => Finding::pass(format!("{whose} may open {soft}")),
        None => Finding::skip("the kernel does not say"),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
