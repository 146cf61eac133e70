//! # The steps of building a kernel

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::super::toolroot::{Toolroot, WORK};
use super::super::unpack;
use super::{BUILD, Recipe};
use crate::process;

/// The build of a kernel in `work`, which the toolroot sees as [`WORK`].
pub struct Make<'a> {
    pub recipe: &'a Recipe,
    pub tools: &'a Toolroot,
    pub work: &'a Path,
    /// Each step's log is beside it.
    pub log: PathBuf,
}

impl Make<'_> {
    fn run(&self, step: &str, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.tools.command(self.work, program);
        let log = self.log.with_extension(format!("{step}.log"));
        process::logged(command.args(arguments), &log)
            .with_context(|| format!("cannot {step} the kernel {}", self.recipe.name))
    }

    fn make(&self, step: &str, arguments: &[&str]) -> Result<()> {
        let source = format!("{WORK}/{}", self.recipe.source);
        let output = format!("O={WORK}/output");
        // Whenever it is built.
        let mut all = vec!["-C", &source, &output, "KBUILD_BUILD_TIMESTAMP=", "LOCALVERSION="];
        all.extend(self.recipe.compiler);
        all.extend(arguments);
        self.run(step, "make", &all)
    }

    pub fn unpack(&self) -> Result<()> {
        let archive = format!("{WORK}/usr/src/{}.tar.xz", self.recipe.source);
        self.run("unpack", "tar", &["-x", "-f", &archive, "-C", WORK])
    }

    /// The fragment, what it needs, and nothing else.
    pub fn configure(&self, fragment: &str) -> Result<()> {
        let output = self.work.join("output");
        fs::create_dir(&output)?;
        let release = format!("CONFIG_LOCALVERSION=\"-{}\"\n", self.recipe.name);
        fs::write(self.work.join("fragment"), format!("{fragment}{release}"))?;
        let fragment_file = format!("KCONFIG_ALLCONFIG={WORK}/fragment");
        self.make("configure", &[&fragment_file, "allnoconfig"])?;
        let config = fs::read_to_string(output.join(".config"))?;
        let missing = missing(fragment, &config);
        ensure!(
            missing.is_empty(),
            "the kernel {} lacks what its fragments ask for: {}",
            self.recipe.name,
            missing.join(", ")
        );
        Ok(())
    }

    pub fn kernel(&self, dest: &Path) -> Result<()> {
        let jobs = thread::available_parallelism().map_or(2, usize::from);
        self.make("build", &[&format!("-j{jobs}"), "bzImage", "modules"])?;
        let output = self.work.join("output");
        fs::rename(output.join("arch/x86/boot/bzImage"), output.join("vmlinuz"))?;
        unpack::files(self.tools, &output, unpack::MODULES, dest)?;
        unpack::types(&output.join("vmlinux"), dest)?;
        // What is left of the debug information is BTF.
        let modules = dest.join("modules");
        for module in fs::read_dir(&modules)? {
            let mut strip = self.tools.command(&modules, "strip");
            let module = Path::new(WORK).join(module?.file_name());
            process::output(strip.arg("--strip-debug").arg(module))?;
        }
        // The kernel's own script for packages of headers.
        let script = "KBUILD_RUN_COMMAND=$(srctree)/scripts/package/install-extmod-build";
        self.make("export", &[&format!("{script} {WORK}/{BUILD}"), "run-command"])?;
        fs::rename(self.work.join(BUILD), dest.join(BUILD))?;
        fs::copy(output.join("include/config/kernel.release"), dest.join("release"))?;
        fs::copy(output.join(".config"), dest.join("config"))?;
        Ok(())
    }
}

/// Lines of a fragment that did not come into effect.
fn missing<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let config: BTreeSet<_> = config.lines().collect();
    let is_in_effect = |line: &str| match line.strip_suffix(" is not set") {
        // An option of which nothing is visible is not mentioned.
        Some(option) => {
            let set = format!("{}=", option.trim_start_matches("# "));
            !config.iter().any(|line| line.starts_with(&set))
        }
        None => line.starts_with('#') || line.is_empty() || config.contains(line),
    };
    fragment.lines().filter(|line| !is_in_effect(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_effect_are_found() {
        let fragment = "# A comment\n\nCONFIG_KVM=m\nCONFIG_BPF_LSM=y\n# CONFIG_NUMA is not set\n\
                        # CONFIG_SMP is not set\n";
        let config = "CONFIG_KVM=m\nCONFIG_SMP=y\n# CONFIG_BPF_LSM is not set\n";
        assert_eq!(missing(fragment, config), ["CONFIG_BPF_LSM=y", "# CONFIG_SMP is not set"]);
        assert!(missing(fragment, "CONFIG_KVM=m\nCONFIG_BPF_LSM=y\n").is_empty());
    }
}
