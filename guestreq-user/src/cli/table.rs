//! # Tables

use std::cell::Cell;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use crossterm::terminal;

use crate::text::printable;

/// A table with a header; the columns of `right` are right-aligned.
pub fn new(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

thread_local! {
    /// Whether tables are for a file, whatever standard output is.
    static IN_A_FILE: Cell<bool> = const { Cell::new(false) };
}

/// Makes tables that are not for standard output.
pub fn in_a_file(table: impl FnOnce() -> String) -> String {
    IN_A_FILE.set(true);
    let text = table();
    IN_A_FILE.set(false);
    text
}

/// Wraps long cells to the terminal's width, if standard output is one.
pub fn fold(table: &mut Table) {
    if !IN_A_FILE.get()
        && table.is_tty()
        && let Ok((columns, _)) = terminal::size()
    {
        fold_to(table, columns);
    }
}

/// Narrower tables are illegible. A serial console reports width 0.
const LEAST_COLUMNS: u16 = 40;

fn fold_to(table: &mut Table, columns: u16) {
    if columns >= LEAST_COLUMNS {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
}

/// A table's text without trailing spaces.
pub fn text(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Characters of a name that a column shows.
const MAX_NAME: usize = 48;

/// A name in a column: escaped and truncated.
pub fn name(name: &str) -> String {
    truncated(name, MAX_NAME)
}

/// Escaped, and truncated to `max` characters.
pub fn truncated(text: &str, max: usize) -> String {
    let printable = printable(text);
    match printable.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &printable[..end]),
        None => printable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_wrapped_to_a_terminal_s_width_unless_too_narrow() {
        let shown = |columns| {
            let mut table = new(&["VM", "FROM"], &[]);
            table.add_row(["web", "override of the default (uid 0, 2026-01-02T03:04:05Z)"]);
            fold_to(&mut table, columns);
            text(&table)
        };
        let whole = " VM   FROM\n web  override of the default (uid 0, 2026-01-02T03:04:05Z)\n";
        for columns in [0, 1, 10, 39, 80] {
            assert_eq!(shown(columns), whole, "{columns}");
        }
        let folded = shown(40);
        assert!(
            folded.starts_with(" VM   FROM\n web  override of the default (uid 0,\n"),
            "{folded}"
        );
        assert!(folded.lines().all(|line| line.chars().count() <= 40), "{folded}");
    }

    #[test]
    fn names_are_escaped_and_truncated() {
        assert_eq!(name("web-1"), "web-1");
        assert_eq!(name("\u{fc}ber \"x\""), "\u{fc}ber \"x\"");
        assert_eq!(name("a\nb\u{1b}[31m\u{202e}\u{61c}"), "a\\nb\\u{1b}[31m\\u{202e}\\u{61c}");
        assert_eq!(name(&"x".repeat(48)), "x".repeat(48));
        assert_eq!(name(&"x".repeat(4096)), format!("{}…", "x".repeat(48)));
    }
}
