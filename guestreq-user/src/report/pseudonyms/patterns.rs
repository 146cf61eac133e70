//! # Names in patterns

use super::quotes::{KEYS, unquoted};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Vm,
    Namespace,
    /// A part of a pattern.
    Part,
    Uuid,
    Host,
}

/// Whether a pattern stands for one text.
pub fn is_exact(glob: &str) -> bool {
    !glob.contains(['*', '?'])
}

/// A rule's pattern: a value, or parts of values between wildcards.
pub fn glob(key: &str, glob: &str, pseudonym: impl Fn(Kind, &str) -> String) -> String {
    match key {
        "vmm" => return glob.to_owned(),
        "namespace" if is_exact(glob) => return pseudonym(Kind::Namespace, glob),
        _ if is_exact(glob) => return pseudonym(Kind::Uuid, glob),
        _ => {}
    }
    let mut shown = String::new();
    for part in glob.split_inclusive(['*', '?']) {
        let literal = part.trim_end_matches(['*', '?']);
        shown.push_str(&pseudonym(Kind::Part, literal));
        shown.push_str(&part[literal.len()..]);
    }
    shown
}

/// Several patterns: `name = "web-*", vmm = "qemu"`, each quoted as Rust does.
pub fn all(text: &str, shown: impl Fn(&str, &str) -> String) -> String {
    let shown = |(key, glob): (&str, String)| format!("{key} = {:?}", shown(key, &glob));
    match each(text) {
        Some(all) => all.into_iter().map(shown).collect::<Vec<_>>().join(", "),
        // Not one of ours: nothing of it is shown.
        None => "?".to_owned(),
    }
}

/// Each with its key.
pub fn each(text: &str) -> Option<Vec<(&'static str, String)>> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let (key, (glob, behind)) = KEYS.iter().find_map(|key| {
            let quoted = rest.strip_prefix(key)?.strip_prefix(" = \"")?;
            Some((*key, unquoted(quoted)?))
        })?;
        found.push((key, glob));
        match behind.strip_prefix(", ") {
            Some(behind) => rest = behind,
            None => return behind.is_empty().then_some(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonym(kind: Kind, name: &str) -> String {
        match name {
            "" => String::new(),
            name => format!("{kind:?}-{}", name.len()),
        }
    }

    #[test]
    fn the_wildcards_of_a_pattern_stay() {
        let shown = |key, text| glob(key, text, pseudonym);
        assert_eq!(shown("uuid", "7A-7b"), "Uuid-5");
        assert_eq!(shown("name", "web-*"), "Part-4*");
        assert_eq!(shown("name", "*-db-??x"), "*Part-4??Part-1");
        assert_eq!(shown("namespace", "prod"), "Namespace-4");
        assert_eq!(shown("uuid", "7A*"), "Part-2*");
        assert_eq!(shown("vmm", "qemu*"), "qemu*");
        assert_eq!(shown("name", "*"), "*");
    }

    #[test]
    fn patterns_are_replaced_between_their_quotes() {
        let shown = |text| all(text, |key, text| glob(key, text, pseudonym));
        assert_eq!(shown("name = \"web-*\", vmm = \"qemu\""), "name = \"Part-4*\", vmm = \"qemu\"");
        assert_eq!(
            shown("name = \"a\\\", uuid = \\\"b\""),
            "name = \"Uuid-13\"",
            "all of it is a name"
        );
        assert_eq!(shown("name = \"\\u{202e}\\n\""), "name = \"Uuid-4\"");
        for strange in ["web", "name = \"web", "size = \"3\"", "", "name = \"a\" and more"] {
            assert!(!shown(strange).contains("web") && !shown(strange).contains('3'), "{strange}");
        }
    }
}
