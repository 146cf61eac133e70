//! # Runbooks: one page for each alert

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::{Faults, commands::Commands, files_in, name, read, rules::Rule};

/// Headings of a page, in this order.
const HEADINGS: [&str; 4] =
    ["## What it means", "## What to look at", "## What to do", "## When it is harmless"];

pub fn check(root: &Path, alerts: &[&Rule], faults: &mut Faults) -> Result<()> {
    let mut alerts: BTreeSet<_> = alerts.iter().filter_map(|rule| rule.alert.as_deref()).collect();
    let folder = root.join("docs/runbooks");
    let cli = read(&root.join("docs/cli.md"))?;
    let commands = Commands::parse(&cli);
    for path in files_in(&folder, "md")? {
        let file = name(root, &path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = read(&path)?;
        commands.faults(&text).into_iter().for_each(|fault| faults.add(&file, fault));
        if stem == "README" {
            continue;
        }
        if !alerts.remove(&*stem) {
            faults.add(&file, "there is no such alert");
        }
        page(&file, &stem, &text, faults);
    }
    for alert in alerts {
        faults.add("docs/runbooks", format!("no page {alert}.md"));
    }
    Ok(())
}

fn page(file: &str, alert: &str, text: &str, faults: &mut Faults) {
    if text.lines().next() != Some(&format!("# {alert}")) {
        faults.add(file, format!("does not begin with # {alert}"));
    }
    let found: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
    if found != HEADINGS {
        faults.add(file, format!("its headings are not {}", HEADINGS.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let mut faults = Faults::default();
        page("p.md", "GuestreqX", text, &mut faults);
        faults.0.join("; ")
    }

    #[test]
    fn a_page_has_its_title_and_all_headings_in_order() {
        let text = format!("# GuestreqX\n\n{}\n", HEADINGS.join("\n\nText.\n\n"));
        assert_eq!(faults(&text), "");
        assert!(faults(&text.replace("# GuestreqX\n", "# Other\n")).contains("# GuestreqX"));
        assert!(faults(&text.replace(HEADINGS[2], "")).contains("headings"));
    }
}
