//! # An explanation as tables

use super::{By, Evidence, Explanation, Identity, Now, RuleResult, Shown};
use crate::{
    cli::table::{self, name},
    policy::Origin,
    text::printable,
};

/// Characters of an argument that are shown, so that a line fits 100 columns.
const MAX_TEXT: usize = 72;

pub fn text(explanation: &Explanation) -> String {
    let Explanation { by, identity: Shown { identity, label }, pid, evidence, now, .. } =
        explanation;
    let by = match by {
        By::Agent => "from the agent",
        By::Files => "from files",
    };
    let mut text = format!("{} (pid {pid}), {by}\n\n", name(label));
    text.push_str(&fields(identity, evidence));
    if let Some(Now { identity, evidence }) = now {
        text.push_str("\nThe process now:\n\n");
        text.push_str(&fields(identity, evidence));
    }
    text.push('\n');
    text.push_str(&rules(&explanation.rules));
    text.push('\n');
    text.push_str(&settings(explanation));
    for note in &explanation.notes {
        text.push_str(&format!("\nNote: {}\n", printable(note)));
    }
    text
}

fn fields(identity: &Identity, evidence: &[Evidence]) -> String {
    let Identity { name, named, uuid, vmm, namespace, pod_uid } = identity;
    let mut table = table::new(&["FIELD", "VALUE AND SOURCE"], &[]);
    for (field, value) in [
        ("vmm", vmm),
        ("name", name),
        ("uuid", uuid),
        ("namespace", namespace),
        ("pod_uid", pod_uid),
    ] {
        let mut cell = match value.as_str() {
            "" => "-".to_owned(),
            value => table::name(value),
        };
        if field == "name" && !named {
            cell.push_str(" (the process' name: the VM has none)");
        }
        for Evidence { from, text, .. } in
            evidence.iter().filter(|evidence| evidence.field == field)
        {
            cell.push_str(&format!("\n  {}: {}", from.name(), table::truncated(text, MAX_TEXT)));
        }
        table.add_row([field.to_owned(), cell]);
    }
    table::text(&table)
}

fn rules(rules: &[RuleResult]) -> String {
    if rules.is_empty() {
        return "No [[vm]] rules.\n".to_owned();
    }
    let mut table = table::new(&["RULE", "MATCH AND SOURCE", "MATCHES"], &[]);
    for rule in rules {
        let applied = if rule.applied { " (applied)" } else { "" };
        let source =
            format!("{}\n  {}{applied}", printable(&rule.matches), printable(&rule.at.to_string()));
        let matches = match (&rule.why, rule.holds.as_slice()) {
            (Some(why), _) => format!("no: {}", printable(why)),
            (None, []) => "yes; all its settings are overridden".to_owned(),
            (None, holds) => format!("yes: sets {}", holds.join(", ")),
        };
        table.add_row([rule.rule.to_string(), source, matches]);
    }
    table::text(&table)
}

fn settings(Explanation { policy, .. }: &Explanation) -> String {
    let mut table = table::new(&["SETTING", "VALUE", "FROM"], &[]);
    for (key, value, origin) in [
        ("mode", policy.mode.value.to_string(), &policy.mode.origin),
        ("allow", policy.allow.value.to_string(), &policy.allow.origin),
        ("limit", policy.limit.value.to_string(), &policy.limit.origin),
        ("weight", policy.weight.value.to_string(), &policy.weight.origin),
    ] {
        table.add_row([key.to_owned(), value, printable(&source(origin))]);
    }
    table::text(&table)
}

fn source(origin: &Origin) -> String {
    match origin {
        Origin::Config { at, rule: Some(rule), .. } => format!("rule {rule}, {at}"),
        Origin::Config { at, rule: None, .. } => format!("top level, {at}"),
        Origin::Applied { at, rule: Some(rule), .. } => format!("applied rule {rule}, {at}"),
        Origin::Default => "built in".to_owned(),
        Origin::Applied { rule: None, .. } | Origin::Override { .. } => origin.to_string(),
    }
}
