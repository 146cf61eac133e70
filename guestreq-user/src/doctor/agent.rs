//! # The agent

use guestreq_common::policy::{Backend, Mode};

use super::{Check, Finding, Host, host::is_denied, live::Asked};
use crate::{
    bpf::pins::{Found, Mounted, ROOT},
    config::DEFAULT_PATH,
    enforce::{denial::after_denial, policies::Policies},
    wire::status::FeatureFile,
};

/// A fix for each reason is on the page of the check.
const FIX_BY_REASON: &str = "look up the reason in the table of this page:";
const WITHOUT_AGENT: &str = "docs/enforcement.md#without-an-agent";

pub const CHECKS: &[Check] = &[
    Check {
        id: "config",
        title: "Configuration",
        needed: "Configuration and overrides are readable and do not contradict each other.",
        docs: "docs/reference/keys.md#configuration",
        run: config,
    },
    Check {
        id: "agent_running",
        title: "Running",
        needed: "The agent answers on its socket: `guestreq agent` as root, or its service.",
        docs: "README.md#on-a-real-snp-host",
        run: running,
    },
    Check {
        id: "agent_version",
        title: "Version",
        needed: "Agent and command line have the same version: restart the agent after an upgrade.",
        docs: WITHOUT_AGENT,
        run: version,
    },
    Check {
        id: "agent_ready",
        title: "Ready",
        needed: "As /readyz: the required probes are attached, and enforcement is verified if configured.",
        docs: "docs/enforcement.md#reasons-and-fixes",
        run: ready,
    },
    Check {
        id: "enforcement",
        title: "Enforcement verified",
        needed: "The agent's last self-test of enforcement succeeded; it uses the path of a real request.",
        docs: "docs/enforcement.md#reasons-and-fixes",
        run: enforcement,
    },
    Check {
        id: "bypassed",
        title: "No bypass",
        needed: "No request has bypassed enforcement since counting began.",
        docs: "docs/enforcement.md#what-the-counters-mean",
        run: bypassed,
    },
    Check {
        id: "vms_unread",
        title: "VMs by name",
        needed: "Every VMM's /proc/PID/cmdline can be read. While reading one blocks, as its memory is locked, its VM is shown as `unread-PID` and no rule matches its name.",
        docs: "docs/reliability.md#what-may-block",
        run: unread,
    },
    Check {
        id: "node_labels",
        title: "Node labels",
        needed: "If `nfd_file` is set, the agent can write that file for Node Feature Discovery: its folder exists, root may write to it, and a container mounts it.",
        docs: "docs/nodes.md#labels",
        run: node_labels,
    },
    Check {
        id: "pins",
        title: "Pins",
        needed: "Pins in the BPF file system are from this version and used by an agent: start one, or `guestreq detach`.",
        docs: WITHOUT_AGENT,
        run: pins,
    },
];

fn config(host: &Host<'_>) -> Finding {
    let config = match &host.config {
        Ok(config) => config,
        Err(error) if is_denied(error) => return Finding::hidden("the configuration"),
        Err(error) => {
            return Finding::fail(
                format!("{error:#}"),
                "fix the configuration; a running agent keeps the previous one",
            );
        }
    };
    match Policies::open(config) {
        Ok(policies) => {
            let mode = policies.policy_set().strictest();
            let after = after_denial(config.backend.0, config.vcpu_denied.0);
            let after = after.map_or(String::new(), |it| format!(" (vcpu_denied {})", it.name()));
            let backend = config.backend.0.name();
            Finding::pass(format!("backend {backend}{after}, mode {}", mode.name()))
        }
        Err(error) if is_denied(&error) => Finding::hidden("overrides"),
        Err(error) => Finding::fail(format!("{error:#}"), format!("fix that, or {DEFAULT_PATH}")),
    }
}

fn running(host: &Host<'_>) -> Finding {
    match &host.agent {
        Asked::Answered(agent) => Finding::pass(format!("pid {}", agent.pid)),
        Asked::Nobody(socket) => Finding::warn(
            format!("no agent answers at {}", socket.display()),
            "start its service, or `sudo guestreq agent`",
        ),
        Asked::Forbidden(socket) => Finding::hidden(&format!("{}", socket.display())),
        Asked::Invalid(why) => Finding::fail(why.clone(), "restart the agent with this version"),
    }
}

/// Checks the agent's answer, or skips.
fn of_agent(host: &Host<'_>, check: impl Fn(&crate::wire::status::Agent) -> Finding) -> Finding {
    match host.agent() {
        Some(agent) => check(agent),
        None => Finding::skip("no agent has answered"),
    }
}

fn version(host: &Host<'_>) -> Finding {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    of_agent(host, |agent| match agent.version.as_str() {
        OURS => Finding::pass(OURS),
        other => Finding::warn(
            format!("the agent has version {other:?}, this guestreq {OURS:?}"),
            "restart the agent",
        ),
    })
}

fn ready(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match &agent.reason {
        None => Finding::pass("observing"),
        Some(reason) => Finding::fail(reason.clone(), FIX_BY_REASON),
    })
}

fn enforcement(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| {
        let status = &agent.enforcement;
        match (&status.reason, status.verified) {
            _ if status.mode.0 != Mode::Enforce => {
                Finding::pass(format!("mode {}: not enforcing", status.mode))
            }
            (_, true) => Finding::pass(format!("backend {}", status.backend)),
            (reason, false) => Finding::fail(
                format!("NOT ENFORCED: {}", reason.as_deref().unwrap_or("not yet verified")),
                FIX_BY_REASON,
            ),
        }
    })
}

fn bypassed(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match agent.enforcement.bypassed {
        None => Finding::skip("the agent is not observing"),
        Some(0) => Finding::pass("none"),
        Some(count) => Finding::warn(
            format!("{count} requests bypassed enforcement"),
            "the agent's log names the VMs (bypassed:)",
        ),
    })
}

fn unread(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match agent.unread_vms {
        None => Finding::skip("the agent is not observing"),
        Some(0) => Finding::pass("every VM's process is readable"),
        Some(count) => Finding::warn(
            format!("{count} VMs without a name: their processes cannot be read"),
            "see the agent's log and `guestreq vms` (unread-PID); `cat /proc/PID/cmdline` blocks, \
             too, until the VMM's memory is unlocked",
        ),
    })
}

fn node_labels(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match &agent.feature_file {
        None => Finding::pass("not configured"),
        Some(FeatureFile { path, error: None }) => Finding::pass(path.clone()),
        Some(FeatureFile { path, error: Some(error) }) => Finding::warn(
            format!("{path} cannot be written: {error}"),
            "create its folder, or mount it into the agent's container; or remove `nfd_file`",
        ),
    })
}

fn pins(host: &Host<'_>) -> Finding {
    if host.live.bpffs() == Mounted::Writable && !host.is_privileged() {
        return Finding::hidden("pins");
    }
    let running = host.agent().is_some();
    match host.live.pins() {
        Err(_) => Finding::skip("no BPF file system at /sys/fs/bpf"),
        Ok(Found::Nothing) if running => Finding::warn(
            format!("no pins at {ROOT} although an agent runs: enforcement would not survive it"),
            "restart the agent",
        ),
        Ok(Found::Nothing) => Finding::pass(format!("none at {ROOT}")),
        Ok(Found::Ours { .. }) if running => Finding::pass("used by the agent"),
        Ok(Found::Ours { .. }) if lost_its_gate(host) => Finding::fail(
            "stale pins: bound to a gate no longer loaded; nothing is enforced",
            "start the agent",
        ),
        Ok(Found::Ours { .. }) => Finding::warn(
            "no agent runs: counting and enforcement continue without its self-test",
            "start the agent, or `guestreq detach`",
        ),
        Ok(Found::Foreign(why)) => Finding::fail(
            format!("from another version: {why}"),
            "start this version's agent, which replaces them, or `guestreq detach`",
        ),
    }
}

/// Whether programs are bound to a gate that is no longer loaded.
fn lost_its_gate(host: &Host<'_>) -> bool {
    let loaded = host.gate_file_number();
    host.enforces()
        && host.backend() == Backend::Gate
        && loaded.is_some()
        && !host.is_gate_answered()
}
