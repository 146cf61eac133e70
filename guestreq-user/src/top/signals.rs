//! # Signals: handled after the terminal is restored

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag, low_level,
};

/// Signals that end a process by default.
const DEADLY: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

pub struct Signals {
    deadly: [(i32, Arc<AtomicBool>); DEADLY.len()],
    suspend: Arc<AtomicBool>,
    resumed: Arc<AtomicBool>,
}

fn register(signal: i32) -> Result<Arc<AtomicBool>> {
    let flag_set = Arc::new(AtomicBool::new(false));
    flag::register(signal, Arc::clone(&flag_set)).with_context(|| format!("signal {signal}"))?;
    Ok(flag_set)
}

impl Signals {
    pub fn new() -> Result<Signals> {
        let [term, int, hup, quit] = DEADLY;
        Ok(Signals {
            deadly: [
                (term, register(term)?),
                (int, register(int)?),
                (hup, register(hup)?),
                (quit, register(quit)?),
            ],
            suspend: register(SIGTSTP)?,
            resumed: register(SIGCONT)?,
        })
    }

    /// The received signal that ends this process, if any.
    pub fn deadly(&self) -> Option<i32> {
        let came = |(signal, came): &(i32, Arc<AtomicBool>)| {
            came.load(Ordering::Relaxed).then_some(*signal)
        };
        self.deadly.iter().find_map(came)
    }

    /// Whether to suspend.
    pub fn suspend(&self) -> bool {
        self.suspend.swap(false, Ordering::Relaxed)
    }

    /// Whether it was resumed.
    pub fn resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::Relaxed)
    }
}

/// Suspends this process.
pub fn stop() {
    let _ = low_level::emulate_default_handler(SIGTSTP);
}

/// Ends this process by a signal, so that its parent sees which.
pub fn die_by(signal: i32) {
    let _ = low_level::emulate_default_handler(signal);
}
