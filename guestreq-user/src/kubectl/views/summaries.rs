//! # Rows of what a single host shows in several tables

/// One row per node.
pub mod psp {
    use crate::{cli::psp::held_by, kubectl::views::Rows, text::percent, wire::Psp};

    pub const HEADER: [&str; 5] = ["PSP", "WAITING", "ASIDS", "LOST", "HELD BY"];
    pub const RIGHT: [usize; 4] = [0, 1, 2, 3];

    pub fn rows(psp: &Psp) -> Rows {
        let lost = psp.lost.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let row = vec![
            percent(psp.recent_utilisation),
            psp.queue_length.to_string(),
            psp.asids.map_or_else(|| "-".to_owned(), |asids| asids.to_string()),
            lost.to_string(),
            held_by(psp),
        ];
        Rows { rows: vec![row], remarks: Vec::new() }
    }
}

/// One row per node.
pub mod conditions {
    use crate::{
        cli::condition::state,
        kubectl::views::Rows,
        text::printable,
        wire::{
            conditions::{Conditions, Subject},
            policy::Name as _,
        },
    };

    pub const HEADER: [&str; 4] = ["READY", "ENFORCING", "PSP-DEAD", "WHY"];

    pub fn rows(found: &Conditions) -> Rows {
        let of = |subject| found.conditions.iter().find(|of| of.condition.0 == subject);
        let mut row: Vec<String> = Subject::ALL
            .iter()
            .map(|subject| of(*subject).map_or("-", |of| state(of.problem)).to_owned())
            .collect();
        let notable = found.conditions.iter().filter(|of| of.problem != Some(false));
        let mut why: Vec<String> = notable
            .map(|of| format!("{}: {}", of.condition.0.name(), printable(&of.why)))
            .collect();
        if why.is_empty() {
            let enforcing = of(Subject::Enforcing);
            why.extend(enforcing.map(|of| printable(&of.why)));
        }
        row.push(why.join("; "));
        Rows { rows: vec![row], remarks: Vec::new() }
    }
}

/// A row for each warning and failure.
pub mod doctor {
    use serde::Deserialize;

    use crate::{kubectl::views::Rows, text::printable};

    pub const HEADER: [&str; 3] = ["STATE", "CHECK", "FOUND"];

    #[derive(Deserialize)]
    pub struct Report {
        passed: u64,
        checks: Vec<Checked>,
    }

    #[derive(Deserialize)]
    struct Checked {
        title: String,
        state: String,
        why: String,
        fix: Option<String>,
    }

    pub fn rows(report: &Report) -> Rows {
        let is_notable = |check: &&Checked| !["pass", "skip"].contains(&check.state.as_str());
        let mut notable: Vec<&Checked> = report.checks.iter().filter(is_notable).collect();
        notable.sort_by_key(|check| check.state != "fail");
        let row = |check: &Checked| {
            let state =
                if check.state == "fail" { "FAIL".to_owned() } else { printable(&check.state) };
            let fix = check.fix.as_ref().map(|fix| format!(" -> {fix}")).unwrap_or_default();
            vec![state, printable(&check.title), printable(&format!("{}{fix}", check.why))]
        };
        let mut rows: Vec<_> = notable.into_iter().map(row).collect();
        if rows.is_empty() {
            rows.push(vec![
                "pass".to_owned(),
                "all".to_owned(),
                format!("{} passed", report.passed),
            ]);
        }
        Rows { rows, remarks: Vec::new() }
    }
}
