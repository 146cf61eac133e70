//! # Querying the agent periodically
//!
//! In a thread of its own, so that keys work while the agent hangs.

use std::{
    path::PathBuf,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{client, wire::overview::Overview};

pub type Answer = Result<Overview, String>;

pub struct Feed {
    socket: PathBuf,
    interval: Duration,
}

impl Feed {
    pub fn new(socket: PathBuf, interval: Duration) -> Feed {
        Feed { socket, interval }
    }

    pub fn ask(&self) -> Result<Overview> {
        client::get(&self.socket, "/v1/overview")
    }

    /// Queries once per interval until the receiver is dropped.
    pub fn start(self) -> Result<Receiver<Answer>> {
        // Holds one answer, so that none is outdated after a suspension.
        let (sender, answers) = mpsc::sync_channel(1);
        let ask = move || {
            let mut next = Instant::now() + self.interval;
            loop {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                next = (next + self.interval).max(Instant::now());
                let answer = self.ask().map_err(|error| format!("{error:#}"));
                if sender.send(answer).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("feed".to_owned()).spawn(ask).context("starting a thread")?;
        Ok(answers)
    }
}
