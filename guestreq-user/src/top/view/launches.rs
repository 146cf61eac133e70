//! # Running launches, while there are any
//!
//! Above the VMs, the slowest first; omitted where space is short.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Text},
};

use super::{Theme, text, titled};
use crate::{text::duration, top::model::Model, wire::launches::Launch};

/// Most launches shown.
const MOST: usize = 3;

/// Lines, with the title.
pub fn height(model: &Model) -> u16 {
    match model.data.launches.len() {
        0 => 0,
        running => 1 + running.min(MOST) as u16,
    }
}

pub fn draw(frame: &mut Frame, area: Rect, model: &Model, theme: Theme) {
    let mut running: Vec<&Launch> = model.data.launches.iter().collect();
    if running.is_empty() {
        return;
    }
    let plural = if running.len() == 1 { "" } else { "es" };
    let inside = titled(frame, area, format!("{} launch{plural}", running.len()), theme);
    running.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let lines = running.iter().take(MOST).map(|launch| {
        let stalled = launch.state == Launch::STALLED;
        let style = if stalled { theme.warning() } else { theme.label() };
        Line::styled(text::fit(&line(launch), usize::from(inside.width)), style)
    });
    frame.render_widget(Text::from_iter(lines), inside);
}

/// `web-1: 512 pages in 60.0 s, 75 % of it waiting for the PSP: greedy`
fn line(launch: &Launch) -> String {
    let Launch { vm, state, seconds, seconds_ago, work, .. } = launch;
    let who = vm.label_or_pid();
    let waited = text::percent(work.stage_seconds.waiting_share());
    let mut line = format!(" {who}: {} pages in {}", work.pages, duration(*seconds));
    if state == Launch::STALLED {
        return line + &format!(", stalled: no command for {}", duration(*seconds_ago));
    }
    line += &format!(", {waited} of it waiting for the PSP");
    match work.psp_used_by.iter().flatten().next() {
        Some(user) => line + ": " + user.vm.as_deref().unwrap_or("the host"),
        None => line,
    }
}
