//! # Packages for hosts without Kubernetes
//!
//! The agent, and the gate's sources for DKMS. What they contain is listed here once; [`deb`] and
//! [`rpm`] pack it. Their scripts are in deploy/debian and deploy/rpm.

pub mod deb;
pub mod rpm;
#[cfg(test)]
mod stand_in;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use crate::{build, documentation, process, project};

/// The workspace's version, also that of the packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// All files' time, 1 January 2026: the same sources give the same packages.
const DATE: u32 = 1_767_225_600;
const AGENT: &str = "guestreq";
const GATE: &str = "guestreq-gate-dkms";
/// The sources that DKMS builds.
const SOURCES: [&str; 16] = [
    "Kbuild",
    "Makefile",
    "ask.c",
    "busy.c",
    "dkms.conf",
    "gate.h",
    "guestreq_gate.h",
    "hook.c",
    "launch_hold.c",
    "main.c",
    "order.c",
    "order.h",
    "order_params.c",
    "order_queue.c",
    "order_stats.c",
    "params.c",
];

/// For editors; the installed config.toml names the first.
const SCHEMAS: [&str; 2] = ["config.schema.json", "policy.schema.json"];

/// Distributions differ in where they look for some files.
#[derive(Clone, Copy)]
enum Format {
    Deb,
    Rpm,
}

impl Format {
    /// Shells and their files for completions.
    fn completions(self) -> [(&'static str, &'static str); 3] {
        let zsh = match self {
            Self::Deb => "usr/share/zsh/vendor-completions/_guestreq",
            Self::Rpm => "usr/share/zsh/site-functions/_guestreq",
        };
        [
            ("bash", "usr/share/bash-completion/completions/guestreq"),
            ("zsh", zsh),
            ("fish", "usr/share/fish/vendor_completions.d/guestreq.fish"),
        ]
    }
}

/// What a file is to a package manager.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    /// An upgrade does not overwrite what was changed in it.
    Config,
    Doc,
    Licence,
    Other,
}

/// A file of a package.
struct File {
    /// Without the leading slash.
    path: String,
    content: Vec<u8>,
    kind: Kind,
}

impl File {
    fn new(path: impl Into<String>, content: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self { path: path.into(), content: content.into(), kind }
    }

    /// A file of the working tree.
    fn copy(from: &str, to: impl Into<String>, kind: Kind) -> Result<Self> {
        Ok(Self::new(to, read(&project::root().join(from))?, kind))
    }

    fn mode(&self) -> u16 {
        if self.kind == Kind::Program { 0o755 } else { 0o644 }
    }
}

/// Builds what packages contain, then the packages.
fn build(pack: fn(&Path, &str, &Path) -> Result<[PathBuf; 2]>) -> Result<()> {
    build::execute()?;
    let folder = project::target().join("dist");
    for package in pack(&project::static_binary("guestreq"), VERSION, &folder)? {
        println!("  {:<9}{}", "dist", package.display());
    }
    Ok(())
}

/// The agent's files.
fn agent(binary: &Path, format: Format) -> Result<Vec<File>> {
    let unit = "usr/lib/systemd/system/guestreq.service";
    let says = |what: &[&str]| process::output(Command::new(binary).args(what));
    let mut files = vec![
        File::new("usr/bin/guestreq", read(binary)?, Kind::Program),
        File::copy("deploy/systemd/guestreq.service", unit, Kind::Other)?,
        File::copy("deploy/systemd/config.toml", "etc/guestreq/config.toml", Kind::Config)?,
        File::new("usr/share/man/man8/guestreq.8.gz", gzip(&says(&["man"])?)?, Kind::Doc),
    ];
    for page in documentation::pages()? {
        let path = format!("usr/share/doc/guestreq/{}", page.path);
        files.push(File::new(path, page.text, Kind::Doc));
    }
    for schema in SCHEMAS {
        let path = format!("usr/share/guestreq/{schema}");
        files.push(File::copy(&format!("docs/schema/{schema}"), path, Kind::Other)?);
    }
    for (shell, path) in format.completions() {
        files.push(File::new(path, says(&["completions", shell])?, Kind::Other));
    }
    Ok(files)
}

/// The gate's files.
fn gate(version: &str) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for source in SOURCES {
        let text = read(&project::root().join("gate").join(source))?;
        let text = String::from_utf8(text).context("a source is text")?;
        // DKMS uses the package's version.
        let text = text.replace(&format!("\"{VERSION}\""), &format!("\"{version}\""));
        let path = format!("usr/src/guestreq-gate-{version}/{source}");
        files.push(File::new(path, text, Kind::Other));
    }
    let readme = "usr/share/doc/guestreq-gate-dkms/README.md";
    files.push(File::copy("gate/README.md", readme, Kind::Doc)?);
    let loaded = "usr/lib/modules-load.d/guestreq_gate.conf";
    files.push(File::new(loaded, "guestreq_gate\n", Kind::Other));
    Ok(files)
}

/// Without name and time, for reproducible packages.
fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_package_contains_every_source() {
        let kbuild = fs::read_to_string(project::root().join("gate/Kbuild")).unwrap();
        let parts =
            kbuild.lines().find_map(|line| line.strip_prefix("guestreq_gate-y := ")).unwrap();
        for part in parts.split_whitespace() {
            let source = part.replace(".o", ".c");
            assert!(SOURCES.contains(&source.as_str()), "{source} is not packed");
        }
    }
}
