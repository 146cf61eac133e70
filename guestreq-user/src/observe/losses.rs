//! # Losses as events
//!
//! Turns the programs' and the kernel's loss counters into events.

use std::collections::BTreeMap;

use guestreq_common::host::Loss;

use crate::{
    bpf::records::Records,
    observe::journal::Journal,
    wire::events::{EventData, Lost},
};

/// The counters as last read, by reason.
#[derive(Default)]
pub struct Losses(BTreeMap<&'static str, u64>);

impl Losses {
    /// Starts at the current counts: earlier losses are not reported.
    pub fn before_now(records: &Records) -> Losses {
        Losses(Loss::ALL.iter().map(|loss| (loss.name(), records.lost(*loss))).collect())
    }

    pub fn report(&mut self, records: &Records, journal: &Journal) {
        for loss in Loss::ALL {
            self.report_one(loss.name(), records.lost(loss), journal);
        }
    }

    /// Reports a counter's increase; a counter seen for the first time is a baseline.
    pub fn report_one(&mut self, reason: &'static str, total: u64, journal: &Journal) {
        let before = self.0.insert(reason, total).unwrap_or(total);
        let count = total.saturating_sub(before);
        if count > 0 {
            journal.record(EventData::Lost(Lost { reason: reason.into(), count }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::events::Query;

    #[test]
    fn each_loss_is_reported_once() {
        let journal = Arc::new(Journal::new());
        let mut losses = Losses::default();
        for total in [5, 8, 8, 15, 2, 3] {
            losses.report_one("ring_buffer_full", total, &journal);
        }
        let mut follower = journal.follow(&Query::default(), true).unwrap();
        let counts = std::iter::from_fn(|| match &follower.take()?.what {
            EventData::Lost(lost) => Some(lost.count),
            what => panic!("{what}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [3, 7, 1], "2 is another counter");
    }
}
