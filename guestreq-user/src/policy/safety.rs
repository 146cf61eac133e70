//! # Policies that make guests lose VMPCKs
//!
//! How a Linux guest treats a refusal (drivers/virt/coco/sev-guest, arch/x86/coco/sev/core.c):
//! after BUSY it sends the same message again every two seconds, for a minute. After any other
//! error, or a minute of BUSY, it wipes that VMPCK, which is lost until a reboot.

use guestreq_common::{
    gcra,
    message::{MessageType, VMPCKS},
    policy::Mode,
};

use super::{Effective, KnownVm, Limit, PolicySet, Types};

/// How long a guest retries after BUSY.
const GUEST_TIMEOUT_NS: u64 = 60_000_000_000;
/// Its backoff.
const RETRY_NS: u64 = 2_000_000_000;

/// The longest that a well-behaved guest can get BUSY: all of its VMPCKs wait, and each retry comes
/// a moment too early, or out of turn.
fn longest_wait_ns(interval_ns: u64) -> u64 {
    let each = interval_ns.saturating_add(gcra::MAX_TURN_WAIT_NS + RETRY_NS);
    each.saturating_mul(VMPCKS as u64)
}

/// The slowest rate at which no well-behaved guest loses a VMPCK.
pub const SLOWEST: &str = "4.8/m";

/// Why a limit would make a well-behaved guest lose a VMPCK, unless it was forced.
pub fn too_slow(limit: Limit) -> Option<String> {
    match limit {
        Limit::On(throttle) if !throttle.force => starves(limit),
        _ => None,
    }
}

fn starves(limit: Limit) -> Option<String> {
    let Limit::On(throttle) = limit else { return None };
    let wait = longest_wait_ns(throttle.rate.interval_ns());
    (wait > GUEST_TIMEOUT_NS).then(|| {
        format!(
            "{} is too slow: the {VMPCKS} VMPCKs of a Linux guest may wait {} s together, and \
             after 60 s of BUSY it loses a VMPCK until it is rebooted: allow at least {SLOWEST}",
            throttle.rate,
            wait.div_ceil(1_000_000_000),
        )
    })
}

/// Warns if TSC_INFO is not allowed.
pub fn no_tsc_info(allow: Types) -> Option<&'static str> {
    (!allow.0.has(MessageType::TscInfo))
        .then_some("tsc_info is not allowed: guests with Secure TSC cannot boot")
}

/// A running VM under a policy change.
pub struct AffectedVm<'a> {
    pub label: &'a str,
    pub before: Effective,
    pub after: Effective,
    /// Types that it has sent.
    pub sent: Types,
    /// Whether it was over its limit in audit.
    pub was_over: bool,
}

/// The running VMs, each with its policy before and after.
pub fn affected<'a>(
    before: &PolicySet,
    after: &PolicySet,
    vms: &[KnownVm<'a>],
) -> Vec<AffectedVm<'a>> {
    vms.iter()
        .filter(|seen| !seen.vm.exited)
        .map(|&KnownVm { vm, sent, was_over }| AffectedVm {
            label: vm.label,
            before: before.resolve(vm.identity),
            after: after.resolve(vm.identity),
            sent,
            was_over,
        })
        .collect()
}

impl AffectedVm<'_> {
    /// Types that it has sent and that the policy refuses.
    fn refused(&self, policy: &Effective) -> Types {
        let enforced = policy.mode.value.0 == Mode::Enforce;
        self.sent.iter().filter(|kind| enforced && !policy.allow.value.0.has(*kind)).collect()
    }

    fn starved(&self, policy: &Effective) -> bool {
        policy.mode.value.0 == Mode::Enforce
            && self.was_over
            && starves(policy.limit.value).is_some()
    }

    /// Why the change would make it lose a VMPCK.
    fn loses(&self) -> Option<String> {
        let before = self.refused(&self.before);
        let refused: Types =
            self.refused(&self.after).iter().filter(|kind| !before.0.has(*kind)).collect();
        if refused.iter().next().is_some() {
            Some(format!("{:?} has sent {refused}", self.label))
        } else if self.starved(&self.after) && !self.starved(&self.before) {
            Some(format!("{:?} was over {}", self.label, self.after.limit.value))
        } else {
            None
        }
    }
}

/// Names and reasons that fit on a line.
pub const NAMED: usize = 8;

/// Which running VMs would lose a VMPCK: such a change needs --yes.
pub fn losing(vms: &[AffectedVm<'_>]) -> Option<String> {
    let losers: Vec<String> = vms.iter().filter_map(AffectedVm::loses).collect();
    let vms = match losers.len() {
        0 => return None,
        1 => "1 running VM".to_owned(),
        count => format!("{count} running VMs"),
    };
    Some(format!("{vms} would lose a VMPCK until rebooted: {}", some_of(&losers)))
}

/// The first few, and how many more there are.
pub fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if names.len() > NAMED {
        text.push_str(&format!("; and {} more", names.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use guestreq_common::policy::Allowed;

    use super::*;
    use crate::policy::{Named, Throttle};

    fn limit(rate: &str, force: bool) -> Limit {
        Limit::On(Throttle { rate: rate.parse().unwrap(), burst: 1, force })
    }

    fn policy(mode: Mode, allowed: Allowed, limit: Limit) -> Effective {
        let mut policy = Effective::built_in();
        policy.mode.value = Named(mode);
        policy.allow.value = Types(allowed);
        policy.limit.value = limit;
        policy
    }

    #[test]
    fn a_rate_below_what_four_keys_need_in_a_minute_is_too_slow() {
        assert_eq!(too_slow(limit("4.8/m", false)), None);
        assert_eq!(too_slow(Limit::Off), None);
        let why = too_slow(limit("4.7/m", false)).unwrap();
        assert!(why.starts_with("4.7/m is too slow") && why.contains("at least 4.8/m"), "{why}");
        assert!(too_slow(limit("1/m", false)).unwrap().contains("may wait 250 s"));
        assert_eq!(too_slow(limit("1/m", true)), None, "forced");
    }

    #[test]
    fn forbidding_tsc_info_is_warned_of() {
        assert_eq!(no_tsc_info(Types(Allowed::DEFAULT)), None);
        assert!(no_tsc_info(Types(Allowed::NONE)).unwrap().contains("cannot boot"));
    }

    #[test]
    fn who_sent_what_would_be_refused_is_named() {
        let affected = |mode, label, sent: &[MessageType]| AffectedVm {
            label,
            before: policy(mode, Allowed::DEFAULT, Limit::Off),
            after: policy(Mode::Enforce, Allowed::DEFAULT, Limit::Off),
            sent: sent.iter().copied().collect(),
            was_over: true,
        };
        let vms = [
            affected(Mode::Audit, "web", &[MessageType::Report]),
            affected(
                Mode::Audit,
                "evil",
                &[MessageType::Report, MessageType::Export, MessageType::Unknown],
            ),
            affected(Mode::Enforce, "lost it before", &[MessageType::Export]),
        ];
        assert_eq!(
            losing(&vms).unwrap(),
            "1 running VM would lose a VMPCK until rebooted: \"evil\" has sent export, unknown"
        );
        assert_eq!(losing(&vms[..1]), None);
    }

    #[test]
    fn vms_over_a_limit_that_is_too_slow_are_named() {
        let affected = |rate, was_over| AffectedVm {
            label: "busy",
            before: policy(Mode::Audit, Allowed::DEFAULT, limit(rate, true)),
            after: policy(Mode::Enforce, Allowed::DEFAULT, limit(rate, true)),
            sent: Types(Allowed::DEFAULT),
            was_over,
        };
        assert!(
            losing(&[affected("1/m", true)]).unwrap().contains("\"busy\" was over 1/m, burst 1")
        );
        assert_eq!(losing(&[affected("1/m", false)]), None);
        assert_eq!(losing(&[affected("5/s", true)]), None, "it waits, and is served");
    }

    #[test]
    fn a_long_list_ends() {
        let names: Vec<String> = (0..100).map(|i| format!("vm-{i}")).collect();
        assert!(some_of(&names).ends_with("vm-7; and 92 more"));
        assert!(some_of(&names[..9]).ends_with("vm-7; and 1 more"));
        assert!(some_of(&names[..8]).ends_with("vm-7"), "all of them");
    }
}
