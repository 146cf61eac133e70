//! # The gate

mod modinfo;
mod module;
mod vermagic;

use std::io;

use guestreq_common::policy::Backend;
use module::{installed, signed};
use vermagic::vermagic;

use super::{Check, Finding, Host};
use crate::{
    enforce::gate::{self, Alone, HOOKED, MODULE, PARAMETERS},
    host::system::Missing,
};

const REASONS: &str = "docs/enforcement.md#reasons-and-fixes";
const OBSTACLES: &str = "gate/README.md#what-can-stand-in-its-way";
const SIGNING: &str = "gate/README.md#secure-boot";
const BUILD: &str = "gate/README.md#build-and-load";

pub const CHECKS: &[Check] = &[
    Check {
        id: "gate_installed",
        title: "Built for this kernel",
        needed: "DKMS builds the gate for each kernel, if that kernel's headers are installed: `dkms install guestreq-gate/0.1.0`.",
        docs: BUILD,
        look: |host| with_gate(host, installed),
    },
    Check {
        id: "gate_vermagic",
        title: "Version magic",
        needed: "The kernel loads only what was built for it, or, where modules have their symbols' versions (modversions, as on RHEL and Ubuntu), what was built for one with the same: build the gate again, and run `depmod`. What is loaded fits.",
        docs: BUILD,
        look: |host| with_gate(host, vermagic),
    },
    Check {
        id: "gate_signed",
        title: "Signature",
        needed: "Under Secure Boot (lockdown) or `module.sig_enforce=1` the kernel loads only signed modules: sign the gate, enroll the key.",
        docs: SIGNING,
        look: |host| with_gate(host, signed),
    },
    Check {
        id: "gate_ftrace",
        title: "ftrace",
        needed: "The gate hooks by ftrace: `sysctl kernel.ftrace_enabled=1`.",
        docs: OBSTACLES,
        look: |host| with_gate(host, ftrace),
    },
    Check {
        id: "gate_livepatch",
        title: "Live patches",
        needed: "Only one can redirect a function: a live patch of the one that the gate hooks has to go.",
        docs: OBSTACLES,
        look: |host| with_gate(host, livepatch),
    },
    Check {
        id: "gate_loaded",
        title: "Loaded",
        needed: "It puts each request before the program: `modprobe guestreq_gate`, and its name in /etc/modules-load.d.",
        docs: REASONS,
        look: |host| with_gate(host, loaded),
    },
    Check {
        id: "gate_protocol",
        title: "Protocol",
        needed: "Gate and guestreq are of the same release: `modprobe -r guestreq_gate`, install that, `modprobe guestreq_gate`.",
        docs: REASONS,
        look: |host| with_gate(host, protocol),
    },
    Check {
        id: "gate_unanswered",
        title: "Without an answer",
        needed: "What becomes of requests that no program answers for: a closed gate refuses them all. Start the agent, or `echo N > /sys/module/guestreq_gate/parameters/closed`.",
        docs: "docs/enforcement.md#from-boot-to-the-agents-first-start",
        look: unanswered,
    },
];

fn with_gate(host: &Host<'_>, look: fn(&Host<'_>) -> Finding) -> Finding {
    match host.backend() {
        Backend::Gate => look(host),
        other => Finding::skip(format!("backend is {}: it needs no gate", other.name())),
    }
}

fn is_loaded(host: &Host<'_>) -> bool {
    host.system.exists(&format!("/sys/module/{MODULE}"))
}

fn ftrace(host: &Host<'_>) -> Finding {
    match host.system.read("/proc/sys/kernel/ftrace_enabled").as_deref() {
        Ok("0") => host.for_enforcing(Missing::new(
            "ftrace is switched off: the gate cannot hook anything",
            "`sysctl kernel.ftrace_enabled=1`, before the gate is loaded",
        )),
        Ok(_) => Finding::pass("switched on"),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Finding::skip(format!("/proc/sys/kernel/ftrace_enabled: {error}"))
        }
        Err(_) => host.for_enforcing(Missing::new(
            "no ftrace in this kernel",
            "a kernel with CONFIG_DYNAMIC_FTRACE_WITH_REGS, or backend = \"vcpu\"",
        )),
    }
}

/// In /sys/kernel/livepatch/PATCH/OBJECT there is a folder `FUNCTION,POSITION` for each function.
fn livepatch(host: &Host<'_>) -> Finding {
    const FOLDER: &str = "/sys/kernel/livepatch";
    for patch in host.system.list(FOLDER) {
        for object in host.system.list(&format!("{FOLDER}/{patch}")) {
            let functions = host.system.list(&format!("{FOLDER}/{patch}/{object}"));
            if functions.iter().any(|function| function.split(',').next() == Some(HOOKED)) {
                return host.for_enforcing(Missing::new(
                    format!("{patch} patches {HOOKED}, which the gate hooks"),
                    format!("remove it: `echo 0 > {FOLDER}/{patch}/enabled`"),
                ));
            }
        }
    }
    Finding::pass(format!("none of {HOOKED}"))
}

fn loaded(host: &Host<'_>) -> Finding {
    if is_loaded(host) {
        let version = host.system.read(&format!("/sys/module/{MODULE}/version"));
        return Finding::pass(
            version.map_or_else(|_| "loaded".to_owned(), |v| format!("version {v}")),
        );
    }
    let ccp = host.system.exists("/sys/module/ccp");
    if ccp && host.symbols.as_ref().is_ok_and(|symbols| !symbols.has(HOOKED)) {
        return host.for_enforcing(Missing::new(
            format!("cannot be loaded: this kernel has no {HOOKED}, which the gate hooks"),
            "another build of the kernel, or backend = \"vcpu\", which guarantees less",
        ));
    }
    let mut missing = gate::not_loaded();
    if modinfo::installed(host, &host.kernel).is_some() {
        missing.fix = format!("`modprobe {MODULE}`; if it fails, the kernel's log says why");
    }
    host.for_enforcing(missing)
}

fn protocol(host: &Host<'_>) -> Finding {
    if !is_loaded(host) {
        return Finding::skip("the gate is not loaded");
    }
    let parameter = host.system.path(&format!("{PARAMETERS}/protocol"));
    match gate::read_number(&parameter).map(|protocol| (protocol, gate::speaks_ours(protocol))) {
        Ok((protocol, Ok(()))) => Finding::pass(format!("{protocol}, as this guestreq")),
        Ok((_, Err(missing))) => host.for_enforcing(missing),
        Err(_) if host.system.is_collected() => {
            Finding::skip(format!("{PARAMETERS}/protocol was not collected"))
        }
        Err(error) => Finding::fail(format!("{error:#}"), "load the gate of the same release"),
    }
}

/// Looked at whatever the backend: a closed gate that nobody answers denies everything.
fn unanswered(host: &Host<'_>) -> Finding {
    match Alone::of(&host.system) {
        Alone::Closed => {}
        Alone::NoGate => return Finding::skip("the gate is not loaded"),
        Alone::Open => return Finding::pass("open: what no program answers for passes"),
        Alone::Unknown(_) if !host.is_privileged() => {
            return Finding::hidden("whether the gate is closed");
        }
        Alone::Unknown(why) => return Finding::skip(why),
    }
    if host.agent().is_none() && !host.is_privileged() {
        return Finding::hidden("which gate our programs answer");
    }
    let open = format!("`echo N > {PARAMETERS}/closed`, until it is answered");
    match (host.backend(), super::host::is_answered(host)) {
        (Backend::Gate, true) => Finding::pass("closed: without our program all is refused"),
        (Backend::Gate, false) => Finding::fail(
            "closed, and none of our programs answers: every guest request is denied",
            format!("start the agent, or {open}"),
        ),
        (other, _) => Finding::fail(
            format!(
                "closed, and backend {} does not answer it: every request is denied",
                other.name()
            ),
            open,
        ),
    }
}
