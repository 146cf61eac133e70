//! # Totals of passed and failed tests

use crate::rig::console::{ScenarioReport, Status};

#[derive(Default)]
struct Row {
    name: String,
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Default)]
pub struct Tally {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, tests: UnitTests) {
        let UnitTests { what, passed, failed, skipped } = tests;
        if failed > 0 {
            self.failures.push(format!("{what}: see above"));
        }
        self.rows.push(Row { name: what.into(), passed, failed, skipped });
    }

    /// Adds a boot: its scenarios, and faults of the boot itself.
    pub fn boot(&mut self, name: &str, reports: &[ScenarioReport], trouble: Option<&str>) {
        let count = |status: Status| reports.iter().filter(|r| r.status == status).count();
        self.rows.push(Row {
            name: name.into(),
            passed: count(Status::Passed),
            failed: count(Status::Failed) + usize::from(trouble.is_some()),
            skipped: count(Status::Skipped),
        });
        for report in reports.iter().filter(|r| r.status == Status::Failed) {
            let ScenarioReport { id, description, detail, .. } = report;
            self.failures.push(format!("{name} {id}: {description}: {detail}"));
        }
        self.failures.extend(trouble.map(|trouble| format!("{name}: {trouble}")));
    }

    pub fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// Prints the table, the failures, and the machine-readable last line.
    pub fn print(&mut self) {
        // Boots end in any order; unit tests stay first.
        if let Some((_, boots)) = self.rows.split_first_mut() {
            boots.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        println!("\n  {:<width$}  passed  failed  skipped", "");
        for Row { name, passed, failed, skipped } in &self.rows {
            println!("  {name:<width$}  {passed:>6}  {failed:>6}  {skipped:>7}");
        }
        for failure in &self.failures {
            println!("  failed: {failure}");
        }
        let passed: usize = self.rows.iter().map(|row| row.passed).sum();
        let skipped: usize = self.rows.iter().map(|row| row.skipped).sum();
        let skips = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        println!("\n{passed} passed, {} failed{skips}", self.failed());
    }
}

/// A cargo test's results.
#[derive(Debug, PartialEq, Eq)]
pub struct UnitTests {
    what: &'static str,
    passed: usize,
    pub failed: usize,
    skipped: usize,
}

impl UnitTests {
    /// Sums over every `test result:` line of cargo test's output.
    pub fn read(what: &'static str, log: &str) -> Self {
        let mut tests = Self { what, passed: 0, failed: 0, skipped: 0 };
        for line in log.lines().filter(|line| line.starts_with("test result:")) {
            let number = |word: &str| {
                let words: Vec<_> = line.split([' ', ';']).collect();
                let at = words.iter().position(|w| *w == word)?;
                words.get(at.checked_sub(1)?)?.parse().ok()
            };
            tests.passed += number("passed").unwrap_or(0);
            tests.failed += number("failed").unwrap_or(0);
            tests.skipped += number("ignored").unwrap_or(0);
        }
        tests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_line_counts() {
        let log = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                   noise: 5 passed\n\
                   test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let UnitTests { passed, failed, skipped, .. } = UnitTests::read("units", log);
        assert_eq!((passed, failed, skipped), (15, 2, 1));
    }
}
