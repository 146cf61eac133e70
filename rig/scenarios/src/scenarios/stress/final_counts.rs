//! # Final counts

use anyhow::{Context as _, Result};

use super::{
    guests::{self, Finished},
    round::Stress,
};
use crate::{host::Firmware, scenarios::attack};

impl Stress<'_> {
    /// Ends all guests; the counts of each equal what it saw and what its context was answered.
    pub fn finish_guests(&mut self) -> Result<String> {
        let mut finished: Vec<Finished> = self.exited.drain(..).collect();
        let left = self.guests.drain(..).chain(self.visitor.take());
        for guest in left.collect::<Vec<_>>() {
            finished.push(guest.finish()?);
        }
        finished.extend(self.stuck.finish()?);
        let agent = self.agent.as_ref().context("no agent")?;
        let answered = self.host.exact(agent)?;
        let metrics = agent.scrape()?;
        let of_guests = guests::exact(&finished, &metrics)?;
        let contexts = Firmware::read()?.since(&self.before).contexts;
        let mut counted: Vec<u64> = attack::answered(&metrics).into_values().collect();
        // A reused address holds the sum of two guests.
        for (_, requests) in contexts.into_values().filter(|(launches, _)| *launches == 1) {
            let at = counted.iter().position(|count| *count == requests);
            counted.swap_remove(at.with_context(|| format!("no VM has {requests}: {counted:?}"))?);
        }
        let gate = self.host.gate()?;
        Ok(format!(
            "{of_guests} requests of {} VMs counted exactly ({answered} answered, {} denied, {} busy)",
            finished.len(),
            gate.denied,
            gate.busy
        ))
    }
}
