//! # VMs' names in the dashboards' queries and links
//!
//! Users choose VMs' names, so a dashboard must always insert them as one string.

/// Like Grafana's `:regex`.
pub fn as_regex(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if r"\^$*+?.()|{}[]/".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{files_in, grafana, promql};
    use super::*;
    use crate::project;

    /// The only form in which a query may use the chosen VM.
    const PLACE: &str = "`${vm:regex}`";

    /// Each character that a label may contain: all printable ones but two, which the agent
    /// replaces (guestreq-user/src/host, `clean`).
    fn names() -> Vec<String> {
        let all: String = (' '..='~').filter(|c| !"`$".contains(*c)).collect();
        let hostile = [
            &all,
            r#""}) or vector(1) #"#,
            r#"'}) or up{job=~'"#,
            r#"\"}) or vector(1) #"#,
            r"\",
            r"\\\Q.*\E",
            ".*|web",
            "{{vm}} [5m] __range {__range}",
            "&var-vm=other#?a=b;c%60%24+ /d/x",
            "wéb мир \u{202e}\u{2028}",
        ];
        hostile.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Like Grafana in two steps: its page inserts the VM, then its server replaces variables of
    /// times anywhere.
    fn filled(query: &str, vm: &str) -> String {
        let query = query.replace("${vm:regex}", &as_regex(vm));
        let times = ["$__rate_interval", "$__interval", "$__range"];
        times.iter().fold(query, |query, time| query.replace(time, "5m"))
    }

    /// The strings between backticks.
    fn raw_strings(query: &str) -> Vec<&str> {
        query.split('`').skip(1).step_by(2).collect()
    }

    /// The string that an escaped regular expression matches.
    fn matched(regex: &str) -> Option<String> {
        let mut chars = regex.chars();
        let mut text = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.push(chars.next()?),
                c if r"^$*+?.()|{}[]".contains(c) => return None,
                c => text.push(c),
            }
        }
        Some(text)
    }

    /// Whether a query selects this VM and is otherwise unchanged.
    fn keeps(query: &str, vm: &str) -> bool {
        let (with, plain) = (filled(query, vm), filled(query, "vm"));
        let strings = raw_strings(&with);
        let found = strings.iter().filter(|text| matched(text).as_deref() == Some(vm)).count();
        promql::tokens(&with) == promql::tokens(&plain) && found == query.matches(PLACE).count()
    }

    fn boards() -> Vec<Value> {
        let files = files_in(&project::root().join("dashboards"), "json").unwrap();
        files.iter().map(|path| grafana::parse(path).unwrap()).collect()
    }

    /// All strings of a dashboard.
    fn strings<'a>(value: &'a Value, key: &'a str, all: &mut Vec<(&'a str, &'a str)>) {
        match value {
            Value::String(text) => all.push((key, text)),
            Value::Array(items) => items.iter().for_each(|item| strings(item, key, all)),
            Value::Object(fields) => fields.iter().for_each(|(key, item)| strings(item, key, all)),
            _ => {}
        }
    }

    /// Row 14 of the second review.
    #[test]
    fn no_name_changes_a_query_of_a_dashboard() {
        let mut tried = 0;
        for board in boards() {
            let mut all = Vec::new();
            strings(&board, "", &mut all);
            for (key, text) in all {
                let places = text.matches(PLACE).count();
                let mentions = ["$vm", "${vm", "[[vm"].map(|vm| text.matches(vm).count());
                assert_eq!(mentions.iter().sum::<usize>(), places, "{key}: {text}");
                assert!(places == 0 || key == "expr", "{key}: {text}");
                for name in names().iter().filter(|_| key == "expr") {
                    assert!(keeps(text, name), "{name:?} changes {text}");
                    tried += places;
                }
            }
        }
        assert!(tried >= 300, "{tried}");
    }

    #[test]
    fn characters_that_the_agent_replaces_would_change_a_query() {
        let query = "sum(rate(guestreq_requests_total{vm=~`${vm:regex}`}[$__rate_interval]))";
        assert!(keeps(query, "web") && keeps(query, "_ __range _"));
        for name in ["`}) or vector(1) #", "$__range", "a`"] {
            assert!(!keeps(query, name), "{name}");
        }
        assert!(!keeps(&query.replace('`', "\""), "\"}) or vector(1) #"));
    }

    /// Like Grafana's `:percentencode`.
    fn encoded(value: &str) -> String {
        let encode = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        value.bytes().map(encode).collect()
    }

    fn decoded(value: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = value.bytes();
        while let Some(byte) = rest.next() {
            let hex = |digit: Option<u8>| char::from(digit.unwrap()).to_digit(16).unwrap() as u8;
            bytes.push(if byte == b'%' { hex(rest.next()) << 4 | hex(rest.next()) } else { byte });
        }
        String::from_utf8(bytes).unwrap()
    }

    /// A link's parameters, as a browser reads them.
    fn parameters(link: &str) -> Vec<(String, String)> {
        let (_, query) =
            link.split_once('#').map_or(link, |(link, _)| link).split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
    }

    #[test]
    fn no_name_changes_a_link_of_a_dashboard() {
        let mut tried = 0;
        for board in boards() {
            let mut all = Vec::new();
            strings(&board, "", &mut all);
            for (_, link) in
                all.into_iter().filter(|(key, text)| *key == "url" && text.contains("/d/"))
            {
                // Every variable in a link is encoded or adds parameters itself.
                for part in link.split("${").skip(1) {
                    let part = part.split('}').next().unwrap();
                    let safe = part.ends_with(":percentencode") || part.ends_with(":queryparam");
                    assert!(safe || part == "__url_time_range", "{part} in {link}");
                }
                for name in names() {
                    let fill = |name: &str| {
                        let vm = [
                            "${__field.labels.vm:percentencode}",
                            "${__data.fields.VM:percentencode}",
                        ];
                        vm.iter().fold(link.to_owned(), |link, vm| link.replace(vm, &encoded(name)))
                    };
                    let (with, plain) = (parameters(&fill(&name)), parameters(&fill("vm")));
                    let expected = plain.into_iter().map(|(parameter, value)| {
                        let is_vm = parameter == "var-vm";
                        tried += usize::from(is_vm);
                        (parameter, if is_vm { name.clone() } else { value })
                    });
                    assert_eq!(with, expected.collect::<Vec<_>>(), "{link}");
                }
            }
        }
        assert!(tried >= 50, "{tried}");
    }
}
