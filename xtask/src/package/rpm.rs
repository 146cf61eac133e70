//! # rpm: packages for Fedora, RHEL, openSUSE and their kin
//!
//! The crate `rpm` writes them, on any distribution. cargo-generate-rpm, which also uses it, packs one
//! crate's binary from a list in its Cargo.toml; this way both formats have one list, and the second
//! package can be DKMS sources. Scriptlets are in deploy/rpm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};

use super::{AGENT, DATE, File, Format, GATE, Kind};
use crate::{progress, project};

pub fn execute() -> Result<()> {
    super::build(pack)
}

/// Builds both packages of a version in `folder`.
pub fn pack(binary: &Path, version: &str, folder: &Path) -> Result<[PathBuf; 2]> {
    fs::create_dir_all(folder)?;
    let agent = Package { name: AGENT, version, arch: "x86_64", licence: "MIT OR Apache-2.0" };
    let gate = Package { name: GATE, version, arch: "noarch", licence: "GPL-2.0-only" };
    Ok([
        agent.build(super::agent(binary, Format::Rpm)?, of_agent, folder)?,
        gate.build(super::gate(version)?, of_gate, folder)?,
    ])
}

fn of_agent(package: &mut PackageBuilder) {
    package.suggests(Dependency::any(GATE));
    // Not required: an image without systemd may have the command alone.
    package.order_with_requires(Dependency::script_post("systemd"));
    package.order_with_requires(Dependency::script_preun("systemd"));
    package.order_with_requires(Dependency::script_postun("systemd"));
}

fn of_gate(package: &mut PackageBuilder) {
    package.requires(Dependency::greater_eq("dkms", "3.0"));
    package.requires(Dependency::script_post("dkms"));
    package.requires(Dependency::script_preun("dkms"));
    // Headers in Fedora and RHEL, and in openSUSE; openssl signs the module.
    for wanted in ["kernel-devel", "kernel-default-devel", "openssl", AGENT] {
        package.recommends(Dependency::any(wanted));
    }
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    arch: &'a str,
    /// An SPDX expression.
    licence: &'a str,
}

impl Package<'_> {
    fn build(
        &self,
        mut files: Vec<File>,
        depend: fn(&mut PackageBuilder),
        folder: &Path,
    ) -> Result<PathBuf> {
        for licence in self.licence.split(" OR ") {
            let text = format!("{}.txt", licence.trim_end_matches("-only"));
            let to = format!("usr/share/licenses/{}/{text}", self.name);
            files.push(File::copy(&format!("LICENSES/{text}"), to, Kind::Licence)?);
        }
        let (summary, description) = described(self.name)?;
        let mut package =
            PackageBuilder::new(self.name, self.version, self.licence, self.arch, &summary);
        // No build host either: the same sources give the same bytes.
        package
            .using_config(
                BuildConfig::default().compression(CompressionType::Gzip).source_date(DATE),
            )
            .description(description)
            .packager("guestreq maintainers <maintainers@guestreq.invalid>");
        depend(&mut package);
        for own in own_folders(&files) {
            package.with_dir_entry(FileOptions::dir(format!("/{own}")))?;
        }
        for file in files {
            let options = FileOptions::new(format!("/{}", file.path)).permissions(file.mode());
            let options = match file.kind {
                Kind::Config => options.config().noreplace(),
                Kind::Doc => options.doc(),
                Kind::Licence => options.license(),
                Kind::Program | Kind::Other => options,
            };
            package.with_file_contents(file.content, options)?;
        }
        if let Some(script) = self.script("post") {
            package.post_install_script(script);
        }
        if let Some(script) = self.script("preun") {
            package.pre_uninstall_script(script);
        }
        if let Some(script) = self.script("postun") {
            package.post_uninstall_script(script);
        }
        let name = format!("{}-{}-1.{}.rpm", self.name, self.version, self.arch);
        let path = folder.join(&name);
        progress::step("pack", &name, || {
            let written = package.build().and_then(|package| package.write_file(&path));
            written.with_context(|| format!("cannot write {}", path.display()))
        })?;
        Ok(path)
    }

    /// A scriptlet, if the package has it.
    fn script(&self, when: &str) -> Option<String> {
        let path = project::root().join(format!("deploy/rpm/{}-{when}.sh", self.name));
        Some(fs::read_to_string(path).ok()?.replace("@VERSION@", self.version))
    }
}

/// Summary and description, which Debian's control file has.
fn described(name: &str) -> Result<(String, String)> {
    let path = project::root().join("deploy/debian").join(name).join("control");
    let control = String::from_utf8(super::read(&path)?).context("a control file is text")?;
    let field = control.split_once("\nDescription: ").and_then(|(_, text)| text.split_once('\n'));
    let (summary, text) =
        field.with_context(|| format!("{} has no description", path.display()))?;
    let lines = text.lines().map(|line| match line.trim() {
        "." => "",
        line => line,
    });
    Ok((summary.to_owned(), lines.collect::<Vec<_>>().join("\n")))
}

/// Folders that no other package has, so that they go with this one: those with its name, and those
/// in them.
fn own_folders(files: &[File]) -> BTreeSet<&str> {
    let mut folders = BTreeSet::new();
    for file in files {
        for (end, _) in file.path.match_indices('/') {
            let folder = &file.path[..end];
            if folder.split('/').any(|part| part.starts_with(AGENT)) {
                folders.insert(folder);
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests;
