//! # Progress: one line per step, with its time

use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;

/// The step whose line is shown while it runs. A step that starts meanwhile in another thread is
/// shown when it ends.
static OPEN: Mutex<Option<String>> = Mutex::new(None);

fn open() -> MutexGuard<'static, Option<String>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one step and prints one line about it. A step must not print or contain another step.
pub fn step<T>(verb: &str, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let begun = format!("  {verb:<9}{what} … ");
    let shown = begin(&begun);
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    let ended = match &result {
        Ok(_) => format!("{seconds:.1} s"),
        Err(_) => format!("failed after {seconds:.1} s"),
    };
    if shown {
        *open() = None;
        println!("{ended}");
    } else {
        line(&(begun + &ended));
    }
    result
}

fn begin(line: &str) -> bool {
    let mut open = open();
    if open.is_some() {
        return false;
    }
    print!("{line}");
    // A failed write to the terminal does not fail the step.
    let _ = stdout().flush();
    *open = Some(line.to_owned());
    true
}

/// Prints a separate line; a running step's line is printed again after it.
fn line(text: &str) {
    match &*open() {
        Some(waits) => {
            let over = if stdout().is_terminal() { "\r\x1b[K" } else { "\n" };
            print!("{over}{text}\n{waits}");
            let _ = stdout().flush();
        }
        None => println!("{text}"),
    }
}

/// Prints information that is neither a step nor an error.
pub fn note(text: &str) {
    line(&format!("  {:<9}{text}", "note"));
}

/// Prints that something is ready, and the time it took.
pub fn ready(what: &str, since: Instant) {
    line(&format!("  {what:<9}ready in {:.1} s", since.elapsed().as_secs_f64()));
}
