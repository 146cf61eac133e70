//! # Rules, their tests and configurations, checked by promtool

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{documented, files_in, grafana, name, patterns};
use crate::setup::{self, Release};
use crate::{process, project};

/// promtool of Debian 12, and of Prometheus 3, which alone knows native histograms.
#[derive(Default)]
pub struct Promtools {
    pub two: Option<PathBuf>,
    pub three: Option<PathBuf>,
}

impl Promtools {
    pub fn find(may_fetch: bool) -> Result<Self> {
        let promtool = |release| setup::promtool(release, may_fetch);
        Ok(Self { two: promtool(Release::Two)?, three: promtool(Release::Three)? })
    }

    pub fn check(&self, root: &Path) -> Result<()> {
        if let Some(tool) = &self.two {
            check(tool, root)?;
        }
        self.three.as_ref().map_or(Ok(()), |tool| check_native(tool, root))
    }
}

fn check(tool: &Path, root: &Path) -> Result<()> {
    let folder = root.join("dashboards");
    run(tool, "check rules", &files_in(&folder.join("rules"), "yml")?)?;
    run(tool, "test rules", &files_in(&folder.join("rules/tests"), "yml")?)?;
    let rules = folder.join("rules").display().to_string();
    run(tool, "test rules", &[written("patterns.yml", &patterns::unit_tests(&rules))?])?;
    run(tool, "check config", &files_in(&folder, "yml")?)?;
    run(tool, "check config", &files_in(&folder.join("fleet"), "yml")?)?;
    let documented = documented::configurations(root, false)?;
    run(tool, "check config", &all_written("documented", &documented)?)?;
    run(tool, "check rules", &[queries(root)?])
}

/// What needs Prometheus 3.
fn check_native(tool: &Path, root: &Path) -> Result<()> {
    let folder = root.join("dashboards/rules/native");
    run(tool, "check rules", &files_in(&folder, "yml")?)?;
    run(tool, "test rules", &files_in(&folder.join("tests"), "yml")?)?;
    let documented = documented::configurations(root, true)?;
    run(tool, "check config", &all_written("documented-3", &documented)?)?;
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

fn all_written(name: &str, texts: &[String]) -> Result<Vec<PathBuf>> {
    let file = |(n, text): (usize, &String)| written(&format!("{name}-{n}.yml"), text);
    texts.iter().enumerate().map(file).collect()
}
