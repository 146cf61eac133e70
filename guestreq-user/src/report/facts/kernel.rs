//! # What this kernel has for the programs

use std::fs;

use super::{Section, fact};
use crate::{
    host::system::System,
    kernel::{DATA, LIVE_OF_SIGNAL, SIGNAL_OF_TASK, Symbols, Types},
    probes::{PROBES, ProbeKind},
    report::tree::why,
};

/// Of each function and tracepoint that is hooked: whether this kernel has it, or under which names.
pub fn functions(symbols: &anyhow::Result<Symbols>) -> Section {
    let symbols = match symbols {
        Ok(symbols) => symbols,
        Err(error) => return vec![fact("error", format!("{error:#}"))],
    };
    let mut section = Section::new();
    for probe in &PROBES {
        let name = match probe.kind {
            ProbeKind::Kprobe => probe.target.to_owned(),
            ProbeKind::RawTracepoint => format!("__tracepoint_{}", probe.target),
            ProbeKind::Lsm => format!("bpf_lsm_{}", probe.target),
        };
        let is_variant = |it: &&str| it.split('.').next() == Some(name.as_str()) && *it != name;
        let mut variants: Vec<&str> = symbols.names().filter(is_variant).collect();
        variants.sort_unstable();
        let found = if symbols.has(&name) { "found" } else { "missing" };
        let value = match variants.is_empty() {
            true => found.to_owned(),
            false => format!("{found}; variants: {}", variants.join(" ")),
        };
        if section.iter().all(|(known, _)| *known != name) {
            section.push(fact(&name, value));
        }
    }
    for name in DATA {
        let value = match (symbols.has(name), symbols.address(name)) {
            (false, _) => "missing",
            (true, Ok(_)) => "found, with its address",
            (true, Err(_)) => "found, its address is hidden",
        };
        section.push(fact(name, value));
    }
    section
}

pub fn btf(system: &System, modules: &[&str]) -> Section {
    let of_module = |module: &&str| {
        let size = fs::metadata(system.path(&format!("/sys/kernel/btf/{module}")));
        fact(module, size.map_or_else(|error| why(&error), |file| format!("{} bytes", file.len())))
    };
    let mut section: Section = modules.iter().map(of_module).collect();
    match Types::read(system) {
        Ok(types) => {
            section.push(fact("vmlinux", format!("{} bytes", types.size())));
            for (structure, member) in [SIGNAL_OF_TASK, LIVE_OF_SIGNAL] {
                let offset = types.offset((structure, member));
                let offset = offset.map_or_else(|error| format!("{error:#}"), |at| at.to_string());
                section.push(fact(&format!("offset of {structure}.{member}"), offset));
            }
        }
        Err(error) => section.push(fact("vmlinux", format!("{error:#}"))),
    }
    section
}
