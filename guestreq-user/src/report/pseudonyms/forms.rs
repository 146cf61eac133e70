//! # The forms in which a name appears
//!
//! Tables escape what terminals obey, Prometheus and JSON what they cannot have, and systemd nearly
//! everything in the name of a unit.

use std::collections::BTreeSet;

use crate::{
    host::clean,
    text::{printable, quoted},
};

/// How a name may be written, the name itself included.
pub fn of_name(name: &str) -> BTreeSet<String> {
    // As it is, and in a label.
    let mut forms = BTreeSet::new();
    forms.extend(escaped(name));
    forms.extend(escaped(&clean(name)));
    forms.insert(systemd(name));
    forms.remove("");
    forms
}

/// Each as somebody writes it who escapes what they cannot have.
fn escaped(name: &str) -> Vec<String> {
    let inner = |text: String| text[1..text.len() - 1].to_owned();
    let mut forms = vec![
        name.to_owned(),
        printable(name),
        inner(format!("{name:?}")),
        name.escape_debug().to_string(),
        serde_json::to_string(name).map(inner).unwrap_or_default(),
        // In a label of the metrics.
        name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"),
        // In an option of QEMU's.
        name.replace(',', ",,"),
    ];
    // A long one in quotes is cut.
    if let Some((begin, _)) = quoted(name).rsplit_once("\"\u{2026} (") {
        forms.push(begin[1..].to_owned());
    }
    forms
}

/// How a UUID may be written, and its pseudonym in the same way.
pub fn of_uuid(uuid: &str, pseudonym: &str) -> Vec<(String, String)> {
    let (lower, upper) = (uuid.to_ascii_lowercase(), uuid.to_ascii_uppercase());
    let mut forms = Vec::new();
    // In units' names, in those of pods' slices, and as machine ids.
    for separator in ["-", "_", "\\x2d", ""] {
        for uuid in [&lower, &upper] {
            let of = |uuid: &str| uuid.replace('-', separator);
            forms.push((of(uuid), of(pseudonym)));
        }
    }
    forms
}

/// A text's UUIDs in lower case and with dashes, also those in units' names.
pub fn uuids_in(text: &str) -> Vec<String> {
    let plain = text.replace("\\x2d", "-").replace('_', "-");
    let bytes = plain.as_bytes();
    let begins = |at: usize| {
        let is_end = |byte: Option<&u8>| !byte.is_some_and(u8::is_ascii_hexdigit);
        bytes.get(at..at + 36).is_some_and(is_uuid) && is_end(bytes.get(at + 36))
    };
    let found = (0..bytes.len()).filter(|at| begins(*at));
    found.filter_map(|at| Some(plain.get(at..at + 36)?.to_ascii_lowercase())).collect()
}

/// Whether it has a UUID's groups.
pub fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// As systemd-escape(1).
fn systemd(name: &str) -> String {
    let mut escaped = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at == 0 => escaped.push_str("\\x2e"),
            b'_' | b'.' | b':' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_each_form() {
        let forms = of_name("Web 1,\"\u{fc}\"/-$");
        for form in [
            "Web 1,\"\u{fc}\"/-$",
            "Web 1,\"\u{fc}\"/-_",
            "Web 1,\\\"\u{fc}\\\"/-$",
            "Web 1,,\"\u{fc}\"/-$",
            "Web\\x201\\x2c\\x22\\xc3\\xbc\\x22-\\x2d\\x24",
        ] {
            assert!(forms.contains(form), "{form}: {forms:#?}");
        }
        assert!(of_name("a\nb").contains("a\\nb"));
        assert_eq!(of_name("web").len(), 1);
        assert!(of_name(&"x".repeat(99)).contains(&"x".repeat(64)), "as errors show it");
    }

    #[test]
    fn a_uuid_is_found_in_units_and_slices() {
        const UUID: &str = "7a1b2c3d-0000-1111-2222-93bd94900001";
        for text in [
            UUID.to_owned(),
            format!("type=1,uuid={}", UUID.to_uppercase()),
            format!("pod{}.slice", UUID.replace('-', "_")),
            format!("vm\\x2d{}.scope", UUID.replace('-', "\\x2d")),
        ] {
            assert_eq!(uuids_in(&text), [UUID], "{text}");
        }
        for text in [&UUID[1..], "7a1b2c3d", &format!("{UUID}0"), ""] {
            assert_eq!(uuids_in(text), [""; 0], "{text}");
        }
        let forms = of_uuid(UUID, "00000000-0000-0000-0000-000000000001");
        let under = (UUID.replace('-', "_"), "00000000_0000_0000_0000_000000000001".to_owned());
        assert!(forms.contains(&under), "{forms:?}");
    }
}
