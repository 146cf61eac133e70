//! # mutants: whether a test notices when the code is wrong
//!
//! cargo-mutants changes one thing at a time in a copy of the tree, and runs the unit tests of the
//! crate that it changed. What no test notices is either missing a test or equivalent: then it is
//! listed in docs/testing.md, with the reason. The list is held against the run both ways.

mod listed;
mod outcome;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{build, process, project, setup};
use outcome::{Mutant, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// Only these parts; without, all of them
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How many mutants are tried at once, each in a copy of the tree with a target directory of
    /// its own
    #[arg(long, default_value_t = 1, value_name = "N")]
    jobs: usize,
    /// Only the k-th of n shares, from 0/n on: for several machines, or several nights
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only mutants whose names, as they are printed, match this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// guestreq-common, which decides
    Common,
    /// What VMs may do, as people write it
    Policy,
    /// The configuration's files
    Config,
    /// What processes say of VMs
    Host,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Common => "common",
            Part::Policy => "policy",
            Part::Config => "config",
            Part::Host => "host",
        }
    }

    /// The file or folder that it is, without `.rs`.
    fn module(self) -> &'static str {
        match self {
            Part::Common => "guestreq-common/src",
            Part::Policy => "guestreq-user/src/policy",
            Part::Config => "guestreq-user/src/config",
            Part::Host => "guestreq-user/src/host",
        }
    }
}

/// The tests' own: built for tests and for fuzzing, where a wrong one tells nothing.
const OURS: [&str; 2] = ["**/fuzz.rs", "**/fuzz/**"];

pub fn execute(args: &Args) -> Result<ExitCode> {
    let listed = listed::read()?;
    let program = setup::mutants()?;
    build::ebpf(&setup::ebpf()?)?;
    let parts = if args.parts.is_empty() { Part::value_variants() } else { &args.parts[..] };
    let all = list(&program, parts)?;
    run(&program, parts, args)?;
    let outcomes = outcomes(&all)?;
    for part in parts {
        let of_part =
            outcomes.iter().filter(|(mutant, _)| mutant.file().starts_with(part.module()));
        println!("  {:<9}{}", part.name(), outcome::tally(of_part.map(|(_, outcome)| *outcome)));
    }
    let of_parts =
        |row: &&listed::Row| parts.iter().any(|part| row.name.starts_with(part.module()));
    let wrong = outcome::compare(&all, &outcomes, listed.iter().filter(of_parts));
    wrong.iter().for_each(|line| println!("{line}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What cargo-mutants leaves behind: a log of each mutant above all.
fn output() -> PathBuf {
    project::target().join("mutants")
}

fn mutants(program: &Path, parts: &[Part]) -> Command {
    let mut mutants = Command::new(program);
    process::as_from_a_shell(&mut mutants);
    mutants.arg("mutants").current_dir(project::root());
    mutants.args(["--package", "guestreq-common", "--package", "guestreq"]);
    for part in parts {
        for files in [".rs", "/**"] {
            mutants.arg("--file").arg(part.module().to_owned() + files);
        }
    }
    for ours in OURS {
        mutants.args(["--exclude", ours]);
    }
    mutants
}

/// All mutants of these parts.
fn list(program: &Path, parts: &[Part]) -> Result<Vec<Mutant>> {
    let json = process::output(mutants(program, parts).args(["--list", "--json"]))?;
    outcome::mutants(&json, |file| {
        let path = project::root().join(file);
        fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    })
}

fn run(program: &Path, parts: &[Part], args: &Args) -> Result<()> {
    let mut mutants = mutants(program, parts);
    mutants.arg("--output").arg(output()).arg("--jobs").arg(args.jobs.to_string());
    mutants.args(args.shard.iter().flat_map(|shard| ["--shard", shard]));
    mutants.args(args.only.iter().flat_map(|only| ["--re", only]));
    // Where others use the machine, too, a slow test is no endless one.
    mutants.args(["--minimum-test-timeout", "60", "--no-times", "--colors", "never"]);
    // Neither the binaries nor the tests of them. The pages that are made of the sources differ for
    // any change, which says nothing of what the code does.
    mutants.args(["--cargo-arg", "--lib", "--", "--", "--skip", "docs::"]);
    mutants
        .env("GUESTREQ_EBPF", project::ebpf_object())
        // The short run of fuzzing keeps no case of a mutant's.
        .env("GUESTREQ_MUTANT", "1")
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        // Each copy has a target directory of its own; in one, jobs would wait for each other and
        // build what the other one changed.
        .env_remove("CARGO_TARGET_DIR");
    fs::create_dir_all(output())?;
    let status = mutants.status().context("cannot run cargo-mutants")?;
    match status.code() {
        // 2: some survive, 3: some do not come to an end.
        Some(0 | 2 | 3) => Ok(()),
        Some(4) => bail!("the tests fail without any mutant: {}", log("baseline").display()),
        _ => bail!("cargo-mutants failed ({status}): {}", output().join("mutants.out").display()),
    }
}

fn log(name: &str) -> PathBuf {
    output().join("mutants.out/log").join(name).with_extension("log")
}

fn outcomes(all: &[Mutant]) -> Result<Vec<(&Mutant, Outcome)>> {
    let path = output().join("mutants.out/outcomes.json");
    let json = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    outcome::outcomes(&json, all)
}
