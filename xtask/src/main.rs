//! # xtask: build, test and demo commands
//!
//! `cargo xtask build | dist | image | deb | rpm | test | bench | fuzz | mutants | audit | demo |
//! fleet | rig`. Each command is a file of that name, or in `package`; shared are `setup`
//! (prerequisites on the machine) and `rig` (booting a disposable SNP host).

mod audit;
mod bench;
mod build;
mod demo;
mod dist;
mod documentation;
mod fleet;
mod fuzz;
mod helm;
mod image;
mod manifests;
mod mutants;
#[cfg(test)]
mod order;
mod package;
mod port;
mod process;
mod progress;
mod project;
mod prometheus;
mod rig;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "guestreq's build, demo and test commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF object, then the static guestreq binary
    Build,
    /// Build the static binary into target/dist
    Dist,
    /// Build a container image into target/dist
    Image,
    /// Build Debian packages of the agent and the gate into target/dist
    Deb,
    /// Build rpm packages of the agent and the gate into target/dist
    Rpm,
    /// Check format and lints, run unit tests, then the scenarios on three kernels
    Test(test::Args),
    /// Fuzz parsers and decisions
    Fuzz(fuzz::Args),
    /// Run mutation tests: change the code and check whether a test fails
    Mutants(mutants::Args),
    /// Check dependencies: licences, advisories, duplicate versions, sources
    Audit,
    /// Measure overhead, compared with empty programs and a bpftrace script
    Bench(bench::Args),
    /// Boot a simulated SNP host with guests and show guestreq at work
    Demo(demo::Args),
    /// Measure the cost of many hosts for Prometheus, with simulated agents
    Fleet(fleet::Args),
    /// Tools for working on the rig
    #[command(subcommand)]
    Rig(rig::Command),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Build => build::execute().map(|()| ExitCode::SUCCESS),
        Command::Dist => dist::execute().map(|()| ExitCode::SUCCESS),
        Command::Image => image::execute().map(|()| ExitCode::SUCCESS),
        Command::Deb => package::deb::execute().map(|()| ExitCode::SUCCESS),
        Command::Rpm => package::rpm::execute().map(|()| ExitCode::SUCCESS),
        Command::Test(args) => test::execute(&args),
        Command::Fuzz(args) => fuzz::execute(&args),
        Command::Mutants(args) => mutants::execute(&args),
        Command::Audit => audit::execute().map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::execute(&args),
        Command::Demo(args) => demo::execute(&args).map(|()| ExitCode::SUCCESS),
        Command::Fleet(args) => fleet::execute(&args).map(|()| ExitCode::SUCCESS),
        Command::Rig(command) => rig::execute(&command).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // One line, whatever the causes quote.
        let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("error: {line}");
        ExitCode::FAILURE
    })
}
