//! # mutants: mutation testing
//!
//! cargo-mutants changes one thing at a time in a copy of the tree and runs the changed crate's
//! unit tests. A surviving mutant needs a test, or is equivalent and listed in docs/testing.md with
//! the reason. The list must match the run exactly.

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
    /// Test only these parts (default: all)
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How many mutants to test at once, each in its own copy of the tree
    #[arg(long, default_value_t = 1, value_name = "N")]
    jobs: usize,
    /// Test only the k-th of n shares, from 0/n, to spread a run over machines or nights
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Test only mutants whose printed names match this regular expression
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// guestreq-common, which decides
    Common,
    /// Which policy applies
    Policy,
    /// Policies as users write them
    Wire,
    /// The configuration's files
    Config,
    /// VM identities from processes
    Host,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Common => "common",
            Part::Policy => "policy",
            Part::Wire => "wire",
            Part::Config => "config",
            Part::Host => "host",
        }
    }

    /// Its file without `.rs`, or folder.
    fn module(self) -> &'static str {
        match self {
            Part::Common => "guestreq-common/src",
            Part::Policy => "guestreq-user/src/policy",
            Part::Wire => "guestreq-user/src/wire/policy",
            Part::Config => "guestreq-user/src/config",
            Part::Host => "guestreq-user/src/host",
        }
    }
}

/// Code built for tests and fuzzing only.
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

/// cargo-mutants' output, mainly a log of each mutant.
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
    // On a busy machine a slow test is not a hung one.
    mutants.args(["--minimum-test-timeout", "60", "--no-times", "--colors", "never"]);
    // Without binaries and their tests, and without tests of generated pages, which fail on any
    // change.
    mutants.args(["--cargo-arg", "--lib", "--", "--", "--skip", "docs::"]);
    mutants
        .env("GUESTREQ_EBPF", project::ebpf_object())
        // The short fuzzing run keeps no mutant's inputs.
        .env("GUESTREQ_MUTANT", "1")
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        // Each copy has its own target directory; in a shared one jobs would wait and rebuild each
        // other's changes.
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
