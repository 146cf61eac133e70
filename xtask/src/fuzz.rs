//! # fuzz: fuzzing with libFuzzer
//!
//! Builds and runs the targets of fuzz/ with the stable compiler, without cargo-fuzz: it supports
//! libFuzzer's coverage, but not AddressSanitizer. The targets call almost no unsafe code;
//! overflows and debug assertions are checked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{build, process, project, setup};

#[derive(clap::Args)]
pub struct Args {
    /// Run only this target (default: all, one after the other)
    target: Option<String>,
    /// How long to run each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Number of processes
    #[arg(long, default_value_t = 1)]
    jobs: u32,
}

/// Compiler flags for libFuzzer, as cargo-fuzz sets them.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg fuzzing",
];

pub fn execute(args: &Args) -> Result<ExitCode> {
    let all = targets()?;
    let chosen = match &args.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("no fuzz target {name}: there are {}", all.join(", ")),
    };
    build::ebpf(&setup::ebpf()?)?;
    build(&chosen)?;
    let mut failed = Vec::new();
    for target in &chosen {
        if !run(target, args)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "found something: {}; each case stays in fuzz/found, and is a test",
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

fn fuzz() -> PathBuf {
    project::root().join("fuzz")
}

fn target_dir() -> PathBuf {
    project::target().join("fuzz")
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = fuzz().join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.path().file_stem().and_then(|s| s.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn build(targets: &[String]) -> Result<()> {
    let has_compiler = std::env::var_os("CXX").is_some()
        || ["c++", "g++", "clang++"].into_iter().any(process::is_installed);
    if !has_compiler {
        bail!("libFuzzer is C++, and there is no compiler for it: `apt-get install g++`");
    }
    let mut cargo = process::cargo("build");
    cargo.arg("--manifest-path").arg(fuzz().join("Cargo.toml"));
    cargo.args(["--locked", "--release", "--target", project::HOST]);
    cargo.arg("--target-dir").arg(target_dir());
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", COVERAGE.join(" "))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    build::step("build", "fuzz targets", &mut cargo)
}

/// Runs one target and prints the result; true if nothing was found.
fn run(target: &str, args: &Args) -> Result<bool> {
    let corpus = target_dir().join("corpus").join(target);
    let found = fuzz().join("found").join(target);
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let log = build::log("fuzz", target);
    let start = Instant::now();
    let passed = fuzzer(target, args, [&corpus, &found], &log)?;
    // Git keeps no empty folders.
    let _ = fs::remove_dir(&found);
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let found = summary(&text).unwrap_or_else(|| format!("see {}", log.display()));
    println!("  {:<9}{target}: {found}, {:.1} s", "fuzz", start.elapsed().as_secs_f64());
    if !passed {
        println!("{}\nall of it: {}", found_in(&text).join("\n"), log.display());
    }
    Ok(passed)
}

fn fuzzer(target: &str, args: &Args, [corpus, found]: [&Path; 2], log: &Path) -> Result<bool> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("{}", log.display()))?;
    let program = target_dir().join(project::HOST).join("release").join(target);
    let mut command = Command::new(&program);
    command.args(["-max_len=4096", "-timeout=10"]);
    command.arg(format!("-max_total_time={}", args.seconds));
    command.arg(format!("-artifact_prefix={}/", found.display()));
    if args.jobs > 1 {
        command.arg(format!("-fork={}", args.jobs));
    }
    // New inputs go into the first folder.
    command.arg(corpus).arg(fuzz().join("seeds").join(target)).arg(found);
    let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status();
    Ok(status.with_context(|| format!("cannot run {}", program.display()))?.success())
}

/// Of libFuzzer's last statistics line: `#71915 DONE cov: 2207 ft: …`, or `#71915: cov: …`.
fn summary(log: &str) -> Option<String> {
    let line = log.lines().rfind(|line| line.starts_with('#') && line.contains("cov: "))?;
    let executions: String = line[1..].chars().take_while(char::is_ascii_digit).collect();
    let covered = line.split("cov: ").nth(1)?.split(' ').next()?;
    Some(format!("{executions} executions, {covered} edges covered"))
}

/// The finding in a log: a panic up to its backtrace, libFuzzer's error, and the path of the input.
fn found_in(log: &str) -> Vec<&str> {
    let mut of_panic = false;
    let is_finding = |line: &&str| {
        of_panic |= line.contains("panicked at");
        of_panic &= !line.starts_with("stack backtrace") && !line.starts_with("note:");
        of_panic || line.contains("ERROR: libFuzzer") || line.contains("Test unit written to")
    };
    log.lines().filter(is_finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summarized_by_its_last_count() {
        let log = "#8\tINITED cov: 112 ft: 130\n#2000\tDONE   cov: 140 ft: 1 corp: 7/7b\nDone\n";
        assert_eq!(summary(log).as_deref(), Some("2000 executions, 140 edges covered"));
        let forked = "#45: cov: 9 ft: 9 corp: 1 exec/s 22 oom/timeout/crash: 0/0/0 time: 2s";
        assert_eq!(summary(forked).as_deref(), Some("45 executions, 9 edges covered"));
        assert_eq!(summary("killed\n"), None);
    }

    #[test]
    fn a_finding_is_reported_without_its_backtrace() {
        let log = "INFO: seed\n\nthread '<unnamed>' (7) panicked at host/fuzz.rs:84:5:\n\
            assertion `left == right` failed\n  left: 1\nstack backtrace:\n   0: core::panic\n\
            ==7== ERROR: libFuzzer: deadly signal\nartifact; Test unit written to a/crash-1\n";
        let found = found_in(log);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(found[1], "assertion `left == right` failed");
        assert!(found[4].ends_with("a/crash-1"));
    }
}
