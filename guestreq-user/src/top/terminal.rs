//! # The terminal, which is left as it was found
//!
//! Taken over with the alternate screen and raw mode. Given back when [`Terminal`] is dropped,
//! when the process is suspended, and before a panic is printed, so that it can be read.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write as _},
    panic,
    sync::Once,
};

use anyhow::{Context as _, Result, bail};
use crossterm::{
    cursor::Show,
    execute,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui::{Frame, backend::CrosstermBackend};

pub struct Terminal {
    screen: ratatui::Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Says why there is no terminal to draw on, if there is none.
pub fn check() -> Result<()> {
    let programs = "for programs there is `guestreq vms -o json`";
    if !io::stdout().is_terminal() {
        bail!("standard output is not a terminal: {programs}");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        bail!("this terminal cannot move its cursor (TERM=dumb): {programs}");
    }
    Ok(())
}

impl Terminal {
    /// Takes the terminal over.
    pub fn enter() -> Result<Terminal> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                give_back();
                print(panic);
            }));
        });
        let backend = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let screen = ratatui::Terminal::new(backend).context("the terminal")?;
        // From here on, whatever fails gives it back.
        let mut terminal = Terminal { screen };
        terminal.take()?;
        Ok(terminal)
    }

    fn take(&mut self) -> Result<()> {
        terminal::enable_raw_mode().context("the terminal's raw mode")?;
        execute!(io::stdout(), EnterAlternateScreen).context("the terminal")?;
        self.clear()
    }

    /// Has the next frame drawn whole. A new size, be it the old one, does that without asking the
    /// terminal where its cursor is, which not every terminal answers.
    pub fn clear(&mut self) -> Result<()> {
        let size = self.screen.size().context("the terminal's size")?;
        self.screen.resize(size.into()).context("the terminal")
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> Result<()> {
        self.screen.draw(draw).context("the terminal")?;
        Ok(())
    }

    /// Gives it back while `meanwhile` runs.
    pub fn lend(&mut self, meanwhile: impl FnOnce()) -> Result<()> {
        give_back();
        meanwhile();
        self.take()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// As far as it goes: a terminal that has hung up cannot be told anything. Told twice, nothing
/// changes.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
    let _ = terminal::disable_raw_mode();
}
