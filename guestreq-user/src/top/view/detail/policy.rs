//! # A VM's policy, its origins and decisions

use super::{Lines, Row, text};
use crate::wire::policy::{Effective, Mode, VmPolicy};

pub fn policy(row: &Row, lines: &mut Lines) {
    let Some(VmPolicy { policy, decisions, .. }) = row.policy else {
        lines.add("policy", "none: not running");
        return;
    };
    let Effective { mode, allow, limit, weight } = policy;
    for (key, value, origin) in [
        ("mode", mode.value.to_string(), &mode.origin),
        ("allow", allow.value.to_string(), &allow.origin),
        ("limit", limit.value.to_string(), &limit.origin),
        ("weight", weight.value.to_string(), &weight.origin),
    ] {
        lines.add(key, &format!("{value}  [{origin}]"));
    }
    for mode in [Mode::Enforce, Mode::Audit] {
        let Some(messages) = decisions.get(mode.name()) else { continue };
        let of = |decision: &str| {
            let counts = messages.iter().filter_map(|(message, counts)| {
                Some((message, counts.get(decision).filter(|count| **count > 0)?))
            });
            let counts =
                counts.map(|(message, count)| format!("{message} {}", text::count(*count)));
            Some(counts.collect::<Vec<_>>().join(", ")).filter(|counts| !counts.is_empty())
        };
        // Audit refuses nothing.
        let names = match mode {
            Mode::Enforce => ["admitted", "denied", "got BUSY"],
            _ => ["would admit", "would deny", "would get BUSY"],
        };
        let parts = names.iter().zip(["admit", "deny", "busy"]);
        let parts: Vec<String> = parts
            .filter_map(|(name, decision)| Some(format!("{name} {}", of(decision)?)))
            .collect();
        lines.add(mode.name(), &parts.join("; "));
    }
}
