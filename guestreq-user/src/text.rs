//! # Text for people

use guestreq_common::command;

use crate::json;

/// Formats a duration with three digits and a unit.
pub fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s <= 0.0 => return "0".to_owned(),
        s if s < 0.000_999_5 => (s * 1e6, "µs"),
        s if s < 0.999_5 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

pub fn maybe(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), duration)
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Escapes control and invisible characters: names come from users.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if json::is_obeyed(c) {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Parsers quote values, which may be long.
const MAX_MESSAGE: usize = 500;

/// A parser's message, which may quote its input, as one line.
pub fn in_a_line(message: &str) -> String {
    let mut line = String::new();
    for c in message.trim_end().chars().take(MAX_MESSAGE) {
        match c {
            '\n' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Characters of a name that are shown.
const SHOWN: usize = 64;

/// A name in quotes, escaped and truncated.
pub fn quoted(name: &str) -> String {
    let length = name.chars().count();
    if length <= SHOWN {
        return format!("{name:?}");
    }
    let beginning: String = name.chars().take(SHOWN).collect();
    format!("{beginning:?}… ({length} characters)")
}

/// The kernel's name of a PSP command, or its number.
pub fn command_name(number: u32) -> String {
    command::name(number).map_or_else(|| format!("{number:#04x}"), str::to_owned)
}

/// A UUID as VMMs and kubelet write it, of another form of one. Its case stays.
pub fn usual_uuid(text: &str) -> Option<String> {
    let inner = text.trim_start_matches("urn:uuid:").trim_matches(['{', '}']);
    let digits = inner.replace(['-', '_'], "");
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let part = |range| digits.get(range).unwrap_or_default();
    is_uuid.then(|| [0..8, 8..12, 12..16, 16..20, 20..32].map(part).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        assert_eq!(duration(0.0), "0");
        assert_eq!(duration(0.000_001_234), "1.23 µs");
        assert_eq!(duration(0.000_35), "350 µs");
        assert_eq!(duration(0.000_999_9), "1.00 ms");
        assert_eq!(duration(0.0352), "35.2 ms");
        assert_eq!(duration(12.345), "12.3 s");
        assert_eq!(duration(1234.5), "1234 s");
        assert_eq!(maybe(None), "-");
        assert_eq!(percent(0.256), "25.6 %");
    }
}
