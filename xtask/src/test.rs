//! # test: all checks of a change

pub mod dashboards;
mod deploy;
mod scenarios;
mod tally;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::{fs, thread};

use anyhow::{Context as _, Result, anyhow, bail};
use dashboards::Promtools;
use tally::{Tally, UnitTests};

use crate::setup::{EbpfTools, Rig, Wanted};
use crate::{build, process, progress, project, setup};

#[derive(Default, clap::Args)]
pub struct Args {
    /// Also run scenarios for longer, and all of them on all kernels
    #[arg(long)]
    long: bool,
    /// Only kernels whose version starts with, or else contains, this; or a kernel to build, such as
    /// `lockdep-kasan`
    #[arg(long, value_name = "PATTERN|NAME")]
    kernel: Option<String>,
    /// Only this scenario (id or unambiguous prefix, such as `limits/fairness`), subject (`limits`)
    /// or group
    #[arg(long, value_name = "ID|GROUP")]
    only: Option<String>,
    /// How long `soak`, `hostile` and `stress` run
    #[arg(long, value_name = "N", requires = "only")]
    minutes: Option<u32>,
    /// Do not use the rig: no root, no network, no kernels
    #[arg(long, conflicts_with_all = ["kernel", "only", "long"])]
    no_rig: bool,
}

impl Args {
    fn kernels(&self) -> Wanted<'_> {
        match &self.kernel {
            Some(kernel) => Wanted::Named(kernel),
            None if self.long => Wanted::Nightly,
            None => Wanted::EveryChange,
        }
    }
}

pub fn execute(args: &Args) -> Result<ExitCode> {
    let mut tally = Tally::default();
    // With --only skip the other checks.
    let all = args.only.is_none();
    let (ebpf, rig) = thread::scope(|scope| {
        let (sender, tools) = mpsc::channel();
        // Fetching and unpacking leave processors idle.
        let setup = scope.spawn(move || prepare(args, sender));
        if all {
            build::step("check", "format", process::cargo("fmt").args(["--all", "--check"]))?;
            lints()?;
        }
        let joined = || setup.join().map_err(|_| anyhow!("the setup has panicked"))?;
        let Ok(tools) = tools.recv() else {
            joined()?;
            bail!("the setup has ended without tools");
        };
        build::ebpf(&tools.ebpf)?;
        if all {
            checks(&tools, &mut tally)?;
        }
        Ok((tools.ebpf, joined()?))
    })?;
    thread::scope(|scope| {
        // In other folders than the binaries' builds, which use one processor for minutes.
        let beside =
            all.then(|| scope.spawn(|| -> Result<_> { Ok([tests_of_rig()?, tests_of_xtask()?]) }));
        if rig.is_some() {
            build::other_ebpf(&ebpf)?;
            build::guestreq_and_rig_programs()?;
        }
        if let Some(beside) = beside {
            let tests = beside.join().map_err(|_| anyhow!("a check has panicked"))?;
            tests?.into_iter().for_each(|tests| tally.add(tests));
        }
        Ok::<_, anyhow::Error>(())
    })?;
    if let Some(rig) = rig {
        scenarios::run(args, &rig, &mut tally)?;
    }
    tally.print();
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What checks need beside Rust.
struct Tools {
    ebpf: EbpfTools,
    promtools: Promtools,
    kubectl: Option<PathBuf>,
    helm: Option<PathBuf>,
}

/// Prepares everything, and sends the tools as soon as they are there.
fn prepare(args: &Args, sender: mpsc::Sender<Tools>) -> Result<Option<Rig>> {
    let (all, may_fetch) = (args.only.is_none(), !args.no_rig);
    let tools = Tools {
        ebpf: setup::ebpf()?,
        // Without the network these are only used if present.
        promtools: if all { Promtools::find(may_fetch)? } else { Promtools::default() },
        kubectl: if all { setup::kubectl(may_fetch)? } else { None },
        helm: if all { setup::helm(may_fetch)? } else { None },
    };
    // After a check that has failed nobody receives them.
    let _ = sender.send(tools);
    (!args.no_rig).then(|| setup::rig(args.kernels())).transpose()
}

/// Checks that need a tool besides cargo, and the unit tests that use kubectl.
fn checks(tools: &Tools, tally: &mut Tally) -> Result<()> {
    let (kubectl, helm) = (tools.kubectl.as_deref(), tools.helm.as_deref());
    thread::scope(|scope| {
        // Promtool's tests take one processor the best part of a minute.
        let files = scope.spawn(|| -> Result<()> {
            dashboards(&tools.promtools)?;
            manifests(kubectl)?;
            chart(helm, kubectl)
        });
        ebpf_lints(&tools.ebpf)?;
        unit_tests(tally, kubectl)?;
        files.join().map_err(|_| anyhow!("a check has panicked"))?
    })
}

/// Without an eBPF object, as in an editor or a fresh clone.
fn lints() -> Result<()> {
    // In another folder than the builds, whose build script would run again for the other object.
    let target = project::target().join("lints");
    let no_object = target.join("no-object");
    fs::create_dir_all(&target).and_then(|()| fs::write(&no_object, "")).context("no-object")?;
    let cargo = |subcommand| {
        let mut cargo = build::static_cargo(subcommand);
        cargo.args(["--workspace", "--target-dir"]).arg(&target).env("GUESTREQ_EBPF", &no_object);
        cargo
    };
    build::step("check", "lints", cargo("clippy").arg("--all-targets").args(DENY))?;
    let mut doc = cargo("doc");
    doc.arg("--no-deps").env("RUSTDOCFLAGS", "--deny warnings");
    build::step("check", "documentation of the sources", &mut doc)
}

const DENY: [&str; 3] = ["--", "--deny", "warnings"];

fn ebpf_lints(tools: &EbpfTools) -> Result<()> {
    let mut clippy = build::ebpf_cargo(tools, "clippy");
    build::step("check", "lints of guestreq-ebpf", clippy.args(DENY))
}

fn dashboards(promtools: &Promtools) -> Result<()> {
    if promtools.two.is_none() {
        progress::note("no promtool: rules and their tests are only parsed");
    }
    if promtools.three.is_none() {
        progress::note("no promtool 3: rules for native histograms are not tested");
    }
    progress::step("check", "dashboards, alerts and runbooks", || dashboards::check(promtools))
}

fn manifests(kubectl: Option<&Path>) -> Result<()> {
    let Some(kubectl) = kubectl else {
        progress::note("no kubectl: the Kubernetes manifests are not rendered");
        return Ok(());
    };
    progress::step("check", "Kubernetes manifests", || deploy::check(kubectl))
}

fn chart(helm: Option<&Path>, kubectl: Option<&Path>) -> Result<()> {
    let (Some(helm), Some(kubectl)) = (helm, kubectl) else {
        progress::note("no helm or no kubectl: the Helm chart is not rendered");
        return Ok(());
    };
    progress::step("check", "Helm chart", || deploy::chart::check(helm, kubectl))
}

/// Runs the product's unit tests.
fn unit_tests(tally: &mut Tally, kubectl: Option<&Path>) -> Result<()> {
    let mut cargo = build::test_cargo(&["guestreq-common", "guestreq"]);
    match kubectl.filter(|kubectl| kubectl.is_absolute()) {
        // guestreq-user/tests/kubectl/real.rs
        Some(kubectl) => drop(cargo.env("GUESTREQ_TEST_KUBECTL", kubectl)),
        None => progress::note("no kubectl: its plugin is tested with a fake one only"),
    }
    tally.add(units("units", cargo)?);
    Ok(())
}

fn tests_of_rig() -> Result<UnitTests> {
    let cargo = build::for_rig(build::test_cargo(&["snpload", "scenarios", "rig-cri"]));
    units("units of the rig", cargo)
}

/// It is already built in another profile than the others.
fn tests_of_xtask() -> Result<UnitTests> {
    let mut cargo = process::cargo("test");
    cargo.args(["--package", "xtask"]);
    units("units of xtask", cargo)
}

fn units(what: &'static str, mut cargo: Command) -> Result<UnitTests> {
    let result = build::step("test", what, cargo.arg("--no-fail-fast"));
    let tests = UnitTests::read(what, &fs::read_to_string(build::log("test", what))?);
    // Without a failed test the build failed, and there is nothing to count.
    if tests.failed == 0 {
        result?;
    }
    Ok(tests)
}
