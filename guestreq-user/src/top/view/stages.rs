//! # Recent latencies by stage, and problems

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, text, titled};
use crate::{text::maybe, top::model::Model, wire::Psp};

pub const WIDTH: u16 = 36;

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let Model { data, .. } = model;
    let seconds = format!("last {:.0} s", data.psp.window_seconds);
    let title = format!("{seconds:<15}{:>8}{:>8}", "p50", "p99");
    let inside = titled(frame, area, title, theme);
    let mut lines: Vec<Line> = ["vm_lock", "psp_queue", "psp_service"]
        .iter()
        .map(|stage| {
            let recent = data.psp.recent_stages.get(*stage);
            let p50 = maybe(recent.and_then(|stage| stage.p50_seconds));
            let p99 = maybe(recent.and_then(|stage| stage.p99_seconds));
            Line::from(vec![
                Span::styled(format!(" {stage:<15}"), theme.label()),
                Span::raw(format!("{p50:>8}{p99:>8}")),
            ])
        })
        .collect();
    let vms = &data.vms.vms;
    let rate: f64 = vms.iter().map(|vm| vm.recent_requests_per_second).sum();
    let running = vms.iter().filter(|vm| vm.running).count();
    let all = format!(" {} requests/s of {running} running VMs", text::rate(rate));
    lines.push(Line::styled(all, theme.label()));
    lines.extend(problems(model, theme));
    lines.extend(
        order(&data.psp)
            .map(|line| Line::styled(text::fit(&line, usize::from(WIDTH - 1)), theme.label())),
    );
    frame.render_widget(ratatui::text::Text::from(lines), inside);
}

/// Who waits in the gate's order, and for how much of the time they were held for launches; below
/// what is wrong.
fn order(psp: &Psp) -> Option<String> {
    let order = psp.order.as_ref()?;
    if order.depth == 0 {
        return Some(" order off".to_owned());
    }
    let held = text::percent(order.recent_held_share);
    Some(format!(" order: {} waiting, held {held}", text::count(order.waiting)))
}

/// Bypasses, requests that became overdue of late, missing probes and losses.
fn problems(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Psp { lost, probes, .. } = &model.data.psp;
    let mut lines = Vec::new();
    if let Some(bypassed @ 1..) = model.data.policy.enforcement.bypassed {
        lines.push(format!("bypassed {}", text::count(bypassed)));
    }
    if let Some(overdue @ 1..) = model.data.psp.order.as_ref().map(|order| order.recent_overdue) {
        lines.push(format!("overdue {}", text::count(overdue)));
    }
    let missing = probes.iter().filter(|(_, attached)| !**attached);
    lines.extend(missing.map(|(probe, _)| format!("not attached: {probe}")));
    // A skipped tracepoint is harmless: every request is still counted.
    let lost = lost.iter().filter(|(why, count)| **count > 0 && *why != "tracepoint_missed");
    lines.extend(lost.map(|(why, count)| format!("lost {}: {why}", text::count(*count))));
    let cells = usize::from(WIDTH - 1);
    lines
        .into_iter()
        .map(|line| Line::styled(text::fit(&format!(" {line}"), cells), theme.bad()))
        .collect()
}
