//! # Signals: noted, and obeyed where the terminal can be given back first

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag, low_level,
};

/// What ends a process that does nothing about it.
const DEADLY: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

pub struct Signals {
    deadly: [(i32, Arc<AtomicBool>); DEADLY.len()],
    suspend: Arc<AtomicBool>,
    resumed: Arc<AtomicBool>,
}

fn note(signal: i32) -> Result<Arc<AtomicBool>> {
    let noted = Arc::new(AtomicBool::new(false));
    flag::register(signal, Arc::clone(&noted)).with_context(|| format!("signal {signal}"))?;
    Ok(noted)
}

impl Signals {
    pub fn new() -> Result<Signals> {
        let [term, int, hup, quit] = DEADLY;
        Ok(Signals {
            deadly: [
                (term, note(term)?),
                (int, note(int)?),
                (hup, note(hup)?),
                (quit, note(quit)?),
            ],
            suspend: note(SIGTSTP)?,
            resumed: note(SIGCONT)?,
        })
    }

    /// The signal that is to end this process, if one came.
    pub fn deadly(&self) -> Option<i32> {
        let came = |(signal, came): &(i32, Arc<AtomicBool>)| {
            came.load(Ordering::Relaxed).then_some(*signal)
        };
        self.deadly.iter().find_map(came)
    }

    /// Whether it is to stop for a while.
    pub fn suspend(&self) -> bool {
        self.suspend.swap(false, Ordering::Relaxed)
    }

    /// Whether it was stopped, and goes on.
    pub fn resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::Relaxed)
    }
}

/// Stops this process until it is told to go on.
pub fn stop() {
    let _ = low_level::emulate_default_handler(SIGTSTP);
}

/// Ends this process by a signal, so that whoever waits for it knows which.
pub fn die_by(signal: i32) {
    let _ = low_level::emulate_default_handler(signal);
}
