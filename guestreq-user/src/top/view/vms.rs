//! # The VMs

mod columns;

use columns::Column::{self, *};
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Cell, Row as TableRow, Table},
};

use super::{Theme, text, titled};
use crate::{
    text::maybe,
    top::model::{Model, Refused, Row, Sort},
};

/// Draws the table, scrolled to the selected VM; returns the number of VMs per page.
pub fn draw(
    frame: &mut Frame,
    area: Rect,
    model: &Model,
    offset: &mut usize,
    theme: Theme,
) -> usize {
    let rows = model.rows();
    let area =
        if area.height > 3 { titled(frame, area, title(model, rows.len()), theme) } else { area };
    let has_header = area.height > 2;
    let height = usize::from(area.height) - usize::from(has_header);
    let selected = model.selected_row(&rows);
    *offset = scroll(*offset, selected, height, rows.len());

    let longest = rows.iter().map(|row| Line::raw(&row.vm.vm).width()).max().unwrap_or(0);
    let columns = columns::fitting(
        area.width,
        u16::try_from(longest).unwrap_or(u16::MAX),
        rows.iter().any(|row| !row.vm.lost_vmpcks.is_empty()),
    );
    let shown = rows.iter().enumerate().skip(*offset).take(height).map(|(i, row)| {
        let cells = columns.iter().map(|(column, _, width)| cell(*column, row, *width, theme));
        let style = match row.vm.running {
            true => Style::new(),
            false => theme.faint(),
        };
        let style = if Some(i) == selected { style.patch(theme.selected()) } else { style };
        TableRow::new(cells).style(style)
    });
    let widths = columns.iter().map(|(.., width)| Constraint::Length(*width));
    let mut table = Table::new(shown, widths).column_spacing(1);
    if has_header {
        table = table.header(header(&columns, model.sort, theme));
    }
    frame.render_widget(table, area);
    if rows.is_empty() && area.height > 1 {
        let below = Rect { y: area.y + u16::from(has_header), height: 1, ..area };
        frame.render_widget(Line::styled(nothing(model), theme.label()), below);
    }
    height
}

fn title(model: &Model, listed: usize) -> String {
    let all = model.data.vms.vms.len();
    let way = if model.reversed { "▲" } else { "▼" };
    let which = match model.filter.as_str() {
        "" => format!("{all} VMs"),
        filter => format!("{listed} of {all} VMs have \"{}\"", text::clean(filter)),
    };
    format!("{which}, by {} {way}", model.sort.name())
}

fn nothing(model: &Model) -> &'static str {
    match model.data.vms.vms.is_empty() {
        true => " No VM has sent a guest request since the agent started.",
        false => " No VM's name or UUID matches the filter.",
    }
}

/// Scrolls as little as needed to show the selected row without empty lines.
fn scroll(offset: usize, selected: Option<usize>, height: usize, rows: usize) -> usize {
    let offset = match selected {
        Some(at) => offset.min(at).max((at + 1).saturating_sub(height)),
        None => 0,
    };
    offset.min(rows.saturating_sub(height))
}

fn header(columns: &[(Column, &str, u16)], sort: Sort, theme: Theme) -> TableRow<'static> {
    let sorted = match sort {
        Sort::Share => Share,
        Sort::Rate => Rate,
        Sort::P99 => P99,
        Sort::Denied => Denied,
        Sort::Name => Name,
    };
    TableRow::new(columns.iter().map(|(column, title, _)| {
        let style = if *column == sorted { theme.sorted() } else { theme.heading() };
        let title = Line::from(Span::styled((*title).to_owned(), style));
        Cell::from(if *column == Name { title } else { title.right_aligned() })
    }))
}

fn cell(column: Column, row: &Row, width: u16, theme: Theme) -> Cell<'static> {
    let vm = row.vm;
    let of_message =
        |message: &str| vm.recent_messages_per_second.get(message).copied().unwrap_or(0.0);
    let now = |decision: &str| vm.recent_decisions_per_second.contains_key(decision);
    let rate = |rate: f64| if rate > 0.0 { text::rate(rate) } else { "-".to_owned() };
    let plain = Style::new();
    let (text, style) = match column {
        Name => (text::fit(&vm.vm, usize::from(width)), plain),
        Bar if !vm.running => ("exited".to_owned(), plain),
        Bar => (text::bar(vm.recent_psp_share, usize::from(width)), theme.busy()),
        Share => (text::percent(vm.recent_psp_share), plain),
        Rate => (text::rate(vm.recent_requests_per_second), plain),
        Report => (rate(of_message("report")), plain),
        Key => (rate(of_message("key")), plain),
        Other => {
            let named = of_message("report") + of_message("key");
            let all: f64 = vm.recent_messages_per_second.values().sum();
            // Rounding errors are no requests.
            (rate(if all - named > 1e-6 { all - named } else { 0.0 }), plain)
        }
        P50 => (maybe(vm.recent_p50_seconds), plain),
        P99 => (maybe(vm.recent_p99_seconds), plain),
        Denied => (refused(row.denied), if now("deny") { theme.bad() } else { plain }),
        Lost => (lost(row), theme.bad()),
        Busy => (refused(row.busy), if now("busy") { theme.warning() } else { plain }),
    };
    let line = Line::from(Span::styled(text, style));
    Cell::from(if matches!(column, Name | Bar) { line } else { line.right_aligned() })
}

/// The VMPCKs, whatever cost them: `02`. The detail shows the cause.
fn lost(row: &Row) -> String {
    let mut vmpcks: Vec<u8> = row.vm.lost_vmpcks.iter().map(|lost| lost.vmpck).collect();
    vmpcks.dedup();
    match vmpcks.as_slice() {
        [] => "-".to_owned(),
        vmpcks => vmpcks.iter().map(u8::to_string).collect(),
    }
}

/// `3`, or `(3)` in audit only.
fn refused(refused: Refused) -> String {
    match refused {
        Refused { enforced: 0, audited: 0 } => "-".to_owned(),
        Refused { enforced: 0, audited } => format!("({})", text::count(audited)),
        Refused { enforced, .. } => text::count(enforced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_scrolls_no_more_than_needed() {
        assert_eq!(scroll(0, None, 5, 20), 0);
        assert_eq!(scroll(0, Some(4), 5, 20), 0);
        assert_eq!(scroll(0, Some(5), 5, 20), 1);
        assert_eq!(scroll(10, Some(12), 5, 20), 10);
        assert_eq!(scroll(10, Some(3), 5, 20), 3);
        assert_eq!(scroll(19, Some(19), 50, 20), 0, "no empty lines");
        assert_eq!(scroll(3, Some(0), 0, 0), 0);
    }
}
