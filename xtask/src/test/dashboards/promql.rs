//! # Metrics and labels in an expression
//!
//! Not a parser: promtool checks the syntax. PromQL parsers in Rust bring a hundred crates, and
//! tokens suffice to find names.

use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Metrics, each with the labels that its selector matches.
    pub selectors: Vec<(String, Vec<String>)>,
    /// Labels of by, without, on, ignoring and the like.
    pub grouping: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Name(String),
    Text,
    Sign(char),
}

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that are no names: operators, and numbers.
const WORDS: [&str; 8] = ["and", "or", "unless", "offset", "bool", "atan2", "Inf", "NaN"];

pub fn uses(expression: &str) -> Uses {
    let tokens = tokens(expression);
    let mut uses = Uses::default();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        i += 1;
        if *token == Token::Sign('{') {
            // A selector without a name, which may match `__name__`.
            i -= 1;
            names_until(&tokens, &mut i, '{', '}');
        }
        let Token::Name(name) = token else { continue };
        let next = tokens.get(i);
        if GROUPING.contains(&name.as_str()) {
            uses.grouping.extend(names_until(&tokens, &mut i, '(', ')'));
        } else if next == Some(&Token::Sign('(')) || WORDS.contains(&name.as_str()) {
            // A function, an operator or a number.
        } else if matches!(next, Some(Token::Name(word)) if GROUPING[..2].contains(&word.as_str()))
        {
            // An aggregation with its labels first.
        } else {
            uses.selectors.push((name.clone(), names_until(&tokens, &mut i, '{', '}')));
        }
    }
    uses
}

/// The names between two delimiters, if the first one comes next.
fn names_until(tokens: &[Token], i: &mut usize, open: char, close: char) -> Vec<String> {
    if tokens.get(*i) != Some(&Token::Sign(open)) {
        return Vec::new();
    }
    let inside = tokens[*i..].iter().take_while(|token| **token != Token::Sign(close));
    let mut names = Vec::new();
    for token in inside {
        *i += 1;
        if let Token::Name(name) = token {
            names.push(name.clone());
        }
    }
    names
}

pub fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = expression.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            '"' | '\'' | '`' => {
                skip_text(&mut chars, c);
                tokens.push(Token::Text);
            }
            // A range, which contains no names.
            '[' => while chars.next().is_some_and(|(_, c)| c != ']') {},
            '0'..='9' => {
                while chars.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '.').is_some() {}
            }
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let mut end = start + 1;
                while let Some((at, _)) = chars.next_if(|(_, c)| is_of_name(*c)) {
                    end = at + 1;
                }
                tokens.push(Token::Name(expression[start..end].to_owned()));
            }
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Sign(c)),
        }
    }
    tokens
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Skips a string after its opening quote. Backticks have no escapes.
fn skip_text(chars: &mut Peekable<CharIndices<'_>>, quote: char) {
    while let Some((_, c)) = chars.next() {
        if c == quote {
            return;
        }
        if c == '\\' && quote != '`' {
            chars.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(expression: &str) -> Vec<(String, String)> {
        let uses = uses(expression);
        uses.selectors.into_iter().map(|(name, labels)| (name, labels.join(","))).collect()
    }

    #[test]
    fn metrics_and_the_labels_of_their_selectors() {
        let found = selectors(
            r#"rate(a_total{vm=~`x"}`, le="0.5\"}"}[5m]) / ignoring (le) b:c offset 1h > 2"#,
        );
        assert_eq!(found, [("a_total".into(), "vm,le".into()), ("b:c".into(), String::new())]);
        assert_eq!(selectors("1e3 * up{} == bool 1"), [("up".into(), String::new())]);
        assert_eq!(selectors(r#"count({__name__=~"a:.*", vm!=""})"#), []);
    }

    #[test]
    fn labels_that_are_grouped_by() {
        let uses = uses("topk without (vm) (3, x) and on (job) sum(y) by (stage, le)");
        assert_eq!(uses.grouping, ["vm", "job", "stage", "le"]);
        assert_eq!(uses.selectors.len(), 2);
    }
}
