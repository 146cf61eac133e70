//! # Series for decisions and limits

use guestreq_common::{
    gate::Weight,
    message::MessageType,
    policy::{Decision, Mode},
    share::MAX_PPM,
    units::MonotonicNs,
    vm::Vm,
    waiting::LostCause,
};

use super::{definitions as metric, families::Families};
use crate::{
    observe::{
        lost_vmpcks::oldest_refused_ns,
        tracked::{Decided, TrackedVm},
    },
    state::snapshot::each_decision,
};

/// A VM's decisions and its limits, as stored in the kernel.
pub fn of_vm(families: &mut Families, tracked: &mut TrackedVm, record: &Vm, now: MonotonicNs) {
    for ((kind, decision, mode), count) in decisions(tracked, record) {
        let labels = [tracked.label.as_str(), kind.name(), decision.name(), mode.name()];
        families.counter(&metric::DECISIONS, &labels, count as f64);
    }
    let limit = record.policy.rate();
    if is_own(record) && !limit.is_off() {
        let label = [tracked.label.as_str()];
        families.gauge(&metric::LIMIT_RATE, &label, 1e9 / limit.interval_ns() as f64);
        families.gauge(&metric::LIMIT_BURST, &label, limit.burst() as f64);
    }
    let share = record.policy.share();
    if is_own(record) && !share.is_off() {
        let fraction = share.ppm() as f64 / MAX_PPM as f64;
        families.gauge(&metric::LIMIT_SHARE, &[tracked.label.as_str()], fraction);
    }
    let weight = record.policy.rules().weight();
    if is_own(record) && weight != Weight::DEFAULT {
        families.gauge(&metric::LIMIT_WEIGHT, &[tracked.label.as_str()], weight.get().into());
    }
    waits(families, tracked, record, now);
}

/// What became of refused messages. Alerts need the counters at 0 first.
fn waits(families: &mut Families, tracked: &TrackedVm, record: &Vm, now: MonotonicNs) {
    let (label, waiting) = (tracked.label.as_str(), &record.limiter.waiting);
    families.counter(&metric::RESCUED, &[label], record.rescued as f64);
    for cause in LostCause::ALL {
        let count = waiting.losses[cause as usize] as f64;
        families.counter(&metric::VMPCKS_LOST, &[label, cause.name()], count);
    }
    // Nothing waits in a VM that has exited.
    let oldest = oldest_refused_ns(waiting, now).filter(|_| !tracked.exited);
    families.gauge(&metric::OLDEST_REFUSED, &[label], oldest.unwrap_or(0) as f64 / 1e9);
}

/// Whether this policy was written for this VM and not for an earlier one in the same slot.
fn is_own(record: &Vm) -> bool {
    record.policy.rules().generation() == record.generation
}

/// Guests choose message types, so further combinations are folded into one type.
fn decisions(tracked: &mut TrackedVm, record: &Vm) -> Vec<(Decided, u64)> {
    // Alerts need these series at 0 first: a new series is not an increase. Denials exist in any mode,
    // as the mode can change and a request be denied between two scrapes. The alert sums all types, so
    // the ordinary ones suffice.
    for kind in MessageType::ORDINARY {
        tracked.admit_decided((kind, Decision::Deny, Mode::Enforce));
    }
    let mode = record.policy.rules().mode();
    if is_own(record) && mode != Mode::Observe {
        for kind in MessageType::ORDINARY {
            tracked.admit_decided((kind, Decision::Admit, mode));
        }
    }
    let mut counts: Vec<(Decided, u64)> =
        tracked.decided.iter().map(|decided| (*decided, 0)).collect();
    for (kind, mode, decision, count) in each_decision(record) {
        let own = tracked.admit_decided((kind, decision, mode));
        let decided = (if own { kind } else { MessageType::Unknown }, decision, mode);
        match counts.iter_mut().find(|(other, _)| *other == decided) {
            Some((_, sum)) => *sum += count,
            None => counts.push((decided, count)),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use guestreq_common::{
        gcra::GcraLimit,
        outcome::Outcome,
        policy::{Allowed, Policy, Rules},
        share::PspShare,
    };
    use prometheus::TextEncoder;

    use super::*;
    use crate::{host::Identity, metrics::collect};

    const NOW: MonotonicNs = MonotonicNs(100_000_000_000);

    fn record(mode: Mode, limit: GcraLimit) -> Box<Vm> {
        // SAFETY: Vm consists of integers, for which all zeros is a value.
        let mut vm = unsafe { Box::<Vm>::new_zeroed().assume_init() };
        vm.generation = 3;
        vm.policy = Policy::new(Rules::new(mode, Allowed::DEFAULT, 3), limit, PspShare::OFF);
        vm
    }

    fn count(vm: &mut Vm, kind: MessageType, mode: Mode, decision: Decision, count: u64) {
        *vm.decisions[kind as usize].cell(mode, decision) += count;
    }

    fn series(vm: &Vm) -> Vec<String> {
        let mut tracked = TrackedVm::of("web", Identity::default());
        let mut families = Families::default();
        collect::vm(&mut families, &mut tracked, vm, NOW);
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn with(series: &[String], name: &str) -> Vec<String> {
        series.iter().filter(|line| line.starts_with(name)).cloned().collect()
    }

    #[test]
    fn ordinary_types_are_there_from_the_start_and_others_once_decided() {
        let mut vm = record(Mode::Audit, GcraLimit::OFF);
        count(&mut vm, MessageType::Export, Mode::Audit, Decision::Deny, 2);
        count(&mut vm, MessageType::Report, Mode::Audit, Decision::Admit, 5);
        let series = series(&vm);
        let of = |message: &str, decision: &str, count: u64| {
            format!(
                "guestreq_decisions_total{{vm=\"web\",message=\"{message}\",\
                 decision=\"{decision}\",mode=\"audit\"}} {count}"
            )
        };
        let decisions = with(&series, "guestreq_decisions_total{vm=\"web\"");
        let audited = decisions.iter().filter(|line| line.contains("mode=\"audit\"")).count();
        assert_eq!(audited, 4, "{decisions:?}");
        assert!(decisions.contains(&of("export", "deny", 2)), "{decisions:?}");
        assert!(decisions.contains(&of("report", "admit", 5)), "{decisions:?}");
        assert!(decisions.contains(&of("tsc_info", "admit", 0)), "{decisions:?}");
        assert!(with(&series, "guestreq_limit").is_empty(), "there is no limit");
    }

    /// Row 10 of the second review.
    #[test]
    fn what_an_alert_of_denials_adds_up_is_there_before_the_first_in_any_mode() {
        for mode in Mode::ALL {
            let series = series(&record(mode, GcraLimit::OFF));
            for kind in MessageType::ORDINARY {
                let denied = format!(
                    "guestreq_decisions_total{{vm=\"web\",message=\"{}\",decision=\"deny\",\
                     mode=\"enforce\"}} 0",
                    kind.name()
                );
                assert!(series.contains(&denied), "{denied} is not in {series:?}");
            }
        }
    }

    #[test]
    fn a_limit_shows_as_the_kernel_has_it() {
        let vm = record(Mode::Enforce, GcraLimit::new(200_000_000, 10).unwrap());
        let series = series(&vm);
        assert_eq!(
            with(&series, "guestreq_limit"),
            [
                "guestreq_limit_burst_requests{vm=\"web\"} 10",
                "guestreq_limit_requests_per_second{vm=\"web\"} 5"
            ]
        );
    }

    #[test]
    fn a_share_shows_as_a_fraction() {
        let mut vm = record(Mode::Enforce, GcraLimit::OFF);
        vm.policy.share = PspShare::new(125_000, 0).unwrap().to_bits();
        assert_eq!(
            with(&series(&vm), "guestreq_limit"),
            ["guestreq_limit_psp_share{vm=\"web\"} 0.125"]
        );
    }

    #[test]
    fn a_weight_shows_unless_it_is_the_default() {
        let mut vm = record(Mode::Audit, GcraLimit::OFF);
        let rules = vm.policy.rules();
        let mut shown = |weight| {
            vm.policy.rules = rules.with_weight(Weight::new(weight).unwrap()).to_bits();
            with(&series(&vm), "guestreq_limit")
        };
        assert_eq!(shown(4), ["guestreq_limit_weight{vm=\"web\"} 4"]);
        assert!(shown(1).is_empty());
    }

    #[test]
    fn losses_and_rescues_are_there_before_the_first_and_a_waiting_message_has_an_age() {
        let mut vm = record(Mode::Enforce, GcraLimit::OFF);
        let shown = |vm: &Vm| {
            let of = |name: &str| with(&series(vm), name);
            [of("guestreq_rescued"), of("guestreq_vmpcks_lost"), of("guestreq_oldest_refused")]
                .concat()
                .join("\n")
                .replace("{vm=\"web\"}", "")
        };
        let lost = |busy, denied| {
            format!(
                "guestreq_vmpcks_lost_total{{vm=\"web\",cause=\"denied\"}} {denied}\n\
                 guestreq_vmpcks_lost_total{{vm=\"web\",cause=\"busy\"}} {busy}"
            )
        };
        let oldest = "guestreq_oldest_refused_seconds";
        assert_eq!(shown(&vm), format!("guestreq_rescued_total 0\n{}\n{oldest} 0", lost(0, 0)));
        vm.rescued = 3;
        vm.limiter.waiting.losses[LostCause::Busy as usize] = 2;
        vm.limiter.waiting.losses[LostCause::Denied as usize] = 1;
        vm.limiter.waiting.refuse(1, 7, MonotonicNs(NOW.0 - 12_500_000_000));
        assert_eq!(shown(&vm), format!("guestreq_rescued_total 3\n{}\n{oldest} 12.5", lost(2, 1)));
    }

    /// docs/fleets.md promises at most 60 for a VM that uses report, key and tsc_info, 160 for any.
    #[test]
    fn a_vm_has_a_bounded_number_of_series() {
        let limit = GcraLimit::new(200_000_000, 10).unwrap();
        let mut usual = record(Mode::Enforce, limit);
        for kind in MessageType::ORDINARY {
            *usual.requests(kind as u8).cell(Outcome::OK) = 1;
        }
        assert_eq!(series(&usual).len(), 44, "as docs/fleets.md has it");
        for kind in MessageType::ORDINARY {
            *usual.requests(kind as u8).cell(Outcome::BUSY) = 1;
            for mode in [Mode::Audit, Mode::Enforce] {
                count(&mut usual, kind, mode, Decision::Admit, 1);
                count(&mut usual, kind, mode, Decision::Busy, 1);
            }
        }
        let lines = series(&usual).len();
        assert!(lines <= 60, "{lines}");
        let mut hostile = record(Mode::Enforce, limit);
        for kind in MessageType::ALL {
            for outcome in Outcome::all() {
                *hostile.requests(kind as u8).cell(outcome) = 1;
            }
            for mode in [Mode::Audit, Mode::Enforce] {
                for decision in Decision::ALL {
                    count(&mut hostile, kind, mode, decision, 1);
                }
            }
        }
        let series = series(&hostile);
        assert!((100..=160).contains(&series.len()), "{}", series.len());
        let total: f64 = with(&series, "guestreq_decisions_total")
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert_eq!(total, (MessageType::ALL.len() * 2 * 3) as f64, "folded, not lost");
    }
}
