//! # Mutants that no test can catch, or need catch
//!
//! Rows of tables in docs/testing.md: the mutant's name without its place, the line that it changes,
//! and why. So the list needs no change when code moves, and does when that line changes.

use std::fs;

use anyhow::{Context, Result};

use crate::project;

pub const PAGE: &str = "docs/testing.md";

/// One row. It stands for all mutants of that name in lines like that.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub line: String,
}

pub fn read() -> Result<Vec<Row>> {
    let path = project::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(page.lines().filter_map(row).collect())
}

/// A row of a table that begins with a mutant's name, as code.
fn row(line: &str) -> Option<Row> {
    // Within a table a bar that separates nothing is escaped.
    let line = line.strip_prefix("| `")?.replace("\\|", "\0");
    let mut cells = line.split(" | ").map(|cell| cell.trim_matches('`').replace('\0', "|"));
    let (name, line, why) = (cells.next()?, cells.next()?, cells.next()?);
    let is_mutant = name.contains(".rs: ") && !why.trim_matches([' ', '|']).is_empty();
    is_mutant.then_some(Row { name, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_mutant_name_a_line_and_a_reason() {
        let found = row("| `a/src/b.rs: replace \\| with ^ in f` | `g() \\| 1` | It is even. |");
        let name = "a/src/b.rs: replace | with ^ in f".to_owned();
        assert_eq!(found, Some(Row { name, line: "g() | 1".to_owned() }));
    }

    #[test]
    fn a_listed_mutant_must_exist_and_have_a_reason() {
        assert_eq!(row("| `cargo xtask fuzz` | seconds | all |"), None);
        assert_eq!(row("| `a/src/b.rs: delete ! in f` | `!g()` |  |"), None);
        assert_eq!(row("`a/src/b.rs: delete ! in f`"), None);
    }

    /// Otherwise only a run of hours would show that a listed line no longer exists.
    #[test]
    fn each_listed_line_is_in_its_file() {
        for Row { name, line } in read().unwrap() {
            let (file, _) = name.split_once(": ").unwrap();
            let text = fs::read_to_string(project::root().join(file)).unwrap();
            assert!(text.lines().any(|l| l.trim() == line), "{PAGE}: {file} has no line `{line}`");
        }
    }
}
