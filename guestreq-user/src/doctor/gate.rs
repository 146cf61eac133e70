//! # The gate

mod modinfo;
mod module;
mod order;
mod vermagic;
mod weights;

use std::io;

use guestreq_common::{gate::PROTOCOL, policy::Backend};
use module::{installed, signed};
use order::order;
use vermagic::vermagic;
use weights::weights;

use super::{Check, Finding, Host};
use crate::{
    enforce::gate::{self, Alone, HOOKED, MODULE, PARAMETERS, Protocols},
    host::system::Missing,
    kernel,
};

const REASONS: &str = "docs/enforcement.md#reasons-and-fixes";
const OBSTACLES: &str = "gate/README.md#what-can-stand-in-its-way";
const SIGNING: &str = "gate/README.md#secure-boot";
const BUILD: &str = "gate/README.md#build-and-load";

pub const CHECKS: &[Check] = &[
    Check {
        id: "gate_installed",
        title: "Built for this kernel",
        needed: "DKMS builds the gate for each kernel whose headers are installed: `dkms install guestreq-gate/0.1.0`. A kernel that clang compiled needs clang, lld and llvm for that, best of the same version.",
        docs: BUILD,
        run: |host| with_gate(host, installed),
    },
    Check {
        id: "gate_vermagic",
        title: "Version magic",
        needed: "The kernel loads only modules built for it or, with modversions (as on RHEL and Ubuntu), for a kernel with the same symbol versions: rebuild the gate and run `depmod`. A loaded gate fits.",
        docs: BUILD,
        run: |host| with_gate(host, vermagic),
    },
    Check {
        id: "gate_signed",
        title: "Signature",
        needed: "Under Secure Boot (lockdown) or `module.sig_enforce=1` the kernel loads only signed modules: sign the gate and enroll the key.",
        docs: SIGNING,
        run: |host| with_gate(host, signed),
    },
    Check {
        id: "gate_ftrace",
        title: "ftrace",
        needed: "The gate hooks with ftrace: `sysctl kernel.ftrace_enabled=1`.",
        docs: OBSTACLES,
        run: |host| with_gate(host, ftrace),
    },
    Check {
        id: "gate_livepatch",
        title: "Live patches",
        needed: "A function can be redirected only once: remove a live patch of the function that the gate hooks.",
        docs: OBSTACLES,
        run: |host| with_gate(host, livepatch),
    },
    Check {
        id: "gate_loaded",
        title: "Loaded",
        needed: "It asks the program before each request: `modprobe guestreq_gate`, and its name in /etc/modules-load.d.",
        docs: REASONS,
        run: |host| with_gate(host, loaded),
    },
    Check {
        id: "gate_protocol",
        title: "Protocol",
        needed: "Gate and guestreq have a protocol in common: upgrade the older of them; the gate then needs `modprobe -r guestreq_gate` and `modprobe guestreq_gate`.",
        docs: REASONS,
        run: |host| with_gate(host, protocol),
    },
    Check {
        id: "gate_order",
        title: "Order",
        needed: "A loaded gate puts requests in a fair order, with every backend: load the gate of this release, with `depth` above 0; or set `order = \"off\"` in the configuration.",
        docs: "docs/order.md#switching-it-off",
        run: order,
    },
    Check {
        id: "gate_weights",
        title: "Weights",
        needed: "Where a policy sets a `weight`, the gate has an order and speaks protocol 2: load the gate of this release, with `depth` above 0.",
        docs: "docs/order.md#weights",
        run: weights,
    },
    Check {
        id: "gate_unanswered",
        title: "Fallback",
        needed: "Without a program a closed gate denies every request: start the agent, or `echo N > /sys/module/guestreq_gate/parameters/closed`.",
        docs: "docs/enforcement.md#from-boot-to-the-agents-first-start",
        run: unanswered,
    },
];

fn with_gate(host: &Host<'_>, run: fn(&Host<'_>) -> Finding) -> Finding {
    match host.backend() {
        Backend::Gate => run(host),
        other => Finding::skip(format!("backend {} needs no gate", other.name())),
    }
}

fn is_loaded(host: &Host<'_>) -> bool {
    host.system.exists(&format!("/sys/module/{MODULE}"))
}

fn ftrace(host: &Host<'_>) -> Finding {
    match host.system.read("/proc/sys/kernel/ftrace_enabled").as_deref() {
        Ok("0") => host.for_enforcing(Missing::new(
            "ftrace is disabled: the gate cannot hook",
            "`sysctl kernel.ftrace_enabled=1`, before the gate is loaded",
        )),
        Ok(_) => Finding::pass("enabled"),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Finding::skip(format!("/proc/sys/kernel/ftrace_enabled: {error}"))
        }
        Err(_) => host.for_enforcing(Missing::new(
            "no ftrace in this kernel",
            "a kernel with CONFIG_DYNAMIC_FTRACE_WITH_REGS, or backend = \"vcpu\"",
        )),
    }
}

/// /sys/kernel/livepatch/PATCH/OBJECT has a folder `FUNCTION,POSITION` per function.
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
    Finding::pass(format!("none redirects {HOOKED}"))
}

fn loaded(host: &Host<'_>) -> Finding {
    if is_loaded(host) {
        let version = host.system.read(&format!("/sys/module/{MODULE}/version"));
        return Finding::pass(
            version.map_or_else(|_| "loaded".to_owned(), |v| format!("version {v}")),
        );
    }
    let has_ccp = kernel::module(&host.system, "ccp").is_ok();
    if has_ccp && host.symbols.as_ref().is_ok_and(|symbols| !symbols.has(HOOKED)) {
        return host.for_enforcing(Missing::new(
            format!("cannot be loaded: this kernel has no {HOOKED}, which the gate hooks"),
            "another build of the kernel, or backend = \"vcpu\", which guarantees less",
        ));
    }
    let mut missing = gate::not_loaded();
    if modinfo::installed(host, &host.kernel).is_some() {
        missing.fix = format!("`modprobe {MODULE}`; if it fails, see the kernel's log");
    }
    host.for_enforcing(missing)
}

fn protocol(host: &Host<'_>) -> Finding {
    if !is_loaded(host) {
        return Finding::skip("the gate is not loaded");
    }
    let parameters = host.system.path(PARAMETERS);
    match Protocols::read(&parameters).map(Protocols::common) {
        Ok(Ok(PROTOCOL)) => Finding::pass(format!("{PROTOCOL}, as this guestreq")),
        Ok(Ok(common)) => Finding::pass(format!("{common}, an older one: without weights")),
        Ok(Err(missing)) => host.for_enforcing(missing),
        Err(_) if host.system.is_collected() => {
            Finding::skip(format!("{PARAMETERS}/protocol was not collected"))
        }
        Err(error) => Finding::fail(format!("{error:#}"), "load the gate of this release"),
    }
}

/// Checked with every backend: an unanswered closed gate denies every request.
fn unanswered(host: &Host<'_>) -> Finding {
    match Alone::of(&host.system) {
        Alone::Closed => {}
        Alone::NoGate => return Finding::skip("the gate is not loaded"),
        Alone::Open => return Finding::pass("open: without a program requests pass"),
        Alone::Unknown(_) if !host.is_privileged() => {
            return Finding::hidden("whether the gate is closed");
        }
        Alone::Unknown(why) => return Finding::skip(why),
    }
    if host.agent().is_none() && !host.is_privileged() {
        return Finding::hidden("which gate guestreq's programs answer");
    }
    let open = format!("`echo N > {PARAMETERS}/closed`");
    match (host.backend(), host.is_gate_answered()) {
        (Backend::Gate, true) => Finding::pass("closed: without the program requests are denied"),
        (Backend::Gate, false) => Finding::fail(
            "closed, and no program of guestreq answers: every guest request is denied",
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
