//! # Patterns for names
//!
//! `*` matches any characters, `?` one. Brackets match themselves: names contain them.

use std::fmt;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for the whole of a text; takes at most the product of their lengths.
    pub fn matches(&self, text: &str) -> bool {
        WildMatch::new(&self.0).matches(text)
    }

    /// The same, whatever the case of ASCII letters.
    pub fn matches_in_any_case(&self, text: &str) -> bool {
        WildMatch::new(&self.0.to_ascii_lowercase()).matches(&text.to_ascii_lowercase())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
impl From<&str> for Glob {
    fn from(pattern: &str) -> Glob {
        Glob(pattern.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::from(pattern).matches(text)
    }

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        assert!(matches("web-*", "web-1") && matches("web-*", "web-"));
        assert!(!matches("web-*", "my-web-1") && !matches("web", "web-1"));
        assert!(matches("*-db-?", "eu-db-1") && !matches("*-db-?", "eu-db-12"));
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c-b"));
        assert!(matches("*", "") && !matches("?", "") && matches("", ""));
        assert!(matches("????", "\u{fc}ber") && matches("\u{fc}*", "\u{fc}ber"));
    }

    #[test]
    fn everything_else_matches_itself() {
        assert!(matches("[ab].{c}\\", "[ab].{c}\\"));
        assert!(!matches("[ab]", "a"));
        assert!(!matches("web.1", "web-1"));
        assert!(!matches("Web", "web"));
    }

    #[test]
    fn case_can_be_ignored() {
        let any = |pattern: &str, text: &str| Glob::from(pattern).matches_in_any_case(text);
        assert!(any("93bd*-25e2", "93BD9490-25E2") && any("93BD*", "93bd9490"));
        assert!(!any("93bd", "93be") && !any("\u{c4}", "\u{e4}"), "letters of a UUID");
    }

    /// A slow, obviously correct matcher.
    fn specification(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => (0..=text.len()).any(|n| specification(&pattern[1..], &text[n..])),
            (Some(&p), Some(&t)) if p == '?' || p == t => specification(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_the_specification(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches(&pattern, &text),
                specification(&chars(&pattern), &chars(&text))
            );
        }

        /// A name that a guest's owner chose backtracks to the last star alone.
        #[test]
        fn no_name_takes_exponential_time(stars in 1..200_usize, length in 0..4096_usize) {
            let text = "a".repeat(length);
            prop_assert_eq!(matches(&format!("{}b", "*a".repeat(stars)), &text), false);
            prop_assert_eq!(matches(&"*a".repeat(stars), &text), stars <= length);
        }

        #[test]
        fn every_text_matches_itself(text: String) {
            prop_assert!(matches(&text, &text));
        }
    }
}
