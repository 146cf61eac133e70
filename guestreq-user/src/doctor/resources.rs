//! # Resources

use super::{Check, Finding, Host};
use crate::config::Config;

/// Kernel memory per VM of `max_vms`: the records of the VM, its threads and contexts.
const BYTES_PER_VM: u64 = 13_000;
/// The agent's maps, programs, links and some clients.
const DESCRIPTORS: u64 = 256;
/// Detects a full disk; overrides need little.
const FREE_BYTES: u64 = 16 << 20;

const KEYS: &str = "docs/reference/keys.md#configuration";
const LOST: &str = "docs/reference/losses.md#losses";

pub const CHECKS: &[Check] = &[
    Check {
        id: "map_room",
        title: "Room in the maps",
        needed: "VMs, threads and guest contexts that do not fit into the maps are counted for the host only: raise `max_vms`, and `guestreq detach` before the agent's next start.",
        docs: LOST,
        run: map_room,
    },
    Check {
        id: "memory",
        title: "Kernel memory",
        needed: "The maps take about 13 kB per VM of `max_vms`, charged to the agent's memory cgroup (not to RLIMIT_MEMLOCK since Linux 5.11).",
        docs: KEYS,
        run: memory,
    },
    Check {
        id: "state_folder",
        title: "State folder",
        needed: "Overrides are saved there; without space changes are refused: 16 MiB free under `state`.",
        docs: "docs/policy.md#on-the-command-line",
        run: state_folder,
    },
    Check {
        id: "descriptors",
        title: "File descriptors",
        needed: "The agent uses about a hundred, and one per client: a limit of at least 256 (LimitNOFILE=).",
        docs: KEYS,
        run: descriptors,
    },
];

fn map_room(host: &Host<'_>) -> Finding {
    let Some(agent) = host.agent() else { return Finding::skip("no agent has answered") };
    if agent.maps.is_empty() {
        return Finding::skip("the agent is not observing");
    }
    let texts =
        agent.maps.iter().map(|map| format!("{} of {} {}", map.entries, map.capacity, map.map));
    let text = texts.collect::<Vec<_>>().join(", ");
    const FIX: &str = "raise max_vms, stop the agent, `guestreq detach`, start it again";
    // Hash tables may be full slightly earlier.
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
    let Some(available) = available else {
        return Finding::skip("no MemAvailable in /proc/meminfo");
    };
    let text = format!("{} for {max_vms} VMs, {} available", mib(needed), mib(available));
    if host.agent().is_none_or(|agent| agent.maps.is_empty()) && available < needed {
        return Finding::fail(text, "a smaller max_vms, or more memory");
    }
    Finding::pass(text)
}

fn state_folder(host: &Host<'_>) -> Finding {
    let Ok(config) = &host.config else { return Finding::skip("the configuration cannot be read") };
    // The agent creates the folder with the first override.
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
    let process = if process == "self" { "this shell" } else { "the agent" };
    match soft.as_deref().map(|soft| (soft, soft.parse::<u64>())) {
        Some((soft, Ok(number))) if number < DESCRIPTORS => Finding::fail(
            format!("{process} may open only {soft}"),
            "`ulimit -n 1024`, LimitNOFILE=1024",
        ),
        Some((soft, _)) => Finding::pass(format!("{process} may open {soft}")),
        None => Finding::skip("no open files limit in /proc/PID/limits"),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
