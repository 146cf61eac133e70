//! # Why a VM has the policy that it has
//!
//! The rules in their order, with the result of each, by the code that resolves policies.

use super::{LocatedRule, Origin, PolicySet, RuleResult, Sets};
use crate::host::Identity;

impl PolicySet {
    /// The result of each rule for a VM.
    pub fn rule_results(&self, vm: &Identity) -> Vec<RuleResult> {
        let policy = self.resolve(vm);
        let origins = [
            ("mode", &policy.mode.origin),
            ("allow", &policy.allow.origin),
            ("limit", &policy.limit.origin),
            ("weight", &policy.weight.origin),
        ];
        let tried = |number: usize, placed: &LocatedRule, is_applied: bool| {
            let LocatedRule { rule, at } = placed;
            let why = rule.matches.mismatch(vm);
            let holds = origins.iter().filter(|(_, origin)| is_of(origin, number, is_applied));
            RuleResult {
                rule: number,
                at: at.clone(),
                applied: is_applied,
                matches: rule.matches.to_string(),
                matched: why.is_none(),
                why,
                sets: Sets {
                    mode: rule.mode,
                    allow: rule.allow,
                    limit: rule.limit,
                    weight: rule.weight,
                },
                holds: holds.map(|(key, _)| (*key).to_owned()).collect(),
            }
        };
        self.files()
            .flat_map(|(policy_file, stamp)| {
                let rules = (1..).zip(&policy_file.rules);
                rules.map(move |(number, placed)| (number, placed, stamp.is_some()))
            })
            .map(|(number, placed, is_applied)| tried(number, placed, is_applied))
            .collect()
    }
}

/// Whether a value comes from the rule of this number.
fn is_of(origin: &Origin, number: usize, is_applied: bool) -> bool {
    match origin {
        Origin::Config { rule, .. } => !is_applied && *rule == Some(number),
        Origin::Applied { rule, .. } => is_applied && *rule == Some(number),
        Origin::Default | Origin::Override { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        policy::{Applied, Limit, Overrides, Stamp, Stamped},
    };

    const FILE: &str = "
        mode = \"observe\"
        [[vm]]
        match = { name = \"db-*\" }
        mode = \"enforce\"
        [[vm]]
        match = { name = \"web\" }
        allow = [\"report\"]
        limit = { rate = \"5/s\" }
        [[vm]]
        match = { vmm = \"qemu\" }
        mode = \"audit\"
        limit = { rate = \"9/s\" }
    ";

    fn web() -> Identity {
        Identity { vmm: "qemu".to_owned(), ..Identity::called("web") }
    }

    fn stamp() -> Stamp {
        Stamp { uid: 0, at: "2026-01-02T03:04:05Z".to_owned() }
    }

    #[test]
    fn each_rule_says_whether_it_matches_why_not_and_what_of_it_holds() {
        let policy_set = Config::parse(FILE).unwrap().policy_set(Overrides::default());
        let results = policy_set.rule_results(&web());
        let summaries: Vec<_> = results
            .iter()
            .map(|it| (it.rule, it.matched, it.why.as_deref(), it.holds.join(" ")))
            .collect();
        assert_eq!(
            summaries,
            [
                (1, false, Some("its name is \"web\""), String::new()),
                (2, true, None, "allow limit".to_owned()),
                (3, true, None, "mode".to_owned()),
            ]
        );
        assert_eq!((results[0].at.line, results[0].matches.as_str()), (3, "name = \"db-*\""));
        assert!(results[2].sets.limit.is_some() && results[2].sets.allow.is_none());
    }

    #[test]
    fn what_was_applied_is_tried_first_and_an_override_holds_before_all() {
        let policy_file = Config::parse("[[vm]]\nmatch = { name = \"w*\" }\nlimit = \"off\"\n");
        let policy_file = policy_file.unwrap().policy;
        let applied = Some(Applied { stamp: stamp(), policy_file });
        let mut overrides = Overrides { applied, ..Overrides::default() };
        let config = Config::parse(FILE).unwrap();
        let holds = |overrides: &Overrides| {
            let results = config.policy_set(overrides.clone()).rule_results(&web());
            let holds = results.iter().map(|it| (it.applied, it.rule, it.holds.join(" ")));
            holds.collect::<Vec<_>>()
        };
        let of = |applied, rule, keys: &str| (applied, rule, keys.to_owned());
        assert_eq!(
            holds(&overrides),
            [of(true, 1, "limit"), of(false, 1, ""), of(false, 2, "allow"), of(false, 3, "mode")]
        );
        let off = Stamped { value: Limit::Off, stamp: stamp() };
        overrides.edit(Some("web"), |of_web| of_web.limit = Some(off));
        assert_eq!(holds(&overrides)[0], of(true, 1, ""), "the override's holds");
    }
}
