//! # The agent

use guestreq_common::policy::{Backend, Mode};

use super::{Check, Finding, Host, live::Asked};
use crate::{
    bpf::pins::{Found, Mounted, ROOT},
    config::DEFAULT_PATH,
    enforce::policies::Policies,
};

const TRUE: &str = "docs/enforcement.md#verification";
const ALONE: &str = "docs/enforcement.md#without-an-agent";

pub const CHECKS: &[Check] = &[
    Check {
        id: "config",
        title: "Configuration",
        needed: "What the agent starts with, and what the command line has set, can be read and do not contradict each other.",
        docs: "docs/reference/keys.md#configuration",
        look: config,
    },
    Check {
        id: "agent_running",
        title: "Running",
        needed: "The agent answers on its socket: `guestreq agent` as root, or its service.",
        docs: "README.md#on-a-real-snp-host",
        look: running,
    },
    Check {
        id: "agent_version",
        title: "Version",
        needed: "Agent and command line are of one version: restart the agent after an upgrade.",
        docs: ALONE,
        look: version,
    },
    Check {
        id: "agent_ready",
        title: "Ready",
        needed: "What /readyz says: the probes that counting needs are attached, and what is to be enforced is.",
        docs: "docs/enforcement.md#reasons-and-fixes",
        look: ready,
    },
    Check {
        id: "enforcement",
        title: "Enforcement verified",
        needed: "What is to be enforced was tried a moment ago, through the way that a request takes.",
        docs: TRUE,
        look: enforcement,
    },
    Check {
        id: "bypassed",
        title: "Nothing passed",
        needed: "No request passed undecided that should have been decided, since counting began.",
        docs: "docs/enforcement.md#what-the-counters-mean",
        look: bypassed,
    },
    Check {
        id: "vms_unread",
        title: "VMs by name",
        needed: "The process of every VM answers who it is. One whose /proc/PID/cmdline does not come, as its memory is locked, is shown as `unread-PID`, and no rule that names it holds for it until it answers.",
        docs: "docs/reliability.md#what-may-block",
        look: unread,
    },
    Check {
        id: "pins",
        title: "Pins",
        needed: "What is pinned in the BPF file system is this version's, and has an agent: start one, or `guestreq detach`.",
        docs: ALONE,
        look: pins,
    },
];

fn config(host: &Host<'_>) -> Finding {
    let config = match &host.config {
        Ok(config) => config,
        Err(error) if super::host::is_denied(error) => return Finding::hidden("the configuration"),
        Err(error) => {
            return Finding::fail(format!("{error:#}"), "mend that; the rest is as it was");
        }
    };
    match Policies::open(config) {
        Ok(policies) => {
            let mode = policies.policy_set().strictest();
            Finding::pass(format!("backend {}, mode {}", config.backend.0.name(), mode.name()))
        }
        Err(error) if super::host::is_denied(&error) => {
            Finding::hidden("what the command line has set")
        }
        Err(error) => Finding::fail(format!("{error:#}"), format!("mend that, or {DEFAULT_PATH}")),
    }
}

fn running(host: &Host<'_>) -> Finding {
    match &host.agent {
        Asked::Answered(agent) => Finding::pass(format!("pid {}", agent.pid)),
        Asked::Nobody(socket) => Finding::warn(
            format!("no agent answers at {}", socket.display()),
            "`sudo guestreq agent`, or start its service",
        ),
        Asked::Forbidden(socket) => Finding::hidden(&format!("{}", socket.display())),
        Asked::LookupError(why) => Finding::fail(why.clone(), "restart the agent, of this version"),
    }
}

/// Looks at the agent's answer, or skips.
fn of_agent(host: &Host<'_>, look: impl Fn(&crate::wire::status::Agent) -> Finding) -> Finding {
    match host.agent() {
        Some(agent) => look(agent),
        None => Finding::skip("no agent has answered"),
    }
}

fn version(host: &Host<'_>) -> Finding {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    of_agent(host, |agent| match agent.version.as_str() {
        OURS => Finding::pass(OURS),
        other => Finding::warn(
            format!("the agent is {other:?}, this guestreq {OURS:?}"),
            "restart the agent, of the version that is installed",
        ),
    })
}

fn ready(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match &agent.reason {
        None => Finding::pass("observes"),
        Some(reason) => Finding::fail(reason.clone(), "what the reason asks for"),
    })
}

fn enforcement(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| {
        let status = &agent.enforcement;
        match (&status.reason, status.verified) {
            _ if status.mode.0 != Mode::Enforce => {
                Finding::pass(format!("mode {}: nothing is to be enforced", status.mode))
            }
            (_, true) => Finding::pass(format!("tried, backend {}", status.backend)),
            (reason, false) => Finding::fail(
                format!("NOT ENFORCED: {}", reason.as_deref().unwrap_or("not yet tried")),
                "what the reason asks for",
            ),
        }
    })
}

fn bypassed(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match agent.enforcement.bypassed {
        None => Finding::skip("the agent does not observe"),
        Some(0) => Finding::pass("no request"),
        Some(count) => Finding::warn(
            format!("{count} requests passed that should not have"),
            "the agent's log says of which VMs (bypassed:)",
        ),
    })
}

fn unread(host: &Host<'_>) -> Finding {
    of_agent(host, |agent| match agent.unread_vms {
        None => Finding::skip("the agent does not observe"),
        Some(0) => Finding::pass("every VM's process can be read"),
        Some(count) => Finding::warn(
            format!("{count} VMs without a name, as their processes do not answer"),
            "the agent's log says why; `guestreq vms` shows them as unread-PID: `cat \
             /proc/PID/cmdline` hangs, too, until whatever holds that VMM's memory lets go",
        ),
    })
}

fn pins(host: &Host<'_>) -> Finding {
    if host.live.bpffs() == Mounted::Writable && !host.is_privileged() {
        return Finding::hidden("what is pinned");
    }
    let alive = host.agent().is_some();
    match host.live.pins() {
        Err(_) => Finding::skip("no BPF file system at /sys/fs/bpf"),
        Ok(Found::Nothing) if alive => Finding::warn(
            format!("nothing at {ROOT}, though an agent runs: what it enforces would end with it"),
            "restart the agent",
        ),
        Ok(Found::Nothing) => Finding::pass(format!("nothing at {ROOT}")),
        Ok(Found::Ours { .. }) if alive => Finding::pass("the agent's"),
        Ok(Found::Ours { .. }) if lost_its_gate(host) => Finding::fail(
            "left by an agent, and know another gate than the one that is loaded: nothing is \
             enforced",
            "start the agent",
        ),
        Ok(Found::Ours { .. }) => Finding::warn(
            "left by an agent: counting goes on, and what it enforced, but nobody watches it",
            "start the agent, or `guestreq detach`",
        ),
        Ok(Found::Foreign(why)) => Finding::fail(
            format!("not this version's: {why}"),
            "start this version's agent, which replaces it, or `guestreq detach`",
        ),
    }
}

/// Whether programs that should answer the gate wait for one that is gone.
fn lost_its_gate(host: &Host<'_>) -> bool {
    let loaded = super::host::file_number(host);
    host.enforces()
        && host.backend() == Backend::Gate
        && loaded.is_some()
        && !super::host::is_answered(host)
}
