//! # The screen
//!
//! One file per pane. Less important parts are omitted first if space is short.

mod detail;
mod footer;
mod header;
mod help;
mod launches;
mod psp;
mod stages;
mod text;
mod theme;
mod vms;

use std::time::Instant;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Block, Borders},
};
pub use theme::Theme;

use super::model::{Model, Room, Screen};

pub struct View {
    theme: Theme,
    /// The first VM that is shown.
    offset: usize,
}

/// Below this height the PSP has one line instead of a pane.
const LOW: u16 = 12;
/// From these heights on its sparklines are higher.
const HIGH: u16 = 20;
const HIGHER: u16 = 40;
/// Minimum width for the stages beside the PSP.
const NARROW: u16 = 64;

impl View {
    pub fn new(theme: Theme) -> View {
        View { theme, offset: 0 }
    }

    /// Draws everything and returns the page sizes.
    pub fn draw(&mut self, frame: &mut Frame, model: &Model, now: Instant) -> Room {
        let all = frame.area();
        let rows = |height: u16| u16::from(all.height >= height);
        let psp = match all.height {
            0..LOW => 1,
            // A title, busy and queue, and a line for who holds it.
            LOW..HIGH => 2 + 2,
            HIGH..HIGHER => 2 + 4,
            _ => 2 + 8,
        };
        let launches = if all.height < HIGH { 0 } else { launches::height(model) };
        let [header, psp, launching, body, footer] = Layout::vertical([
            Constraint::Length(rows(5)),
            Constraint::Length(psp * rows(2)),
            Constraint::Length(launches),
            Constraint::Fill(1),
            Constraint::Length(rows(6)),
        ])
        .areas(all);
        header::draw(frame, header, model, now, self.theme);
        if all.height < LOW {
            psp::draw_line(frame, psp, model, self.theme);
        } else if all.width < NARROW {
            psp::draw(frame, psp, model, self.theme);
        } else {
            let [left, right] =
                Layout::horizontal([Constraint::Fill(1), Constraint::Length(stages::WIDTH)])
                    .areas(psp);
            psp::draw(frame, left, model, self.theme);
            stages::draw(frame, right, model, self.theme);
        }
        launches::draw(frame, launching, model, self.theme);
        let room = match &model.screen {
            Screen::List => Room {
                rows: vms::draw(frame, body, model, &mut self.offset, self.theme),
                scroll: 0,
            },
            Screen::Detail { of, scroll } => {
                let scroll = detail::draw(frame, body, model, of, *scroll, self.theme);
                Room { rows: usize::from(body.height), scroll }
            }
        };
        if model.stale(now).is_some() {
            frame.buffer_mut().set_style(between(all, header, footer), self.theme.faint());
        }
        footer::draw(frame, footer, model, now, self.theme);
        if model.help {
            help::draw(frame, all, self.theme);
        }
        room
    }
}

/// Everything between the header and the footer.
fn between(all: Rect, header: Rect, footer: Rect) -> Rect {
    let y = header.bottom();
    Rect { y, height: footer.top().saturating_sub(y), ..all }
}

/// Draws a title line; returns the area below.
fn titled(frame: &mut Frame, area: Rect, title: impl Into<String>, theme: Theme) -> Rect {
    let title = text::fit(&title.into(), usize::from(area.width.saturating_sub(4)));
    let title = Line::styled(format!(" {title} "), theme.title());
    let block = Block::new().borders(Borders::TOP).border_style(theme.line()).title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}

#[cfg(test)]
mod tests;
