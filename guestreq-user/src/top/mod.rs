//! # top: the last seconds, live
//!
//! Queries the agent once per interval and draws the answer: the model is a state machine without a
//! terminal, the view draws it, the terminal is restored at the end.

mod feed;
#[cfg(test)]
mod fixture;
mod model;
mod signals;
mod terminal;
mod view;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use crossterm::event::{self, Event};
use feed::{Answer, Feed};
use model::{Action, Model};
use signals::Signals;
use terminal::Terminal;
use view::{Theme, View};

/// How long a signal or an answer may wait; keys do not wait.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub struct Options {
    pub socket: PathBuf,
    pub interval: Duration,
    /// Panic once the screen is drawn; for tests.
    pub panic: bool,
}

pub fn run(options: Options) -> Result<ExitCode> {
    terminal::check()?;
    // Fails without an agent before the terminal is changed.
    let feed = Feed::new(options.socket, options.interval);
    let model = Model::new(feed.ask()?, options.interval, Instant::now());
    let signals = Signals::new()?;
    let terminal = Terminal::enter()?;
    let answers = feed.start()?;
    let mut top = Top {
        model,
        view: View::new(Theme::of_environment()),
        terminal,
        signals,
        answers,
        panic: options.panic,
    };
    let end = top.run();
    drop(top);
    match end? {
        End::Quit => {}
        End::Signal(signal) => signals::die_by(signal),
    }
    Ok(ExitCode::SUCCESS)
}

struct Top {
    model: Model,
    view: View,
    terminal: Terminal,
    signals: Signals,
    answers: Receiver<Answer>,
    panic: bool,
}

enum End {
    Quit,
    Signal(i32),
}

impl Top {
    fn run(&mut self) -> Result<End> {
        let mut drawn = None;
        loop {
            // The data's age is shown in seconds.
            let second = self.model.age(Instant::now()).as_secs();
            if drawn != Some(second) {
                self.draw()?;
                drawn = Some(second);
            }
            let came = event::poll(POLL_INTERVAL).context("reading the terminal")?;
            if let Some(signal) = self.signals.deadly() {
                return Ok(End::Signal(signal));
            }
            if self.signals.resumed() {
                // The shell may have changed the terminal meanwhile.
                self.terminal.lend(|| ())?;
                drawn = None;
            }
            let action = match came {
                true => self.event(&event::read().context("reading the terminal")?),
                false => self.signals.suspend().then_some(Action::Suspend),
            };
            match action {
                Some(Action::Quit) => return Ok(End::Quit),
                Some(Action::Suspend) => {
                    self.terminal.lend(signals::stop)?;
                    self.signals.resumed();
                }
                Some(Action::Redraw) => self.terminal.clear()?,
                None => {}
            }
            if came || action.is_some() || self.take_answers()? {
                drawn = None;
            }
        }
    }

    fn event(&mut self, event: &Event) -> Option<Action> {
        match event {
            Event::Key(key) if key.is_press() => self.model.press(*key, Instant::now()),
            // A new size only needs a redraw.
            _ => None,
        }
    }

    /// Whether there were any.
    fn take_answers(&mut self) -> Result<bool> {
        let mut took = false;
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.model.answer(answer, Instant::now()),
                Err(TryRecvError::Empty) => return Ok(took),
                Err(TryRecvError::Disconnected) => {
                    bail!("the thread that queries the agent has ended")
                }
            }
            took = true;
        }
    }

    fn draw(&mut self) -> Result<()> {
        let Top { model, view, .. } = self;
        let mut room = model.room;
        self.terminal.draw(|frame| room = view.draw(frame, model, Instant::now()))?;
        self.model.fit(room);
        #[allow(clippy::panic, reason = "requested, to test that the terminal is restored")]
        if self.panic {
            panic!("asked for by --panic");
        }
        Ok(())
    }
}
