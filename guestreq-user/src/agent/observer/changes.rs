//! # Other policies
//!
//! The configuration's files when they are read again, and what the command line changes or
//! applies.

use anyhow::{Result, anyhow};
use guestreq_common::policy::Mode;
use log::{info, warn};

use super::{Observer, slow_ns};
use crate::{
    config::Config,
    enforce::known_vms,
    failpoint::{self, Point},
    policy::{self, Apply, Plan, PolicyFile, PolicySet, Refusal, Replacement, Request},
};

impl Observer {
    /// Has another configuration hold from now on, as far as that needs no new start; says in a
    /// line what is different.
    pub fn reload(&mut self, config: &Config) -> Result<String> {
        let snapshot = self.refresh()?;
        let vms = known_vms(self.table.vms(), &snapshot.vms);
        let planned = self.policies.plan_file(&vms, &config.policy);
        let replacement = planned.map_err(|refusal| anyhow!("{refusal}"))?;
        self.check_enforceable(replacement.begins).map_err(|refusal| anyhow!("{refusal}"))?;
        failpoint::point(Point::ReloadRead);
        self.records.set_slow(slow_ns(config));
        self.keep = config.keep_exited_vms;
        let Replacement { policy_set, changed, warnings, .. } = replacement;
        self.policies.install(policy_set, &self.records, self.table.vms());
        failpoint::point(Point::ReloadApplied);
        self.apply_mode(&warnings);
        Ok(policy::describe(&changed))
    }

    /// What a change of what VMs may ask for would come to. It is to be kept first
    /// ([`Observer::keep`]), then to be made.
    pub fn plan(&mut self, request: &Request, uid: u32) -> Result<Plan, Refusal> {
        let snapshot = self.refresh().map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        let plan = self.policies.plan(&known_vms(self.table.vms(), &snapshot.vms), request, uid)?;
        let [old, new] = [&plan.old, &plan.new].map(|policy| policy.mode.value.0);
        self.check_enforceable(old != Mode::Enforce && new == Mode::Enforce)?;
        Ok(plan)
    }

    /// Has a change that was kept hold from now on.
    pub fn change(&mut self, plan: &Plan, uid: u32) {
        self.install(&plan.policy_set);
        self.apply_mode(&[]);
        self.report_change(plan, uid);
    }

    /// What a file that the command line gives, or none, would come to: to be kept and made likewise.
    pub fn plan_apply(&mut self, apply: &Apply, uid: u32) -> Result<Replacement, Refusal> {
        let snapshot = self.refresh().map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        let vms = known_vms(self.table.vms(), &snapshot.vms);
        let planned = self.policies.plan_apply(&vms, apply, uid)?;
        self.check_enforceable(planned.begins)?;
        Ok(planned)
    }

    /// Has it hold from now on.
    pub fn apply(&mut self, apply: &Apply, planned: &Replacement, uid: u32) {
        self.install(&planned.policy_set);
        self.apply_mode(&planned.warnings);
        let changed = policy::describe(&planned.changed);
        match apply.policy_file.as_ref().and_then(PolicyFile::file) {
            Some(file) => info!("uid {uid} applied {}: {changed}", file.escape_debug()),
            None => info!("uid {uid} dropped what was applied: {changed}"),
        }
        self.report_differences(&planned.changed, uid);
    }

    fn install(&mut self, policy_set: &PolicySet) {
        self.policies.install(policy_set.clone(), &self.records, self.table.vms());
        failpoint::point(Point::PolicyApplied);
    }

    /// Fails if something begins to be enforced that cannot be, now or when an agent starts next.
    fn check_enforceable(&self, begins: bool) -> Result<(), Refusal> {
        match self.enforcement.status().reason.filter(|_| begins) {
            None => Ok(()),
            Some(reason) => {
                Err(Refusal::Refused(format!("nothing can be enforced here: {reason}")))
            }
        }
    }

    fn apply_mode(&mut self, warnings: &[String]) {
        self.enforcement.require(self.policies.policy_set().strictest());
        self.verify();
        for warning in warnings {
            warn!("{warning}");
        }
    }
}
