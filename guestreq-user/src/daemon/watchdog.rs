//! # Whether the loop runs
//!
//! The agent observes and enforces in one loop. If that blocks, a separate thread reports it: it
//! takes no lock that the loop may hold, except for the time of the last round.

use std::{
    fs, io,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use log::{error, info};

use crate::state::shared::Shared;

const PERIOD: Duration = Duration::from_secs(1);

/// Watches until dropped.
pub struct Watchdog {
    _end: Sender<()>,
}

impl Watchdog {
    /// Watches the loop that the calling thread runs.
    pub fn start(shared: &Shared) -> io::Result<Watchdog> {
        // SAFETY: no arguments, and it cannot fail.
        let loop_thread = unsafe { libc::gettid() };
        let (end, ended) = mpsc::channel();
        let shared = shared.clone();
        let watch = move || {
            let mut state = State::default();
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                match state.update(shared.dead(), || waits_in(loop_thread)) {
                    Some(Change::Stalled(why)) => error!("{why}"),
                    Some(Change::Resumed) => info!("the loop runs again"),
                    None => {}
                }
            }
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { _end: end })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Stalled(String),
    Resumed,
}

/// Returns each change once.
#[derive(Default)]
struct State {
    stalled: bool,
}

impl State {
    fn update(&mut self, dead: Option<String>, place: impl FnOnce() -> String) -> Option<Change> {
        if self.stalled == dead.is_some() {
            return None;
        }
        self.stalled = dead.is_some();
        Some(dead.map_or(Change::Resumed, |why| {
            Change::Stalled(format!(
                "{why}{}: nothing is verified, reported or changed; enforcement continues",
                place()
            ))
        }))
    }
}

/// The kernel function in which a thread waits, if it does and that is readable.
fn waits_in(thread: libc::pid_t) -> String {
    match fs::read_to_string(format!("/proc/self/task/{thread}/wchan")) {
        Ok(place) if !matches!(place.trim(), "" | "0") => format!(", waiting in {}", place.trim()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::Config;

    /// Row 1 of the second review.
    #[test]
    fn a_stall_is_reported_once_with_its_place_and_so_is_its_end() {
        let mut state = State::default();
        let place = || ", waiting in folio_wait_bit".to_owned();
        assert_eq!(state.update(None, place), None);
        let dead = || Some("the loop has not run for 5.1s".to_owned());
        let Some(Change::Stalled(message)) = state.update(dead(), place) else {
            panic!("no stall is reported")
        };
        assert!(message.starts_with("the loop has not run for 5.1s, waiting in folio_wait_bit: "));
        assert_eq!(state.update(dead(), place), None);
        assert_eq!(state.update(None, place), Some(Change::Resumed));
    }

    /// The loop may block while it holds any of its locks.
    #[test]
    fn the_watchdog_waits_for_no_lock_of_the_loop() {
        let shared = Shared::new(&Config::default(), "starting");
        let (_state, _config) = (shared.state(), shared.config());
        let (sender, receiver) = mpsc::channel();
        let other = shared.clone();
        thread::spawn(move || sender.send(other.dead()));
        assert_eq!(receiver.recv().unwrap(), None);
    }

    #[test]
    fn a_waiting_thread_s_kernel_function_is_read() {
        let (sender, receiver) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let sleeper = thread::spawn(move || {
            // SAFETY: no arguments, and it cannot fail.
            sender.send(unsafe { libc::gettid() }).unwrap();
            let _ = ended.recv();
        });
        let thread = receiver.recv().unwrap();
        let hidden = fs::read_to_string("/proc/self/wchan").is_err();
        let limit = Instant::now() + Duration::from_secs(60);
        while !hidden && waits_in(thread).is_empty() && Instant::now() < limit {
            thread::yield_now();
        }
        let place = waits_in(thread);
        assert!(hidden || place.starts_with(", waiting in "), "{place:?}");
        drop(end);
        sleeper.join().unwrap();
    }
}
