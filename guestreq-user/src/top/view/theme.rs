//! # Colours
//!
//! Every colour has an equivalent in text, as colours may be disabled (<https://no-color.org>),
//! missing or indistinguishable.

use ratatui::style::{Color, Modifier, Style};

#[derive(Clone, Copy)]
pub struct Theme {
    colours: bool,
}

impl Theme {
    pub fn new(colours: bool) -> Theme {
        Theme { colours }
    }

    /// According to NO_COLOR.
    pub fn of_environment() -> Theme {
        Theme::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The column that VMs are sorted by.
    pub fn sorted(self) -> Style {
        self.heading().add_modifier(Modifier::UNDERLINED)
    }

    pub fn label(self) -> Style {
        self.colour(Color::Gray)
    }

    pub fn line(self) -> Style {
        self.colour(Color::DarkGray)
    }

    pub fn busy(self) -> Style {
        self.colour(Color::Green)
    }

    pub fn queue(self) -> Style {
        self.colour(Color::Yellow)
    }

    pub fn rate(self) -> Style {
        self.colour(Color::Blue)
    }

    pub fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// Throttled, paused, old.
    pub fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Denied, lost, not enforced.
    pub fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Exited or outdated.
    pub fn faint(self) -> Style {
        self.colour(Color::DarkGray).add_modifier(Modifier::DIM)
    }
}
