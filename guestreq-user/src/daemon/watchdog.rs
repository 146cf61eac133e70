//! # Whether the loop goes round
//!
//! All that the agent does for its VMs it does in one loop, and what blocks that, blocks all of it:
//! it does not even say so. So a thread of its own looks on, which takes nothing that the loop may
//! hold but the time of its last round.

use std::{
    fs, io,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use log::{error, info};

use crate::agent::shared::Shared;

const LOOK: Duration = Duration::from_secs(1);

/// Looks on until this is dropped.
pub struct Watchdog {
    _end: Sender<()>,
}

impl Watchdog {
    /// Of the loop that this thread runs.
    pub fn start(shared: &Shared) -> io::Result<Watchdog> {
        // SAFETY: no arguments, and it cannot fail.
        let loop_thread = unsafe { libc::gettid() };
        let (end, ended) = mpsc::channel();
        let shared = shared.clone();
        let look_on = move || {
            let mut watch = Watch::default();
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                match watch.look(shared.dead(), || waits_in(loop_thread)) {
                    Some(Change::Stalled(why)) => error!("{why}"),
                    Some(Change::Resumed) => info!("the loop runs again"),
                    None => {}
                }
            }
        };
        thread::Builder::new().name("watchdog".to_owned()).spawn(look_on)?;
        Ok(Watchdog { _end: end })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Stalled(String),
    Resumed,
}

/// Says each change once.
#[derive(Default)]
struct Watch {
    stands: bool,
}

impl Watch {
    fn look(&mut self, dead: Option<String>, place: impl FnOnce() -> String) -> Option<Change> {
        if self.stands == dead.is_some() {
            return None;
        }
        self.stands = dead.is_some();
        Some(dead.map_or(Change::Resumed, |why| {
            Change::Stalled(format!(
                "{why}{}: nothing is verified, told or changed meanwhile; what is enforced goes on",
                place()
            ))
        }))
    }
}

/// The kernel's function in which a thread waits, if it does and may be seen.
fn waits_in(thread: libc::pid_t) -> String {
    match fs::read_to_string(format!("/proc/self/task/{thread}/wchan")) {
        Ok(place) if !matches!(place.trim(), "" | "0") => format!(", it waits in {}", place.trim()),
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
    fn a_loop_that_stands_is_told_once_with_its_place_and_that_it_goes_on_too() {
        let mut watch = Watch::default();
        let place = || ", it waits in folio_wait_bit".to_owned();
        assert_eq!(watch.look(None, place), None);
        let dead = || Some("the loop has not run for 5.1s".to_owned());
        let Some(Change::Stalled(said)) = watch.look(dead(), place) else {
            panic!("nothing is said")
        };
        assert!(said.starts_with("the loop has not run for 5.1s, it waits in folio_wait_bit: "));
        assert_eq!(watch.look(dead(), place), None);
        assert_eq!(watch.look(None, place), Some(Change::Resumed));
    }

    /// Whatever the loop holds: it may be blocked while it does.
    #[test]
    fn who_looks_on_waits_for_nothing_that_the_loop_holds() {
        let shared = Shared::new(&Config::default(), "starting");
        let (_state, _config) = (shared.state(), shared.config());
        let (tell, told) = mpsc::channel();
        let other = shared.clone();
        thread::spawn(move || tell.send(other.dead()));
        assert_eq!(told.recv().unwrap(), None);
    }

    #[test]
    fn where_a_thread_waits_is_seen() {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let sleeper = thread::spawn(move || {
            // SAFETY: no arguments, and it cannot fail.
            tell.send(unsafe { libc::gettid() }).unwrap();
            let _ = ended.recv();
        });
        let thread = told.recv().unwrap();
        let hidden = fs::read_to_string("/proc/self/wchan").is_err();
        let limit = Instant::now() + Duration::from_secs(60);
        while !hidden && waits_in(thread).is_empty() && Instant::now() < limit {
            thread::yield_now();
        }
        let place = waits_in(thread);
        assert!(hidden || place.starts_with(", it waits in "), "{place:?}");
        drop(end);
        sleeper.join().unwrap();
    }
}
