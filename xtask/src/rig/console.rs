//! # Results on a guest's console
//!
//! Lines of the protocol start with `RIG: `; all other output is searched for warnings of the
//! kernel, which include what lockdep, KASAN and KCSAN find.

use super::races::Races;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Passed,
    Failed,
    Skipped,
}

#[derive(Debug, Clone)]
pub struct ScenarioReport {
    pub id: String,
    /// What the scenario checks; empty for a part of the benchmark.
    pub description: String,
    pub status: Status,
    /// The duration, or why it failed or was skipped.
    pub detail: String,
}

#[derive(Default)]
pub struct Console {
    pub reports: Vec<ScenarioReport>,
    pub done: bool,
    /// The id and description of the scenario that runs.
    running: Option<(String, String)>,
    expected: Vec<String>,
    troubles: Vec<String>,
    pub races: Races,
}

const TROUBLES: &[&str] = &[
    "Kernel panic",
    // An indirect call of a function of another type, on a kernel with kCFI.
    "CFI failure",
    "Oops",
    "BUG:",
    "WARNING:",
    // lockdep has found a fault that it reports otherwise, or has no more room, and sees nothing
    // from then on.
    "INFO: trying to register non-static key",
    "turning off the locking correctness validator",
];

impl Console {
    /// Reads a line and returns the report, if it is one.
    pub fn line(&mut self, line: &str) -> Option<&ScenarioReport> {
        let Some(message) = line.strip_prefix("RIG: ") else {
            // The kernel's lines start with a time stamp in brackets.
            if line.contains("] ")
                && !self.races.line(line)
                && TROUBLES.iter().any(|trouble| line.contains(trouble))
            {
                self.troubles.push(line.to_string());
            }
            return None;
        };
        let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
        let (status, id, detail) = match word {
            "run" => {
                self.running = rest.split_once(": ").map(|(id, it)| (id.into(), it.into()));
                return None;
            }
            "ok" => {
                let (id, time) = rest.split_once(" (").unwrap_or((rest, ""));
                (Status::Passed, id, time.trim_end_matches(')'))
            }
            "FAILED" | "skipped" => {
                let (id, reason) = rest.split_once(": ").unwrap_or((rest, "no reason given"));
                let failed = word == "FAILED";
                (if failed { Status::Failed } else { Status::Skipped }, id, reason)
            }
            "done" => {
                self.done = true;
                return None;
            }
            "expect-warning" => {
                self.expected.push(rest.to_string());
                return None;
            }
            _ => return None,
        };
        let running = self.running.take().filter(|(running, _)| running == id);
        let description = running.map(|(_, description)| description).unwrap_or_default();
        self.reports.push(ScenarioReport {
            id: id.into(),
            description,
            status,
            detail: detail.into(),
        });
        self.reports.last()
    }

    /// The scenario that has started and not ended.
    pub fn running(&self) -> Option<&str> {
        self.running.as_ref().map(|(id, _)| id.as_str())
    }

    /// Whether the kernel has printed all about its panic.
    pub fn has_panicked(&self) -> bool {
        self.troubles.iter().any(|line| line.contains("end Kernel panic"))
    }

    /// The first warning of the kernel that no scenario has announced, or race of the gate's.
    pub fn trouble(&self) -> Option<&str> {
        let expected = |line: &str| self.expected.iter().any(|text| line.contains(text));
        let warning = self.troubles.iter().map(String::as_str).find(|line| !expected(line));
        warning.or_else(|| self.races.of_gate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Console {
        let mut console = Console::default();
        for line in lines {
            console.line(line);
        }
        console
    }

    #[test]
    fn reports_are_read() {
        let console = read(&[
            "RIG: run a/counts: it counts",
            "RIG: ok a/counts (1.2 s)",
            "RIG: FAILED a/latency: p99 was 3: too low",
            "RIG: run a/gate: the gate: it decides",
            "RIG: skipped a/gate: not built",
            "RIG: done",
        ]);
        let reports: Vec<_> = console
            .reports
            .iter()
            .map(|r| (r.id.as_str(), r.description.as_str(), &r.status, r.detail.as_str()))
            .collect();
        assert_eq!(
            reports,
            [
                ("a/counts", "it counts", &Status::Passed, "1.2 s"),
                ("a/latency", "", &Status::Failed, "p99 was 3: too low"),
                ("a/gate", "the gate: it decides", &Status::Skipped, "not built"),
            ]
        );
        assert!(console.done);
        assert_eq!(console.trouble(), None);
        assert_eq!(console.running(), None);
        assert_eq!(read(&["RIG: run a/hangs: it ends"]).running(), Some("a/hangs"));
    }

    #[test]
    fn only_announced_warnings_are_forgiven() {
        let warning =
            "[    4.2] WARNING: CPU: 1 PID: 88 at arch/x86/kvm/svm/sev.c:2838 snp_decommission";
        assert_eq!(read(&[warning]).trouble(), Some(warning));
        assert_eq!(read(&["RIG: expect-warning snp_decommission", warning]).trouble(), None);
        assert!(read(&["RIG: expect-warning something else", warning]).trouble().is_some());
        assert_eq!(read(&["guestreq: WARNING: not a line of the kernel's"]).trouble(), None);
    }
    #[test]
    fn what_a_debug_kernel_finds_is_a_warning() {
        for found in [
            "[    9.1] WARNING: possible circular locking dependency detected",
            "[    9.1] WARNING: inconsistent lock state",
            "[    9.1] WARNING: suspicious RCU usage",
            "[    9.1] [ BUG: Invalid wait context ]",
            "[    9.1] BUG: sleeping function called from invalid context at mm/slab.h:302",
            "[    9.1] BUG: spinlock bad magic on CPU#0, scenarios/88",
            "[    9.1] BUG: MAX_LOCKDEP_CHAINS too low!",
            "[    9.1] INFO: trying to register non-static key.",
            "[    9.1] turning off the locking correctness validator.",
            "[    9.1] BUG: KASAN: slab-use-after-free in order_leave+0x1/0x2 [guestreq_gate]",
            "[    9.1] CFI failure at order_leave+0x1/0x2 [guestreq_gate] (target: x+0x0/0x10; expected \
             type: 0x973e8484)",
            "[    9.1] ODEBUG: free active (active state 0) object type: hrtimer, WARNING: CPU: 1",
        ] {
            assert_eq!(read(&[found]).trouble(), Some(found));
        }
        let race = "[    9.1] BUG: KCSAN: data-race in order_read [guestreq_gate] / grant";
        assert_eq!(read(&[race]).trouble(), race.split_once("KCSAN: ").map(|it| it.1));
        let other = "[    9.1] BUG: KCSAN: data-race in tick_sched / tick_sched";
        assert_eq!(read(&[other]).trouble(), None);
        assert_eq!(read(&[other]).races.others().len(), 1);
    }
}
