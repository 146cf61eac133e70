//! # Positions in a file
//!
//! Lines and columns, counted from 1, and errors there.

use std::fmt;

use crate::text::in_a_line;
use serde::Deserialize;
use toml::Spanned;

/// An error and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl ConfigError {
    /// `unknown field …`: toml's own message takes five lines.
    pub fn of(error: &toml::de::Error, text: &str) -> ConfigError {
        let (line, column) = place(text, error.span().map_or(0, |span| span.start));
        let value = error.span().and_then(|span| text.get(span.start..)).unwrap_or_default();
        let what = in_words_of_toml(&in_a_line(error.message()), value);
        ConfigError { line, column, what }
    }
}

/// Serde's names of what it found, none of which is TOML's. The parser makes a table of a date.
fn in_words_of_toml(error: &str, value: &str) -> String {
    let is_date = value.starts_with(|first: char| first.is_ascii_digit());
    let table = if is_date { "invalid type: date," } else { "invalid type: table," };
    let words = [
        ("invalid type: sequence,", "invalid type: array,"),
        ("invalid type: map,", table),
        ("unknown field `$__toml_private_datetime`,", "invalid type: date,"),
    ];
    let found = words.iter().find_map(|(serde, toml)| Some((error.strip_prefix(serde)?, toml)));
    found.map_or_else(|| error.to_owned(), |(rest, word)| format!("{word}{rest}"))
}

/// Line and column of an offset.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    Lines::of(text).place(text, offset)
}

/// Offsets of lines.
pub struct Lines(Vec<usize>);

impl Lines {
    pub fn of(text: &str) -> Lines {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines([0].into_iter().chain(ends.map(|(at, _)| at + 1)).collect())
    }

    pub fn place(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.0.partition_point(|start| *start <= offset).max(1);
        let before = text.get(self.0[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// The place of the first `mode` from a line on: the top level's or that of the rule there.
pub fn place_of_mode(text: &str, line: usize) -> Option<(usize, usize)> {
    #[derive(Deserialize)]
    struct Modes {
        mode: Option<Spanned<String>>,
        #[serde(default)]
        vm: Vec<Modes>,
    }
    let all: Modes = toml::from_str(text).ok()?;
    let modes = all.mode.into_iter().chain(all.vm.into_iter().filter_map(|rule| rule.mode));
    let places = modes.map(|mode| place(text, mode.span().start));
    places.filter(|(at, _)| *at >= line).min()
}
