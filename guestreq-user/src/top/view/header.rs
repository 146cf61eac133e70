//! # The header: host, enforcement and time of the data

use std::time::Instant;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, text};
use crate::{
    top::model::Model,
    wire::policy::{Enforcement, Mode},
};

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, now: Instant, theme: Theme) {
    let right = when(model, now, theme);
    let left = usize::from(area.width).saturating_sub(right.width());
    let about = &model.data.agent;
    let who = format!(" {}  guestreq {}  ", about.host, about.version);
    let who = text::fit(&who, left);
    let (how, style) = enforcement(&model.data.policy.enforcement, theme);
    // Old data do not show whether it is verified now.
    let style = if model.stale(now).is_some() { theme.faint() } else { style };
    let how = text::fit(&how, left - Line::raw(&who).width());
    frame.render_widget(
        Line::from(vec![Span::styled(who, theme.heading()), Span::styled(how, style)]),
        area,
    );
    frame.render_widget(right.right_aligned(), area);
}

/// The time of the data, and whether paused or stale.
fn when(model: &Model, now: Instant, theme: Theme) -> Line<'static> {
    let age = humantime::format_duration(std::time::Duration::from_secs(model.age(now).as_secs()));
    let mark = match (model.paused, model.stale(now)) {
        (true, _) => format!(" PAUSED {age} "),
        (false, Some(_)) => format!(" STALE {age} "),
        (false, None) => String::new(),
    };
    // 2026-01-02T03:04:05.678Z
    let clock = model.data.agent.at.get(11..19).unwrap_or_default().to_owned();
    let clock = format!(" {} UTC ", text::clean(&clock));
    Line::from(vec![
        Span::styled(mark, theme.warning().patch(theme.selected())),
        Span::styled(clock, theme.label()),
    ])
}

fn enforcement(status: &Enforcement, theme: Theme) -> (String, ratatui::style::Style) {
    let Enforcement { backend, mode, verified, reason, .. } = status;
    match (mode.0, verified) {
        (Mode::Enforce, true) => (format!("{backend}: enforcing, verified"), theme.good()),
        (Mode::Enforce, false) => {
            let why = reason.as_deref().unwrap_or("unknown reason");
            (format!("{backend}: NOT ENFORCED: {why}"), theme.bad())
        }
        _ => (format!("{backend}: {mode}, nothing is enforced"), theme.label()),
    }
}
