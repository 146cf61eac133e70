//! # The footer: error, filter or keys

use std::time::Instant;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, text};
use crate::top::model::{Model, Screen};

const LIST: &[(&str, &str)] = &[
    ("q", "quit"),
    ("?", "help"),
    ("↑ ↓", "select"),
    ("Enter", "detail"),
    ("/", "filter"),
    ("s S", "sort"),
    ("p", "pause"),
];
const DETAIL: &[(&str, &str)] =
    &[("Esc", "back"), ("q", "quit"), ("?", "help"), ("↑ ↓", "scroll"), ("p", "pause")];

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, now: Instant, theme: Theme) {
    let cells = usize::from(area.width);
    let line = if model.typing {
        typing(&model.filter, cells, theme)
    } else if let Some(why) = model.stale(now) {
        Line::styled(text::fit(&format!(" {why}"), cells), theme.bad())
    } else {
        let keys = if model.screen == Screen::List { LIST } else { DETAIL };
        keys_line(keys, model.paused, theme)
    };
    frame.render_widget(line, area);
}

/// The filter's end, with the cursor.
fn typing(filter: &str, cells: usize, theme: Theme) -> Line<'static> {
    let keys = "  Enter: done  Esc: all";
    let filter = text::clean(filter);
    let room = cells.saturating_sub(2 + keys.len());
    let skip = filter.chars().count().saturating_sub(room.max(4));
    let end: String = filter.chars().skip(skip).collect();
    Line::from(vec![
        Span::styled(format!("/{end}"), theme.heading()),
        Span::styled(" ", theme.selected()),
        Span::styled(keys, theme.label()),
    ])
}

fn keys_line(keys: &[(&str, &str)], paused: bool, theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for (key, does) in keys {
        let does = if *does == "pause" && paused { "resume" } else { does };
        spans.push(Span::styled(format!(" {key}"), theme.heading()));
        spans.push(Span::styled(format!(" {does} "), theme.label()));
    }
    Line::from(spans)
}
