//! # Configurations in the pages about fleets
//!
//! Blocks of YAML. The first line of one for Prometheus is a comment that names it; promtool checks
//! these, and the rest is only parsed.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::read;

const PAGES: [&str; 3] = ["docs/fleets.md", "docs/histograms.md", "docs/receivers.md"];
const PROMETHEUS: &str = "# prometheus.yml";
const PROMETHEUS_3: &str = "# prometheus.yml, Prometheus 3";

/// Those for any Prometheus, or those that need version 3.
pub fn configurations(root: &Path, three: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for page in PAGES {
        for block in blocks(&read(&root.join(page))?) {
            serde_saphyr::from_str::<serde_json::Value>(&block)
                .with_context(|| format!("{page}: {block}"))?;
            let is_3 = block.starts_with(PROMETHEUS_3);
            if is_3 == three && block.starts_with(PROMETHEUS) {
                found.push(block.replace("../rules/", &rules(root)));
            }
        }
    }
    ensure!(!found.is_empty(), "no page has a block that starts with {PROMETHEUS:?}");
    Ok(found)
}

fn rules(root: &Path) -> String {
    root.join("dashboards/rules/").display().to_string()
}

/// The blocks of YAML in a page.
fn blocks(page: &str) -> Vec<String> {
    let parts = page.split("\n```yaml\n").skip(1);
    parts.filter_map(|part| Some(part.split_once("\n```")?.0.to_owned() + "\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    #[test]
    fn blocks_are_found_with_their_first_lines() {
        let page =
            "a\n```yaml\n# prometheus.yml\nx: 1\n```\nb\n```sh\nls\n```\n\n```yaml\ny: 2\n```\n";
        assert_eq!(blocks(page), ["# prometheus.yml\nx: 1\n", "y: 2\n"]);
    }

    #[test]
    fn pages_have_configurations_for_both_versions() {
        for three in [false, true] {
            assert!(!configurations(project::root(), three).unwrap().is_empty(), "{three}");
        }
    }
}
