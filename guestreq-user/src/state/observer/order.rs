//! # The gate's order, as events

use std::time::Instant;

use log::warn;

use super::Observer;
use crate::{
    state::snapshot::Snapshot,
    throttle::without_numbers,
    wire::events::{EventData, Overdue},
};

impl Observer {
    /// Reports overdue requests, once per series, and why the order cannot be read.
    pub(super) fn report_order(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        let failure = snapshot.order.as_ref().err();
        let state = failure.map(|failure| without_numbers(failure));
        if self.order_failure.is_due(state, now)
            && let Some(failure) = failure
        {
            warn!("cannot read the gate's order: {failure}");
        }
        let Ok(order) = &snapshot.order else { return };
        let counts = order.map(|order| order.counts).unwrap_or_default();
        if let Some(count) = self.overdue.begins(counts.overdue, now) {
            let overdue = Overdue { count, waiting: counts.waiting };
            self.journal.record(EventData::Overdue(overdue));
        }
    }
}
