//! # build: the eBPF object, and the static binaries that embed or exercise it

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::setup::EbpfTools;
use crate::{process, progress, project, setup};

pub fn execute() -> Result<()> {
    ebpf(&setup::ebpf()?)?;
    guestreq()
}

/// A cargo command for the eBPF crate.
///
/// It has its own target directory: with the unstable flags, builds for host and eBPF would rebuild
/// each other's dependencies.
pub fn ebpf_cargo(tools: &EbpfTools, subcommand: &str) -> Command {
    let mut cargo = process::cargo(subcommand);
    tools.apply(&mut cargo);
    cargo
        .args(["--package", "guestreq-ebpf", "--release", "--target", project::BPF])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(project::target().join("ebpf"))
        // v3: atomic operations that return a value. No debug info: the kernel rejects the BTF of
        // some Rust types. Without expansion in order, stores replace calls of memset, each a loop
        // over bytes that the verifier would walk iteration by iteration.
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
            "-C target-cpu=v3 -C debuginfo=0 -C link-arg=--disable-expand-memcpy-in-order",
        );
    cargo
}

/// Builds the eBPF object.
pub fn ebpf(tools: &EbpfTools) -> Result<()> {
    ebpf_with(tools, None, &project::ebpf_object())
}

/// Builds eBPF objects of pretended other versions for tests: an agent can load another object than
/// its own, which is cheaper than an agent for each.
pub fn other_ebpf(tools: &EbpfTools) -> Result<()> {
    for feature in project::OTHER_EBPF {
        ebpf_with(tools, Some(feature), &project::other_ebpf_object(feature))?;
    }
    Ok(())
}

fn ebpf_with(tools: &EbpfTools, feature: Option<&str>, object: &Path) -> Result<()> {
    let mut cargo = ebpf_cargo(tools, "build");
    let mut what = "guestreq-ebpf".to_string();
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
        what += &format!(" {feature}");
    }
    step("build", &what, &mut cargo)?;
    let built = project::target().join("ebpf").join(project::BPF).join("release/guestreq-ebpf");
    let new = fs::read(&built).with_context(|| format!("no {}", built.display()))?;
    // Copying an unchanged object would rebuild what embeds it.
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::create_dir_all(object.parent().unwrap_or(object))?;
    fs::write(object, new).with_context(|| format!("cannot write {}", object.display()))
}

/// Builds guestreq and the rig's programs.
///
/// Not by one cargo: what one of them enables in a shared library, all that are built together get,
/// and the rig would test another guestreq than its users have. In another folder at the same time,
/// as guestreq's build uses one processor for minutes.
pub fn guestreq_and_rig_programs() -> Result<()> {
    thread::scope(|scope| {
        let beside = scope.spawn(rig_programs);
        guestreq()?;
        beside.join().map_err(|_| anyhow!("a build has panicked"))?
    })
}

fn rig_programs() -> Result<()> {
    for package in project::RIG_PROGRAMS {
        let mut cargo = for_rig(static_cargo("build"));
        cargo.args(["--package", package]);
        step("build", &format!("{package} (static)"), &mut cargo)?;
    }
    Ok(())
}

/// In the rig's own folder, with libraries that compile faster: how fast they run does not matter.
pub fn for_rig(mut cargo: Command) -> Command {
    cargo.args(["--config", "profile.release.opt-level=1", "--target-dir"]);
    cargo.arg(project::rig_target());
    cargo
}

/// Builds guestreq and kubectl's plugin, static, for a guest or container without libraries.
fn guestreq() -> Result<()> {
    step("build", "guestreq (static)", static_cargo("build").args(["--package", "guestreq"]))?;
    for (name, most) in MAX_SIZES {
        let binary = project::static_binary(name);
        let size = fs::metadata(&binary).with_context(|| binary.display().to_string())?.len();
        check_size(name, size, most)?;
    }
    Ok(())
}

/// The largest permitted static binaries, in bytes. The second has no eBPF programs.
const MAX_SIZES: [(&str, u64); 2] = [("guestreq", 8_900_000), ("kubectl-guestreq", 4_000_000)];

fn check_size(name: &str, size: u64, most: u64) -> Result<()> {
    ensure!(size < most, "{name} has {size} bytes; it must have less than {most}");
    Ok(())
}

/// A cargo command for tests of packages. They are built like a debug build, but share the
/// dependencies of the programs that are built in the same folder.
pub fn test_cargo(packages: &[&str]) -> Command {
    let mut cargo = static_cargo("test");
    for package in packages {
        cargo.args(["--package", package]);
        // One codegen unit makes a small binary; several are built at the same time.
        for setting in
            ["opt-level=0", "codegen-units=16", "debug-assertions=true", "overflow-checks=true"]
        {
            cargo.args(["--config", &format!("profile.release.package.{package}.{setting}")]);
        }
    }
    cargo
}

pub fn static_cargo(subcommand: &str) -> Command {
    let mut cargo = process::cargo(subcommand);
    cargo
        .args(["--release", "--target", project::HOST])
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// Runs cargo as a step, with its output in [`log`], and shows that when it fails.
pub fn step(verb: &str, what: &str, cargo: &mut Command) -> Result<()> {
    let log = log(verb, what);
    progress::step(verb, what, || process::logged(cargo, &log)).with_context(|| {
        eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
        let subcommand = cargo.get_args().next().unwrap_or_default().display();
        format!("cargo {subcommand} failed; its output is above, and in {}", log.display())
    })
}

/// The log of a step that runs cargo.
pub fn log(verb: &str, what: &str) -> PathBuf {
    let word = |c: char| c.is_alphanumeric() || c == '-';
    let name = format!("{verb} {what}");
    let words: Vec<_> = name.split(|c| !word(c)).filter(|w| !w.is_empty()).collect();
    project::logs().join(words.join("-") + ".log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_has_grown_too_large_is_an_error_with_its_size() {
        check_size("guestreq", 8_499_999, 8_900_000).unwrap();
        let error = check_size("guestreq", 8_900_000, 8_900_000).unwrap_err().to_string();
        assert!(error.starts_with("guestreq has 8900000 bytes"), "{error}");
    }
}
