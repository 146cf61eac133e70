//! # Names in metrics
//!
//! In labels of the text format, and nowhere else.

use super::fields::{Owner, Role};

/// Calls `each` for every value of a label, and returns the text with what that made of them.
pub fn visit(text: &str, each: &mut dyn FnMut(Role<'_>, &mut String)) -> String {
    let mut visited = String::with_capacity(text.len());
    for line in text.lines() {
        let parsed = line.split_once('{').filter(|_| !line.starts_with('#'));
        match parsed.and_then(|(name, rest)| Some((name, labels(rest)?))) {
            Some((name, (mut labels, value))) => {
                rename(&mut labels, each);
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
                    .collect();
                visited.push_str(&format!("{name}{{{}}}{value}", labels.join(",")));
            }
            None => {
                let mut line = line.to_owned();
                let role = if parsed.is_some() { Role::Text } else { Role::Word };
                each(role, &mut line);
                visited.push_str(&line);
            }
        }
        visited.push('\n');
    }
    visited
}

type Labels<'a> = Vec<(&'a str, String)>;

/// Labels and what comes behind them.
fn labels(text: &str) -> Option<(Labels<'_>, &str)> {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((key, value));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn rename(labels: &mut Labels<'_>, each: &mut dyn FnMut(Role<'_>, &mut String)) {
    let owner = Owner::of(&|key| Some(labels.iter().find(|(of, _)| *of == key)?.1.clone()));
    let unnamed = owner.as_ref().is_some_and(|owner| !owner.named);
    for (key, value) in labels {
        let role = match *key {
            "vm" if unnamed => Role::Unnamed,
            "name" if unnamed => Role::Process,
            "vm" => Role::Label(owner.as_ref()),
            "name" => Role::Name,
            "uuid" | "pod_uid" => Role::Uuid,
            "namespace" => Role::Namespace,
            "vmm" => Role::Process,
            _ => Role::Word,
        };
        each(role, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "# HELP guestreq_vm_info Identity of a VM.\n",
        "guestreq_vm_info{vm=\"a\\\"b\\\\c\\nd\",name=\"x\",uuid=\"7a\"} 1\n",
        "guestreq_requests_total{vm=\"a,b=\\\"}\",message=\"report\"} 12\n",
        "guestreq_psp_queue_length 0\n",
    );

    #[test]
    fn metrics_stay_as_they_are_but_for_names() {
        assert_eq!(visit(TEXT, &mut |_, _| {}), TEXT);
        let shown = visit(TEXT, &mut |role, text| {
            if role != Role::Word {
                *text = text.len().to_string();
            }
        });
        assert!(shown.contains("guestreq_vm_info{vm=\"7\",name=\"1\",uuid=\"2\"} 1\n"), "{shown}");
        assert!(shown.contains("{vm=\"6\",message=\"report\"} 12\n"), "{shown}");
        assert!(shown.ends_with("guestreq_psp_queue_length 0\n"), "{shown}");
    }

    #[test]
    fn what_is_no_metric_does_not_panic() {
        for text in ["{", "a{b", "a{b=\"", "a{b=\"\\", "}{", "a{b=\"c\"", "#"] {
            assert_eq!(visit(text, &mut |_, _| {}), format!("{text}\n"));
        }
    }

    #[test]
    fn a_process_s_label_is_no_vm_s_name() {
        let text = "guestreq_vm_info{vm=\"kvm-7\",name=\"kvm\"} 1";
        let mut roles = Vec::new();
        visit(text, &mut |role, _| roles.push(format!("{role:?}")));
        assert_eq!(roles, ["Unnamed", "Process"]);
    }
}
