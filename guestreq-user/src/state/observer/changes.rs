//! # Policy changes
//!
//! By a reload of the configuration, and by the command line.

use anyhow::{Result, anyhow};
use guestreq_common::policy::{Backend, Mode};
use log::{info, warn};

use super::{Observer, slow_ns};
use crate::{
    config::Config,
    enforce::{gate::no_weights, policies::known_vms},
    failpoint::{self, Point},
    host::system,
    policy::{self, Apply, Plan, PolicyFile, PolicySet, Refusal, Replacement, Request},
    state::snapshot::service,
    wire::policy::Name,
};

impl Observer {
    /// Applies another configuration as far as that needs no restart; returns the differences in
    /// one line.
    pub fn reload(&mut self, config: &Config) -> Result<String> {
        let snapshot = self.refresh()?;
        let vms = known_vms(self.table.vms(), &snapshot.vms);
        let planned = self.policies.plan_file(&vms, service(&snapshot.host), &config.policy);
        let replacement = planned.map_err(|refusal| anyhow!("{refusal}"))?;
        self.check_enforceable(replacement.starts_enforcing)
            .map_err(|refusal| anyhow!("{refusal}"))?;
        failpoint::point(Point::ReloadRead);
        self.records.set_slow(slow_ns(config));
        self.keep = config.keep_exited_vms;
        let Replacement { policy_set, changed, warnings, .. } = replacement;
        self.policies.install(policy_set, &self.records, self.table.vms());
        failpoint::point(Point::ReloadApplied);
        self.apply_mode(&warnings);
        let mut described = policy::describe(&changed);
        if self.order.replace(config.order()) {
            self.order.apply();
            let order = config.order().map_or("not set", Name::name);
            described.push_str(&format!("; order: {order}"));
        }
        Ok(described)
    }

    /// Plans a policy change. The caller stores it first ([`Policies::keep`]), then calls
    /// [`Observer::change`].
    ///
    /// [`Policies::keep`]: crate::enforce::policies::Policies::keep
    pub fn plan(&mut self, request: &Request, uid: u32) -> Result<Plan, Refusal> {
        let snapshot = self.refresh()?;
        let vms = known_vms(self.table.vms(), &snapshot.vms);
        let mut plan = self.policies.plan(&vms, service(&snapshot.host), request, uid)?;
        let [old, new] = [&plan.old, &plan.new].map(|policy| policy.mode.value.0);
        self.check_enforceable(old != Mode::Enforce && new == Mode::Enforce)?;
        if request.change.weight().is_some_and(|weight| !weight.is_default()) {
            plan.warnings.extend(self.no_weights());
        }
        Ok(plan)
    }

    /// Why a weight has no effect on this host.
    pub fn no_weights(&self) -> Option<String> {
        no_weights(self.policies.policy_set().backend, system::host())
    }

    /// Applies a stored change.
    pub fn change(&mut self, plan: &Plan, uid: u32) {
        self.install(&plan.policy_set);
        self.apply_mode(&[]);
        self.report_change(plan, uid);
    }

    /// Plans `policy apply` with a file, or with none (`--clear`). The caller stores it first.
    pub fn plan_apply(&mut self, apply: &Apply, uid: u32) -> Result<Replacement, Refusal> {
        let snapshot = self.refresh()?;
        let vms = known_vms(self.table.vms(), &snapshot.vms);
        let mut planned = self.policies.plan_apply(&vms, service(&snapshot.host), apply, uid)?;
        self.check_enforceable(planned.starts_enforcing)?;
        let has_weights = apply.policy_file.as_ref().is_some_and(PolicyFile::has_weights);
        // Of another backend the policy set warns itself, with each line.
        if has_weights && planned.policy_set.backend == Backend::Gate {
            planned.warnings.extend(self.no_weights());
        }
        Ok(planned)
    }

    /// Applies a stored policy file.
    pub fn apply(&mut self, apply: &Apply, planned: &Replacement, uid: u32) {
        self.install(&planned.policy_set);
        self.apply_mode(&planned.warnings);
        let changed = policy::describe(&planned.changed);
        match apply.policy_file.as_ref().and_then(PolicyFile::file) {
            Some(file) => info!("uid {uid} applied {}: {changed}", file.escape_debug()),
            None => info!("uid {uid} cleared the applied policy file: {changed}"),
        }
        self.report_differences(&planned.changed, uid);
    }

    fn install(&mut self, policy_set: &PolicySet) {
        self.policies.install(policy_set.clone(), &self.records, self.table.vms());
        failpoint::point(Point::PolicyApplied);
    }

    /// Fails if a change starts enforcing what this host cannot enforce, now or at the next start.
    fn check_enforceable(&self, starts_enforcing: bool) -> Result<(), Refusal> {
        match self.enforcement.status().reason.filter(|_| starts_enforcing) {
            None => Ok(()),
            Some(reason) => Err(Refusal::Refused(format!("cannot enforce on this host: {reason}"))),
        }
    }

    fn apply_mode(&mut self, warnings: &[String]) {
        self.enforcement.set_mode(self.policies.policy_set().strictest());
        self.verify();
        for warning in warnings {
            warn!("{warning}");
        }
    }
}
