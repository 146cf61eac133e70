//! # A queue of events, bounded by number and bytes
//!
//! By bytes too, as VM names can be long.

use std::{collections::VecDeque, sync::Arc};

use crate::wire::events::Event;

pub struct Bounded {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    max: usize,
    max_bytes: usize,
}

impl Bounded {
    pub const fn new(max: usize, max_bytes: usize) -> Bounded {
        Bounded { events: VecDeque::new(), bytes: 0, max, max_bytes }
    }

    pub fn is_full(&self) -> bool {
        self.events.len() >= self.max || self.bytes >= self.max_bytes
    }

    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight();
        self.events.push_back(event);
    }

    /// Removes the oldest.
    pub fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        self.bytes -= event.weight();
        Some(event)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter()
    }
}
