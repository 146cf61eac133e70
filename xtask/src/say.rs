//! # What a person sees: one line per step, with its time

use std::io::Write;
use std::time::Instant;

use anyhow::Result;

/// Runs one step and prints one line about it. A step must not print or contain another step.
pub fn step<T>(verb: &str, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    print!("  {verb:<9}{what} … ");
    // A terminal that cannot be written to is no reason to fail the step.
    let _ = std::io::stdout().flush();
    let result = work();
    match &result {
        Ok(_) => println!("{:.1} s", start.elapsed().as_secs_f64()),
        Err(_) => println!("failed after {:.1} s", start.elapsed().as_secs_f64()),
    }
    result
}

/// Something worth knowing that is neither a step nor an error.
pub fn note(text: &str) {
    println!("  {:<9}{text}", "note");
}
