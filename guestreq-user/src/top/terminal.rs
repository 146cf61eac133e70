//! # The terminal
//!
//! Uses the alternate screen and raw mode. Restored when [`Terminal`] is dropped, when the process
//! is suspended, and before a panic is printed.

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

/// An error if there is no suitable terminal.
pub fn check() -> Result<()> {
    let programs = "use `guestreq vms -o json`";
    if !io::stdout().is_terminal() {
        bail!("standard output is not a terminal: {programs}");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        bail!("this terminal cannot move its cursor (TERM=dumb): {programs}");
    }
    Ok(())
}

impl Terminal {
    /// Enters raw mode and the alternate screen.
    pub fn enter() -> Result<Terminal> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                restore();
                print(panic);
            }));
        });
        let backend = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let screen = ratatui::Terminal::new(backend).context("the terminal")?;
        // From here on errors restore it.
        let mut terminal = Terminal { screen };
        terminal.take()?;
        Ok(terminal)
    }

    fn take(&mut self) -> Result<()> {
        terminal::enable_raw_mode().context("the terminal's raw mode")?;
        execute!(io::stdout(), EnterAlternateScreen).context("the terminal")?;
        self.clear()
    }

    /// Makes the next frame a full redraw. Setting the size does that without querying the cursor's
    /// position, which not every terminal supports.
    pub fn clear(&mut self) -> Result<()> {
        let size = self.screen.size().context("the terminal's size")?;
        self.screen.resize(size.into()).context("the terminal")
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> Result<()> {
        self.screen.draw(draw).context("the terminal")?;
        Ok(())
    }

    /// Restores it while `meanwhile` runs.
    pub fn lend(&mut self, meanwhile: impl FnOnce()) -> Result<()> {
        restore();
        meanwhile();
        self.take()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Best effort: fails if the terminal has hung up. Idempotent.
fn restore() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
    let _ = terminal::disable_raw_mode();
}
