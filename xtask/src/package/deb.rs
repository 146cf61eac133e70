//! # deb: packages for Debian and its kin
//!
//! `dpkg-deb` writes them. Maintainer scripts and control files are in deploy/debian.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{AGENT, File, Format, GATE, Kind};
use crate::{process, progress, project};

/// Maintainer scripts that a package may have.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub fn execute() -> Result<()> {
    if !process::is_installed("dpkg-deb") {
        bail!("no dpkg-deb: packages are built on Debian and its kin (package dpkg)");
    }
    super::build(pack)
}

/// Builds both packages of a version in `folder`.
pub fn pack(binary: &Path, version: &str, folder: &Path) -> Result<[PathBuf; 2]> {
    fs::create_dir_all(folder)?;
    let agent = Package::new(AGENT, version, "amd64", folder)?;
    let gate = Package::new(GATE, version, "all", folder)?;
    Ok([agent.build(&super::agent(binary, Format::Deb)?)?, gate.build(&super::gate(version)?)?])
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

    fn build(&self, files: &[File]) -> Result<PathBuf> {
        for file in files {
            self.file(&file.path, &file.content, file.mode().into())?;
        }
        let doc = format!("usr/share/doc/{}", self.name);
        let copyright = super::read(&project::root().join("deploy/debian/copyright"))?;
        self.file(&format!("{doc}/copyright"), &copyright, 0o644)?;
        let changelog = format!(
            "{} ({}) unstable; urgency=medium\n\n  * See the commits of this version.\n\n \
             -- guestreq maintainers <maintainers@guestreq.invalid>  Thu, 01 Jan 2026 00:00:00 \
             +0000\n",
            self.name, self.version
        );
        self.file(&format!("{doc}/changelog.gz"), &super::gzip(&changelog)?, 0o644)?;
        let used = process::output(Command::new("du").args(["-sk"]).arg(&self.tree))?;
        let size = used.split_whitespace().next().unwrap_or("0").to_owned();
        let fill = |text: String| text.replace("@VERSION@", self.version).replace("@SIZE@", &size);
        let from = project::root().join("deploy/debian").join(self.name);
        let configs = files.iter().filter(|file| file.kind == Kind::Config);
        let configs: String = configs.map(|file| format!("/{}\n", file.path)).collect();
        if !configs.is_empty() {
            self.file("DEBIAN/conffiles", configs.as_bytes(), 0o644)?;
        }
        for name in ["control"].into_iter().chain(SCRIPTS) {
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
                pack.env("SOURCE_DATE_EPOCH", super::DATE.to_string());
                pack.args(["--build", "--root-owner-group"]).arg(&self.tree).arg(&self.file);
                process::output(&mut pack).context("cannot pack")
            },
        )?;
        fs::remove_dir_all(&self.tree).with_context(|| format!("{}", self.tree.display()))?;
        Ok(self.file.clone())
    }
}

#[cfg(test)]
mod tests;
