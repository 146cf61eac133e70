//! # Policies that make guests lose VMPCKs
//!
//! How a Linux guest treats a refusal (drivers/virt/coco/sev-guest, arch/x86/coco/sev/core.c):
//! after BUSY it sends the same message again every two seconds, for a minute. After any other
//! error, or a minute of BUSY, it wipes that VMPCK, which is lost until a reboot. The programs admit
//! a message that has waited for 30 s, so that no limit costs a VMPCK while they run; but guests
//! wait that long for each message, and a limit that relies on this is exceeded.

use std::time::Duration;

use guestreq_common::{
    message::{MessageType, VMPCKS},
    policy::Mode,
    waiting::LOST_NS,
};

use super::{Effective, KnownVm, Limit, PolicySet, RateLimit, Share, ShareLimit, Throttle, Types};

/// How long a message that conforms usually waits for its turn, at most: one retry later it has it. On
/// a crowded host it may be ten seconds.
const TURN_WAIT_NS: u64 = 500_000_000;
/// Its backoff.
const RETRY_NS: u64 = 2_000_000_000;

/// The longest that a well-behaved guest can get BUSY: all of its VMPCKs wait, and each retry comes
/// a moment too early, or out of turn.
fn longest_wait_ns(interval_ns: u64) -> u64 {
    let each = interval_ns.saturating_add(TURN_WAIT_NS + RETRY_NS);
    each.saturating_mul(VMPCKS as u64)
}

/// The slowest rate at which no well-behaved guest depends on rescues for its VMPCKs.
pub const SLOWEST: &str = "4.8/m";

/// How long the PSP takes for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    pub mean: Duration,
    /// For nearly every request.
    pub p99: Duration,
    /// On this host; else it is assumed.
    pub measured: bool,
}

impl Service {
    /// An operator's measurement of reports on a public cloud's Milan hosts, published in 2026.
    pub const PUBLISHED: Service = {
        let time = Duration::from_micros(7_700);
        Service { mean: time, p99: time, measured: false }
    };

    /// Where a figure of it comes from.
    pub fn source(self, figure: &str) -> String {
        match self.measured {
            true => format!("{figure} measured on this host"),
            false => "as published; none is measured here".to_owned(),
        }
    }
}

/// Why a well-behaved guest's VMPCKs would depend on rescues under a limit, unless it was forced.
pub fn too_slow(limit: Limit, service: Service) -> Option<String> {
    match limit {
        Limit::On(throttle) if !throttle.force => starves(limit, service),
        _ => None,
    }
}

fn starves(limit: Limit, service: Service) -> Option<String> {
    let Limit::On(Throttle { rate, share, .. }) = limit else { return None };
    rate.and_then(slow_rate).or_else(|| small_share(share?, service))
}

fn slow_rate(RateLimit { rate, .. }: RateLimit) -> Option<String> {
    let wait = longest_wait_ns(rate.interval_ns());
    (wait > LOST_NS).then(|| {
        format!(
            "{rate} is too slow: the {VMPCKS} VMPCKs of a Linux guest may wait {} s together, \
             longer than its 60 s, so that its messages would be admitted over the limit, after 30 s \
             of BUSY: allow at least {SLOWEST}",
            wait.div_ceil(1_000_000_000),
        )
    })
}

/// The last retry and turn of a wait.
const LAST_RETRY_SECONDS: f64 = (TURN_WAIT_NS + RETRY_NS) as f64 / 1e9;
const GUEST_TIMEOUT_SECONDS: f64 = LOST_NS as f64 / 1e9;

/// The longest that a well-behaved guest can get BUSY under a share: all of its VMPCKs wait, each
/// for what the one before owes.
fn longest_wait_of_share(share: Share, service: Service) -> f64 {
    VMPCKS as f64 * service.p99.as_secs_f64() / share.fraction() + LAST_RETRY_SECONDS
}

/// The smallest share under which no well-behaved guest depends on rescues for its VMPCKs; all of the
/// PSP if none is large enough.
pub fn smallest_share(service: Service) -> Share {
    let fraction =
        VMPCKS as f64 * service.p99.as_secs_f64() / (GUEST_TIMEOUT_SECONDS - LAST_RETRY_SECONDS);
    // Rounded up to what is shown with two digits.
    let hundredths = (fraction * 1e4).ceil().max(1.0) as u64;
    Share::of_ppm(hundredths.saturating_mul(100)).unwrap_or(Share::ALL)
}

fn small_share(ShareLimit { share, .. }: ShareLimit, service: Service) -> Option<String> {
    let wait = longest_wait_of_share(share, service);
    (wait > GUEST_TIMEOUT_SECONDS).then(|| {
        let p99 = crate::text::duration(service.p99.as_secs_f64());
        let source = service.source("the p99");
        format!(
            "{share} of the PSP is too small: the {VMPCKS} VMPCKs of a Linux guest may wait {VMPCKS} \
             x {p99} / {share} + {LAST_RETRY_SECONDS} s = {} s together ({p99} per request: {source}), \
             longer than its 60 s, so that its messages would be admitted over the limit, after 30 s \
             of BUSY: allow at least {}",
            wait.ceil(),
            smallest_share(service),
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
    service: Service,
}

/// The running VMs, each with its policy before and after.
pub fn affected<'a>(
    before: &PolicySet,
    after: &PolicySet,
    vms: &[KnownVm<'a>],
    service: Service,
) -> Vec<AffectedVm<'a>> {
    vms.iter()
        .filter(|seen| !seen.vm.exited)
        .map(|&KnownVm { vm, sent, was_over }| AffectedVm {
            label: vm.label,
            before: before.resolve(vm.identity),
            after: after.resolve(vm.identity),
            sent,
            was_over,
            service,
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
            && starves(policy.limit.value, self.service).is_some()
    }

    /// What the change would do to it, and why.
    fn harm(&self) -> Option<(Harm, String)> {
        let before = self.refused(&self.before);
        let refused: Types =
            self.refused(&self.after).iter().filter(|kind| !before.0.has(*kind)).collect();
        if refused.iter().next().is_some() {
            Some((Harm::LosesVmpck, format!("{:?} has sent {refused}", self.label)))
        } else if self.starved(&self.after) && !self.starved(&self.before) {
            let why = format!("{:?} was over {}", self.label, self.after.limit.value);
            Some((Harm::WaitsForRescue, why))
        } else {
            None
        }
    }
}

/// Names and reasons that fit on a line.
pub const NAMED: usize = 8;

/// What a change does to a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    LosesVmpck,
    WaitsForRescue,
}

impl Harm {
    const ALL: [Harm; 2] = [Harm::LosesVmpck, Harm::WaitsForRescue];

    fn text(self) -> &'static str {
        match self {
            Harm::LosesVmpck => "lose a VMPCK until rebooted",
            Harm::WaitsForRescue => "get BUSY for 30 s per message, and then exceed the limit",
        }
    }
}

/// Which running VMs would be harmed, and how: such a change needs --yes.
pub fn harmed(vms: &[AffectedVm<'_>]) -> Option<String> {
    let all: Vec<(Harm, String)> = vms.iter().filter_map(AffectedVm::harm).collect();
    let harmed_by = |harm: Harm| {
        let whys: Vec<String> =
            all.iter().filter(|(it, _)| *it == harm).map(|(_, why)| why.clone()).collect();
        let vms = match whys.len() {
            0 => return None,
            1 => "1 running VM".to_owned(),
            count => format!("{count} running VMs"),
        };
        Some(format!("{vms} would {}: {}", harm.text(), some_of(&whys)))
    };
    let texts: Vec<String> = Harm::ALL.into_iter().filter_map(harmed_by).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
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
    use crate::policy::Named;

    fn limit(rate: &str, force: bool) -> Limit {
        let rate = Some(RateLimit { rate: rate.parse().unwrap(), burst: 1 });
        Limit::On(Throttle { rate, share: None, force })
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
        let too_slow = |limit| super::too_slow(limit, Service::PUBLISHED);
        assert_eq!(too_slow(limit("4.8/m", false)), None);
        assert_eq!(too_slow(Limit::Off), None);
        let why = too_slow(limit("4.7/m", false)).unwrap();
        assert!(why.starts_with("4.7/m is too slow") && why.contains("at least 4.8/m"), "{why}");
        assert!(too_slow(limit("1/m", false)).unwrap().contains("may wait 250 s"));
        assert_eq!(too_slow(limit("1/m", true)), None, "forced");
    }

    fn share(share: &str, force: bool) -> Limit {
        let share = Some(ShareLimit { share: share.parse().unwrap(), burst: None });
        Limit::On(Throttle { rate: None, share, force })
    }

    #[test]
    fn a_share_under_which_four_keys_wait_for_a_minute_is_too_small() {
        let of = |ms, measured| {
            let p99 = Duration::from_millis(ms);
            Service { mean: p99, p99, measured }
        };
        assert_eq!(too_slow(share("0.06%", false), Service::PUBLISHED), None);
        let why = too_slow(share("0.05%", false), Service::PUBLISHED).unwrap();
        assert!(why.contains("4 x 7.70 ms / 0.05% + 2.5 s = 65 s together"), "{why}");
        assert!(why.contains("none is measured here"), "{why}");
        assert!(why.ends_with("allow at least 0.06%"), "{why}");
        let why = too_slow(share("1%", false), of(200, true)).unwrap();
        assert!(why.contains("= 83 s") && why.ends_with("at least 1.4%"), "{why}");
        assert!(why.contains("the p99 measured on this host"), "{why}");
        assert_eq!(too_slow(share("1.4%", false), of(200, true)), None);
        assert_eq!(too_slow(share("0.01%", true), of(200, true)), None, "forced");
        assert_eq!(smallest_share(of(60_000, true)).to_string(), "100%");
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
            service: Service::PUBLISHED,
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
            harmed(&vms).unwrap(),
            "1 running VM would lose a VMPCK until rebooted: \"evil\" has sent export, unknown"
        );
        assert_eq!(harmed(&vms[..1]), None);
    }

    #[test]
    fn vms_over_a_limit_that_is_too_slow_are_named() {
        let affected = |rate, was_over| AffectedVm {
            label: "busy",
            before: policy(Mode::Audit, Allowed::DEFAULT, limit(rate, true)),
            after: policy(Mode::Enforce, Allowed::DEFAULT, limit(rate, true)),
            sent: Types(Allowed::DEFAULT),
            was_over,
            service: Service::PUBLISHED,
        };
        let text = harmed(&[affected("1/m", true)]).unwrap();
        assert!(text.starts_with("1 running VM would get BUSY for 30 s per message"), "{text}");
        assert!(text.ends_with("exceed the limit: \"busy\" was over 1/m, burst 1"), "{text}");
        assert!(!text.contains("VMPCK"), "rescues save them: {text}");
        assert_eq!(harmed(&[affected("1/m", false)]), None);
        assert_eq!(harmed(&[affected("5/s", true)]), None, "it waits, and is served");
    }

    #[test]
    fn a_long_list_ends() {
        let names: Vec<String> = (0..100).map(|i| format!("vm-{i}")).collect();
        assert!(some_of(&names).ends_with("vm-7; and 92 more"));
        assert!(some_of(&names[..9]).ends_with("vm-7; and 1 more"));
        assert!(some_of(&names[..8]).ends_with("vm-7"), "all of them");
    }
}
