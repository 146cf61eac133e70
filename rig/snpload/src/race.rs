//! # Racing the host for a byte
//!
//! The request page stays writable for the guest: another thread can write while the host reads.
//! Reading it twice may yield two messages.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{Builder, scope, yield_now};

use anyhow::{Context, Result};

use crate::values::Race;

/// Ends the race even if the request panics, as the scope waits for the other thread.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes a request while another thread flips the byte between the two, from before it starts until
/// after it ends.
pub fn race<T>(byte: &AtomicU8, race: Race, request: impl FnOnce() -> T) -> Result<T> {
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let flip = || {
        let (mut now, mut then) = (race.to, race.from);
        while !over.load(Ordering::Relaxed) {
            byte.store(now, Ordering::Relaxed);
            (now, then) = (then, now);
            begun.store(true, Ordering::Relaxed);
        }
    };
    scope(|threads| {
        let thread = Builder::new().name("race".into()).stack_size(128 << 10);
        thread.spawn_scoped(threads, flip).context("no thread for the race")?;
        let _ends = Ends(&over);
        while !begun.load(Ordering::Relaxed) {
            yield_now();
        }
        Ok(request())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn both_values_are_seen_during_the_race_and_nothing_changes_after() {
        let byte = AtomicU8::new(5);
        let both = race(&byte, Race { from: 5, to: 7 }, || {
            let (mut seen, due) = ([false; 256], Instant::now() + Duration::from_secs(60));
            while !(seen[5] && seen[7]) && Instant::now() < due {
                seen[usize::from(byte.load(Ordering::Relaxed))] = true;
            }
            seen.iter().filter(|seen| **seen).count() == 2 && seen[5] && seen[7]
        });
        assert!(both.unwrap());
        let last = byte.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(byte.load(Ordering::Relaxed), last);
        assert!(last == 5 || last == 7);
    }
}
