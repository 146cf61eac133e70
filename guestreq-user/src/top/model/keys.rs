//! # Keys

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Key, Model, Screen};

/// Actions outside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Quit,
    Suspend,
    /// Full redraw, over output of other programs.
    Redraw,
}

/// In characters.
const MAX_FILTER: usize = 100;

/// A movement of the selection or of scrolled text.
#[derive(Clone, Copy)]
enum Move {
    By(isize),
    First,
    Last,
}

impl Move {
    fn from(self, at: usize, last: usize) -> usize {
        match self {
            Move::By(by) => at.saturating_add_signed(by).min(last),
            Move::First => 0,
            Move::Last => last,
        }
    }
}

impl Model {
    pub fn press(&mut self, key: KeyEvent, now: Instant) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control(key.code);
        }
        if std::mem::take(&mut self.help) {
            // Any key closes the help.
            return (key.code == KeyCode::Char('q')).then_some(Action::Quit);
        }
        if self.typing {
            self.type_filter(key.code);
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('?') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('p' | ' ') => self.pause(now),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('S') => self.reversed = !self.reversed,
            KeyCode::Char('/') => {
                self.screen = Screen::List;
                self.typing = true;
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Esc => self.back(),
            code => {
                if let Some(way) = self.way(code) {
                    self.go(way);
                }
            }
        }
        None
    }

    fn control(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('c') => return Some(Action::Quit),
            KeyCode::Char('z') => return Some(Action::Suspend),
            KeyCode::Char('l') => return Some(Action::Redraw),
            KeyCode::Char('u') if self.typing => self.filter.clear(),
            _ => {}
        }
        None
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(c) if self.filter.chars().count() < MAX_FILTER => self.filter.push(c),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            // The filter is full.
            KeyCode::Char(_) => {}
            code => {
                if let Some(way) = self.way(code) {
                    self.go(way);
                }
            }
        }
    }

    fn way(&self, code: KeyCode) -> Option<Move> {
        let page = isize::try_from(self.room.rows.max(1)).unwrap_or(isize::MAX);
        Some(match code {
            KeyCode::Up | KeyCode::Char('k') => Move::By(-1),
            KeyCode::Down | KeyCode::Char('j') => Move::By(1),
            KeyCode::PageUp => Move::By(-page),
            KeyCode::PageDown => Move::By(page),
            KeyCode::Home | KeyCode::Char('g') => Move::First,
            KeyCode::End | KeyCode::Char('G') => Move::Last,
            _ => return None,
        })
    }

    fn go(&mut self, way: Move) {
        if let Screen::Detail { scroll, .. } = &mut self.screen {
            *scroll = way.from(*scroll, self.room.scroll);
            return;
        }
        let rows = self.rows();
        let to = match (self.selected_row(&rows), way) {
            (Some(at), way) => way.from(at, rows.len().saturating_sub(1)),
            (None, Move::Last) => rows.len().saturating_sub(1),
            (None, _) => 0,
        };
        self.selected = rows.get(to).map(|row| Key::of(row.vm));
    }

    /// Opens the detail of the selected or first VM, or closes it.
    fn enter(&mut self) {
        if self.screen != Screen::List {
            self.screen = Screen::List;
            return;
        }
        let rows = self.rows();
        let at = self.selected_row(&rows).unwrap_or(0);
        let Some(of) = rows.get(at).map(|row| Key::of(row.vm)) else { return };
        self.selected = Some(of.clone());
        self.screen = Screen::Detail { of, scroll: 0 };
    }

    /// Leaves the detail, else clears the filter, else the selection.
    fn back(&mut self) {
        if self.screen != Screen::List {
            self.screen = Screen::List;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.selected = None;
        }
    }
}
