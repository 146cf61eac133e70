//! # Rules, their tests and configurations, checked by promtool

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{files_in, grafana, name, patterns};
use crate::{process, project};

pub fn check(tool: &Path, root: &Path) -> Result<()> {
    let folder = root.join("dashboards");
    run(tool, "check rules", &files_in(&folder.join("rules"), "yml")?)?;
    run(tool, "test rules", &files_in(&folder.join("rules/tests"), "yml")?)?;
    let rules = folder.join("rules").display().to_string();
    run(tool, "test rules", &[written("patterns.yml", &patterns::unit_tests(&rules))?])?;
    run(tool, "check config", &files_in(&folder, "yml")?)?;
    run(tool, "check config", &files_in(&folder.join("fleet"), "yml")?)?;
    run(tool, "check rules", &[queries(root)?])
}

fn run(tool: &Path, what: &str, files: &[PathBuf]) -> Result<()> {
    let log = project::logs().join(format!("promtool-{}.log", what.replace(' ', "-")));
    let mut command = Command::new(tool);
    command.args(what.split(' ')).args(files);
    process::logged(&mut command, &log).with_context(|| format!("promtool {what}"))
}

/// The dashboards' queries as rules, as promtool reads no dashboards.
fn queries(root: &Path) -> Result<PathBuf> {
    let mut rules = String::from("groups:\n- name: queries\n  rules:\n");
    let mut number = 0;
    for path in files_in(&root.join("dashboards"), "json")? {
        for (of, query) in grafana::queries(&grafana::parse(&path)?) {
            number += 1;
            // JSON strings are YAML strings.
            let query = serde_json::to_string(&query)?;
            let file = name(root, &path);
            writeln!(rules, "  # {file}: {of}\n  - {{record: 'query:{number}', expr: {query}}}")?;
        }
    }
    written("queries.yml", &rules)
}

/// Files for promtool, next to its logs.
fn written(name: &str, text: &str) -> Result<PathBuf> {
    let path = project::logs().join(name);
    fs::create_dir_all(project::logs())?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
