//! # The model
//!
//! A state machine without a terminal, an agent or a clock: its inputs are answers, keys and times.

mod history;
mod keys;
mod rows;

use std::time::{Duration, Instant};

pub use history::{History, Series};
pub use keys::Action;
pub use rows::{Refused, Row, Sort};

use crate::wire::{Vm, overview::Overview};

/// Identifies a VM; unlike its label these do not change.
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
    /// Whether keys edit the filter.
    pub typing: bool,
    pub selected: Option<Key>,
    /// Page sizes, set by the view.
    pub room: Room,
    interval: Duration,
    /// When the data were received.
    taken: Instant,
    /// The last query's error.
    trouble: Option<String>,
}

/// Page sizes of the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// VMs per page.
    pub rows: usize,
    /// Maximum scroll of a VM's detail.
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

    /// Takes an answer of the agent, except during a pause.
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

    /// Takes the view's page sizes.
    pub fn fit(&mut self, room: Room) {
        self.room = room;
        if let Screen::Detail { scroll, .. } = &mut self.screen {
            *scroll = room.scroll.min(*scroll);
        }
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.taken)
    }

    /// Why the data are old, if so and not paused.
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
            // A pause is no delay.
            self.trouble = None;
            self.taken = now;
        }
    }
}

#[cfg(test)]
mod tests;
