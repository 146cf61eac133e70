//! # Followers of the journal

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{Bounded, Journal, loss_event};
use crate::wire::events::{Event, Filter, Lost};

/// A follower's queue: more than the programs' ring buffer holds.
const WAITING: Bounded = Bounded::new(4096, 2 << 20);

/// The limit of followers is reached.
#[derive(Debug, PartialEq)]
pub struct TooMany;

impl TooMany {
    /// Of root, and of all others together.
    pub const MOST: usize = 32;
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many followers of events ({}): end one of them", TooMany::MOST)
    }
}

/// A follower's queue, which the journal fills.
pub struct Place {
    pub filter: Filter,
    /// Whether it is root's.
    pub root: bool,
    wake: Notify,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    events: Bounded,
    /// How many found no room since the last report, and the last of them.
    missed: u64,
    last_missed: Option<Arc<Event>>,
}

impl Place {
    pub fn new(filter: Filter, root: bool) -> Place {
        let waiting = Waiting { events: WAITING, missed: 0, last_missed: None };
        Place { filter, root, wake: Notify::new(), waiting: Mutex::new(waiting) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never blocks. After one missed event all are missed until that is reported, so that the
    /// report stands where they are missing.
    pub fn put(&self, event: &Arc<Event>) {
        if !self.filter.admits(event) {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.missed > 0 || waiting.events.is_full() {
            waiting.missed += 1;
            waiting.last_missed = Some(Arc::clone(event));
        } else {
            waiting.events.push(Arc::clone(event));
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Arc<Event>> {
        let mut waiting = self.waiting();
        if let Some(event) = waiting.events.pop() {
            return Some(event);
        }
        let last = waiting.last_missed.take()?;
        let missed = std::mem::take(&mut waiting.missed);
        Some(Arc::new(loss_event(&last, Lost::SLOW_READER, missed)))
    }
}

/// Reads events until it is dropped.
pub struct Follower {
    journal: Arc<Journal>,
    /// Events from before it began.
    past: VecDeque<Arc<Event>>,
    /// `None`: it reads past events only.
    place: Option<Arc<Place>>,
}

impl Follower {
    pub fn new(
        journal: Arc<Journal>,
        place: Option<Arc<Place>>,
        past: VecDeque<Arc<Event>>,
    ) -> Follower {
        Follower { journal, past, place }
    }

    /// The next event, if there is one now.
    pub fn take(&mut self) -> Option<Arc<Event>> {
        self.past.pop_front().or_else(|| self.place.as_ref()?.take())
    }

    /// Waits for the next event; `None`: none will come.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            self.place.as_ref()?.wake.notified().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.journal.leave(place);
        }
    }
}
