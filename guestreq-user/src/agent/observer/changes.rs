//! # All policies at once
//!
//! The configuration's files when they are read again, and files that the command
//! line applies.

use anyhow::{Result, anyhow};
use log::{info, warn};

use super::{Observer, slow_ns};
use crate::{
    agent::fault::{self, Point},
    config::Config,
    policy::{self, Apply, Refusal, Replacement, Sheet},
};

impl Observer {
    /// Has another configuration hold from now on, as far as that needs no new start; says in a
    /// line what is different.
    pub fn reload(&mut self, config: &Config) -> Result<String> {
        let snapshot = self.refresh()?;
        let planned = self.policies.plan_file(&self.table, &snapshot, &config.policy);
        let replacement = planned.and_then(|planned| self.enforceable(planned));
        let replacement = replacement.map_err(|refusal| anyhow!("{refusal}"))?;
        fault::point(Point::ReloadRead);
        self.records.set_slow(slow_ns(config));
        self.keep = config.keep_exited_vms;
        let Replacement { book, changed, warnings, .. } = replacement;
        self.policies.install(book, &self.records, &self.table);
        fault::point(Point::ReloadApplied);
        self.have_changed(&warnings);
        Ok(policy::describe(&changed))
    }

    /// Has a file that the command line gives hold from now on, or none.
    pub fn apply(&mut self, apply: &Apply, uid: u32) -> Result<Replacement, Refusal> {
        let snapshot = self.refresh().map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        let planned = self.policies.plan_apply(&self.table, &snapshot, apply, uid)?;
        let planned = self.enforceable(planned)?;
        self.policies.keep(&planned.book)?;
        self.policies.install(planned.book.clone(), &self.records, &self.table);
        fault::point(Point::PolicyApplied);
        self.have_changed(&planned.warnings);
        let changed = policy::describe(&planned.changed);
        match apply.sheet.as_ref().and_then(Sheet::file) {
            Some(file) => info!("uid {uid} applied {}: {changed}", file.escape_debug()),
            None => info!("uid {uid} dropped what was applied: {changed}"),
        }
        self.tell_differences(&planned.changed, uid);
        Ok(planned)
    }

    /// What is planned, unless it would be said to be enforced and is not.
    fn enforceable(&self, planned: Replacement) -> Result<Replacement, Refusal> {
        match self.enforcement.status().reason.filter(|_| planned.begins) {
            None => Ok(planned),
            Some(reason) => {
                Err(Refusal::Refused(format!("nothing can be enforced here: {reason}")))
            }
        }
    }

    fn have_changed(&mut self, warnings: &[String]) {
        self.enforcement.ask_for(self.policies.book().strictest());
        self.verify();
        for warning in warnings {
            warn!("{warning}");
        }
    }
}
