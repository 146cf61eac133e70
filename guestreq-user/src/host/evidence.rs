//! # Evidence of a VM's identity
//!
//! Recorded when the identity is read, for `guestreq policy explain`.

use crate::wire::identity::{Evidence, EvidenceSource};

/// Longer texts are cut: an argument may have 128 KiB.
const MAX_TEXT: usize = 256;

impl Evidence {
    pub fn new(field: &str, from: EvidenceSource, text: &str) -> Evidence {
        let text = match text.char_indices().nth(MAX_TEXT) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        Evidence { field: field.to_owned(), from, text: text.to_owned() }
    }
}

/// A value, and the one or two arguments that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    pub value: String,
    pub text: String,
}

impl Sourced {
    pub fn new(value: impl Into<String>, text: impl Into<String>) -> Sourced {
        Sourced { value: value.into(), text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_whole_if_it_is_not_longer_than_most_are() {
        let shown = |length: usize| {
            Evidence::new("name", EvidenceSource::Argument, &"\u{fc}".repeat(length))
        };
        for (length, expected) in [(0, 0), (255, 255), (256, 256), (257, 256), (5000, 256)] {
            assert_eq!(shown(length).text.chars().count(), expected, "{length}");
        }
    }
}
