//! # What messages quote
//!
//! guestreq's messages quote names, as Rust's `{:?}` does, and rarely anything else.

/// Keys of patterns.
pub const KEYS: [&str; 5] = ["name", "uuid", "namespace", "pod_uid", "vmm"];

/// What stands before a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A pattern's key, or the part of an identity that a pattern is compared with.
    Key(&'static str),
    /// Only a VM's name follows.
    Vm,
    /// One of the configuration's keys, whose values are words.
    Setting,
    Other,
}

const OF_VMS: [&str; 4] = ["VM ", "VMs ", "override for ", " of "];
const SETTINGS: [&str; 7] = ["mode", "backend", "order", "vcpu_denied", "limit", "weight", "allow"];

impl Before {
    pub fn of(text: &str) -> Before {
        let is_key = |key: &&&str| {
            let rest = text.strip_suffix(" = ").or_else(|| text.strip_suffix(" is "));
            rest.is_some_and(|rest| rest.ends_with(**key))
        };
        if let Some(key) = KEYS.iter().find(is_key) {
            return Before::Key(key);
        }
        match OF_VMS.iter().any(|mark| text.ends_with(mark)) {
            true => Before::Vm,
            false if SETTINGS.iter().any(|key| is_key(&key)) => Before::Setting,
            false => Before::Other,
        }
    }
}

/// Each quote of a text, and what stands before it; none that is cut off.
pub fn each(text: &str) -> Vec<(Before, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find('"')
            && let Some((quoted, behind)) = unquoted(&rest[at + 1..])
        {
            found.push((Before::of(&rest[..at]), quoted));
            rest = behind;
        }
    }
    found
}

/// The text up to the closing quote, and what is behind it.
pub fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut plain, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((plain, &text[at + 1..])),
            '\\' => plain.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'u' => {
                    let digits: String =
                        chars.by_ref().map(|(_, c)| c).skip(1).take_while(|c| *c != '}').collect();
                    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)?
                }
                other => other,
            }),
            c => plain.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_quote_says_what_it_is() {
        let log = "new_vm: VM \"a \\\"b\\\"\", qemu\nits pod_uid is \"7a\", name = \"web*\"\n\
                   backend = \"gate\"; \"default\": cut \"off\nmode of \"x\"";
        let expected = [
            (Before::Vm, "a \"b\""),
            (Before::Key("pod_uid"), "7a"),
            (Before::Key("name"), "web*"),
            (Before::Setting, "gate"),
            (Before::Other, "default"),
            (Before::Vm, "x"),
        ];
        let found = each(log);
        let found: Vec<_> = found.iter().map(|(before, text)| (*before, text.as_str())).collect();
        assert_eq!(found, expected);
    }
}
