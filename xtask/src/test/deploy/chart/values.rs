//! # The comments of values.yaml
//!
//! A comment above a key describes that key with all below it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A value with a comment.
pub struct Documented {
    /// Keys, from the outermost.
    pub path: Vec<String>,
    pub text: String,
    pub default: Value,
}

impl Documented {
    /// As in `--set`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// The described values, in the order of the file; a value without a description is an error.
pub fn documented(file: &str) -> Result<Vec<Documented>> {
    let defaults: Value = serde_saphyr::from_str(file).context("values.yaml")?;
    let mut found: Vec<Documented> = Vec::new();
    // Keys that the current line is below, and their indents.
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment = Vec::new();
    let mut text_below = None;
    for line in file.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if text_below.is_some_and(|key| trimmed.is_empty() || indent > key) {
            continue;
        }
        text_below = None;
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let words = std::mem::take(&mut comment).join(" ");
        if trimmed.is_empty() || trimmed.starts_with("- ") {
            continue;
        }
        let (key, rest) = trimmed.split_once(':').with_context(|| format!("no key: {line}"))?;
        above.retain(|(at, _)| *at < indent);
        above.push((indent, key.to_owned()));
        text_below = (rest.trim() == "|").then_some(indent);
        let path: Vec<_> = above.iter().map(|(_, key)| key.clone()).collect();
        let default = path.iter().fold(&defaults, |value, key| &value[key.as_str()]).clone();
        let is_described = found.iter().any(|other| path.starts_with(&other.path));
        match (words.is_empty(), is_described) {
            (false, _) => found.push(Documented { path, text: words, default }),
            (true, true) => {}
            // The keys below are described instead.
            (true, false) if default.is_object() && rest.trim().is_empty() => {}
            (true, false) => bail!("values.yaml: {} has no comment", path.join(".")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_comment_describes_the_key_below_it() {
        let file = "# of the file\n\nimage:\n  # its\n  # name\n  name: \"\"\n# labels: all\nlabels:\n  \
                    a.b/c: x\n# text\ntext: |\n  # inside\n  key: 1\n\n# list\nlist:\n  - a: b\n";
        let found: Vec<_> = documented(file)
            .unwrap()
            .into_iter()
            .map(|value| (value.name(), value.text, value.default))
            .collect();
        let of = |name: &str, text: &str, default: Value| (name.into(), text.into(), default);
        let wanted = [
            of("image.name", "its name", json!("")),
            of("labels", "labels: all", json!({"a.b/c": "x"})),
            of("text", "text", json!("# inside\nkey: 1\n")),
            of("list", "list", json!([{"a": "b"}])),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_value_without_a_comment_is_an_error() {
        let error = documented("a:\n  # b\n  b: 1\n  c: 2\n").err().unwrap();
        assert_eq!(error.to_string(), "values.yaml: a.c has no comment");
    }
}
