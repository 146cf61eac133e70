//! # JSON that is safe on a terminal
//!
//! JSON need not escape anything above U+001F, and VM names come from users. Here all control and
//! invisible characters are escaped; parsers read the same text.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Serializes a value in one line.
pub fn line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|json| escaped(&json))
}

/// Serializes a value, indented.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|json| escaped(&json))
}

/// A value as JSON that can be changed. By way of text: the code that writes each type as text is there
/// anyway, and a second one for each would make the binary a tenth larger.
pub fn to_value(value: &impl Serialize) -> serde_json::Result<Value> {
    serde_json::from_slice(&serde_json::to_vec(value)?)
}

/// The same way back.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_slice(&serde_json::to_vec(value)?)
}

/// Escapes control and invisible characters of JSON; only strings contain any.
pub fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // Whitespace between values.
        if c == '\n' || !is_obeyed(c) {
            escaped.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

/// Whether it is a control, bidirectional or zero-width character.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Row 17 of the second review.
    #[test]
    fn json_contains_no_control_or_bidirectional_characters() {
        let name =
            "a\u{9b}2J\u{7f}\u{85}\u{202e}\u{2066}\u{61c}\u{200b}\u{2028}\u{e0041}\u{fc}\u{5b57}";
        let escaped = r#""a\u009b2J\u007f\u0085\u202e\u2066\u061c\u200b\u2028\udb40\udc41"#;
        let expected = format!("{escaped}\u{fc}\u{5b57}\"");
        assert_eq!(line(&name).unwrap(), expected);
        assert_eq!(pretty(&[name]).unwrap(), format!("[\n  {expected}\n]"));
    }

    proptest! {
        #[test]
        fn escaped_json_parses_to_the_original_text(text in "(\\PC|\\p{Cc}|\\p{Cf}){0,40}") {
            let json = line(&text).unwrap();
            prop_assert!(!json.chars().any(is_obeyed), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert_eq!(escaped(&json), json, "an agent's line is not escaped twice");
        }
    }
}
