//! # The journal
//!
//! What happened: logged, kept for a while, and given to whoever listens. Nobody
//! who listens holds the agent up, and what is kept is bounded: what a slow
//! reader misses is counted, and told to it.

mod bounded;
mod follower;
mod limit;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bounded::Bounded;
use follower::Place;
use limit::Limit;
use log::{info, warn};

pub use follower::{Follower, TooMany};

use crate::{
    bpf::records::now_ns,
    wire::events::{After, AgentId, Event, EventData, EventVm, Kind, Lost, Query, Since, Time},
};

/// What is kept for those who come later; requests told for `--all` are not.
const KEPT: Bounded = Bounded::new(10_000, 8 << 20);

pub struct Journal {
    life: AgentId,
    inner: Mutex<Inner>,
}

struct Inner {
    next: u64,
    kept: Bounded,
    /// How many are no longer kept, and the last of them.
    forgotten: u64,
    last_forgotten: Option<Arc<Event>>,
    followers: Vec<Arc<Place>>,
    limit: Limit,
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
                limit: Limit::new(Instant::now()),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what happens now and is of no VM.
    pub fn record(&self, what: EventData) {
        self.record_of(None, what, now_ns());
    }

    /// Records what happened to a VM, at a moment of CLOCK_MONOTONIC.
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

    /// Begins to follow: first to what is kept and asked for, then, if asked to follow, to all
    /// that comes. Nothing is between the two, and nothing in both.
    ///
    /// Root has followers of its own number: those who may only read cannot take its places.
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

    /// Whether somebody listens to every request.
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

    /// What is kept and asked for, and whether some of that is not kept any more.
    fn past(&self, query: &Query, life: AgentId) -> VecDeque<Arc<Event>> {
        let after = query.after.filter(|After { agent, .. }| *agent == life).map(|seen| seen.id);
        let asked = |event: &Event| {
            after.is_none_or(|id| event.id > id)
                && query.since.is_none_or(|Since(time)| event.time >= time)
        };
        let admitted = |event: &&Arc<Event>| asked(event) && query.filter.admits(event);
        let mut past: VecDeque<_> = self.kept.iter().filter(admitted).cloned().collect();
        let last = query.last.unwrap_or(usize::MAX);
        past.drain(..past.len().saturating_sub(last));
        if let Some(forgotten) = &self.last_forgotten
            && past.len() < last
            && asked(forgotten)
        {
            past.push_front(Arc::new(instead_of(forgotten, Lost::FORGOTTEN, self.forgotten)));
        }
        past
    }

    /// What a guest can provoke at will is logged at a bounded rate.
    fn log(&mut self, event: &Event) {
        if event.kind() == Kind::Request {
            return;
        }
        if event.kind().is_about_a_guest() {
            match self.limit.admit(Instant::now()) {
                Some(0) => {}
                Some(left_out) => warn!("{left_out} more events were not logged"),
                None => return,
            }
        }
        match &event.what {
            EventData::Lost(_) | EventData::ConfigFailed { .. } => warn!("{event}"),
            EventData::Enforcement(enforcement) if !enforcement.verified => warn!("{event}"),
            _ => info!("{event}"),
        }
    }
}

/// What stands in the place of events that cannot be told, the last of which was this.
fn instead_of(last: &Event, reason: &'static str, count: u64) -> Event {
    let what = EventData::Lost(Lost { reason: reason.into(), count });
    Event { vm: None, what, ..last.clone() }
}

#[cfg(test)]
mod tests;
