//! # The SBOM
//!
//! In CycloneDX, <https://cyclonedx.org>: the crates linked into the binary and its eBPF programs,
//! as cargo resolves them, and the libraries of compiler and machine.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{process, project};

/// Licences by name and version.
type Crates = BTreeMap<(String, String), String>;

pub fn cyclonedx() -> Result<String> {
    let mut crates = Crates::new();
    for package in ["guestreq", "guestreq-ebpf"] {
        // Without macros and build scripts, which only run during the build.
        let mut tree = process::cargo("tree");
        tree.args(["--package", package, "--edges", "normal,no-proc-macro", "--prefix", "none"]);
        tree.args(["--no-dedupe", "--locked", "--target", project::HOST, "--format", "{p}|{l}"]);
        crates.extend(parse(&process::output(&mut tree)?)?);
    }
    let mut components: Vec<_> =
        crates.iter().map(|(key, licence)| library(key, licence)).collect();
    let rustc = process::output(Command::new("rustc").arg("--version"))?;
    components.push(part("rust-std", rustc.split(' ').nth(1), "MIT OR Apache-2.0"));
    let glibc = process::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    components.push(part("glibc", glibc.trim().split(' ').nth(1), "LGPL-2.1-or-later"));
    let version = env!("CARGO_PKG_VERSION");
    let sbom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "guestreq", "version": version}},
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&sbom)? + "\n")
}

/// Lines `NAME vVERSION (…)|LICENCE`, as cargo prints them.
fn parse(tree: &str) -> Result<Crates> {
    let mut crates = Crates::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').with_context(|| format!("{line:?}"))?;
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let version = version.and_then(|version| version.strip_prefix('v'));
        let version = version.with_context(|| format!("no version: {line:?}"))?;
        // Some crates still write the expression as a list.
        let licence = licence.replace('/', " OR ");
        crates.insert((name.to_owned(), version.to_owned()), licence);
    }
    Ok(crates)
}

fn library((name, version): &(String, String), licence: &str) -> Value {
    let mut library = part(name, Some(version), licence);
    library["purl"] = format!("pkg:cargo/{name}@{version}").into();
    library
}

fn part(name: &str, version: Option<&str>, licence: &str) -> Value {
    let mut part = json!({"type": "library", "name": name, "version": version});
    if !licence.is_empty() {
        part["licenses"] = json!([{"expression": licence}]);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_listed_once_with_their_licences() {
        let tree = "guestreq v0.1.0 (/src/guestreq-user)|MIT OR Apache-2.0\n\
            libc v0.2.177|MIT OR Apache-2.0\n\nlibc v0.2.177|MIT OR Apache-2.0\nold v1.0.0|MIT/ISC\n";
        let crates = parse(tree).unwrap();
        assert_eq!(crates.len(), 3);
        assert_eq!(crates[&("old".to_owned(), "1.0.0".to_owned())], "MIT OR ISC");
        assert!(parse("nonsense\n").is_err());
    }
}
