//! # Functions and tracepoints to attach programs to

use guestreq_common::policy::Backend;

use crate::{
    doctor::{Finding, Host},
    enforce::gate::{HOOKED, MODULE},
    host::system::Missing,
    kernel,
    probes::{PROBES, Probe, ProbeKind},
};

pub fn kprobes(host: &Host<'_>) -> Finding {
    if host.symbols.as_ref().is_ok_and(|symbols| !symbols.has("register_kprobe")) {
        return Finding::fail("no kprobes in this kernel", "a kernel with CONFIG_KPROBES");
    }
    // Even root may be refused in a container; `privileges` warns other users.
    if host.is_privileged() {
        let answer = host.perf_event_open();
        let denied = answer.as_ref().is_err_and(|it| it.raw_os_error() == Some(libc::EACCES));
        match kernel::perf_events(&host.system, host.capabilities, answer) {
            Err(Missing { what, fix }) if denied => return Finding::warn(what, fix),
            Err(Missing { what, fix }) => return Finding::fail(what, fix),
            Ok(()) => {}
        }
    }
    // Copies show only the level.
    if host.system.is_collected()
        && let Some(Missing { what, fix }) = kernel::paranoid(&host.system, 0)
    {
        return Finding::warn(what, fix);
    }
    const FILE: &str = "/sys/kernel/debug/kprobes/enabled";
    match host.system.read(FILE).as_deref() {
        Ok("0") => Finding::fail("kprobes are disabled", format!("`echo 1 > {FILE}`")),
        Ok("1") => Finding::pass("enabled"),
        Ok(other) => Finding::skip(format!("unexpected text in {FILE}: {other:?}")),
        Err(_) if !host.is_privileged() => Finding::hidden(FILE),
        Err(error) => {
            Finding::skip(format!("{FILE}: {error}: debugfs is not mounted, or locked down"))
        }
    }
}

/// Checks a function that a kprobe needs.
pub fn symbol(host: &Host<'_>, function: &str) -> Finding {
    let of_function =
        |probe: &&Probe| probe.target == function && matches!(probe.kind, ProbeKind::Kprobe);
    let (Ok(symbols), Some(probe)) = (&host.symbols, PROBES.iter().find(of_function)) else {
        return Finding::skip("/proc/kallsyms cannot be read");
    };
    if symbols.has(function) {
        return Finding::pass("can be probed");
    }
    if let Some(name) = symbols.renamed(function) {
        return Finding::pass(format!("can be probed, as {name}"));
    }
    if let Some(module) = probe.module.filter(|name| kernel::module(&host.system, name).is_err()) {
        return Finding::skip(format!("{module} is not loaded"));
    }
    let part = symbols.names().find(|name| name.split('.').next() == Some(function));
    let what = match part {
        Some(part) => format!("this kernel has only {part}: the compiler split it"),
        None => "not in this kernel: inlined by the compiler, or renamed".to_owned(),
    };
    // A loaded gate has hooked it.
    let gate = function == HOOKED
        && host.backend() == Backend::Gate
        && !host.system.exists(&format!("/sys/module/{MODULE}"));
    match probe.loses {
        Some(loses) if gate => host.for_enforcing(Missing::new(
            format!(
                "{what}; unavailable: {loses}; the gate cannot be loaded, as it hooks this function"
            ),
            "another build of the kernel, or backend = \"vcpu\", which guarantees less",
        )),
        Some(loses) => Finding::warn(
            format!("{what}; unavailable: {loses}"),
            "accept that, or use another build of the kernel",
        ),
        None => {
            Finding::fail(format!("{what}; nothing can be counted"), "another build of the kernel")
        }
    }
}

pub fn tracepoints(host: &Host<'_>) -> Finding {
    let Ok(symbols) = &host.symbols else {
        return Finding::skip("/proc/kallsyms cannot be read");
    };
    if kernel::module(&host.system, "kvm_amd").is_err() {
        return Finding::skip("kvm_amd is not loaded");
    }
    let of_tracepoints =
        || PROBES.iter().filter(|probe| matches!(probe.kind, ProbeKind::RawTracepoint));
    let missing: Vec<_> = of_tracepoints()
        .filter(|probe| !symbols.has(&format!("__tracepoint_{}", probe.target)))
        .collect();
    let names: Vec<_> = missing.iter().map(|probe| probe.target).collect();
    let Some(first) = missing.first() else {
        let names: Vec<_> = of_tracepoints().map(|probe| probe.target).collect();
        return Finding::pass(names.join(", "));
    };
    let (names, fix) = (names.join(", "), "another kernel");
    match missing.iter().all(|probe| probe.loses.is_some()) {
        true => {
            let loses = first.loses.unwrap_or_default();
            Finding::warn(format!("this kernel has no {names}; unavailable: {loses}"), fix)
        }
        false => Finding::fail(format!("this kernel has no {names}; nothing can be counted"), fix),
    }
}
