//! # deb: packages for hosts without Kubernetes
//!
//! `dpkg-deb` packs the agent, and the gate's sources for DKMS. Maintainer scripts and control
//! files are in deploy/debian.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, process, progress, project};

/// The workspace's version, also that of the packages.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const AGENT: &str = "guestreq";
const GATE: &str = "guestreq-gate-dkms";
/// Maintainer scripts that a package may have.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
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
/// Shells and their folders for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/guestreq"),
    ("zsh", "usr/share/zsh/vendor-completions/_guestreq"),
    ("fish", "usr/share/fish/vendor_completions.d/guestreq.fish"),
];

pub fn execute() -> Result<()> {
    if !process::is_installed("dpkg-deb") {
        bail!("no dpkg-deb: packages are built on Debian and its kin (package dpkg)");
    }
    build::execute()?;
    let binary = project::static_binary("guestreq");
    let folder = project::target().join("dist");
    for package in pack(&binary, VERSION, &folder)? {
        println!("  {:<9}{}", "dist", package.display());
    }
    Ok(())
}

/// Builds both packages of a version in `folder`.
pub fn pack(binary: &Path, version: &str, folder: &Path) -> Result<[PathBuf; 2]> {
    fs::create_dir_all(folder)?;
    let agent = Package::new(AGENT, version, "amd64", folder)?;
    of_agent(&agent, binary)?;
    let gate = Package::new(GATE, version, "all", folder)?;
    of_gate(&gate)?;
    Ok([agent.build()?, gate.build()?])
}

fn of_agent(package: &Package, binary: &Path) -> Result<()> {
    package.file("usr/bin/guestreq", &read(binary)?, 0o755)?;
    package.copy("deploy/systemd/guestreq.service", "usr/lib/systemd/system/guestreq.service")?;
    package.copy("deploy/systemd/config.toml", "etc/guestreq/config.toml")?;
    package.copy("docs/policy.md", "usr/share/doc/guestreq/policy.md")?;
    for schema in SCHEMAS {
        package.copy(&format!("docs/schema/{schema}"), &format!("usr/share/guestreq/{schema}"))?;
    }
    let says = |what: &[&str]| process::output(Command::new(binary).args(what));
    package.gzip("usr/share/man/man8/guestreq.8", says(&["man"])?.as_bytes())?;
    for (shell, path) in COMPLETIONS {
        package.file(path, says(&["completions", shell])?.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn of_gate(package: &Package) -> Result<()> {
    for source in SOURCES {
        let to = format!("usr/src/guestreq-gate-{}/{source}", package.version);
        let text = read(&project::root().join("gate").join(source))?;
        let text = String::from_utf8(text).context("a source is text")?;
        // DKMS uses the package's version.
        let text = text.replace(&format!("\"{VERSION}\""), &format!("\"{}\"", package.version));
        package.file(&to, text.as_bytes(), 0o644)?;
    }
    package.copy("gate/README.md", "usr/share/doc/guestreq-gate-dkms/README.md")?;
    package.file("usr/lib/modules-load.d/guestreq_gate.conf", b"guestreq_gate\n", 0o644)
}

/// A package under construction.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    tree: PathBuf,
    file: PathBuf,
}

impl<'a> Package<'a> {
    fn new(name: &'a str, version: &'a str, arch: &str, folder: &Path) -> Result<Self> {
        // `dist` leaves the binary next to it under the package's name.
        let tree = folder.join(format!("{name}_{version}"));
        if tree.exists() {
            fs::remove_dir_all(&tree).with_context(|| format!("{}", tree.display()))?;
        }
        let file = folder.join(format!("{name}_{version}_{arch}.deb"));
        Ok(Self { name, version, tree, file })
    }

    fn file(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.tree.join(path);
        let folder = path.parent().unwrap_or(&self.tree);
        let failed = || format!("cannot write {}", path.display());
        fs::create_dir_all(folder).with_context(failed)?;
        fs::write(&path, content).with_context(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(failed)
    }

    /// Adds a file of the working tree.
    fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.file(to, &read(&project::root().join(from))?, 0o644)
    }

    /// Without name and time, for reproducible files.
    fn gzip(&self, path: &str, content: &[u8]) -> Result<()> {
        self.file(path, content, 0o644)?;
        let mut gzip = Command::new("gzip");
        process::output(gzip.args(["--best", "--no-name", "--force"]).arg(self.tree.join(path)))?;
        Ok(())
    }

    fn build(&self) -> Result<PathBuf> {
        let doc = format!("usr/share/doc/{}", self.name);
        self.copy("deploy/debian/copyright", &format!("{doc}/copyright"))?;
        let changelog = format!(
            "{} ({}) unstable; urgency=medium\n\n  * See the commits of this version.\n\n \
             -- guestreq maintainers <maintainers@guestreq.invalid>  Thu, 01 Jan 2026 00:00:00 \
             +0000\n",
            self.name, self.version
        );
        self.gzip(&format!("{doc}/changelog"), changelog.as_bytes())?;
        let used = process::output(Command::new("du").args(["-sk"]).arg(&self.tree))?;
        let size = used.split_whitespace().next().unwrap_or("0").to_owned();
        let fill = |text: String| text.replace("@VERSION@", self.version).replace("@SIZE@", &size);
        let from = project::root().join("deploy/debian").join(self.name);
        for name in ["control", "conffiles"].into_iter().chain(SCRIPTS) {
            if let Ok(text) = fs::read_to_string(from.join(name)) {
                let mode = if SCRIPTS.contains(&name) { 0o755 } else { 0o644 };
                self.file(&format!("DEBIAN/{name}"), fill(text).as_bytes(), mode)?;
            }
        }
        // Independent of the umask.
        let mut modes = Command::new("chmod");
        process::output(modes.args(["-R", "u=rwX,go=rX"]).arg(&self.tree))?;
        progress::step(
            "pack",
            &self.file.file_name().unwrap_or_default().to_string_lossy(),
            || {
                let mut pack = Command::new("dpkg-deb");
                pack.args(["--build", "--root-owner-group"]).arg(&self.tree).arg(&self.file);
                process::output(&mut pack).context("cannot pack")
            },
        )?;
        fs::remove_dir_all(&self.tree).with_context(|| format!("{}", self.tree.display()))?;
        Ok(self.file.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests;
