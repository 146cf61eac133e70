//! # The journal
//!
//! Logs events, keeps the last ones and hands them to followers. A follower never blocks the
//! agent: its queue is bounded, and it is sent a count of what it missed.

mod bounded;
mod follower;
mod quota;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bounded::Bounded;
use follower::Place;
use log::{info, warn};
use quota::EventQuota;

pub use follower::{Follower, TooMany};

use crate::{
    bpf::records::now_ns,
    wire::events::{After, AgentId, Event, EventData, EventVm, Kind, Lost, Query, Since, Time},
};

/// Most events kept. Single requests (`--all`) are never kept.
const KEPT: Bounded = Bounded::new(10_000, 8 << 20);

pub struct Journal {
    life: AgentId,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    kept: Bounded,
    /// How many were evicted, and the last of them.
    forgotten: u64,
    last_forgotten: Option<Arc<Event>>,
    followers: Vec<Arc<Place>>,
    limit: EventQuota,
}

impl Journal {
    pub fn new() -> Journal {
        Journal {
            life: AgentId::begin(),
            inner: Mutex::new(Inner {
                next: 1,
                kept: KEPT,
                forgotten: 0,
                last_forgotten: None,
                followers: Vec::new(),
                limit: EventQuota::new(Instant::now()),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an event that happens now and belongs to no VM.
    pub fn record(&self, what: EventData) {
        self.record_of(None, what, now_ns());
    }

    /// Records a VM's event; the time is CLOCK_MONOTONIC's.
    pub fn record_of(&self, vm: Option<EventVm>, what: EventData, monotonic_ns: u64) {
        let time = Time::ago(Duration::from_nanos(now_ns().saturating_sub(monotonic_ns)));
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        let event = Arc::new(Event { id, agent: self.life, time, monotonic_ns, vm, what });
        inner.log(&event);
        for follower in &inner.followers {
            follower.put(&event);
        }
        if event.kind() != Kind::Request {
            inner.keep(event);
        }
    }

    /// Returns the kept events that match, and with `query.follow` new ones as well: without gap
    /// or overlap.
    ///
    /// Root's followers are limited separately: others cannot take its places.
    pub fn follow(self: &Arc<Journal>, query: &Query, root: bool) -> Result<Follower, TooMany> {
        let mut inner = self.inner();
        let others = inner.followers.iter().filter(|place| place.root == root).count();
        if query.follow && others >= TooMany::MOST {
            return Err(TooMany);
        }
        let past = inner.past(query, self.life);
        let place = query.follow.then(|| Arc::new(Place::new(query.filter.clone(), root)));
        inner.followers.extend(place.clone());
        Ok(Follower::new(Arc::clone(self), place, past))
    }

    /// Whether a follower wants every request.
    pub fn wants_requests(&self) -> bool {
        self.inner().followers.iter().any(|follower| follower.filter.wants_requests())
    }

    fn leave(&self, place: &Arc<Place>) {
        self.inner().followers.retain(|follower| !Arc::ptr_eq(follower, place));
    }
}

impl Inner {
    fn keep(&mut self, event: Arc<Event>) {
        while self.kept.is_full() {
            self.forgotten += 1;
            self.last_forgotten = self.kept.pop();
        }
        self.kept.push(event);
    }

    /// The kept events that match, after a loss event if matching ones were evicted.
    fn past(&self, query: &Query, life: AgentId) -> VecDeque<Arc<Event>> {
        let after = query.after.filter(|After { agent, .. }| *agent == life).map(|seen| seen.id);
        let in_range = |event: &Event| {
            after.is_none_or(|id| event.id > id)
                && query.since.is_none_or(|Since(time)| event.time >= time)
        };
        let admitted = |event: &&Arc<Event>| in_range(event) && query.filter.admits(event);
        let mut past: VecDeque<_> = self.kept.iter().filter(admitted).cloned().collect();
        let last = query.last.unwrap_or(usize::MAX);
        past.drain(..past.len().saturating_sub(last));
        if let Some(forgotten) = &self.last_forgotten
            && past.len() < last
            && in_range(forgotten)
        {
            past.push_front(Arc::new(loss_event(forgotten, Lost::FORGOTTEN, self.forgotten)));
        }
        past
    }

    /// Events that a guest can provoke are logged at a bounded rate.
    fn log(&mut self, event: &Event) {
        if event.kind() == Kind::Request {
            return;
        }
        if event.kind().is_about_a_guest() {
            match self.limit.admit(Instant::now()) {
                Some(0) => {}
                Some(suppressed) => warn!("{suppressed} more events were not logged"),
                None => return,
            }
        }
        match &event.what {
            EventData::Lost(_) | EventData::ConfigFailed { .. } => warn!("{event}"),
            EventData::Enforcement(enforcement) if !enforcement.verified => warn!("{event}"),
            EventData::Launched(launched) if !launched.is_finished() => warn!("{event}"),
            _ => info!("{event}"),
        }
    }
}

/// Takes the place of lost events, `last` being the last of them.
fn loss_event(last: &Event, reason: &'static str, count: u64) -> Event {
    let what = EventData::Lost(Lost { reason: reason.into(), count });
    Event { vm: None, what, ..last.clone() }
}

#[cfg(test)]
mod tests;
