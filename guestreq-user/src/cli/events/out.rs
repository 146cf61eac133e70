//! # Writing events to standard output

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use super::line::Lines;
use crate::{json, wire::events::Event};

/// Standard output, as lines or JSON.
pub struct Out(Option<Lines>);

/// Nobody reads standard output any more, as in `guestreq events | head`.
#[derive(Debug, PartialEq)]
pub struct Closed;

impl Out {
    pub fn json() -> Out {
        Out(None)
    }

    pub fn table(lines: Lines) -> Out {
        Out(Some(lines))
    }

    /// Writes events.
    pub fn write(&mut self, events: &[(Event, String)]) -> Result<Option<Closed>> {
        let mut text = String::new();
        for (event, json) in events {
            match &mut self.0 {
                Some(lines) => text += &lines.line(event),
                // Older agents do not escape.
                None => text += &json::escaped(json),
            }
            text.push('\n');
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(Closed)),
            Err(error) => Err(error).context("writing to standard output"),
        }
    }

    /// Checks for closed output without writing.
    pub fn closed(&self) -> Option<Closed> {
        let mut stdout = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
        // SAFETY: one structure, which outlives the call.
        let ready = unsafe { libc::poll(&mut stdout, 1, 0) };
        (ready > 0 && stdout.revents & libc::POLLERR != 0).then_some(Closed)
    }
}
