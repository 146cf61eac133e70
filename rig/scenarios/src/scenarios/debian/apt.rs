//! # A repository of our packages, and apt

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::debian::output;

const SOURCE: &str = "/etc/apt/sources.list.d/guestreq.list";

/// Makes a folder of packages a repository, and the only one that apt knows.
pub fn use_repository(folder: &str) -> Result<()> {
    let index = output("dpkg-scanpackages", &["--multiversion", folder])?;
    // Paths in the index are relative to the root, as those given to it were.
    fs::write(format!("{folder}/Packages"), index.replace(&format!("{folder}/"), "./"))
        .context(folder.to_owned())?;
    fs::write(SOURCE, format!("deb [trusted=yes lang=none] file:{folder} ./\n")).context(SOURCE)?;
    apt(&["update"])
}

pub fn apt(arguments: &[&str]) -> Result<()> {
    // Without a progress display.
    let said = output("apt-get", &[&["--yes", "-o", "Dpkg::Use-Pty=0"], arguments].concat())?;
    let lines: Vec<_> =
        said.lines().filter(|line| !line.starts_with("(Reading database")).collect();
    println!("{}", lines.join("\n"));
    Ok(())
}

/// A package's version, which must be installed completely.
pub fn installed(package: &str) -> Result<String> {
    let shown = output("dpkg-query", &["-W", "-f", "${db:Status-Status} ${Version}", package])?;
    let version = shown.strip_prefix("installed ");
    Ok(version.with_context(|| format!("{package} is {shown}"))?.to_owned())
}

/// The version that apt would install.
pub fn candidate(package: &str) -> Result<String> {
    let policy = output("apt-cache", &["policy", package])?;
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let version = line.with_context(|| policy.clone())?;
    ensure!(version != "(none)", "apt knows no {package}");
    Ok(version.to_owned())
}
