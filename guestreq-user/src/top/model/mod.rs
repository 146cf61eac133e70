//! # What is shown, and what a key or an answer changes of it
//!
//! A state machine without a terminal, an agent or a clock: answers, keys and moments
//! come in, and the view draws what is then so.

mod history;
mod keys;
mod rows;

use std::time::{Duration, Instant};

pub use history::{History, Series};
pub use keys::Action;
pub use rows::{Refused, Row, Sort};

use crate::wire::{Vm, overview::Overview};

/// A VM, for as long as it has a record. Its label may change under it, these do not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pid: u32,
    name: String,
}

impl Key {
    pub fn of(vm: &Vm) -> Key {
        Key { pid: vm.pid, name: vm.name.clone() }
    }
}

#[derive(Debug, PartialEq)]
pub enum Screen {
    List,
    Detail { of: Key, scroll: usize },
}

pub struct Model {
    pub data: Overview,
    pub history: History,
    pub screen: Screen,
    pub help: bool,
    pub paused: bool,
    pub sort: Sort,
    pub reversed: bool,
    pub filter: String,
    /// Keys are the filter's.
    pub typing: bool,
    pub selected: Option<Key>,
    /// How long the view's pages are; told by it.
    pub room: Room,
    interval: Duration,
    /// When the data came.
    taken: Instant,
    /// Why none have come since.
    trouble: Option<String>,
}

/// What the view had room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// VMs at a time.
    pub rows: usize,
    /// How far a VM's detail can be scrolled.
    pub scroll: usize,
}

impl Model {
    pub fn new(data: Overview, interval: Duration, now: Instant) -> Model {
        let mut history = History::default();
        history.take(&data, interval);
        Model {
            data,
            history,
            screen: Screen::List,
            help: false,
            paused: false,
            sort: Sort::Share,
            reversed: false,
            filter: String::new(),
            typing: false,
            selected: None,
            room: Room::default(),
            interval,
            taken: now,
            trouble: None,
        }
    }

    /// Takes in what the agent answered. What comes during a pause is not looked at, so that
    /// everything on the screen is of one moment.
    pub fn answer(&mut self, answer: Result<Overview, String>, now: Instant) {
        match answer {
            _ if self.paused => {}
            Ok(data) => {
                self.history.take(&data, self.interval);
                self.data = data;
                self.taken = now;
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// Takes in what the view had room for.
    pub fn fit(&mut self, room: Room) {
        self.room = room;
        if let Screen::Detail { scroll, .. } = &mut self.screen {
            *scroll = room.scroll.min(*scroll);
        }
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.taken)
    }

    /// Why the data are old, if they are, and nobody asked for that.
    pub fn stale(&self, now: Instant) -> Option<&str> {
        let late = self.age(now) > 3 * self.interval + Duration::from_secs(2);
        match &self.trouble {
            _ if self.paused => None,
            Some(why) => Some(why),
            None => late.then_some("the agent does not answer"),
        }
    }

    fn pause(&mut self, now: Instant) {
        self.paused = !self.paused;
        if !self.paused {
            // What is old because it was to be is not late.
            self.trouble = None;
            self.taken = now;
        }
    }
}

#[cfg(test)]
mod tests;
