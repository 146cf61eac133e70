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
    /// Whether the host reboots for it.
    reboots: bool,
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
    /// Reads a line and returns the reports that it has added.
    pub fn line(&mut self, line: &str) -> &[ScenarioReport] {
        let before = self.reports.len();
        self.read(line);
        &self.reports[before..]
    }

    fn read(&mut self, line: &str) {
        let Some(message) = line.strip_prefix("RIG: ") else {
            // The kernel's lines start with a time stamp in brackets.
            if line.contains("] ")
                && !self.races.line(line)
                && TROUBLES.iter().any(|trouble| line.contains(trouble))
            {
                self.troubles.push(line.to_string());
            }
            return;
        };
        let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
        let (status, id, detail) = match word {
            "run" => {
                let (id, description) = rest.split_once(": ").unwrap_or((rest, ""));
                // After its own reboot it runs on.
                if !std::mem::take(&mut self.reboots) || self.running() != Some(id) {
                    self.lost();
                    self.running = Some((id.into(), description.into()));
                }
                return;
            }
            "reboot" => {
                self.reboots = true;
                return;
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
                self.lost();
                self.check_number(rest);
                self.done = true;
                return;
            }
            "expect-warning" => {
                self.expected.push(rest.to_string());
                return;
            }
            _ => return,
        };
        let running = self.running.take_if(|(running, _)| running == id);
        let description = running.map(|(_, description)| description).unwrap_or_default();
        self.reports.push(ScenarioReport {
            id: id.into(),
            description,
            status,
            detail: detail.into(),
        });
    }

    /// A scenario whose result is not among the lines has failed: what others write to the console
    /// can split a line.
    fn lost(&mut self) {
        if let Some((id, description)) = self.running.take() {
            self.fail(id, description, "its result is not on the console".into());
        }
    }

    /// Also the line that starts a scenario can be lost.
    fn check_number(&mut self, expected: &str) {
        let found = self.reports.len();
        if expected.parse() != Ok(found) {
            let detail = format!("{found} results of {expected} scenarios");
            self.fail("console".into(), "each scenario has a result".into(), detail);
        }
    }

    fn fail(&mut self, id: String, description: String, detail: String) {
        self.reports.push(ScenarioReport { id, description, status: Status::Failed, detail });
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
mod tests;
