//! # The PSP: utilisation, queue and holder

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Text},
    widgets::{RenderDirection, Sparkline},
};

use super::{Theme, text, titled};
use crate::{
    text::duration,
    top::model::{Model, Series},
    wire::{Holder, Psp},
};

/// Width of labels.
const LABEL: u16 = 13;

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let psp = &model.data.psp;
    let inside = titled(frame, area, "PSP", theme);
    let [busy, queue, holder] =
        Layout::vertical([Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(inside);
    let history = &model.history;
    let label = format!("busy {:>6}", text::percent(psp.recent_utilisation));
    series(frame, busy, &[label], &history.busy, Some(1.0), theme.busy(), theme);

    let width = usize::from(queue.width.saturating_sub(LABEL));
    let max = history.queue.latest().take(width).flatten().reduce(f64::max);
    let max = max.map_or_else(|| "-".to_owned(), |max| format!("{max:.1}"));
    let labels =
        [format!("queue {:>5}", text::rate(psp.recent_queue_length)), format!("max {max:>7}")];

    series(frame, queue, &labels, &history.queue, None, theme.queue(), theme);
    frame.render_widget(held(psp, holder.width, theme), holder);
}

/// Everything in one line.
pub fn draw_line(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let psp = &model.data.psp;
    let busy = text::percent(psp.recent_utilisation);
    let wide = format!("PSP {busy} busy, {} waiting, held by {}", psp.queue_length, who(psp));
    let narrow = format!("PSP {busy}");
    let fits = Line::raw(&wide).width() <= usize::from(area.width);
    let line = if fits { wide } else { narrow };
    frame.render_widget(
        Line::styled(text::fit(&line, usize::from(area.width)), theme.heading()),
        area,
    );
}

/// A sparkline, the latest value at the right; without `max` scaled to its largest value.
pub fn series(
    frame: &mut Frame,
    area: Rect,
    labels: &[String],
    series: &Series,
    max: Option<f64>,
    style: Style,
    theme: Theme,
) {
    let [label, line] =
        Layout::horizontal([Constraint::Length(LABEL), Constraint::Fill(1)]).areas(area);
    let lines: Vec<Line> =
        labels.iter().map(|text| Line::styled(format!(" {text}"), theme.label())).collect();
    frame.render_widget(Text::from(lines), label);
    // The widget takes integers.
    let whole = |value: f64| (value * 1000.0).round() as u64;
    let values: Vec<Option<u64>> =
        series.latest().take(usize::from(line.width)).map(|value| value.map(whole)).collect();
    // Scaled to at least 1, so that a short queue looks short.
    let most = values.iter().flatten().copied().max().unwrap_or(0).max(1000);
    let sparkline = Sparkline::default()
        .data(values)
        .max(max.map_or(most, whole))
        .direction(RenderDirection::RightToLeft)
        .absent_value_symbol("·")
        .absent_value_style(theme.faint())
        .style(style);
    frame.render_widget(sparkline, line);
}

fn who(psp: &Psp) -> String {
    match &psp.holder {
        None => "nobody".to_owned(),
        Some(Holder { vm: Some(vm), .. }) => vm.clone(),
        Some(Holder { pid, .. }) => format!("the host (pid {pid})"),
    }
}

/// Holder and queue; the command only if it fits.
fn held(psp: &Psp, width: u16, theme: Theme) -> Line<'static> {
    let cells = usize::from(width);
    let begin = format!(" now: {} waiting, held by ", psp.queue_length);
    let ends = psp.holder.as_ref().map_or_else(Vec::new, |holder| {
        let time = duration(holder.seconds);
        vec![format!(", {} for {time}", holder.command), format!(" for {time}")]
    });
    let who = text::clean(&who(psp));
    let lines = ends.iter().map(|end| format!("{begin}{who}{end}"));
    let fits = |line: &String| Line::raw(line).width() <= cells;
    // A long name is truncated for the time.
    let short = ends.last().map_or("", String::as_str);
    let room = cells.saturating_sub(begin.len() + short.len());
    let cut = format!("{begin}{}{short}", text::fit(&who, room.max(4)));
    let line = lines.into_iter().find(fits).unwrap_or(cut);
    Line::styled(text::fit(&line, cells), theme.label())
}
