//! # Kernels of our own configuration, built from Debian's source
//!
//! They check themselves as no distribution's kernel does, or are built as Debian's are not. They
//! take minutes to build, so only `--kernel NAME` builds and boots them.

mod make;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use make::Make;

use super::apt::{Apt, Offer};
use super::cache::{Cache, digest};
use super::matrix::{until_the_index_changes, version_key};
use super::toolroot::Toolroot;
use super::unpack;
use crate::{process, progress, project};

/// A configuration, and what builds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipe {
    /// For `--kernel`; its release ends in it.
    pub name: &'static str,
    /// Debian's package of the source.
    source: &'static str,
    suites: &'static [&'static str],
    /// Files in rig/kernels; what none of them mentions is off.
    fragments: &'static [&'static str],
    /// Debian's packages of the compiler; the first has the name of its program.
    pub compiler_packages: &'static [&'static str],
    /// Make's variables for it, also for modules.
    pub compiler: &'static [&'static str],
    /// Whether it checks each of its steps, which takes several times as long, and lacks what only
    /// the agent needs.
    pub is_debug: bool,
    /// Words for its command line.
    pub cmdline: &'static str,
    /// What it runs, unless `--only` says something else.
    pub groups: &'static [&'static str],
}

const PLAIN: Recipe = Recipe {
    name: "",
    source: "linux-source-6.12",
    suites: &["trixie", "trixie-security"],
    fragments: &[],
    compiler_packages: &["gcc-14"],
    compiler: &["CC=gcc-14", "HOSTCC=gcc-14"],
    is_debug: false,
    cmdline: "",
    // What depends on how the kernel was built: its hooks, symbols, types and modules.
    groups: &["observe", "gate", "order", "enforce", "verification", "doctor"],
};

const DEBUG: Recipe = Recipe { is_debug: true, groups: &["gate", "order"], ..PLAIN };

pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "lockdep-kasan",
        fragments: &["common.config", "modules.config", "lockdep-kasan.config"],
        ..DEBUG
    },
    Recipe {
        name: "lockdep-kcsan",
        fragments: &["common.config", "modules.config", "lockdep-kcsan.config"],
        // It delays one of so many accesses, and looks whether another comes meanwhile. By default
        // of 4,000, which finds too little: a gate that read its counts without a lock passed with
        // 1,000. With 100 a run takes four times as long.
        cmdline: "kcsan.skip_watch=250",
        // gate/tracers does not end there within 20 minutes: each traced function is delayed.
        groups: &["order"],
        ..DEBUG
    },
    Recipe {
        name: "builtin",
        fragments: &["common.config", "agent.config", "builtin.config"],
        // Beside the others' it runs what an agent does before there is an SNP host, as kvm_amd is
        // there then; and nothing that removes modules.
        groups: &[
            "observe",
            "gate",
            "order",
            "enforce",
            "verification",
            "doctor",
            "missing_prerequisites",
        ],
        ..PLAIN
    },
    Recipe {
        name: "clang-cfi-lto",
        fragments: &["common.config", "agent.config", "modules.config", "clang-cfi-lto.config"],
        compiler_packages: &["clang-19", "lld-19", "llvm-19"],
        compiler: &[CLANG],
        ..PLAIN
    },
];

/// All of LLVM's tools, of this version.
const CLANG: &str = "LLVM=-19";

/// Where external modules find the kernel's build tree, in the directory of a built kernel.
pub const BUILD: &str = "build";

impl Recipe {
    /// The newest version of the source.
    fn version(&self, cache: &Cache, apt: &Apt) -> Result<String> {
        until_the_index_changes(cache, apt, self.source, || {
            let mut offers = apt.offers(self.source, |package| package == self.source)?;
            offers.retain(|offer| self.suites.contains(&offer.suite.as_str()));
            let newest = offers.into_iter().max_by_key(|offer| version_key(&offer.version));
            let Offer { version, .. } = newest
                .with_context(|| format!("no {} in {}", self.source, self.suites.join(" or ")))?;
            Ok(version)
        })
    }

    fn fragment(&self) -> Result<String> {
        let read = |name: &&str| {
            let path = project::root().join("rig/kernels").join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        self.fragments.iter().map(read).collect()
    }

    /// The directory of this kernel, built if it does not exist.
    pub fn build(&self, cache: &Cache, apt: &Apt, tools: &Toolroot) -> Result<PathBuf> {
        let version = self.version(cache, apt)?;
        let fragment = self.fragment()?;
        let compiler = self.compiler_version(tools)?;
        let (how, modules) = (include_str!("built/make.rs"), unpack::MODULES.join(" "));
        let key = digest([version.as_str(), &fragment, &compiler, self.source, how, &modules]);
        let name = format!("kernels/{}-{version}-{key}", self.name);
        cache.once(name, |part| {
            let work = part.join("work");
            fs::create_dir(&work)?;
            let make = Make { recipe: self, tools, work: &work, log: cache.log(self.name) };
            let source = format!("{}={version}", self.source);
            progress::step("fetch", &source, || {
                apt.unpack(std::slice::from_ref(&source), &work)?;
                make.unpack()
            })?;
            progress::step("build", &format!("kernel {}, for minutes", self.name), || {
                make.configure(&fragment)?;
                make.kernel(part)
            })?;
            super::cache::remove(&work)
        })
    }

    pub fn is_by_clang(&self) -> bool {
        self.compiler.contains(&CLANG)
    }

    /// What its compiler says of itself: another version makes another kernel.
    fn compiler_version(&self, tools: &Toolroot) -> Result<String> {
        let program = self.compiler_packages.first().context("no compiler")?;
        let mut ask = tools.command(&tools.path.join("tmp"), program);
        Ok(self.compiler.join(" ") + &process::output(ask.arg("--version"))?)
    }
}

/// The recipe of this name.
pub fn find(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

/// The release of a kernel that was built.
pub fn release(dir: &Path) -> Result<String> {
    let path = dir.join("release");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    match text.trim() {
        "" => bail!("{} is empty", path.display()),
        release => Ok(release.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_recipe_has_its_fragments_and_a_name_of_its_own() {
        let names: BTreeSet<_> = RECIPES.iter().map(|recipe| recipe.name).collect();
        assert_eq!(names.len(), RECIPES.len());
        for recipe in RECIPES {
            assert!(recipe.fragment().unwrap().contains("CONFIG_KVM_AMD_SEV=y"), "{recipe:?}");
            assert_eq!(find(recipe.name), Some(recipe));
        }
        assert_eq!(find("lockdep"), None, "a part of a name");
    }

    /// Nothing else runs them regularly.
    #[test]
    fn every_recipe_is_run_at_night_and_described() {
        for file in [".github/workflows/rig.yml", "rig/README.md"] {
            let text = fs::read_to_string(project::root().join(file)).unwrap();
            for recipe in RECIPES {
                assert!(text.contains(recipe.name), "{file} lacks {}", recipe.name);
            }
        }
    }
}
