//! # The help popup

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    text::{Line, Text},
    widgets::{Block, Clear},
};

use super::Theme;

const TEXT: &str = "\
 j k ↑ ↓ PgUp PgDn Home End   select a VM, or scroll
 Enter, Esc                   a VM's detail, and back
 s, S                         sort by the next column, reverse
 /                            filter by name or UUID; Esc: all
 p, space                     pause
 Ctrl-L, Ctrl-Z               redraw, suspend
 q, Ctrl-C                    quit

 Values cover the last 10 s; DENIED and BUSY count since the
 VM's start, (3) in audit only.
 vm_lock: waiting for the VM's lock, held by its own vCPUs.
 psp_queue: waiting for the PSP.  psp_service: in the PSP.
 PSP: share of the PSP's time.  REPORT, KEY, OTHER:
 requests per second.  P50, P99: duration of a request.";

pub fn draw(frame: &mut Frame, area: Rect, theme: Theme) {
    let text = Text::from_iter(TEXT.lines().map(Line::raw));
    let width = Constraint::Length(text.width() as u16 + 3);
    let height = Constraint::Length(text.height() as u16 + 2);
    let area = area.centered(width, height);
    let block = Block::bordered().title(" Help ").title_style(theme.title());
    let inside = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    frame.render_widget(text, inside);
}
